"""What a step of ``fit`` costs beside the shortest plain PyTorch loop.

    OMP_NUM_THREADS=1 python benchmarks/fit_step.py [--rounds 30] [--n 20000]

Both do the same arithmetic on the same data: the exact gradient of a star 32-16 on a
grid, log p0 precomputed, fused Adam, and the loss read back at every step.  The rounds
of the two are interleaved, so that whatever else the machine does slows both, and a
ratio is taken within each round.  Times are the processor's, not the clock's: on one
thread they leave out the moments that other processes had it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ebmlib import distributions
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.fit import fit
from ebmlib.grid import Grid
from ebmlib.negatives import GridNegatives

SETTINGS = {"lr": 0.01, "betas": (0.9, 0.99)}
GOAL = 1.10


def plain_loop(
    model: TiltedEnergy, data: Tensor, grid: Grid, data_term: str, n_steps: int
) -> list[float]:
    """Train as ``fit`` does, with nothing that could be left out; return the losses."""
    points, network = grid.points, model.network
    log_p0, log_p0_data = model.log_prior(points), model.log_prior(data)
    share = (grid.count(data) / len(data)).float()
    optimizer = torch.optim.Adam(model.parameters(), fused=True, **SETTINGS)
    losses = []
    for _ in range(n_steps):
        energy = -(network(points)[:, 0] + log_p0)
        weights = torch.softmax(-energy.detach().double(), 0).float()
        if data_term == "cells":
            loss = (share - weights) @ energy
        else:
            loss = -(network(data)[:, 0] + log_p0_data).mean() - weights @ energy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def fresh(data: Tensor) -> TiltedEnergy:
    """The same untrained star 32-16 at every call."""
    generator = torch.Generator().manual_seed(0)
    return TiltedEnergy(
        mlp([2, 32, 16, 1], through=data, generator=generator), gaussian()
    )


def milliseconds(run: Callable[[], object], n_steps: int) -> float:
    """Milliseconds of the processor a step."""
    began = time.process_time()
    run()
    return 1000 * (time.process_time() - began) / n_steps


def compare(
    bins: int, data_term: str, rounds: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds a step of ``fit`` and of the plain loop, one entry a round each."""
    generator = torch.Generator().manual_seed(1)
    data = distributions.get("star").sample((n,), generator=generator)
    grid = Grid(bins=bins)
    n_steps = max(20, 500_000 // bins**2)

    def with_fit() -> None:
        options = {"data_term": data_term, "schedule": "constant", **SETTINGS}
        fit(fresh(data), data, GridNegatives(grid), n_steps, **options)

    def plain() -> None:
        plain_loop(fresh(data), data, grid, data_term, n_steps)

    runs = [with_fit, plain]
    times: dict[Callable[[], None], list[float]] = {run: [] for run in runs}
    for run in runs:
        run()  # warm up
    for _ in range(rounds):
        for run in runs:
            times[run].append(milliseconds(run, n_steps))
        runs.reverse()  # neither always goes first
    return np.array(times[with_fit]), np.array(times[plain])


def main() -> None:
    """Print one row for each grid and data term."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--n", type=int, default=20_000, help="data points")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"star 32-16, {arguments.n} points, {arguments.rounds} rounds, one thread")
    print(f"torch {torch.__version__}; goal: ratio <= {GOAL:.2f}")
    print("grid  data term  fit (ms)  plain (ms)  ratio of    ratio a round:")
    print("                 median    median      the minima  median [quartiles]")
    for bins in (50, 200):
        for data_term in ("cells", "points"):
            ours, plain = compare(bins, data_term, arguments.rounds, arguments.n)
            low, middle, high = np.quantile(ours / plain, [0.25, 0.5, 0.75])
            print(
                f"{bins:4d}  {data_term:9s}  {np.median(ours):8.3f}  "
                f"{np.median(plain):10.3f}  {ours.min() / plain.min():10.3f}  "
                f"{middle:.3f} [{low:.3f}, {high:.3f}]"
            )


if __name__ == "__main__":
    main()
