"""Train what the chapter "Pursuit against gradient descent" loads.

    python data/pursuit/train.py                 # everything
    python data/pursuit/train.py small texture   # some parts

writes beside this file, part by part: ``small.json`` and ``small.safetensors``
(networks trained by gradient descent on two Gaussians and on cross lines),
``texture.json`` and ``texture.safetensors`` (the same on the texture image), and
``pursuits.json`` and ``pursuits.safetensors`` (pursuits of it). About six minutes on
one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebmlib import distributions
from ebmlib._files import write_json
from ebmlib.checkpoint import save_models
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.fit import fit_coarse_to_fine
from ebmlib.grid import Grid, GridDensity
from ebmlib.pursuit import StatisticsNotMatched, pursue
from ebmlib.sweep import sweep

HERE = Path(__file__).parent
SEEDS = range(10)
TEXTURE_SEEDS = range(5)
FINE = Grid(bins=200)  # where a finished fit is judged: the pixels of the texture
N_POINTS = 20_000
SMALL = ["two_gaussians", "cross_lines"]
ONE_LAYER = [[k] for k in range(1, 11)]
TWO_LAYERS = [[7, 3], [5, 1], [4, 4]]
# two layers, one layer of as many neurons as the largest, and of as many parameters as
# the first two
TEXTURE = [[8, 8], [16, 16], [32, 16], [48], [26], [84]]
PURSUITS = {"orthogonalised": 48, "mismatch": 160}
KEPT = [16, 26, 32, 48, 84, 160]  # sizes at which a pursued network is written


def points(density: str, seed: int) -> Tensor:
    """Samples in the square; of two Gaussians, about one in a million falls outside."""
    generator = torch.Generator().manual_seed(seed)
    x = distributions.get(density).sample((N_POINTS,), generator=generator)
    return x[(x.abs() <= 1).all(1)]


def true_kl(density: str, model: TiltedEnergy) -> float:
    """KL(true density || model), both normalised on the square."""
    return GridDensity(distributions.get(density), FINE).kl(model)


def train(
    density: str, hidden: list[int], seed: int, n_steps: list[int], **_: Any
) -> tuple[TiltedEnergy, dict[str, float]]:
    """One network by Adam on the exact gradient; its KL from the truth."""
    x = points(density, seed)
    generator = torch.Generator().manual_seed(seed)
    network = mlp([2, *hidden, 1], through=x, generator=generator)
    model = TiltedEnergy(network, gaussian())
    began = time.process_time()
    grids = [Grid(bins=50), Grid(bins=100)]
    fit_coarse_to_fine(model, x, grids, n_steps, lr=0.05, progress=False)
    seconds = time.process_time() - began  # of one core, whoever else is busy
    return model, {"kl": true_kl(density, model), "seconds": seconds}


def trained(
    densities: list[str],
    shapes: list[list[int]],
    seeds: range,
    n_steps: list[int],
    n_jobs: int,
) -> tuple[dict[str, TiltedEnergy], list[dict[str, Any]]]:
    """Networks and rows for all densities, shapes and seeds."""
    settings = [
        {
            "name": f"{density}/{'-'.join(map(str, hidden))}/{seed}",
            "density": density,
            "hidden": hidden,
            "seed": seed,
            "n_steps": n_steps,
        }
        for density in densities
        for hidden in shapes
        for seed in seeds
    ]
    results = sweep(train, settings, n_jobs=n_jobs)
    models = {s["name"]: r[0] for s, r in zip(settings, results, strict=True)}
    return models, [{**s, **r[1]} for s, r in zip(settings, results, strict=True)]


def pursued(criterion: str) -> tuple[dict[str, TiltedEnergy], list[dict[str, Any]]]:
    """A pursuit of the texture's points of seed 0, and a row for each filter."""
    began = time.process_time()
    x, pursuit = points("texture", 0), None
    try:
        while pursuit is None or len(pursuit.filters) < PURSUITS[criterion]:
            pursuit = pursue(x, gaussian(), 8, criterion=criterion, resume=pursuit)
    except StatisticsNotMatched as error:  # too many for these points: keep what is
        print(f"{criterion} ends at {len(pursuit.filters)} filters: {error}")
    seconds = time.process_time() - began
    models, rows = {}, []
    for k, step in enumerate(pursuit.history, 1):
        if k % 4 and k not in KEPT:
            continue
        model, name = pursuit.after(k), f"texture/{criterion}/{k}"
        if k in KEPT:
            models[name] = model
        rows.append(
            {
                "name": name,
                "density": "texture",
                "criterion": criterion,
                "n_filters": k,
                "kl": true_kl("texture", model),
                "log_likelihood": float(pursuit.log_likelihood[k]),
                "residual": step.residual,
                "seconds": seconds,
            }
        )
    return models, rows


def make_small(n_jobs: int) -> None:
    """Write ``small.json`` and ``small.safetensors``."""
    shapes = TWO_LAYERS + ONE_LAYER
    models, rows = trained(SMALL, shapes, SEEDS, [800, 80], n_jobs)
    save_models(HERE / "small.safetensors", models)
    write("small", rows)


def make_texture(n_jobs: int) -> None:
    """Write ``texture.json`` and ``texture.safetensors``."""
    steps = [3000, 100]
    models, rows = trained(["texture"], TEXTURE, TEXTURE_SEEDS, steps, n_jobs)
    save_models(HERE / "texture.safetensors", models)
    write("texture", rows)


def make_pursuits(n_jobs: int) -> None:
    """Write ``pursuits.json`` and ``pursuits.safetensors``."""
    models, rows = {}, []
    for more, steps in map(pursued, PURSUITS):
        models, rows = models | more, rows + steps
    save_models(HERE / "pursuits.safetensors", models)
    write("pursuits", rows)


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)
    print(f"wrote {path.name}: {len(rows)} rows", flush=True)


PARTS = {"small": make_small, "texture": make_texture, "pursuits": make_pursuits}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.n_jobs)
