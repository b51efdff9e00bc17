"""Measure on MNIST what the chapter on restricted Boltzmann machines shows of it.

    EBM_MNIST=folder python data/rbm/study.py

Reads ``models.safetensors``, which ``train.py`` writes, and writes ``study.json``: how
chains that start at test images forget them, how well removed rows come back, and what
a linear classifier reads from the hidden units. No image of MNIST enters the file.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ebmlib import images
from ebmlib._files import write_json
from ebmlib.rbm import BernoulliRBM, load_rbms

HERE = Path(__file__).parent
STUDIED = ("mnist20/0", "seed 004/0")
OTHERS = ("sklearn batch 20/0",)  # of these only log Z and free energies
STEPS = [0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000]
SHOWN_STEPS = [1, 10, 100, 1_000, 10_000]
N_CHAINS, N_ROWS, N_JUDGE = 300, 500, 20_000
BANDS = [(count, first) for count in (1, 2, 4, 7, 10, 14) for first in range(28)]

Row = dict[str, Any]


@cache
def split(name: str) -> tuple[Tensor, Tensor]:
    """Images of zeros and ones, one a row, and their digits."""
    found = images.load("mnist", name, progress=True)
    return found.rows(), found.labels


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def judge() -> LogisticRegression:
    """Reads a digit from pixels; it never saw a machine's images."""
    pixels, labels = split("train")
    classifier = LogisticRegression(C=0.03, max_iter=300)
    return classifier.fit(pixels[:N_JUDGE].numpy(), labels[:N_JUDGE].numpy())


def mean_of(values: Any) -> list[float]:
    """Mean and its standard error over the rows."""
    values = np.asarray(values, dtype=float)
    return [values.mean(), values.std(ddof=1) / math.sqrt(len(values))]


def describe(v: Tensor) -> Row:
    """What can be said of images (n, 784) without knowing where they came from."""
    near = min_distance(v, split("train")[0][:N_JUDGE])
    digits = judge().predict(v.numpy())
    p = v.double().mean(0)  # two different rows differ at a pixel with this chance
    apart = float((2 * p * (1 - p)).sum()) * len(v) / (len(v) - 1)
    return {
        "nearest": mean_of(near),
        "apart": apart,
        "ink": mean_of(v.sum(1)),
        "digits": np.bincount(digits, minlength=10).tolist(),
    }


def min_distance(v: Tensor, others: Tensor) -> Tensor:
    """Pixels in which each row differs from the nearest of the others."""
    ink = others.sum(1)
    rows = [
        (few.sum(1, keepdim=True) + ink - 2 * few @ others.T).min(1).values
        for few in v.split(100)
    ]
    return torch.cat(rows)


def reference(model: BernoulliRBM) -> list[float]:
    """Free energies of the test images, 400 of them evenly by rank."""
    ordered = model.free_energy(split("test")[0]).detach().sort().values
    return ordered[torch.linspace(0, len(ordered) - 1, 400).long()].tolist()


def mixing(model: BernoulliRBM) -> Row:
    """Chains from test images: what is left of the start after some steps."""
    start, labels = (part[:N_CHAINS] for part in split("test"))
    before, was = start, judge().predict(start.numpy())
    del labels
    rows, generator, done = [], seeded(0), 0
    v = before
    for step in STEPS:
        v, done = model.gibbs(v, step - done, generator=generator), step
        differs = (v != start).float().sum(1)
        stays = judge().predict(v.numpy()) == was
        free = model.free_energy(v).detach()
        rows.append(
            {"step": step, "from_start": mean_of(differs), "same_digit": mean_of(stays)}
            | {"free_energy": mean_of(free)}
            | describe(v)
        )
    exact = model.sample_exact(N_CHAINS, generator=seeded(1))
    ends = {"step": None, "free_energy": mean_of(model.free_energy(exact).detach())}
    other = model.sample_exact(N_CHAINS, generator=seeded(2))
    ends["same_digit"] = mean_of(judge().predict(other.numpy()) == was)
    return {"chain": rows, "exact": ends | describe(exact), "data": describe(start)}


def autocorrelation(model: BernoulliRBM, n_steps: int = 2_200) -> Row:
    """Of the ink and of the read digit, along 100 chains that start at equilibrium."""
    v, generator = model.sample_exact(100, generator=seeded(3)), seeded(4)
    ink, kept, digits = [], [], []
    lags = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000]
    for step in range(n_steps):
        ink.append(v.sum(1))
        if step in lags:
            kept.append(v)
            digits.append(judge().predict(v.numpy()))
        v = model.gibbs(v, generator=generator)
    trace = torch.stack(ink).double()
    centred = trace - trace.mean()
    power = centred.square().mean()
    ink_rho = [
        float((centred[: n_steps - k] * centred[k:]).mean() / power) for k in lags
    ]
    pixels = kept[0].mean(0)
    spread = (kept[0] - pixels).square().mean()
    pixel_rho = [
        float(((kept[0] - pixels) * (v - pixels)).mean() / spread) for v in kept
    ]
    same = [mean_of(digits[0] == now) for now in digits]
    return {"lags": lags, "ink": ink_rho, "pixels": pixel_rho, "same_digit": same}


def samples(model: BernoulliRBM) -> Row:
    """One chain from the first test image of each digit, as packed bits."""
    pixels, labels = split("test")
    first = [int((labels == digit).nonzero()[0]) for digit in range(10)]
    v, done, states = pixels[first], 0, []
    for step in SHOWN_STEPS:
        v, done = model.gibbs(v, step - done, generator=seeded(step)), step
        states.append(
            [np.packbits(row.numpy().astype("u1")).tobytes().hex() for row in v]
        )
    return {"steps": SHOWN_STEPS, "states": states}


def rows_back(model: BernoulliRBM, name: str) -> list[Row]:
    """Bands of rows removed and put back by their means along clamped chains."""
    v, labels = (part[:N_ROWS] for part in split("test"))
    train = split("train")[0]
    base = (train.sum(0) + 0.5) / (len(train) + 1)
    found = []
    for count, first in BANDS:
        last_first = 28 - count
        everywhere = count == 7 and name == STUDIED[0]
        if first > last_first or not (
            everywhere or first in (0, last_first // 2, last_first)
        ):
            continue
        known = torch.ones(28, 28, dtype=torch.bool)
        known[first : first + count] = False
        gone = ~known.flatten()
        generator = seeded(100 * count + first)
        start = torch.where(gone, base.expand_as(v), v).round()
        mean = model.reconstruct(
            start, ~gone, n_steps=100, burn_in=50, generator=generator
        )
        # shares of lit pixels, with half a count on either side as for base rates
        p = (mean[:, gone] * 100 + 0.5) / 101
        truth, rate = v[:, gone], base[gone].expand(len(v), -1)
        wrong = ((p > 0.5) != truth.bool()).float().mean(1)
        base_wrong = ((rate > 0.5) != truth.bool()).float().mean(1)
        gain = (log_p(p, truth) - log_p(rate, truth)).sum(1)
        again = judge().predict(torch.where(gone, (mean > 0.5).float(), v).numpy())
        blank = judge().predict(torch.where(gone, torch.zeros(()), v).numpy())
        found.append(
            {"model": name, "count": count, "first": first}
            | {"wrong": mean_of(wrong), "base_wrong": mean_of(base_wrong)}
            | {"gain": mean_of(gain), "base_nats": mean_of(-log_p(rate, truth).sum(1))}
            | {"read": mean_of(again == labels.numpy())}
            | {"read_blank": mean_of(blank == labels.numpy())}
            | {"saved": mean_of(base_wrong - wrong)}
        )
    return found


def log_p(p: Tensor, truth: Tensor) -> Tensor:
    """Log-probability of each pixel, independent of the others."""
    return torch.where(truth.bool(), p, 1 - p).log()


def features(models: dict[str, BernoulliRBM]) -> list[Row]:
    """Test accuracy of a logistic regression on pixels and on hidden means."""
    (train, labels), (test, truth) = split("train"), split("test")
    train, labels = train[:N_JUDGE], labels[:N_JUDGE]
    views = {"pixels": (train, test)}
    with torch.no_grad():
        for name, model in models.items():
            views[name] = model.hidden_mean(train), model.hidden_mean(test)
    found = []
    for name, (x, y) in views.items():
        best = LogisticRegression(C=0.03 if name == "pixels" else 10, max_iter=500)
        best.fit(x.numpy(), labels.numpy())
        right = best.predict(y.numpy()) == truth.numpy()
        found.append({"features": name, "n": x.shape[1], "accuracy": mean_of(right)})
    return found


def main() -> None:
    """Measure and write; a part that is in the file already is not made again."""
    torch.set_num_threads(1)
    path = HERE / "study.json"
    study: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    models = load_rbms(HERE / "models.safetensors")
    brief = {
        "log_partition": lambda model: model.log_partition(),
        "reference": reference,
    }
    for name in (*STUDIED, *OTHERS):
        parts = dict(brief)
        if name in STUDIED:
            parts |= {
                "mixing": mixing,
                "samples": samples,
                "rows": lambda model, name=name: rows_back(model, name),
            }
        if name == STUDIED[0]:
            parts |= {"autocorrelation": autocorrelation}
        for part, measure in parts.items():
            if name not in study.setdefault(part, {}):
                study[part][name] = measure(models[name])
                write_json(path, study)
                print(part, name, flush=True)
    large = HERE / "mnist500.safetensors"
    chosen = {name: models[name] for name in STUDIED}
    if large.is_file():
        chosen |= {"mnist500": load_rbms(large)["mnist500"].float()}
    study["features"] = features(chosen)
    write_json(path, study)


if __name__ == "__main__":
    main()
