"""Train what the chapter "Generative adversarial networks" loads, in the plane.

    python data/gan/train.py                   # everything
    python data/gan/train.py plane             # a part

writes beside this file, part by part: ``plane.safetensors`` and ``plane.json`` (ten
generators and critics by WGAN-GP on 25 Gaussians, and how they came about), and
``collapse.json`` (five losses on three densities, at the end of short trainings). About
twenty minutes on a core that nothing else uses.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ebmlib import distributions, metrics
from ebmlib._files import write_json
from ebmlib.checkpoint import save_networks
from ebmlib.energy import mlp
from ebmlib.fit import TrainingDiverged
from ebmlib.gan import Generator, train_gan
from ebmlib.sweep import sweep

HERE = Path(__file__).parent
SEEDS = range(10)
COLLAPSE_SEEDS = range(5)
N_POINTS = 20_000
N_SAMPLES = 10_000
LEAST = 20  # samples of N_SAMPLES near a mode that is called covered
SCALE = 2.828  # centres 2 {-2, ..., 2}^2 and sd 0.05, divided by this
PLANE = {
    "n_steps": 6000,
    "batch_size": 128,
    "lr": 5e-3,
    "betas": (0.0, 0.99),
    "schedule": "cosine",
    "gradient_penalty": 0.3,
}


def dots() -> distributions.Dots:
    """The 25 Gaussians."""
    return distributions.Dots(per_side=5, half_width=4 / SCALE, sd=0.05 / SCALE)


def networks(
    data: Tensor, hidden: list[int], generator: torch.Generator, init: str = "lines"
) -> tuple[Generator, nn.Sequential]:
    """A generator, and a critic: with "lines", its first ones pass through the data."""
    base = Generator(mlp([2, *hidden, 2], init="torch", generator=generator))
    options = {"init": init, "through": data if init == "lines" else None}
    critic = mlp([2, *hidden, 1], "leaky_relu", generator=generator, **options)
    return base, critic


def coverage(base: Generator, centres: Tensor, sd: float) -> tuple[int, float]:
    """Modes with at least `LEAST` samples within four sd, and the share of such."""
    samples = base.sample(N_SAMPLES, generator=torch.Generator().manual_seed(0))
    near = metrics.mode_coverage(samples, centres, radius=4 * sd)
    return int((near.counts >= LEAST).sum()), near.share


def train_plane(seed: int) -> dict[str, Any]:
    """One WGAN-GP on the 25 Gaussians: its networks, and its coverage on the way."""
    truth, generator = dots(), torch.Generator().manual_seed(seed)
    data = truth.sample((N_POINTS,), generator=generator).float()
    centres = torch.as_tensor(truth.means).float()
    base, critic = networks(data, [128, 128, 128], generator)
    began = time.process_time()
    history = train_gan(
        base,
        critic,
        data,
        "wasserstein",
        callbacks={"near": lambda base, *_: coverage(base, centres, 0.05 / SCALE)},
        record_every=250,
        generator=generator,
        progress=False,
        **PLANE,
    )
    modes, share = zip(*history.records["near"], strict=True)
    return {
        "base": base.network,
        "critic": critic,
        "row": {
            "seed": seed,
            **PLANE,
            "seconds": time.process_time() - began,  # of one core, shared with others
            "step": history.recorded_steps,
            "modes": modes,
            "share": share,
        },
    }


def make_plane(n_jobs: int) -> None:
    """Write ``plane.safetensors`` and ``plane.json``."""
    results = sweep(train_plane, [{"seed": seed} for seed in SEEDS], n_jobs=n_jobs)
    trained = {
        f"{seed}/{name}": result[name]
        for seed, result in zip(SEEDS, results, strict=True)
        for name in ("base", "critic")
    }
    save_networks(HERE / "plane.safetensors", trained)
    write("plane", [result["row"] for result in results])


COLLAPSE_LOSSES: dict[str, dict[str, Any]] = {
    "minimax": {"loss": "minimax"},
    "non-saturating": {"loss": "non_saturating"},
    "clipping": {"loss": "wasserstein", "clip": 0.1},
    "penalty": {"loss": "wasserstein", "gradient_penalty": 0.3},
    "kale": {"loss": "kale", "gradient_penalty": 0.3},
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "usual": {"init": "torch", "betas": (0.5, 0.9)},
    "lines": {"init": "lines", "betas": (0.5, 0.9)},
    "lines, no momentum": {"init": "lines", "betas": (0.0, 0.99)},
}
COLLAPSE = {"n_steps": 1000, "batch_size": 128, "lr": 2e-3, "schedule": "cosine"}
SECTORS = 36  # the ring has no modes: equal sectors stand for them


def near_ring(x: Tensor, ring: distributions.Ring) -> tuple[int, float]:
    """Sectors with at least `LEAST` samples within four sd, and the share of such."""
    near = (x.norm(dim=1) - ring.radius).abs() <= 4 * ring.sd
    turn = torch.atan2(x[:, 1], x[:, 0]) / (2 * torch.pi) + 0.5
    sector = (turn * SECTORS).long().clamp(max=SECTORS - 1)
    counts = torch.bincount(sector[near], minlength=SECTORS)
    return int((counts >= LEAST).sum()), float(near.double().mean())


def collapse(density: str, name: str, configuration: str, seed: int) -> dict[str, Any]:
    """One short training: what its generator covers at the end."""
    truth = {
        "dots": dots(),
        "clusters": distributions.Clusters(),
        "ring": distributions.Ring(),
    }[density]
    generator = torch.Generator().manual_seed(seed)
    data = truth.sample((N_POINTS,), generator=generator).float()
    setting = COLLAPSE | COLLAPSE_LOSSES[name] | CONFIGURATIONS[configuration]
    row = {"density": density, "name": name, "configuration": configuration}
    row |= {"seed": seed, **setting, "diverged": None}
    base, critic = networks(data, [64, 64], generator, setting.pop("init"))
    began = time.process_time()
    try:
        train_gan(base, critic, data, generator=generator, progress=False, **setting)
    except TrainingDiverged as error:
        row["diverged"] = error.history.n_steps
    row["seconds"] = time.process_time() - began  # of one core, shared with others
    if density == "ring":
        samples = base.sample(N_SAMPLES, generator=torch.Generator().manual_seed(0))
        modes, share = near_ring(samples, truth)
    else:
        centres = torch.as_tensor(truth.means).float()
        modes, share = coverage(base, centres, float(truth.sds.max()))
    return row | {"modes": modes, "share": share}


def make_collapse(n_jobs: int) -> None:
    """Write ``collapse.json``."""
    settings = [
        {"density": d, "name": n, "configuration": c, "seed": seed}
        for d in ("dots", "clusters", "ring")
        for n in COLLAPSE_LOSSES
        for c in CONFIGURATIONS
        for seed in COLLAPSE_SEEDS
    ]
    write("collapse", sweep(collapse, settings, n_jobs=n_jobs))


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)
    print(f"wrote {path.name}: {len(rows)} rows", flush=True)


PARTS = {"plane": make_plane, "collapse": make_collapse}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.n_jobs)
