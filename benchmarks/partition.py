"""The exact regions of a ReLU network beside what one would write instead.

    OMP_NUM_THREADS=1 python benchmarks/partition.py [--rounds 5]

The same networks in one run, interleaved, on one thread:

- ``ebmlib``: ``ReLUPartition.from_network``;
- a naive loop, below: clip Python lists of corners, one polygon and neuron at a time;
- counting the activation patterns that are met on a grid of 2000 x 2000 points, which
  misses the small regions and knows no corners.

Times are the processor's, the least of the rounds.  The naive loop and the grid run
once where they take longer than half a minute.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ebmlib import data_path
from ebmlib.checkpoint import load_models
from ebmlib.energy import mlp
from ebmlib.partition import ReLUPartition

Corners = list[tuple[float, float]]
GOALS = {"naive": 10, "grid": 100}
LONG = 30.0  # seconds after which one round is enough


def exact(network: nn.Sequential) -> int:
    """Corners, patterns, neurons of the edges and affine maps of all regions."""
    return ReLUPartition.from_network(network).n_regions


def clip(polygon: Corners, a: float, b: float, c: float) -> tuple[Corners, Corners]:
    """Both sides of a convex polygon cut by the line ``a x + b y + c = 0``."""
    above: Corners = []
    below: Corners = []
    values = [a * x + b * y + c for x, y in polygon]
    for i, (point, value) in enumerate(zip(polygon, values, strict=True)):
        before = values[i - 1]
        if before * value < 0:
            (x0, y0), (x1, y1), t = polygon[i - 1], point, before / (before - value)
            crossing = (x0 + t * (x1 - x0), y0 + t * (y1 - y0))
            above.append(crossing)
            below.append(crossing)
        if value >= 0:
            above.append(point)
        if value <= 0:
            below.append(point)
    return above, below


def naive(network: nn.Sequential) -> int:
    """Clip every polygon by every neuron in turn; return the number of polygons."""
    linears = [m for m in network if isinstance(m, nn.Linear)]
    cells = [([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)], np.eye(2, 3))]
    for layer in linears[:-1]:
        weight = layer.weight.detach().double().numpy()
        bias = layer.bias.detach().double().numpy()
        split = []
        for outer, inputs in cells:
            lines = weight @ inputs
            lines[:, 2] += bias
            polygons = [outer]
            for a, b, c in lines.tolist():
                halves = [half for p in polygons for half in clip(p, a, b, c)]
                polygons = [half for half in halves if len(half) > 2]
            for polygon in polygons:
                centre = np.append(np.mean(polygon, axis=0), 1.0)
                split.append((polygon, lines * (lines @ centre > 0)[:, None]))
        cells = split
    return len(cells)


def grid(network: nn.Sequential, bins: int = 2000) -> int:
    """Number of activation patterns met at the centres of a grid's cells."""
    axis = -1 + (torch.arange(bins) + 0.5) * (2 / bins)
    met: set[bytes] = set()
    with torch.no_grad():
        for x in torch.cartesian_prod(axis, axis).split(40_000):
            bits = []
            for module in list(network)[:-1]:
                x = module(x)
                if isinstance(module, nn.Linear):
                    bits.append((x > 0).numpy())
            packed = np.packbits(np.concatenate(bits, 1), axis=1)
            rows = packed.view(f"V{packed.shape[1]}")[:, 0]
            met.update(row.tobytes() for row in np.unique(rows))
    return len(met)


def seconds(run: Callable[[nn.Sequential], int], network: nn.Sequential) -> tuple:
    """Seconds of the processor, and what the run returned."""
    began = time.process_time()
    found = run(network)
    return time.process_time() - began, found


def compare(name: str, network: nn.Sequential, rounds: int, runs: list) -> None:
    """Print one row: interleaved rounds of all runs on one network."""
    times: dict[Callable, list[float]] = {run: [] for run in runs}
    found = {}
    exact(network)  # warm up
    for _ in range(rounds):
        for run in runs:
            if not times[run] or times[run][0] < LONG:
                elapsed, found[run] = seconds(run, network)
                times[run].append(elapsed)
    ours = min(times[exact])
    row = f"{name:22s} {found[exact]:8d} {1000 * ours:10.1f}"
    for run in (naive, grid):
        if run in runs:
            other = min(times[run])
            row += f" {1000 * other:11.0f} {found[run]:8d} {other / ours:7.0f}x"
        else:
            row += f" {'-':>11s} {'-':>8s} {'-':>8s}"
    print(row, flush=True)


def log_partition(name: str, network: nn.Sequential, rounds: int) -> None:
    """Print the time of the exact ``log Z`` under the flat prior."""
    least = np.inf
    for _ in range(rounds):
        partition = ReLUPartition.from_network(network)
        began = time.process_time()
        value = partition.log_partition()
        least = min(least, time.process_time() - began)
    print(f"{name:22s} {partition.n_regions:8d} {1000 * least:10.2f} {value:14.9f}")


def peak(width: int) -> tuple[int, float, float]:
    """Regions, seconds and the peak memory (GB) of a process that does only this."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    elapsed, found = seconds(exact, mlp([2, width, 1], generator=generator))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found, elapsed, memory / 1e6


def main() -> None:
    """Print the comparison, the times of log Z, and the memory of a large network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    fitted = load_models(data_path("deep_frame/models.safetensors"))
    drawn = {
        name: mlp(widths, generator=torch.Generator().manual_seed(0))
        for name, widths in {
            "random 128": [2, 128, 1],
            "random 512": [2, 512, 1],
            "random 64-64-64": [2, 64, 64, 64, 1],
        }.items()
    }
    star, galaxy = fitted["D/0"].network, fitted["F/0"].network
    print(f"torch {torch.__version__}, {rounds} rounds, one thread, milliseconds")
    print(f"goals: {GOALS['naive']} times the naive loop, {GOALS['grid']} the grid")
    print(
        "network                 regions     ebmlib       naive  regions    ratio",
        end="",
    )
    print("   grid 2000  regions    ratio")
    compare("fitted star 32-16", star, 4 * rounds, [exact, naive, grid])
    compare("random 128", drawn["random 128"], rounds, [exact, naive, grid])
    compare("random 64-64-64", drawn["random 64-64-64"], rounds, [exact, naive, grid])
    compare("fitted 32-64-128", galaxy, rounds, [exact, naive, grid])
    compare("random 512", drawn["random 512"], rounds, [exact, grid])
    print("\nexact log Z, flat prior    (ms)          value")
    log_partition("fitted star 32-16", star, 4 * rounds)
    log_partition("fitted 32-64-128", galaxy, rounds)
    log_partition("random 512", drawn["random 512"], rounds)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found, elapsed, memory = pool.apply(peak, (640,))
    print(
        f"\nrandom 640, alone in a process: {found} regions, {elapsed:.1f} s, ", end=""
    )
    print(f"peak {memory:.2f} GB")


if __name__ == "__main__":
    main()
