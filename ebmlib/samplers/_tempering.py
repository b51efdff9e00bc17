"""Parallel tempering: hot chains cross barriers, and cold ones inherit it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ebmlib._checks import check_positive
from ebmlib.samplers._energies import Energy
from ebmlib.samplers._kernels import Kernel, State


class TemperedState(NamedTuple):
    """One state at each temperature; the first is the one that is asked for.

    Attributes
    ----------
    replicas : tuple of State
        In the order of the temperatures.
    swapped : Tensor of bool, shape (n, k - 1)
        Whether replicas ``j`` and ``j + 1`` were exchanged in the last step.
    """

    replicas: tuple[State, ...]
    swapped: Tensor

    @property
    def positions(self) -> Tensor:
        """Positions at the first temperature, shape (n, d)."""
        return self.replicas[0].positions

    @property
    def energy(self) -> Tensor:
        """Energies there, shape (n,)."""
        return self.replicas[0].energy

    @property
    def gradient(self) -> Tensor | None:
        """Gradients there, shape (n, d), if the kernel uses them."""
        return self.replicas[0].gradient

    @property
    def accepted(self) -> Tensor:
        """Whether the kernel's own last proposal was taken there, shape (n,)."""
        return self.replicas[0].accepted


@dataclass(frozen=True)
class ParallelTempering:
    """A kernel at several temperatures at once, with exchanges between neighbours.

    After a step of the kernel at each temperature, neighbours ``j`` and ``j + 1`` are
    exchanged with probability ``min(1, exp((1/T_j - 1/T_{j+1}) (E_j - E_{j+1})))``,
    first the pairs with even ``j``, then those with odd.  The product of the densities
    at all temperatures stays invariant (Swendsen and Wang 1986; Geyer 1991).

    Parameters
    ----------
    kernel : kernel
        With a ``temperature``, which the ladder replaces.
    temperatures : sequence of float
        At least two, rising; the first is the one that is aimed at.

    Raises
    ------
    ValueError
        If the temperatures are not positive, or do not rise.
    """

    kernel: Kernel
    temperatures: Sequence[float]

    def __post_init__(self) -> None:
        if not dataclasses.is_dataclass(self.kernel) or not hasattr(
            self.kernel, "temperature"
        ):
            raise TypeError(
                "kernel must be a kernel with a temperature, such as MALA(0.1), got "
                f"{type(self.kernel).__name__}"
            )
        ladder = tuple(self.temperatures)
        for value in ladder:
            check_positive("temperatures", value)
        pairs = itertools.pairwise(ladder)
        if len(ladder) < 2 or not all(low < high for low, high in pairs):
            raise ValueError(
                f"temperatures must be at least two rising numbers, got {ladder}"
            )
        object.__setattr__(self, "temperatures", ladder)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernel at each temperature."""
        return [
            dataclasses.replace(self.kernel, temperature=t) for t in self.temperatures
        ]

    def init(self, positions: Tensor, energy: Energy) -> TemperedState:
        """The state in which all replicas of a chain start at the same point."""
        state = self.kernel.init(positions, energy)
        swapped = state.accepted.new_zeros(len(positions), len(self.temperatures) - 1)
        return TemperedState((state,) * len(self.temperatures), swapped)

    def step(
        self,
        state: TemperedState,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> TemperedState:
        """One step of the kernel at each temperature, then the exchanges."""
        replicas = [
            kernel.step(replica, energy, generator=generator)
            for kernel, replica in zip(self.kernels, state.replicas, strict=True)
        ]
        return self.exchange(replicas, generator=generator)

    def exchange(
        self,
        replicas: Sequence[State],
        *,
        generator: torch.Generator | None = None,
    ) -> TemperedState:
        """Exchange neighbours, where the coin says so; it leaves the product invariant.

        Parameters
        ----------
        replicas : sequence of State
            One a temperature.
        """
        replicas, beta = list(replicas), [1 / t for t in self.temperatures]
        swapped: list[Tensor | None] = [None] * (len(beta) - 1)
        for j in [*range(0, len(beta) - 1, 2), *range(1, len(beta) - 1, 2)]:
            cold, hot = replicas[j], replicas[j + 1]
            log_ratio = (beta[j] - beta[j + 1]) * (cold.energy - hot.energy)
            u = torch.rand(
                len(log_ratio),
                dtype=log_ratio.dtype,
                device=log_ratio.device,
                generator=generator,
            )
            swap = u.log_() < log_ratio
            replicas[j] = _choose(swap, hot, cold)
            replicas[j + 1] = _choose(swap, cold, hot)
            swapped[j] = swap
        return TemperedState(tuple(replicas), torch.stack(swapped, 1))


def _choose(where: Tensor, a: State, b: State) -> State:
    """``a`` for the chains where it is true, else ``b``; each keeps b's acceptance."""
    rows = where[:, None]
    gradient = None
    if a.gradient is not None:
        gradient = torch.where(rows, a.gradient, b.gradient)
    return State(
        torch.where(rows, a.positions, b.positions),
        torch.where(where, a.energy, b.energy),
        gradient,
        b.accepted,
    )
