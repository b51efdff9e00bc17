"""Train generators of images: digits, MNIST and the cats of CIFAR-10.

    EBM_MNIST=folder EBM_CATS=cats.npz python data/gan/images.py [digits] [mnist] [cats]
                                                                 [wgan] [plain]

Without a part, all of them, one after the other on one core. ``digits``: standard GAN,
the same with as many updates of the critic as a WGAN makes, WGAN with clipping and with
a gradient penalty, three seeds each. ``mnist``: the standard GAN, seed 0. ``cats``: a
DCGAN. ``wgan``: both WGANs on MNIST. ``plain``: the standard GAN on MNIST without batch
normalisation. A run that is in ``images.json`` is not made again.

The images are scaled to [-1, 1]; no real image is written. Cats come from ``EBM_CATS``,
a file with arrays ``train`` and ``test`` of bytes (n, 32, 32, 3), or, if that is not
set, from ``ebmlib.images.load("cifar10")``. An epoch is as many steps as batches fit
into the images, drawn with replacement, with ``critic_steps`` updates of the critic
each.

images.json
    A list of rows. First the settings: ``data`` ("digits", "mnist", "cats"), ``name``
    ("standard", "five", "plain", "clipping", "penalty", "dcgan"), ``seed``, ``loss``,
    ``n_images``, ``n_epochs``, ``steps_per_epoch``, ``batch_size``, ``critic_steps``,
    ``lr``, ``betas``, ``clip`` or ``gradient_penalty`` if there is one, ``seconds`` of
    one core, beside other work.

    Along the training, lists with an entry for each of ``epoch`` (0 is before it):
    ``sliced``       sliced Wasserstein distance of ``n_samples`` samples to as many
                     held-out images, pixels in [-1, 1]
    ``nearest``      median distance of a sample to the nearest training image
    ``spread``       median distance of a sample to the nearest other sample
    ``train``, ``test``, ``samples``
                     mean of D, for WGANs of the critic, on training images,
                     held-out images and samples; evaluation mode
    ``slope``, ``steepest``
                     mean and largest norm of the critic's gradient (of the logit, for
                     D) at 500 points between training images and samples
    ``labels``       (digits, MNIST) samples that a classifier takes for a 0 to 9
    ``confidence``   (digits, MNIST) mean of its largest probability
    ``score``        (digits, MNIST) exp of the mean KL of its probabilities from their
                     mean: an inception score, from 1 to 10

    Means over blocks of ``every`` steps, ``step`` being a block's end:
    ``critic_loss``, ``base_loss``, and but for WGANs ``d_data`` and ``d_samples``, D on
    the minibatches of a step's last update of the critic, in training mode.

    But for WGANs, quantiles (0, 5, 25, 50, 75, 95 and 100 %) over all steps after the
    first tenth: ``critic_range`` of *half* the critic's loss, the mean of its two
    cross-entropies (ln 2 = 0.693 where D is 1/2), and ``base_range`` of the generator's
    loss.

    One row a data set has ``name`` "truth": ``sliced`` is a list of five, training
    images against held-out ones; ``nearest``, ``spread``, ``labels``, ``confidence``
    and ``score`` are those of held-out images, ``accuracy`` the classifier's on them.

images.safetensors
    ``digits/NAME/SEED/EPOCH``  uint8 (64, 8, 8): samples, EPOCH is the last, and of
                                standard, seed 0 also 1, 10 and 50; one set of latents
    ``mnist/NAME/SEED/EPOCH``   the same, uint8 (48, 28, 28)
    ``digits/NAME/0/generator.I.weight``, ``digits/NAME/0/critic.I.weight``, ``...bias``
                                float16, of standard, clipping and penalty, at the end:
                                mlp([16, 64, 128, 64]) and Tanh, and
                                mlp([64, 128, 64, 1], "leaky_relu"); I is the layer's
                                place in the nn.Sequential
    ``mnist/NAME/0/generator...``  the same: mlp([32, 128, 256, 784]) with
                                nn.BatchNorm1d before each ReLU, and Tanh
    ``mnist/standard/0/critic...`` mlp([784, 256, 128, 1], "leaky_relu")
    Latents are uniform on the box.

cats.safetensors
    Read by ``ebmlib.gan.load_dcgan``: latent 100, uniform; width 32; float16 weights.
    ``epoch/E``  uint8 (36, 3, 32, 32): samples after E epochs, one set of latents
    All samples are made in evaluation mode, with the running averages of batch
    normalisation. Those of the last epoch are of the weights in the file:
    ``load_dcgan(path).sample(36, generator=torch.Generator().manual_seed(0))``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from ebmlib import images
from ebmlib._files import open_tensors, save_tensors, write_json
from ebmlib.energy import mlp
from ebmlib.gan import (
    Generator,
    critic_gradients,
    critic_values,
    dcgan_critic,
    dcgan_generator,
    load_dcgan,
    save_dcgan,
    train_gan,
)
from ebmlib.metrics import sliced_wasserstein

HERE = Path(__file__).parent
ROWS, TENSORS, CATS = (
    HERE / name for name in ("images.json", "images.safetensors", "cats.safetensors")
)
LOSSES: dict[str, dict[str, Any]] = {
    "standard": {"loss": "non_saturating", "critic_steps": 1, "betas": (0.5, 0.999)},
    "five": {"loss": "non_saturating", "critic_steps": 5, "betas": (0.5, 0.999)},
    "plain": {"loss": "non_saturating", "critic_steps": 1, "betas": (0.5, 0.999)},
    "clipping": {"loss": "wasserstein", "critic_steps": 5, "clip": 0.01},
    "penalty": {"loss": "wasserstein", "critic_steps": 5, "gradient_penalty": 10.0},
}
WGAN_BETAS = (0.0, 0.9)  # Gulrajani et al. (2017)
MEASURED = (0, 1, 2, 5, 10, 20, 50, 100, 150, 200)
SNAPSHOTS = (1, 10, 50, 200)
CAT_SNAPSHOTS = (1, 5, 20, 60)
BLOCKS = 200


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Judge(NamedTuple):
    """Real images, and what is measured against them."""

    train: Tensor  # (n, ...) in [-1, 1]
    test: Tensor
    n_samples: int
    classifier: MLPClassifier | None

    def of_images(self, x: Tensor) -> dict[str, Any]:
        """Measures that need images only."""
        flat, train = x.flatten(1), self.train.flatten(1)
        between = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
        found = {
            "nearest": float(torch.cdist(flat, train).min(1).values.median()),
            "spread": float(between.min(1).values.median()),
        }
        if self.classifier is not None:
            p = self.classifier.predict_proba(flat.numpy()).clip(1e-12)
            kl = (p * np.log(p / p.mean(0))).sum(1).mean()
            labels = np.bincount(p.argmax(1), minlength=10).tolist()
            found |= {"labels": labels, "confidence": float(p.max(1).mean())}
            found["score"] = float(np.exp(kl))
        return found

    def distance(self, x: Tensor) -> float:
        """Sliced Wasserstein distance to the held-out images, on fixed directions."""
        held_out = self.test[: self.n_samples].flatten(1)
        return sliced_wasserstein(x.flatten(1), held_out, generator=seeded(1))

    def of_networks(
        self, base: Generator, critic: nn.Module, *, logits: bool
    ) -> dict[str, Any]:
        """All measures of a generator and its critic, in evaluation mode."""
        modes = base.training, critic.training
        base.eval(), critic.eval()
        x = base.sample(self.n_samples, generator=seeded(2))
        found = {"sliced": self.distance(x), **self.of_images(x)}
        seen = {"train": self.train, "test": self.test, "samples": x}
        for name, pixels in seen.items():
            with torch.no_grad():
                values = critic_values(critic, pixels[: self.n_samples])
            found[name] = float((values.sigmoid() if logits else values).mean())
        share = torch.rand(500, *[1] * (x.ndim - 1), generator=seeded(3))
        n = min(500, self.n_samples)
        between = torch.lerp(x[:n], self.train[:n], share[:n])
        slopes = critic_gradients(critic, between).flatten(1).norm(dim=1)
        found |= {"slope": float(slopes.mean()), "steepest": float(slopes.max())}
        base.train(modes[0]), critic.train(modes[1])
        return found

    def truth(self, data: str) -> dict[str, Any]:
        """The same measures of real images: what the best samples would get."""
        held_out = self.test[: self.n_samples]
        orders = [
            torch.randperm(len(self.train), generator=seeded(k)) for k in range(5)
        ]
        distances = [self.distance(self.train[o[: self.n_samples]]) for o in orders]
        row = {"data": data, "name": "truth", "n_samples": self.n_samples}
        return row | {"sliced": distances} | self.of_images(held_out)


@cache
def judge(data: str) -> Judge:
    """Images of a set; the row "truth" is written when they are first read."""
    accuracy = {}
    if data == "cats":
        train, test = cats()
        found = Judge(train, test, len(test), None)
    else:
        parts = [images.load(data, split) for split in images.SPLITS]
        train, test = (part.rows(None) * 2 - 1 for part in parts)
        n_fit, n_samples = (1_400, 397) if data == "digits" else (20_000, 2_000)
        classifier = MLPClassifier((128,), max_iter=15, random_state=0)
        if data == "digits":
            classifier.set_params(max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few passes will do
            classifier.fit(train[-n_fit:].numpy(), parts[0].labels[-n_fit:].numpy())
        accuracy["accuracy"] = classifier.score(test.numpy(), parts[1].labels.numpy())
        n_train = {"digits": 1_400, "mnist": 10_000}[data]
        found = Judge(train[:n_train], test, n_samples, classifier)
    if not done(data=data, name="truth"):
        add_row(found.truth(data) | accuracy)
    return found


def cats() -> tuple[Tensor, Tensor]:
    """The cats of CIFAR-10, 5,000 and 1,000, pixels (n, 3, 32, 32) in [-1, 1]."""
    path = os.environ.get("EBM_CATS")
    if path:
        with np.load(path) as file:
            arrays = [torch.from_numpy(file[split]) for split in images.SPLITS]
        pixels = [a.permute(0, 3, 1, 2).float() / 255 for a in arrays]
    else:
        sets = [images.load("cifar10", s, category="cat") for s in images.SPLITS]
        pixels = [s.pixels for s in sets]
    return tuple(p.contiguous() * 2 - 1 for p in pixels)


def run(
    data: str,
    name: str,
    seed: int,
    networks: tuple[Generator, nn.Module],
    setting: dict[str, Any],
    measured: tuple[int, ...],
    snapshots: tuple[int, ...],
    sheet: int,
) -> dict[int, Tensor]:
    """Train, write a row, and return the snapshots by epoch."""
    real, (base, critic) = judge(data), networks
    per_epoch = len(real.train) // setting["batch_size"]
    logits = setting["loss"] != "wasserstein"
    sheets: dict[int, Tensor] = {}
    seen: list[float] = []  # D on minibatches: data, samples, samples for the generator
    if logits:

        def watch(module: nn.Module, _: Any, output: Tensor) -> None:
            if module.training:
                seen.append(float(output.detach().sigmoid().mean()))

        critic.register_forward_hook(watch)

    def record(base: Generator, critic: nn.Module, step: int) -> dict[str, Any] | None:
        epoch, rest = divmod(step, per_epoch)
        if rest or epoch not in {*measured, *snapshots}:
            return None
        if epoch in snapshots:
            sheets[epoch] = as_bytes(base, sheet)
        if epoch not in measured:
            return None
        found = real.of_networks(base, critic, logits=logits)
        shown = {k: round(v, 3) for k, v in found.items() if isinstance(v, float)}
        print(f"{time.strftime('%X')} {data} {name} {seed} epoch {epoch}", shown)
        return {"epoch": epoch, **found}

    options = {"betas": WGAN_BETAS} | setting
    n_epochs = options.pop("n_epochs")
    began = time.process_time()
    history = train_gan(
        base,
        critic,
        real.train,
        options.pop("loss"),
        n_epochs * per_epoch,
        callbacks={"measures": record},
        record_every=per_epoch,
        generator=seeded(1000 + seed),
        progress=False,
        **options,
    )
    seconds = time.process_time() - began
    found = [value for value in history.records["measures"] if value is not None]
    every = max(1, history.n_steps // BLOCKS)
    curves = {"critic_loss": history.critic_loss, "base_loss": history.base_loss}
    ranges = {}
    if logits:
        calls = (
            2 * setting["critic_steps"] + 1
        )  # in a step; the last is the generator's
        data_seen, samples_seen = seen[calls - 3 :: calls], seen[calls - 2 :: calls]
        curves |= {"d_data": data_seen, "d_samples": samples_seen}
        late = slice(history.n_steps // 10, None)
        ranges["critic_range"] = quantiles(np.array(history.critic_loss[late]) / 2)
        ranges["base_range"] = quantiles(np.array(history.base_loss[late]))
    ends = range(every, history.n_steps + 1, every)
    settings = {"data": data, "name": name, "seed": seed, **setting}
    settings |= {"betas": options["betas"], "n_images": len(real.train)}
    settings |= {"steps_per_epoch": per_epoch, "n_samples": real.n_samples}
    measures = {key: [row[key] for row in found] for key in found[0]}
    thinned: dict[str, Any] = {"every": every, "step": list(ends)}
    thinned |= {k: [mean(v, end, every) for end in ends] for k, v in curves.items()}
    add_row(settings | {"seconds": seconds} | measures | ranges | thinned)
    return sheets


def mean(values: list[float], end: int, every: int) -> float:
    return float(f"{np.mean(values[end - every : end]):.4g}")


def quantiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]).tolist()


def as_bytes(base: Generator, n: int) -> Tensor:
    """Samples in evaluation mode, pixels 0 to 255: always the same latent points."""
    training = base.training
    x = base.eval().sample(n, generator=seeded(0))
    base.train(training)
    return ((x + 1) * 127.5).round().byte()


def perceptrons(data: str, name: str, seed: int) -> tuple[Generator, nn.Module]:
    """Generator and critic without convolutions; MNIST's normalises batches."""
    widths = {
        "digits": ([16, 64, 128, 64], [64, 128, 64, 1]),
        "mnist": ([32, 128, 256, 784], [784, 256, 128, 1]),
    }[data]
    generator = seeded(seed)
    network = mlp(widths[0], init="torch", generator=generator)
    critic = mlp(widths[1], "leaky_relu", init="torch", generator=generator)
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.ReLU) and data == "mnist" and name != "plain":
            layers.append(nn.BatchNorm1d(layers[-1].out_features))
        layers.append(layer)
    return Generator(nn.Sequential(*layers, nn.Tanh())), critic


def small(data: str, name: str, seed: int, setting: dict[str, Any]) -> None:
    """A run of perceptrons, unless it is there: row, samples, networks of seed 0."""
    if done(data=data, name=name, seed=seed):
        return
    networks = perceptrons(data, name, seed)
    n, side = (64, 8) if data == "digits" else (48, 28)
    last, many = setting["n_epochs"], name == "standard" and seed == 0
    snapshots = (*SNAPSHOTS[:-1], last) if many else (last,)
    measured = (*(e for e in MEASURED if e < last), last)
    setting = LOSSES[name] | setting
    sheets = run(data, name, seed, networks, setting, measured, snapshots, n)
    prefix = f"{data}/{name}/{seed}"
    tensors = {f"{prefix}/{e}": s.view(n, side, side) for e, s in sheets.items()}
    if seed == 0 and name not in ("plain", "five"):
        parts = {"generator": networks[0].network}
        if data == "digits" or name == "standard":
            parts["critic"] = networks[1]
        for part, network in parts.items():
            for key, value in network.state_dict().items():
                tensors[f"{prefix}/{part}.{key}"] = halved(value)
    add_tensors(tensors)


def halved(value: Tensor) -> Tensor:
    """Half precision; what batch normalisation has counted stays whole."""
    return value.half() if value.is_floating_point() else value


def make_digits() -> None:
    for name in ("standard", "clipping", "penalty", "five"):
        for seed in range(3):
            small("digits", name, seed, DIGITS)


def make_mnist() -> None:
    small("mnist", "standard", 0, MNIST)


def make_wgan() -> None:
    for name in ("penalty", "clipping"):
        small("mnist", name, 0, WGAN)


def make_plain() -> None:
    small("mnist", "plain", 0, MNIST | {"n_epochs": 100})


def make_cats() -> None:
    """The DCGAN; its last samples are made again from the weights as written."""
    if done(data="cats"):
        return
    generator = seeded(0)
    network = dcgan_generator(100, generator=generator)
    base = Generator(network, "uniform", latent_dim=100)
    critic = dcgan_critic(generator=generator)
    n_epochs, sheet = CAT_SETTING["n_epochs"], 36
    measured = tuple(e for e in (*MEASURED, *CAT_SNAPSHOTS) if e < n_epochs)
    sheets = run(
        "cats",
        "dcgan",
        0,
        (base, critic),
        LOSSES["standard"] | CAT_SETTING,
        (*measured, n_epochs),
        CAT_SNAPSHOTS,
        sheet,
    )
    save_dcgan(CATS, base)
    sheets[n_epochs] = as_bytes(load_dcgan(CATS), sheet)
    extra = {f"epoch/{e}": s for e, s in sheets.items()}
    save_dcgan(CATS, base, extra=extra)


DIGITS = {"n_epochs": 200, "batch_size": 64, "lr": 5e-4}
MNIST = {"n_epochs": 200, "batch_size": 128, "lr": 2e-4}
WGAN = {"n_epochs": 16, "batch_size": 64, "lr": 2e-4}
CAT_SETTING = {"n_epochs": 100, "batch_size": 64, "lr": 2e-4}


def rows() -> list[dict[str, Any]]:
    return json.loads(ROWS.read_text()) if ROWS.is_file() else []


def done(**wanted: Any) -> bool:
    """Whether a row like that is in the file."""
    return any(
        wanted.items() <= {k: row.get(k) for k in wanted}.items() for row in rows()
    )


def add_row(row: dict[str, Any]) -> None:
    write_json(ROWS, [*rows(), row])


def add_tensors(tensors: dict[str, Tensor]) -> None:
    """Add to ``images.safetensors``."""
    present = {}
    if TENSORS.is_file():
        with open_tensors(TENSORS, "data/gan/images.py") as file:
            present = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_tensors(TENSORS, present | tensors)


PARTS: dict[str, Callable[[], None]] = {
    "digits": make_digits,
    "mnist": make_mnist,
    "cats": make_cats,
    "wgan": make_wgan,
    "plain": make_plain,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()
