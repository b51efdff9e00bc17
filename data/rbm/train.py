"""Train what the chapters on Boltzmann machines load.

    EBM_MNIST=folder python data/rbm/train.py [curves] [sweep] [long] [quality]

Without a part, all of them. ``curves``: the machines of ``models.safetensors``, and in
``curves.json`` what each measure said along their training, beside scikit-learn's.
``sweep``: ``sweep.json``, one setting changed at a time, on both sets of digits.
``long``: ``mnist500.safetensors``. ``quality``: ``quality.json``, AIS in both
directions for it. A run that is in a file already is not made again.

All images are thresholded at one half; the machines see the 60,000 (8 x 8: 1,400)
training images and are judged by the 10,000 (397) test images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.neural_network
import torch
from torch import Tensor

from ebmlib import images
from ebmlib._files import write_json
from ebmlib.rbm import BernoulliRBM, load_rbms, save_rbms

HERE = Path(__file__).parent
N_PLL = 2_000  # the first test images: for the pseudo-likelihood and reconstruction
N_TRAIN = 10_000  # the first training images: for the gap between training and test

OURS = {"library": "ebmlib", "data": "mnist", "n_hidden": 20, "n_epochs": 30}
THEIRS = {"library": "scikit-learn", "data": "mnist", "n_hidden": 20}
DIGITS = {"data": "digits", "n_hidden": 16, "n_epochs": 500}
FAILS = {**THEIRS, "batch_size": 20, "lr": 0.1, "n_epochs": 40}
BEST = {**OURS, "lr": 0.05, "schedule": "linear"}
SMALL = {**BEST, "n_hidden": 16}
SMALL_DIGITS = {**SMALL, **DIGITS, "batch_size": 20, "lr": 0.1, "n_epochs": 1000}


def named(name: str, setting: dict[str, Any], **change: Any) -> dict[str, Any]:
    """A setting with a name; seed 0 unless it is given."""
    return {"name": name, "seed": 0, **setting, **change}


PLAIN = {"base_rates": False, "centred": False}
CURVES = [
    named("mnist20", BEST),
    named("sklearn batch 20", FAILS),
    *(named("digits16", SMALL_DIGITS, seed=seed) for seed in range(3)),
    named("sklearn digits16", {**THEIRS, **DIGITS}, batch_size=10, lr=0.01),
    named("mnist16", SMALL),
    named("seed 004", THEIRS, batch_size=10, lr=0.01, n_epochs=30),
    named("mnist20 zero biases", {**BEST, **PLAIN}),
    named("mnist20 constant", OURS, lr=0.05),
    named("sklearn batch 100", THEIRS, batch_size=100, lr=0.1, n_epochs=30),
    named("sklearn batch 10", THEIRS, batch_size=10, lr=0.05, n_epochs=20),
    named("sklearn batch 100 slow", THEIRS, batch_size=100, lr=0.05, n_epochs=10),
    *(named("mnist20", BEST, seed=seed) for seed in (1, 2)),
    *(named("sklearn batch 20", FAILS, seed=seed) for seed in (1, 2)),
    *(named("mnist16", SMALL, seed=seed) for seed in (1, 2)),
]
KEPT = ("mnist20/0", "sklearn batch 20/0", "seed 004/0", "mnist16/0", "digits16/0")

# one setting changed at a time, from PCD-1 with 20 hidden units at learning rate 0.05
CHANGES: list[dict[str, Any]] = [
    *({"method": "pcd", "n_steps": k} for k in (1, 5)),
    *({"method": "cd", "n_steps": k} for k in (1, 5)),
    *({"lr": lr} for lr in (0.001, 0.01, 0.2)),
    *({"n_hidden": n} for n in (5, 10, 15, 50, 100)),
    {"method": "cd", "n_steps": 25},
]
QUICK = [c for c in CHANGES if c in CHANGES[:4] or c.get("lr") == 0.2]
SWEEP = [
    {"data": data, "n_epochs": n_epochs, "seed": seed, **change}
    for data, n_epochs, changes, seeds in (
        ("digits", 200, CHANGES, (0, 1, 2)),
        ("mnist", 15, CHANGES, (0,)),
        ("mnist", 15, QUICK, (1, 2)),
    )
    for seed in seeds
    for change in changes
]
LONG = {"n_hidden": 500, "n_epochs": 100, "lr": 0.03, "schedule": "linear", "seed": 0}


@cache
def pixels(data: str, split: str) -> Tensor:
    """Images of zeros and ones, one a row."""
    return images.load(data, split, progress=True).rows()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measure(model: BernoulliRBM, data: str, *, ais: bool = False) -> dict[str, float]:
    """Mean over test images, in nats; exact with at most 20 hidden units."""
    test, train = pixels(data, "test"), pixels(data, "train")[:N_TRAIN]
    few = test[:N_PLL]
    with torch.no_grad():
        again = model.visible_mean(model.hidden_mean(few))
        squared = float((few - again).square().mean())
    row = {
        "pll": float(model.pseudo_log_likelihood(few).mean()),
        "reconstruction": squared,
    }
    unnormalised = float(model.log_likelihood(test, log_partition=0.0).mean())
    gap = float(model.log_likelihood(train, log_partition=0.0).mean()) - unnormalised
    if model.n_hidden <= 20:
        row["exact"] = unnormalised - model.log_partition()
    if ais or model.n_hidden > 20:
        n_rungs = 1_000 if model.n_hidden <= 20 else 10_000
        found = model.ais(n_rungs, 100, generator=seeded(7))
        row["ais"] = unnormalised - found.log_partition
        row["ais_high"], row["ais_low"] = (unnormalised - z for z in found.interval)
    return row | {"train_minus_test": gap}


def epochs_measured(n_epochs: int) -> set[int]:
    """Some of the epochs, the first and the last among them, closer at the start."""
    some = {0, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 35, 40}
    if n_epochs > 40:
        some |= set(np.geomspace(40, n_epochs, 12).round().astype(int).tolist())
    return {epoch for epoch in some if epoch <= n_epochs}


def train_ours(
    setting: dict[str, Any],
) -> tuple[BernoulliRBM, dict[str, list[float]]]:
    """Train with ebmlib; the machine and its measures along the way."""
    options = {
        k: v
        for k, v in setting.items()
        if k not in ("name", "library", "data", "n_hidden", "n_epochs", "seed")
    }
    data, seed = setting["data"], setting["seed"]
    rows, wanted = pixels(data, "train"), epochs_measured(setting["n_epochs"])
    model = BernoulliRBM(rows.shape[1], setting["n_hidden"], generator=seeded(seed))
    curves: dict[str, list[float]] = {}

    def record(model: BernoulliRBM, epoch: int) -> None:
        if epoch in wanted:
            found = {"epoch": epoch} | measure(model, data, ais=data == "mnist")
            for key, value in found.items():
                curves.setdefault(key, []).append(value)

    history = model.fit(
        rows,
        setting["n_epochs"],
        generator=seeded(seed + 1),
        callbacks={"curves": record},
        progress=False,
        **options,
    )
    return model, curves | {"seconds": history.seconds}


def train_theirs(
    setting: dict[str, Any],
) -> tuple[BernoulliRBM, dict[str, list[float]]]:
    """Train with scikit-learn, batch by batch in its own order, and measure."""
    data, size = setting["data"], setting["batch_size"]
    rows, wanted = pixels(data, "train").numpy(), epochs_measured(setting["n_epochs"])
    theirs = sklearn.neural_network.BernoulliRBM(
        setting["n_hidden"],
        learning_rate=setting["lr"],
        batch_size=size,
        random_state=np.random.RandomState(setting["seed"]),
    )
    curves: dict[str, list[float]] = {}
    seconds = 0.0
    for epoch in range(1, setting["n_epochs"] + 1):
        began = time.perf_counter()
        for start in range(0, len(rows), size):
            theirs.partial_fit(rows[start : start + size])
        seconds += time.perf_counter() - began
        if epoch in wanted:
            model = from_sklearn(theirs)
            found = {"epoch": epoch} | measure(model, data)
            for key, value in found.items():
                curves.setdefault(key, []).append(value)
    return from_sklearn(theirs), curves | {"seconds": seconds}


def from_sklearn(theirs: sklearn.neural_network.BernoulliRBM) -> BernoulliRBM:
    """A machine with scikit-learn's parameters."""
    n_hidden, n_visible = theirs.components_.shape
    model = BernoulliRBM(n_visible, n_hidden, generator=seeded(0))
    values = theirs.components_, theirs.intercept_visible_, theirs.intercept_hidden_
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    model.base_bias.copy_(model.visible_bias.detach())
    return model


def make_curves() -> None:
    """Write ``models.safetensors`` and ``curves.json``, after each run."""
    rows = read("curves")
    path = HERE / "models.safetensors"
    models = load_rbms(path) if path.is_file() else {}
    for setting in CURVES:
        name = f"{setting['name']}/{setting['seed']}"
        if any(row["name"] == name for row in rows):
            continue
        train = train_ours if setting["library"] == "ebmlib" else train_theirs
        model, curves = train(setting)
        rows.append(setting | curves | {"name": name})
        if name in KEPT:
            models[name] = model
            save_rbms(path, models)
        write("curves", rows)
        print(name, {k: v[-1] for k, v in curves.items() if isinstance(v, list)})


def make_sweep() -> None:
    """Write ``sweep.json``: the last epoch of each run."""
    rows = read("sweep")
    for change in SWEEP:
        base = {"n_hidden": 20, "lr": 0.05, "method": "pcd", "n_steps": 1}
        setting = base | change
        if any(all(row[k] == v for k, v in setting.items()) for row in rows):
            continue
        options = {k: setting[k] for k in ("lr", "method", "n_steps")}
        began, train = time.process_time(), pixels(setting["data"], "train")
        model = BernoulliRBM(
            train.shape[1], setting["n_hidden"], generator=seeded(setting["seed"])
        )
        model.fit(
            train,
            setting["n_epochs"],
            generator=seeded(setting["seed"] + 1),
            progress=False,
            **options,
        )
        seconds = time.process_time() - began
        rows.append(setting | measure(model, setting["data"]) | {"seconds": seconds})
        write("sweep", rows)
        print(rows[-1])


def make_long() -> None:
    """Write ``mnist500.safetensors``, in float16, and after each 20 epochs too."""
    path = HERE / "mnist500.safetensors"
    if path.is_file():
        return
    train = pixels("mnist", "train")
    options = {k: LONG[k] for k in ("lr", "schedule")}
    model = BernoulliRBM(784, LONG["n_hidden"], generator=seeded(LONG["seed"]))

    def keep(model: BernoulliRBM, epoch: int) -> None:
        if epoch % 20 == 0:
            save_rbms(path.with_suffix(".draft"), {"mnist500": model})
            print(epoch, measure(model, "mnist"))

    model.fit(
        train,
        LONG["n_epochs"],
        generator=seeded(LONG["seed"] + 1),
        callbacks={"keep": keep},
        **options,
    )
    save_rbms(path, {"mnist500": model}, dtype=torch.float16)
    path.with_suffix(".draft").unlink(missing_ok=True)


def make_quality() -> None:
    """Write ``quality.json``: AIS up and down for 500 hidden units, by rungs."""
    (model,) = load_rbms(HERE / "mnist500.safetensors").values()
    rows = read("quality")
    test, train = pixels("mnist", "test"), pixels("mnist", "train")
    mean = float(model.log_likelihood(test, log_partition=0.0).mean())
    gap = float(model.log_likelihood(train, log_partition=0.0).mean()) - mean
    # where the way down starts: a thousand Gibbs steps from training images
    start = model.gibbs(train[:100], 1_000, generator=seeded(0))
    for n_rungs, direction in itertools.product((100, 1_000, 10_000), ("up", "down")):
        setting = {"n_hidden": 500, "n_rungs": n_rungs, "direction": direction}
        if any(all(row[k] == v for k, v in setting.items()) for row in rows):
            continue
        began = time.process_time()
        found = model.ais(
            n_rungs,
            100,
            reverse_from=start if direction == "down" else None,
            generator=seeded(n_rungs),
        )
        high, low = (mean - z for z in found.interval)
        numbers = {
            "test": mean - found.log_partition,
            "low": low,
            "high": high,
            "ess": found.effective_sample_size,
            "mean_log_weight": mean - float(found.log_weights.mean()),
            "train_minus_test": gap,
            "seconds": time.process_time() - began,
        }
        rows.append(setting | numbers)
        write("quality", rows)
        print(rows[-1])


def read(name: str) -> list[dict[str, Any]]:
    """The rows that are in a file already."""
    path = HERE / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else []


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)


PARTS = {
    "curves": make_curves,
    "sweep": make_sweep,
    "long": make_long,
    "quality": make_quality,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()
