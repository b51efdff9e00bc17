"""Write what PyTorch and ebmlib say in float64, to hold the Lab's core against.

Run from the repository's root: ``python tests/lab/make_fixtures.py``.  With ``--check``
it only says whether the file still holds what they say.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from torch.distributions import Independent, Normal

from ebmlib import distributions
from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.fit import SCHEDULES, fit
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives
from ebmlib.samplers._energies import reflect

FILE = Path(__file__).with_name("fixtures.json")
BINS, POINTS = 24, 100
TWO_D = [
    "ring",
    "two_gaussians",
    "star",
    "texton_texture",
    "cross_lines",
    "clusters",
    "dots",
    "two_spirals",
    "four_spin",
]
NETWORKS = [
    ([2, 32, 16, 1], "relu", 0.0),
    ([2, 8, 1], "relu", 0.3),
    ([2, 7, 5, 1], "leaky_relu", 0.0),
    ([2, 12, 8, 1], "softplus", 1.0),
    ([2, 16, 16, 1], "tanh", 0.5),
    ([2, 33, 48, 1], "tanh", 0.0),
]


def numbers(values: torch.Tensor) -> list[float]:
    """Flat list; a float64 survives JSON to the last bit."""
    return values.detach().double().reshape(-1).tolist()


def theta_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


def gaussian(sd: float) -> Independent:
    scale = torch.full((2,), sd, dtype=torch.float64)
    return Independent(Normal(torch.zeros(2, dtype=torch.float64), scale), 1)


def network_case(
    widths: list[int], activation: str, sd: float, generator: torch.Generator
) -> dict:
    """Values, gradients, the grid's answers, exact updates and a Langevin step."""
    network = mlp(widths, activation, init="torch", generator=generator).double()
    with torch.no_grad():
        for p in network.parameters():  # not small: the activations must bend
            p.mul_(2.0)
    model = TiltedEnergy(network, gaussian(sd) if sd else None)
    start = theta_of(network)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    x = (2 * uniform(POINTS, 2) - 1).requires_grad_(True)
    seeds = uniform(POINTS) - 0.5
    f = network(x).squeeze(1)
    parameter_gradient = torch.autograd.grad(
        (seeds * f).sum(), list(network.parameters()), retain_graph=True
    )
    (input_gradient,) = torch.autograd.grad(f.sum(), x)
    (energy_gradient,) = torch.autograd.grad(model.energy(x).sum(), x)
    noise = torch.randn(POINTS, 2, generator=generator, dtype=torch.float64)
    step, temperature = 0.3, 0.7
    moved, _ = reflect(
        x.detach()
        - step**2 / 2 * energy_gradient
        + math.sqrt(temperature) * step * noise,
        (-1.0, 1.0),
    )
    grid = Grid(bins=BINS)
    density = GridDensity(model, grid)
    truth = GridDensity(distributions.get("ring"), grid)
    data = distributions.get("ring").sample(
        (300,), generator=generator, dtype=torch.float64
    )
    history = fit(
        model,
        data,
        GridNegatives(grid),
        3,
        lr=0.05,
        horizon=200,
        data_term="cells",
        progress=False,
    )
    return {
        "widths": widths,
        "activation": activation,
        "sd": sd,
        "theta": numbers(start),
        "x": numbers(x),
        "seeds": numbers(seeds),
        "f": numbers(f),
        "parameter_gradient": numbers(
            torch.cat([g.reshape(-1) for g in parameter_gradient])
        ),
        "input_gradient": numbers(input_gradient),
        "energy_gradient": numbers(energy_gradient),
        "langevin": {
            "step": step,
            "temperature": temperature,
            "noise": numbers(noise),
            "moved": numbers(moved),
        },
        "log_partition": density.log_partition,
        "entropy": density.entropy(),
        "kl": truth.kl(density),
        "data": numbers(data),
        "trained": numbers(GridDensity(model, grid).log_prob),
        "loss": history.loss,
        "grad_norm": history.grad_norm,
    }


def adam_case(generator: torch.Generator) -> dict:
    """Five updates with given gradients, sizes from 1e-6 to 10."""
    scales = torch.logspace(-6, 1, 8, dtype=torch.float64)
    gradients = [
        scales * torch.randn(8, generator=generator, dtype=torch.float64)
        for _ in range(5)
    ]
    theta = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], betas=(0.9, 0.99))
    for step, gradient in enumerate(gradients):
        theta.grad = gradient
        optimizer.param_groups[0]["lr"] = 0.05 * SCHEDULES["cosine"](step / 200)
        optimizer.step()
    return {
        "lr": 0.05,
        "gradients": [numbers(gradient) for gradient in gradients],
        "theta": numbers(theta),
    }


def drawing(generator: torch.Generator) -> torch.Tensor:
    """Grey levels 0 to 3 of 24 x 24 cells, row 0 at the top."""
    return torch.randint(0, 4, (24, 24), generator=generator)


def build() -> dict:
    generator = torch.Generator().manual_seed(8)
    x = 2 * torch.rand(80, 2, generator=generator, dtype=torch.float64) - 1
    grid = Grid(bins=BINS)
    cells = drawing(generator)
    picture = distributions.ImageDensity(cells.numpy())
    densities = {name: distributions.get(name) for name in TWO_D}
    return {
        "bins": BINS,
        "networks": [network_case(*case, generator) for case in NETWORKS],
        "adam": adam_case(generator),
        "x": numbers(x),
        "densities": {
            name: {
                "log_prob": numbers(density.log_prob(x)),
                "entropy_on_grid": GridDensity(density, grid).entropy(),
            }
            for name, density in densities.items()
        },
        "drawn": {
            "cells": cells.reshape(-1).tolist(),
            "log_prob": [
                None if value == -math.inf else value
                for value in numbers(picture.log_prob(x))
            ],
        },
    }


def same(one: object, other: object, tolerance: float = 1e-11) -> bool:
    """Equal but for the last digits, in which processors differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        if not all(isinstance(v, float) for v in one + other):
            return len(one) == len(other) and all(map(same, one, other))
        top = max((abs(v) for v in one), default=0.0)
        return len(one) == len(other) and all(
            abs(a - b) <= tolerance * top for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance * max(abs(one), abs(other))
    return one == other


def main() -> None:
    torch.set_num_threads(1)
    fixtures = build()
    if "--check" in sys.argv:
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        if not same(kept, fixtures):
            sys.exit(f"{FILE.name} is not what PyTorch and ebmlib say; write it anew")
        return
    FILE.write_text(json.dumps(fixtures, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
