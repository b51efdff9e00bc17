"""Train what the chapter "Deep FRAME on a grid" loads, over five seeds.

    python data/deep_frame/train.py [fits] [process] [samples] [--n-jobs 2]

writes ``models.safetensors`` (every network of the comparison of depth and width) and
``fits.json``, ``process.json`` and ``samples.json`` beside this file.  All three parts
take about twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ebmlib import distributions
from ebmlib._files import write_json
from ebmlib.checkpoint import save_models
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.fit import fit, fit_coarse_to_fine
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives
from ebmlib.sweep import sweep

HERE = Path(__file__).parent
SEEDS = range(5)
FINE = Grid(bins=400)  # where a finished fit is judged: finer than any training grid

# The networks of Zhu (2019), Figure 3.1, letters A to F, each beside a network of
# another depth with as many parameters (exactly, but for the last: within 1 %).
RECIPES: list[dict[str, Any]] = [
    {"density": "ring", "lr": 0.05, "bins": [50, 200], "n_steps": [2000, 100]},
    {"density": "star", "lr": 0.05, "bins": [50, 200], "n_steps": [8000, 100]},
    {"density": "galaxy", "lr": 0.02, "bins": [64, 200], "n_steps": [1500, 50]},
]
NETWORKS: list[dict[str, Any]] = [
    {"panel": "A", "density": "ring", "hidden": [128]},
    {"panel": "A'", "density": "ring", "hidden": [12, 34]},
    {"panel": "B", "density": "ring", "hidden": [32, 32]},
    {"panel": "B'", "density": "ring", "hidden": [296]},
    {"panel": "C", "density": "star", "hidden": [512]},
    {"panel": "C'", "density": "star", "hidden": [24, 76]},
    {"panel": "D", "density": "star", "hidden": [32, 16]},
    {"panel": "D'", "density": "star", "hidden": [160]},
    {"panel": "E", "density": "galaxy", "hidden": [32, 64]},
    {"panel": "E'", "density": "galaxy", "hidden": [568]},
    {"panel": "F", "density": "galaxy", "hidden": [32, 64, 128]},
    {"panel": "F'", "density": "galaxy", "hidden": [101, 100]},
]

# Zhu (2019), Figure 3.2. "N(0, 0.1)" is read both ways: as a variance (C, E, G) and as
# a standard deviation (C', E', G').
PROCESS: dict[str, tuple[float | None, str]] = {
    "A": (None, "relu"),
    "B": (1.0, "relu"),
    "C": (0.1**0.5, "relu"),
    "C'": (0.1, "relu"),
    "D": (1.0, "softplus"),
    "E": (0.1**0.5, "softplus"),
    "E'": (0.1, "softplus"),
    "F": (1.0, "tanh"),
    "G": (0.1**0.5, "tanh"),
    "G'": (0.1, "tanh"),
}
PROCESS_RATES = (0.003, 0.01, 0.03)
SAMPLE_SIZES = (250, 1000, 4000, 16000, 64000)
SAMPLE_NETWORKS = ([8, 8], [32, 16], [32, 64])


def draw(density: str, n: int, seed: int) -> tuple[torch.Tensor, torch.Generator]:
    """The data of a run, and the generator that goes on to draw its weights."""
    generator = torch.Generator().manual_seed(seed)
    return distributions.get(density).sample((n,), generator=generator), generator


def train_fit(
    density: str,
    hidden: list[int],
    seed: int,
    lr: float,
    bins: list[int],
    n_steps: list[int],
    n: int = 40_000,
    **_: Any,
) -> tuple[TiltedEnergy, dict[str, float]]:
    """One network of Figure 3.1, from the data to its exact KL."""
    data, generator = draw(density, n, seed)
    network = mlp([2, *hidden, 1], through=data, generator=generator)
    model = TiltedEnergy(network, gaussian())
    grids = [Grid(bins=b) for b in bins]
    began = time.process_time()
    fit_coarse_to_fine(model, data, grids, n_steps, lr=lr)
    seconds = time.process_time() - began  # of one core, whoever else is busy
    held_out, _ = draw(density, n, seed + 1000)
    fitted = GridDensity(model, FINE)
    gap = fitted.log_likelihood(data) - fitted.log_likelihood(held_out)
    kl = GridDensity(distributions.get(density), FINE).kl(fitted)
    return model, {"kl": kl, "gap": gap, "seconds": seconds}


def train_process(
    setting: str, lr: float, seed: int, n: int = 20_000, n_steps: int = 1000
) -> dict[str, list[Any]]:
    """One training process of Figure 3.2: KL and pieces along the way."""
    sd, activation = PROCESS[setting]
    data, generator = draw("star", n, seed)
    network = mlp([2, 32, 16, 1], activation, init="torch", generator=generator)
    model = TiltedEnergy(network, None if sd is None else gaussian(sd=sd))
    grid = Grid(bins=100)
    truth = GridDensity(distributions.get("star"), grid)

    def measure(model: TiltedEnergy, step: int) -> tuple[float, int, int]:
        fitted = GridDensity(model, grid)
        return truth.kl(fitted), *count_pieces(fitted)

    history = fit(
        model,
        data,
        GridNegatives(grid),
        n_steps,
        lr=lr,
        betas=(0.9, 0.999),
        schedule="constant",
        data_term="cells",
        callbacks={"measure": measure},
        record_every=20,
    )
    kl, pieces, stray = map(list, zip(*history.records["measure"], strict=True))
    return {
        "step": history.recorded_steps,
        "kl": kl,
        "pieces": pieces,
        "stray": stray,
    }


def count_pieces(
    density: GridDensity, level: float = 0.2, radius: float = 0.18
) -> tuple[int, int]:
    """Connected regions in which the density exceeds a share of its maximum.

    Returns
    -------
    pieces, stray : int
        All of them, and those whose highest point is farther than ``radius`` (three
        standard deviations) from every Gaussian of the star.
    """
    prob = density.prob.reshape(density.grid.shape).numpy()
    labels, pieces = ndimage.label(prob > level * prob.max())
    peaks = ndimage.maximum_position(prob, labels, range(1, pieces + 1))
    where = density.grid.axis[torch.tensor(np.array(peaks)).long()]
    centres = distributions.get("star").means.to(where)
    far = torch.cdist(where, centres).min(1).values > radius
    return pieces, int(far.sum())


def train_samples(hidden: list[int], n: int, seed: int) -> dict[str, float]:
    """A star from ``n`` points: how far from the truth, how far from new points."""
    data, generator = draw("star", n, seed)
    network = mlp([2, *hidden, 1], through=data, generator=generator)
    model = TiltedEnergy(network, gaussian())
    fit(model, data, GridNegatives(Grid(bins=100)), 1500, data_term="cells")
    held_out, _ = draw("star", 64_000, seed + 1000)
    fitted = GridDensity(model, FINE)
    gap = fitted.log_likelihood(data) - fitted.log_likelihood(held_out)
    return {
        "kl": GridDensity(distributions.get("star"), FINE).kl(fitted),
        "gap": gap,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def make_fits(n_jobs: int) -> None:
    """Write ``models.safetensors`` and ``fits.json``."""
    recipe = {r["density"]: r for r in RECIPES}
    settings = [
        {**network, **recipe[network["density"]], "seed": seed}
        for network in sorted(NETWORKS, key=lambda n: -sum(n["hidden"]))
        for seed in SEEDS
    ]
    results = sweep(train_fit, settings, n_jobs=n_jobs)
    models, rows = {}, []
    for setting, (model, result) in zip(settings, results, strict=True):
        models[f"{setting['panel']}/{setting['seed']}"] = model
        rows.append({**setting, **result})
        rows[-1]["parameters"] = sum(p.numel() for p in model.parameters())
    rows.sort(key=lambda row: (row["panel"], row["seed"]))
    save_models(
        HERE / "models.safetensors", {name: models[name] for name in sorted(models)}
    )
    write("fits", rows)


def make_process(n_jobs: int) -> None:
    """Write ``process.json``."""
    settings = [
        {"setting": setting, "lr": lr, "seed": seed}
        for setting in PROCESS
        for lr in PROCESS_RATES
        for seed in SEEDS
    ]
    results = sweep(train_process, settings, n_jobs=n_jobs)
    write("process", [{**s, **r} for s, r in zip(settings, results, strict=True)])


def make_samples(n_jobs: int) -> None:
    """Write ``samples.json``."""
    settings = [
        {"hidden": hidden, "n": n, "seed": seed}
        for hidden in SAMPLE_NETWORKS
        for n in SAMPLE_SIZES
        for seed in SEEDS
    ]
    results = sweep(train_samples, settings, n_jobs=n_jobs)
    write("samples", [{**s, **r} for s, r in zip(settings, results, strict=True)])


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)
    print(f"wrote {path.name}: {len(rows)} rows")


PARTS = {"fits": make_fits, "process": make_process, "samples": make_samples}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.n_jobs)
