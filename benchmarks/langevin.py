"""What a Langevin step costs beside the shortest plain PyTorch loop, and torchebm.

    OMP_NUM_THREADS=1 python benchmarks/langevin.py [--rounds 30] [--chains 10000]

All three take 100 steps of 10,000 chains on a 2-32-16-1 ReLU energy.  The plain loop
has the same arithmetic with nothing around it: no energies kept, no checks, the
parameters' gradients switched off, the noise in place.  With the same generator
``sample`` ends at the same points, bit for bit, and this is checked.  torchebm is
compared when it is installed; the project does not depend on it.

The rounds are interleaved, so that whatever else the machine does slows all of them,
and a ratio is taken within each round.  Times are the processor's, not the clock's.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.samplers import Langevin, sample

STEP = 0.05
GOAL = 1.10


def plain_loop(
    network: nn.Module, x: Tensor, n_steps: int, generator: torch.Generator
) -> Tensor:
    """The shortest loop: the gradient of f, a step up, and noise."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for _ in range(n_steps):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        x = x.detach().add_(gradient, alpha=STEP**2 / 2)
        x.add_(torch.randn(x.shape, generator=generator), alpha=STEP)
    return x


def torchebm_sampler(network: nn.Module) -> Callable[..., Tensor] | None:
    """torchebm's Langevin sampler on the same energy, or None without torchebm."""
    if importlib.util.find_spec("torchebm") is None:
        return None
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Energy(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return -self.network(x)[:, 0]

    # its step is s**2 / 2
    return LangevinDynamics(Energy(), step_size=STEP**2 / 2).sample


def milliseconds(run: Callable[[], object]) -> float:
    """Milliseconds of the processor."""
    began = time.process_time()
    run()
    return 1000 * (time.process_time() - began)


def main() -> None:
    """Print the times, and the ratios within the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--chains", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    network = mlp([2, 32, 16, 1], init="torch", generator=seeded())
    start = torch.randn(arguments.chains, 2, generator=seeded())
    model, n_steps = TiltedEnergy(network), arguments.steps
    kernel = Langevin(STEP)

    def ours() -> Tensor:
        drawn = sample(kernel, model, start, n_steps, generator=seeded())
        return drawn.positions

    def plain() -> Tensor:
        return plain_loop(network, start.clone(), n_steps, seeded())

    runs = {"ebmlib": ours, "plain": plain}
    other = torchebm_sampler(network)
    if other is not None:
        runs["torchebm"] = lambda: other(x=start.clone(), n_steps=n_steps)
    if not torch.equal(ours(), plain()):
        raise SystemExit("sample and the plain loop do not end at the same points")

    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for run in runs.values():
        run()  # warm up
    for _ in range(arguments.rounds):
        for name in order:
            times[name].append(milliseconds(runs[name]))
        order.append(order.pop(0))  # each goes first in its turn
    best = {name: min(values) for name, values in times.items()}
    print(
        f"{arguments.chains} chains x {n_steps} steps, 2-32-16-1, one thread, "
        f"{arguments.rounds} rounds, torch {torch.__version__}"
    )
    print("            best (ms)   median (ms)   plain = 1: best, median [quartiles]")
    for name, values in times.items():
        ratio = np.array(values) / np.array(times["plain"])
        low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
        print(
            f"{name:10s}  {best[name]:9.1f}   {np.median(values):11.1f}   "
            f"{best[name] / best['plain']:.3f}, {middle:.3f} [{low:.3f}, {high:.3f}]"
        )
    print(f"goal: ebmlib / plain <= {GOAL:.2f}, and no slower than torchebm")
    if other is None:
        print("torchebm is not installed: not compared")


if __name__ == "__main__":
    main()
