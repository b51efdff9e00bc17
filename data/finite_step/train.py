"""Train what the chapter "Finite-step MCMC" loads.

    python data/finite_step/train.py [star] [clusters] [line] [both] [regimes]

writes, for each part, the setting, seconds and measurements of each network
(``PART.json``) and, but for ``both``, the networks (``PART.safetensors``) beside this
file.  All parts take about twenty minutes on a core that nothing else uses; seconds
are processor seconds of one core.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Uniform

from ebmlib import distributions
from ebmlib._files import write_json
from ebmlib.checkpoint import save_models
from ebmlib.distributions import GaussianMixture
from ebmlib.energy import EnergyModel, TiltedEnergy, mlp
from ebmlib.fit import fit
from ebmlib.grid import Grid, GridDensity
from ebmlib.metrics import mode_coverage, sliced_wasserstein
from ebmlib.negatives import (
    ContrastiveNegatives,
    GridNegatives,
    NegativePhase,
    Negatives,
    PersistentNegatives,
    ShortRunNegatives,
)
from ebmlib.partition import ReLUPartition
from ebmlib.samplers import MALA, Langevin, ParallelTempering, sample

HERE = Path(__file__).parent
BOX = (-1.0, 1.0)
SEEDS = range(3)
STEPS = [15, 25, 50, 100]
N_UPDATES, N_CHAINS, N_JUDGED = 500, 300, 4000
# what the samples of the first sections need to look right
N_PATIENT = 500  # chains
LONG = {"n_updates": 3000, "lr": 0.03, "batch_size": 1000}
N_COMPARED, N_COMPARED_UPDATES = 200, 150  # chains and updates of the last comparison


def seeded(seed: int) -> torch.Generator:
    """A generator of one run."""
    return torch.Generator().manual_seed(seed)


def box(dim: int) -> Independent:
    """The uniform distribution from which chains start."""
    return Independent(Uniform(-torch.ones(dim), torch.ones(dim)), 1)


def start(n: int, dim: int, generator: torch.Generator) -> Tensor:
    """Uniform points of the box, (n, dim)."""
    return 2 * torch.rand(n, dim, generator=generator) - 1


def langevin(step: float, temperature: float = 1.0) -> Langevin:
    """Langevin in the box, reflected at its walls."""
    return Langevin(step, bounds=BOX, temperature=temperature)


def train(
    density: torch.distributions.Distribution,
    phase: NegativePhase,
    seed: int,
    *,
    hidden: tuple[int, ...] = (32, 16),
    n: int = 20_000,
    n_updates: int = N_UPDATES,
    lr: float = 0.05,
    batch_size: int | None = 500,
    data: Tensor | None = None,
    **options: Any,
) -> tuple[TiltedEnergy, dict[str, Any], Tensor]:
    """One network, what its training cost and showed, and its data.

    The network at the start depends on the seed and not on the method.
    """
    if data is None:
        data = density.sample((n,), generator=seeded(seed)).float()
    generator = seeded(seed + 100)
    widths = [data.shape[1], *hidden, 1]
    model = TiltedEnergy(mlp(widths, through=data, generator=generator))
    began = time.process_time()
    history = fit(
        model, data, phase, n_updates, batch_size=batch_size, lr=lr,
        generator=generator, progress=False, **options,
    )  # fmt: skip
    result = {"seconds": time.process_time() - began, "records": history.records}
    return model, result | {"loss": history.loss}, data


def exact_kl(model: TiltedEnergy, truth: GridDensity) -> float:
    """``KL(truth || model)`` with the exact ``log Z`` of the polygons.

    The truth is smooth, so the grid integrates ``f`` against it; where ``exp(f)`` lives
    on a few grid points its integral comes from the regions.
    """
    partition = ReLUPartition.from_network(model.network, *BOX)
    log_z = partition.log_partition(None)
    mean = float(truth.expectation(lambda x: model.energy(x.float()).detach()))
    return mean + log_z - truth.entropy()


def height(model: TiltedEnergy) -> float:
    """Range of ``f`` over the square: between vertices of the regions."""
    grid = Grid(*BOX, 400, model.network[0].in_features)
    with torch.no_grad():
        values = model.energy(grid.points)
    return float(values.max() - values.min())


def judge(points: Tensor, seed: int, density: Any) -> float:
    """Sliced Wasserstein distance from points to as many fresh samples of the truth."""
    fresh = density.sample((len(points),), generator=seeded(seed + 1000))
    directions = seeded(seed + 2000)
    return sliced_wasserstein(points, fresh, n_projections=100, generator=directions)


def make_star() -> None:
    """The thesis's Figures 5.1 to 5.3: short runs of step 0.004 on the star."""
    star = distributions.get("star")
    truth, models, rows = GridDensity(star, Grid(bins=400)), {}, []
    for seed, n_steps in itertools.product(SEEDS, STEPS):
        phase = ShortRunNegatives(langevin(0.004), n_steps, box(2), n_chains=N_PATIENT)
        model, result, _ = train(star, phase, seed, **LONG)
        models[f"{n_steps}/{seed}"] = model
        row = {"n_steps": n_steps, "seed": seed, "seconds": result["seconds"]}
        row |= {"kl": exact_kl(model, truth), "range": height(model)}
        for other in STEPS:  # the same starts and noise for every model
            generator = seeded(seed + 3000)
            points = sample(
                langevin(0.004), model, start(N_JUDGED, 2, generator), other,
                generator=generator, progress=False,
            ).positions  # fmt: skip
            row[f"sampled {other}"] = judge(points, seed, star)
        rows.append(row)
        print(row, flush=True)
    save_models(HERE / "star.safetensors", models)
    write("star", rows)


def make_clusters() -> None:
    """The thesis's Figures 5.6 to 5.8: small clusters, short runs of step 0.006."""
    clusters = distributions.get("clusters")
    truth, models, rows = GridDensity(clusters, Grid(bins=400)), {}, []
    for seed, n_steps in itertools.product(SEEDS, [15, 100, None]):
        if n_steps is None:  # the exact negative phase, counted on cells
            phase: NegativePhase = GridNegatives(Grid(bins=150))
            options = {"batch_size": None, "data_term": "cells", "n_updates": 1000}
        else:
            kernel = langevin(0.006)
            phase = ShortRunNegatives(kernel, n_steps, box(2), n_chains=N_PATIENT)
            options = LONG
        model, result, _ = train(clusters, phase, seed, **options)
        models[f"{n_steps or 'grid'}/{seed}"] = model
        row = {"n_steps": n_steps, "seed": seed, "seconds": result["seconds"]}
        rows.append(row | {"kl": exact_kl(model, truth), "range": height(model)})
        print(rows[-1], flush=True)
    save_models(HERE / "clusters.safetensors", models)
    write("clusters", rows)


def line_data(seed: int) -> Tensor:
    """3000, 2000 and 3000 points of the three Gaussians, within the interval."""
    line, generator = distributions.get("three_gaussians_1d"), seeded(seed)
    parts = [
        mean + sd * torch.randn(n, 1, generator=generator)
        for mean, sd, n in zip(
            line.means.float(), line.sds.float(), (3000, 2000, 3000), strict=True
        )
    ]
    data = torch.cat(parts)
    return data[(data.abs() <= 1)[:, 0]]  # about one in a thousand lies outside


def make_line() -> None:
    """The thesis's Figure 5.9: 50 steps of 0.01 in one dimension."""
    models, rows = {}, []
    for seed in SEEDS:
        phase = ShortRunNegatives(langevin(0.01), 50, box(1), n_chains=N_CHAINS)
        model, result, _ = train(None, phase, seed, data=line_data(seed))
        models[f"{seed}"] = model
        rows.append({"seed": seed, "seconds": result["seconds"]})
        rows[-1]["range"] = height(model)
        print(rows[-1], flush=True)
    save_models(HERE / "line.safetensors", models)
    write("line", rows)


def energy_penalty(model: EnergyModel, points: Tensor, negative: Negatives) -> Tensor:
    """Du and Mordatch (2019): keep energies small at data and samples."""
    high = model.energy(points).square().mean()
    return 0.01 * (high + model.energy(negative.points).square().mean())


def gradient_penalty(model: EnergyModel, points: Tensor, _: Negatives) -> Tensor:
    """Keep the slope small at the data (the R1 penalty of Mescheder et al. 2018)."""
    x = points.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(model.energy(x).sum(), x, create_graph=True)
    return 0.001 * slope.square().sum(1).mean()


def short(kernel: Any, n_steps: int) -> ShortRunNegatives:
    """Short runs from the uniform distribution."""
    return ShortRunNegatives(kernel, n_steps, box(2), n_chains=N_COMPARED)


def persistent(kernel: Any) -> PersistentNegatives:
    """Ten steps an update, of chains that go on."""
    return PersistentNegatives(kernel, 10, box(2), n_chains=N_COMPARED)


def annealed_step(fraction: float) -> Langevin:
    """From 0.08 down to 0.004."""
    return langevin(0.08 * (0.004 / 0.08) ** fraction)


# Each method: a fresh phase, options of `train`, and how many steps from the uniform
# distribution its own samples take (None: exact samples of its density).
MALA_005 = MALA(0.05, bounds=BOX)
PATIENT = {"n_updates": 10 * N_COMPARED_UPDATES, "lr": 0.02}
METHODS: dict[str, tuple[Callable[[], NegativePhase], dict[str, Any], int | None]] = {
    "exact": (
        lambda: GridNegatives(Grid(bins=100)),
        {"batch_size": None, "data_term": "cells"},
        None,
    ),
    "short": (lambda: short(langevin(0.004), 100), {}, 100),
    "short, 400 steps": (lambda: short(langevin(0.004), 400), {}, 400),
    "short, energy penalty": (
        lambda: short(langevin(0.004), 100),
        {"penalty": energy_penalty},
        100,
    ),
    "short, gradient penalty": (
        lambda: short(langevin(0.004), 100),
        {"penalty": gradient_penalty},
        100,
    ),
    "short, step 0.04": (lambda: short(langevin(0.04), 100), {}, 100),
    "short, annealed step": (lambda: short(annealed_step, 100), {}, 100),
    # ten steps an update instead of a hundred, so ten times as many and smaller ones
    "contrastive": (
        lambda: ContrastiveNegatives(langevin(0.02), 10),
        {"batch_size": N_COMPARED, **PATIENT},
        500,
    ),
    "persistent": (lambda: persistent(langevin(0.04)), PATIENT, 500),
    "persistent, MALA": (lambda: persistent(MALA_005), PATIENT, 500),
    "persistent, tempering": (
        lambda: persistent(ParallelTempering(MALA_005, (1.0, 4.0, 16.0))),
        PATIENT | {"n_updates": N_COMPARED_UPDATES * 10 // 3},
        500,
    ),
}


def make_both() -> None:
    """What it takes to have good samples and a good energy, on the star."""
    star = distributions.get("star")
    truth, rows = GridDensity(star, Grid(bins=400)), []
    for seed, (name, (make, options, n_steps)) in itertools.product(
        SEEDS, METHODS.items()
    ):
        phase, n_updates = make(), options.get("n_updates", N_COMPARED_UPDATES)
        options = options | {"n_updates": n_updates}
        model, result, _ = train(star, phase, seed, **options)
        row = {"name": name, "seed": seed, "seconds": result["seconds"]}
        if n_steps is None:
            row["gradients"] = n_updates * len(phase.grid.points)
            points = GridDensity(model, truth.grid).sample(
                N_JUDGED // 2, generator=seeded(seed + 3000)
            )
        else:
            kernel, replicas = phase.kernel, 1
            if isinstance(kernel, ParallelTempering):
                replicas = len(kernel.temperatures)
            row["gradients"] = n_updates * N_COMPARED * (phase.n_steps + 1) * replicas
            generator = seeded(seed + 3000)
            judged = ShortRunNegatives(
                kernel, n_steps, start(N_JUDGED // 2, 2, generator)
            )  # the same schedule, if there is one
            points = judged(model, generator=generator).points
        near = mode_coverage(points, star.means.float(), radius=0.18)
        row |= {"kl": exact_kl(model, truth), "range": height(model)}
        row |= {"distance": judge(points, seed, star), "near": near.share}
        rows.append(row)
        print(row, flush=True)
    write("both", rows)


class Recorded:
    """A kernel that remembers how far the gradient alone has moved its chains."""

    def __init__(self, kernel: Langevin) -> None:
        self.kernel, self.bounds = kernel, kernel.bounds
        self.moves: list[float] = []

    def init(self, positions: Tensor, energy: EnergyModel) -> Any:
        """As the kernel, with a fresh record."""
        self.moves = []
        return self.kernel.init(positions, energy)

    def step(self, state: Any, energy: EnergyModel, **options: Any) -> Any:
        """As the kernel."""
        drift = self.kernel.step_size**2 / 2 * state.gradient.norm(dim=1)
        self.moves.append(float(drift.mean()))
        return self.kernel.step(state, energy, **options)


def make_regimes() -> None:
    """The regimes of Nijkamp et al. (2020) on their eight Gaussians, at half size."""
    angles = torch.arange(8) * math.pi / 4
    means = 0.5 * torch.stack([angles.cos(), angles.sin()], 1)
    eight = GaussianMixture(means, 0.075, bounds=BOX)
    truth, models, rows = GridDensity(eight, Grid(bins=400)), {}, []
    for seed, name in itertools.product(SEEDS, ("convergent", "non-convergent")):
        kernel = Recorded(langevin(0.0625 if name == "convergent" else 0.005))
        make = PersistentNegatives if name == "convergent" else ShortRunNegatives
        phase = make(kernel, 100, box(2), n_chains=N_CHAINS)

        def drift(model: EnergyModel, step: int, kernel: Recorded = kernel) -> float:
            return sum(kernel.moves) / max(1, len(kernel.moves))

        model, result, _ = train(
            eight, phase, seed, n_updates=200, callbacks={"drift": drift},
            record_every=5,
        )  # fmt: skip
        models[f"{name}/{seed}"] = model
        row = {"name": name, "seed": seed, "seconds": result["seconds"]}
        row |= {"kl": exact_kl(model, truth), "range": height(model)}
        row |= {"drift": result["records"]["drift"], "difference": result["loss"]}
        rows.append(row)
        print({k: v for k, v in row.items() if not isinstance(v, list)}, flush=True)
    save_models(HERE / "regimes.safetensors", models)
    write("regimes", rows)


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line, floats with six digits, whole or not at all."""
    path = HERE / f"{name}.json"
    write_json(path, rows)
    print(f"wrote {path.name}: {len(rows)} rows")


PARTS: dict[str, Callable[[], None]] = {
    "star": make_star,
    "clusters": make_clusters,
    "line": make_line,
    "both": make_both,
    "regimes": make_regimes,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    torch.set_num_threads(1)
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()
