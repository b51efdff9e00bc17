"""Train what the chapter "The discriminator is an energy" loads.

    python data/gebm/train.py                  # everything
    python data/gebm/train.py dots             # a part

writes beside this file ``dots.safetensors`` and ``dots.json``: two discriminators for
each of the ten generators of ``data/gan/plane.safetensors``, which stay as they are,
one of the two trained with a few uniform points among the generator's;
``ring.safetensors``: a small generator of eight Gaussians on a ring and its
discriminator; and ``line.safetensors``: generators with one latent dimension of data
on a segment, three seeds, by WGAN-GP alone and with an energy.  About eight minutes on
a core that nothing else uses.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from ebmlib import data_path, distributions
from ebmlib._files import save_tensors, write_json
from ebmlib.checkpoint import load_networks, save_networks
from ebmlib.energy import mlp
from ebmlib.gan import Generator, train_gan
from ebmlib.latent import wave_critic

HERE = Path(__file__).parent
SCALE = 2.828  # as in data/gan/train.py
N_POINTS = 20_000
FREQUENCY = 6.0
FLAT = 0.05
END = (0.8, 0.5)
TRAINING = {
    "loss": "non_saturating",
    "n_steps": 2000,
    "lr": 2e-3,
    "betas": (0.9, 0.99),
    "batch_size": 1024,
    "schedule": "cosine",
}


def seeded(seed: int) -> torch.Generator:
    """A generator of one run."""
    return torch.Generator().manual_seed(seed)


def discriminate(
    base: Generator,
    critic: nn.Module,
    data: Tensor,
    generator: torch.Generator,
    **changed: float,
) -> float:
    """Train a discriminator on data and a fixed generator; seconds of one core."""
    began = time.process_time()
    train_gan(
        base,
        critic,
        data,
        train_base=False,
        generator=generator,
        progress=False,
        **(TRAINING | changed),
    )
    return time.process_time() - began


class Diluted(Generator):
    """A generator, a share of whose samples is uniform on the square [-1.6, 1.6]^2."""

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        x = super().sample(n, generator=generator)
        flat = 3.2 * torch.rand(n, 2, generator=generator) - 1.6
        return torch.where(torch.rand(n, 1, generator=generator) < FLAT, flat, x)


def make_dots() -> None:
    """Write ``dots.safetensors`` and ``dots.json``."""
    truth = distributions.Dots(per_side=5, half_width=4 / SCALE, sd=0.05 / SCALE)
    networks = load_networks(data_path("gan/plane.safetensors"))
    tensors, rows = {}, []
    for kind, made, first in (("plain", Generator, 1000), ("diluted", Diluted, 2000)):
        for seed in range(len(networks) // 2):  # a generator and a critic each
            generator = seeded(first + seed)  # other points than the generator has seen
            data = truth.sample((N_POINTS,), generator=generator).float()
            critic = wave_critic(frequency=FREQUENCY, generator=generator)
            base = made(networks[f"{seed}/base"])
            seconds = discriminate(base, critic, data, generator)
            state = critic.state_dict().items()
            tensors |= {f"{kind}/{seed}/{name}": t for name, t in state}
            rows.append({"kind": kind, "seed": seed, **TRAINING, "seconds": seconds})
            print(f"dots, {kind}, seed {seed}: {seconds:.0f} s", flush=True)
    save_tensors(HERE / "dots.safetensors", tensors)
    write_json(HERE / "dots.json", rows)


def on_a_line(n: int, generator: torch.Generator) -> Tensor:
    """Points ``u END`` with u from the density ``(1 + 5 u**4) / 4`` on [-1, 1]."""
    flat, sign, v = torch.rand(3, n, generator=generator)
    u = torch.where(flat < 0.5, v, v ** (1 / 5)) * torch.where(sign < 0.5, -1, 1)
    return u[:, None] * torch.tensor(END)


def make_line() -> None:
    """Write ``line.safetensors``."""
    networks = {}
    for loss in ("wasserstein", "kale"):
        for seed in range(3):
            generator = seeded(seed)
            data = on_a_line(5000, generator)
            base = Generator(mlp([1, 2], init="torch", generator=generator))
            critic = mlp([2, 32, 32, 1], init="torch", generator=generator)
            common = {"gradient_penalty": 0.1, "schedule": "cosine"}
            common |= {"lr": 2e-3, "generator": generator, "progress": False}
            train_gan(
                base, critic, data, loss, 1000, critic_steps=3, base_lr=5e-3, **common
            )
            networks[f"{loss}/{seed}/base"] = base.network
            if loss == "kale":  # the energy goes on while the base rests
                common["gradient_penalty"] = None
                train_gan(base, critic, data, loss, 1000, train_base=False, **common)
                networks[f"{loss}/{seed}/critic"] = critic
            print(f"line, {loss}, seed {seed}", flush=True)
    save_networks(HERE / "line.safetensors", networks)


def make_ring() -> None:
    """Write ``ring.safetensors``."""
    generator = seeded(0)
    truth = distributions.Clusters(radius=0.6, sd=0.08)
    data = truth.sample((N_POINTS,), generator=generator).float()
    base = Generator(mlp([2, 32, 32, 2], init="torch", generator=generator))
    critic = mlp([2, 64, 64, 1], "leaky_relu", through=data, generator=generator)
    train_gan(
        base,
        critic,
        data,
        "wasserstein",
        1500,
        critic_steps=3,
        lr=3e-3,
        betas=(0.0, 0.99),
        schedule="cosine",
        gradient_penalty=0.3,
        generator=generator,
        progress=False,
    )
    critic = mlp([2, 64, 64, 1], through=data, generator=generator)
    discriminate(base, critic, data, generator, lr=5e-3)
    networks = {"base": base.network, "critic": critic}
    save_networks(HERE / "ring.safetensors", networks)


PARTS = {"dots": make_dots, "ring": make_ring, "line": make_line}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train what the chapter loads.")
    parser.add_argument("parts", nargs="*", metavar="part", help="dots, ring or line")
    parts = parser.parse_args().parts or list(PARTS)
    torch.set_num_threads(1)
    for part in parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
