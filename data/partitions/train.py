"""Train what the chapter "What a ReLU energy looks like inside" loads.

    python data/partitions/train.py [--n-jobs 2]

writes ``models.safetensors`` (every network), ``fits.json`` (its setting, KL and
seconds) and ``snapshots.safetensors`` (one network along its training) beside this
file, in about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch

from ebmlib import distributions
from ebmlib._files import write_json
from ebmlib.checkpoint import save_models
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.fit import fit_coarse_to_fine
from ebmlib.grid import Grid, GridDensity
from ebmlib.sweep import sweep

HERE = Path(__file__).parent
SEEDS = range(5)
FINE = Grid(bins=400)  # where a finished fit is judged: finer than any training grid

# The recipes of data/deep_frame/train.py; the prior is given by its variance, and None
# is the flat one. "anywhere": first-layer lines through uniform points, not through
# the data.
STAR = {"hidden": [32, 16], "lr": 0.05, "bins": [50, 200], "n_steps": [8000, 100]}
RING = {"hidden": [32, 32], "lr": 0.05, "bins": [50, 200], "n_steps": [2000, 100]}
DEEP = {"hidden": [32] * 5, "lr": 0.01, "bins": [64, 200], "n_steps": [3000, 100]}
FITS: dict[str, dict[str, Any]] = {
    "star flat": {"density": "star", "variance": None, **STAR},
    "star 0.1": {"density": "star", "variance": 0.1, **STAR},
    "star 0.03": {"density": "star", "variance": 0.03, **STAR},
    "star 0.01": {"density": "star", "variance": 0.01, **STAR},
    "star 0.006": {"density": "star", "variance": 0.006, **STAR},
    "star 0.0036": {"density": "star", "variance": 0.0036, **STAR},
    "star 0.002": {"density": "star", "variance": 0.002, **STAR},
    "star anywhere": {"density": "star", "variance": 1.0, "anywhere": True, **STAR},
    "texton-texture flat": {"density": "texton_texture", "variance": None, **STAR},
    "texton-texture 1": {"density": "texton_texture", "variance": 1.0, **STAR},
    "ring flat": {"density": "ring", "variance": None, **RING},
    "ring anywhere": {"density": "ring", "variance": 1.0, "anywhere": True, **RING},
    "galaxy 5 layers": {"density": "galaxy", "variance": 1.0, **DEEP},
}
SNAPSHOTS = [0, 1, 2, 3, 5, 7, 10, 14, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480]
SNAPSHOTS += [640, 960, 1300, 2000, 3000, 5000, 8100]


def train(
    density: str,
    hidden: list[int],
    variance: float | None,
    seed: int,
    lr: float,
    bins: list[int],
    n_steps: list[int],
    anywhere: bool = False,
    n: int = 40_000,
    keep: list[int] = (),
    **_: Any,
) -> tuple[TiltedEnergy, dict[str, float], dict[str, TiltedEnergy]]:
    """One network, its exact KL from the truth, and copies of it along the way."""
    truth = distributions.get(density)
    generator = torch.Generator().manual_seed(seed)
    data = truth.sample((n,), generator=generator)
    through = None if anywhere else data
    network = mlp([2, *hidden, 1], through=through, generator=generator)
    prior = None if variance is None else gaussian(sd=variance**0.5)
    model = TiltedEnergy(network, prior)
    kept: dict[str, TiltedEnergy] = {}

    def snapshot(model: TiltedEnergy, step: int) -> None:
        if step in keep:
            kept[str(step)] = copy.deepcopy(model)

    began = time.process_time()
    callbacks = {"snapshot": snapshot} if keep else None
    grids = [Grid(bins=b) for b in bins]
    fit_coarse_to_fine(
        model, data, grids, n_steps, lr=lr, callbacks=callbacks, record_every=1
    )
    seconds = time.process_time() - began  # of one core, whoever else is busy
    kl = GridDensity(truth, FINE).kl(model)
    return model, {"kl": kl, "seconds": seconds}, kept


def make_fits(n_jobs: int) -> None:
    """Write ``models.safetensors`` and ``fits.json``."""
    settings = [
        {"name": f"{name}/{seed}", **setting, "seed": seed}
        for name, setting in FITS.items()
        for seed in SEEDS
    ]
    results = sweep(train, settings, n_jobs=n_jobs)
    models = {s["name"]: r[0] for s, r in zip(settings, results, strict=True)}
    save_models(HERE / "models.safetensors", models)
    rows = [{**s, **r[1]} for s, r in zip(settings, results, strict=True)]
    write("fits", rows)


def make_snapshots() -> None:
    """Write ``snapshots.safetensors``: network D of the thesis, seed 0, on its way."""
    setting = {"density": "star", "variance": 1.0, **STAR, "seed": 0}
    *_, kept = train(**setting, keep=SNAPSHOTS)
    save_models(HERE / "snapshots.safetensors", kept)
    print(f"wrote snapshots.safetensors: {len(kept)} networks")


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)
    print(f"wrote {path.name}: {len(rows)} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-jobs", type=int, default=2)
    make_snapshots()
    make_fits(parser.parse_args().n_jobs)
