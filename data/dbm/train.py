"""Train what the chapter "Deep Boltzmann machines" loads.

    EBM_MNIST=folder python data/dbm/train.py [digits] [exact] [mnist] [samples]

Without a part, all of them. ``digits``: ``digits.safetensors`` and ``digits.json``, one
machine trained in three ways beside two RBMs, three seeds, every likelihood exact.
``exact``: ``exact.json``, machines so small that maximum likelihood itself can be
climbed. ``mnist``: ``mnist.safetensors``, ``mnist_rbm.safetensors`` and ``mnist.json``.
``samples``: ``samples.json``, their samples beside real digits.

All images are thresholded at one half; the machines see the training images (8 x 8:
1,400, MNIST: 60,000) and are judged by the test images (397, 10,000).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ebmlib import images
from ebmlib._files import write_json
from ebmlib.dbm import DBM, fit, load_dbms, pretrain, save_dbms
from ebmlib.dbm._layers import log_odds
from ebmlib.rbm import BernoulliRBM, load_rbms, save_rbms

HERE = Path(__file__).parent
SEEDS = range(3)
EPOCHS = 400  # in all: half of them for the layers alone, where there is pretraining
SIZES = (64, 12, 16)
WAYS: dict[str, dict[str, Any]] = {
    "scratch": {"pretrained": False, "posterior": "mean_field"},
    "scratch, sampled": {"pretrained": False, "posterior": "gibbs"},
    "pretrained": {"pretrained": True, "posterior": "mean_field"},
}
RBMS = {"RBM 12": 12, "RBM 15": 15}  # the same first layer; as many parameters


def judge(model: DBM, train: Tensor, test: Tensor) -> dict[str, float]:
    """Exact mean log-likelihoods, the bound, and the size of the upper weights."""
    with torch.no_grad():
        log_z = model.log_partition()
        return {
            "train": float(model.log_likelihood(train, log_partition=log_z).mean()),
            "test": float(model.log_likelihood(test, log_partition=log_z).mean()),
            "bound": float(model.bound(test, log_partition=log_z).mean()),
            "upper": float(model.weight2.norm()),
        }


def as_dbm(model: BernoulliRBM) -> DBM:
    """The same density as a deep machine: one upper unit, not connected."""
    deep = DBM(model.n_visible, model.n_hidden, 1, sd=0.0)
    with torch.no_grad():
        deep.weight1.copy_(model.weight)
        deep.visible_bias.copy_(model.visible_bias)
        deep.hidden1_bias.copy_(model.hidden_bias)
    return deep


def make_digits() -> None:
    """One machine in three ways and two RBMs, over seeds."""
    train, test = (images.load("digits", split).rows() for split in images.SPLITS)
    rows, models = [], {}

    def curve(epochs: list[int], values: list[dict[str, float]]) -> dict[str, Any]:
        return {"epoch": epochs, **{k: [v[k] for v in values] for k in values[0]}}

    for seed in SEEDS:
        for way, setting in WAYS.items():
            began, generator = time.process_time(), torch.Generator().manual_seed(seed)
            half = EPOCHS // 2
            if setting["pretrained"]:
                kw = {"lr": 0.2, "generator": generator, "progress": False}
                model = pretrain(train, *SIZES[1:], half, **kw)
            else:
                model = DBM(*SIZES, data=train, generator=generator)
            first = half if setting["pretrained"] else 0
            history = fit(
                model,
                train,
                EPOCHS - first,
                lr=0.2,
                posterior=setting["posterior"],
                posterior_steps=10 if setting["posterior"] == "mean_field" else 3,
                callbacks={"judge": lambda m, e: judge(m, train, test)},
                record_every=40,
                generator=generator,
                progress=False,
            )
            epochs = [first + e for e in history.recorded_steps]
            row = {"name": way, "seed": seed, "seconds": time.process_time() - began}
            rows.append(row | curve(epochs, history.records["judge"]))
            models[f"{way} {seed}"] = model
            print(way, seed, history.records["judge"][-1], flush=True)
        for name, n_hidden in RBMS.items():
            began, generator = time.process_time(), torch.Generator().manual_seed(seed)
            shallow = BernoulliRBM(64, n_hidden, generator=generator)
            kw = {"lr": 0.2, "schedule": "linear", "generator": generator}
            history = shallow.fit(
                train,
                EPOCHS,
                callbacks={"judge": lambda m, e: judge(as_dbm(m), train, test)},
                record_every=40,
                progress=False,
                **kw,
            )
            row = {"name": name, "seed": seed, "seconds": time.process_time() - began}
            rows.append(row | curve(history.recorded_steps, history.records["judge"]))
            models[f"{name} {seed}"] = as_dbm(shallow)
            print(name, seed, history.records["judge"][-1], flush=True)
    kept = {k: m for k, m in models.items() if k.endswith(" 0")}
    save_dbms(HERE / "digits.safetensors", kept)
    write("digits", rows)


def climb(model: DBM, train: Tensor, n_steps: int, lr: float) -> None:
    """Maximise the exact log-likelihood, by Adam and automatic differentiation."""
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(free, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (-model.log_likelihood(train).mean()).backward()
        optimizer.step()
        schedule.step()


def make_exact() -> None:
    """What a second layer of 16 is worth on top of 8, when nothing is approximated."""
    train, test = (images.load("digits", split).rows() for split in images.SPLITS)
    rows = []
    for seed in range(3):
        for name, (n1, n2) in {"8": (8, 0), "8-16": (8, 16), "10": (10, 0)}.items():
            began, generator = time.process_time(), torch.Generator().manual_seed(seed)
            model = DBM(64, n1, max(n2, 1), data=train, sd=0.1, generator=generator)
            if not n2:
                model.weight2.requires_grad_(False).zero_()
            climb(model, train, 2500, 0.03)
            row = {"name": name, "seed": seed, **judge(model, train, test)}
            row["parameters"] = model.n_parameters - (0 if n2 else n1 + 1)
            if n2:  # go on by the ordinary rule, from the exact optimum
                kw = {"lr": 0.05, "generator": generator, "progress": False}
                fit(model, train, 60, **kw)
                row["after"] = judge(model, train, test)
            row["seconds"] = time.process_time() - began
            rows.append(row)
            print(row, flush=True)
    write("exact", rows)


def make_mnist() -> None:
    """784-100-100 and an RBM with as many parameters, judged by AIS."""
    train, test = (images.load("mnist", split).rows() for split in images.SPLITS)
    base, rows = log_odds(train), []
    generator = torch.Generator().manual_seed(0)
    began = time.process_time()

    def say(name: str) -> Callable[[Any, int], None]:
        return lambda model, epoch: print(name, epoch, flush=True)

    kw = {"generator": generator, "progress": False}
    model = pretrain(train, 100, 100, 5, lr=0.05, **kw)
    halved(model)
    rows.append({"name": "layers only", **weigh(model, test, base)})
    fit(model, train, 15, lr=0.03, callbacks={"": say("DBM")}, **kw)
    halved(model)
    seconds = time.process_time() - began
    save_dbms(HERE / "mnist.safetensors", {"mnist": model.half()})
    rows.append({"name": "DBM", "seconds": seconds, **weigh(model.float(), test, base)})
    print(rows, flush=True)

    generator = torch.Generator().manual_seed(0)
    began = time.process_time()
    shallow = BernoulliRBM(784, 113, generator=generator)
    shallow.fit(
        train,
        20,
        lr=0.05,
        schedule="linear",
        callbacks={"": say("RBM")},
        generator=generator,
        progress=False,
    )
    halved(shallow)
    save_rbms(HERE / "mnist_rbm.safetensors", {"mnist": shallow})
    row = {"name": "RBM", "seconds": time.process_time() - began}
    rows.append(row | weigh(as_dbm(shallow), test, base))
    write("mnist", rows)


def make_samples() -> None:
    """How the samples of both differ from real digits, in numbers; three seeds."""
    train, test = (images.load("mnist", split).rows() for split in images.SPLITS)
    deep = load_dbms(HERE / "mnist.safetensors")["mnist"]
    shallow = as_dbm(load_rbms(HERE / "mnist_rbm.safetensors")["mnist"])
    rows = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        pick = torch.randperm(len(test), generator=generator)[:100]
        rows.append({"name": "test images", "seed": seed, **look(test[pick], train)})
        for name, model in {"DBM": deep, "RBM": shallow}.items():
            states = model.random_states(100, generator=generator)
            states = model.gibbs(states, 1000, generator=generator)
            rows.append({"name": name, "seed": seed, **look(states.visible, train)})
            print(rows[-1], flush=True)
    write("samples", rows)


def look(rows: Tensor, train: Tensor) -> dict[str, float]:
    """Ink, pieces (4-neighbours), and pixels that differ from the nearest datum."""
    pieces = [ndimage.label(x.reshape(28, 28).numpy())[1] for x in rows]
    ink = train.sum(1)
    nearest = [(ink - 2 * (train @ x) + x.sum()).min() for x in rows]
    return {
        "ink": float(rows.mean()),
        "pieces": float(np.mean(pieces)),
        "nearest": float(torch.stack(nearest).mean()),
    }


def halved(model: torch.nn.Module) -> None:
    """Round the parameters to half precision: what is judged is what is shipped."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


def weigh(model: DBM, test: Tensor, base: Tensor) -> dict[str, float]:
    """AIS, and the bound that goes with its estimate."""
    generator = torch.Generator().manual_seed(1)
    found = model.ais(3_000, 100, base=base, generator=generator)
    bound = model.bound(test, log_partition=found.log_partition)
    return {
        "parameters": model.n_parameters,
        "log_partition": found.log_partition,
        "standard_error": found.standard_error,
        "effective_sample_size": found.effective_sample_size,
        "bound": float(bound.mean()),
        "upper": float(model.weight2.norm()),
    }


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)
    print(f"wrote {path.name}: {len(rows)} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {
        "digits": make_digits,
        "exact": make_exact,
        "mnist": make_mnist,
        "samples": make_samples,
    }
    parser.add_argument("parts", nargs="*", choices=[*parts, []])
    torch.set_num_threads(1)
    for part in parser.parse_args().parts or parts:
        parts[part]()
