"""Markov kernels that many chains take at once.

A kernel is a small object that holds its parameters: ``init(positions, energy)`` makes
a :class:`State`, ``step(state, energy, generator=...)`` returns the next one.  Every
kernel aims at ``p_T(x)``, proportional to ``exp(-E(x) / T)``, within the box ``bounds``
where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ebmlib._checks import (
    check_int,
    check_positive,
)
from ebmlib.samplers._energies import (
    Energy,
    check_box,
    check_start,
    energy_and_gradient,
    energy_at,
    outside,
    reflect,
)


class State(NamedTuple):
    """Where the chains are, and what is known there.

    Attributes
    ----------
    positions : Tensor, shape (n, d)
    energy : Tensor, shape (n,)
        At the positions, for the energy that the last step was given.
    gradient : Tensor, shape (n, d), or None
        dE/dx at the positions; ``None`` for kernels that use no gradient.
    accepted : Tensor of bool, shape (n,)
        Whether the last proposal was taken.
    """

    positions: Tensor
    energy: Tensor
    gradient: Tensor | None
    accepted: Tensor


class Kernel(Protocol):
    """What :func:`ebmlib.samplers.sample` asks of a kernel."""

    def init(self, positions: Tensor, energy: Energy) -> State: ...

    def step(
        self,
        state: State,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> State: ...


@dataclass(frozen=True)
class _StepKernel:
    """Parameters of the kernels that move by a step, and how their chains begin."""

    step_size: float
    temperature: float = field(default=1.0, kw_only=True)
    bounds: tuple[float, float] | None = field(default=None, kw_only=True)
    boundary: str = field(default="reflect", kw_only=True)

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_positive("temperature", self.temperature)
        check_box(self.bounds, self.boundary)

    def init(self, positions: Tensor, energy: Energy) -> State:
        """The state of chains that start at ``positions``, shape (n, d).

        Raises
        ------
        ValueError
            If a point lies outside ``bounds``, or where the energy is infinite.
        """
        check_start(positions, self.bounds)
        value, gradient = energy_and_gradient(energy, positions)
        return started(positions, value, gradient)


class RandomWalkMetropolis(_StepKernel):
    """Metropolis with a Gaussian proposal (Metropolis et al. 1953).

    ``x' = x + step_size * xi`` is taken with probability
    ``min(1, exp(-(E(x') - E(x)) / T))``; otherwise the chain stays, and the place where
    it stays counts once more.  Needs no gradient.

    Parameters
    ----------
    step_size : float
        Standard deviation of the proposal along each axis, in the units of ``x``,
        whatever the temperature.
    temperature : float
        T: the chain aims at the density proportional to ``exp(-E / T)``.
    bounds : pair of float, optional
        Sides ``(low, high)`` of a box, the same along every axis: the chain aims at the
        density cut off there.
    boundary : {"reflect", "reject"}
        What happens to a proposal outside the box: it is folded back, as between
        mirrors, or refused.  Both leave the cut density invariant: folding keeps the
        proposal symmetric.
    """

    def init(self, positions: Tensor, energy: Energy) -> State:
        """The state of chains that start at ``positions``, shape (n, d)."""
        check_start(positions, self.bounds)
        return started(positions, energy_at(energy, positions), None)

    def step(
        self,
        state: State,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """Propose, and accept or stay; one energy a chain."""
        x = state.positions
        proposal = torch.add(x, _noise(x, generator), alpha=self.step_size)
        refused = None
        if self.bounds is not None and self.boundary == "reflect":
            proposal, _ = reflect(proposal, self.bounds)
        elif self.bounds is not None:
            refused = outside(proposal, self.bounds)
            # where the energy need not be defined, it is not asked for
            proposal = torch.where(refused[:, None], x, proposal)
        value = energy_at(energy, proposal)
        log_ratio = (state.energy - value) / self.temperature
        return _accept(
            state, State(proposal, value, None, refused), log_ratio, generator
        )


class Langevin(_StepKernel):
    """Unadjusted Langevin: down the gradient, plus noise (Parisi 1981).

    ``x' = x - (step_size**2 / 2) dE/dx + sqrt(T) step_size xi``.  Nothing is ever
    rejected, so the chain's law is ``p_T`` only in the limit of small steps.

    Parameters
    ----------
    step_size : float
        s, in the units of ``x``.  The other common form has the step ``s**2 / 2``.
    temperature : float
        T: the chain aims at the density proportional to ``exp(-E / T)``.
    bounds : pair of float, optional
        Sides ``(low, high)`` of a box, the same along every axis.
    boundary : {"reflect", "reject"}
        A point outside the box is folded back, as between mirrors, or the chain stays
        where it was.  Either keeps the chain in the box; like the step itself, either
        is right only in the limit of small steps, unless the energy is flat.
    """

    def step(
        self,
        state: State,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """Move every chain; one energy and one gradient each."""
        x = torch.add(
            state.positions, _gradient_of(state), alpha=-(self.step_size**2) / 2
        )
        scale = math.sqrt(self.temperature) * self.step_size
        x.add_(_noise(x, generator), alpha=scale)
        accepted = torch.ones(len(x), dtype=torch.bool, device=x.device)
        if self.bounds is not None and self.boundary == "reflect":
            x, _ = reflect(x, self.bounds)
        elif self.bounds is not None:
            accepted = ~outside(x, self.bounds)
            x = torch.where(accepted[:, None], x, state.positions)
        value, gradient = energy_and_gradient(energy, x, allow_infinite=False)
        return State(x, value, gradient, accepted)


class MALA(_StepKernel):
    """Metropolis-adjusted Langevin: the Langevin step, accepted or refused.

    The proposal ``x' = x - (step_size**2 / 2) dE/dx + sqrt(T) step_size xi`` is taken
    with the Metropolis-Hastings probability, so that ``p_T`` is exactly invariant
    (Roberts and Tweedie 1996).  It is :class:`HMC` with a single leapfrog step, and is
    computed as that.

    Parameters
    ----------
    step_size : float
        s, in the units of ``x``.
    temperature : float
        T: the chain aims at the density proportional to ``exp(-E / T)``.
    bounds : pair of float, optional
        Sides ``(low, high)`` of a box, the same along every axis: the chain aims at the
        density cut off there.
    boundary : {"reflect", "reject"}
        As for :class:`HMC`.
    """

    def step(
        self,
        state: State,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """Propose, and accept or stay; one energy and one gradient a chain."""
        return _hamiltonian_step(self, 1, state, energy, generator)


@dataclass(frozen=True)
class HMC(_StepKernel):
    """Hamiltonian Monte Carlo: follow the energy's mechanics, then accept or stay.

    A velocity is drawn from ``N(0, T I)``; ``n_leapfrog`` leapfrog steps of length
    ``step_size`` follow ``x'' = -dE/dx``; the end is accepted with probability
    ``min(1, exp(-(H' - H) / T))``, with ``H = E + |v|**2 / 2`` (Duane et al. 1987; Neal
    2011, section 5.3).  The error of ``H`` falls as ``step_size**2``.

    Parameters
    ----------
    step_size : float
        In the units of ``x``; with one leapfrog step, the Langevin step s.
    n_leapfrog : int
        Leapfrog steps to a proposal, each with one energy and one gradient.
    temperature : float
        T: the chain aims at the density proportional to ``exp(-E / T)``.
    bounds : pair of float, optional
        Sides ``(low, high)`` of a box, the same along every axis: the chain aims at the
        density cut off there.
    boundary : {"reflect", "reject"}
        The path is reflected at the walls and the velocity turned round, or a path that
        ends outside is refused.  Both leave the cut density invariant: a reflected path
        is still reversible and keeps volume.
    """

    n_leapfrog: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("n_leapfrog", self.n_leapfrog, 1)

    def step(
        self,
        state: State,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """Follow a path, and accept its end or stay."""
        return _hamiltonian_step(self, self.n_leapfrog, state, energy, generator)


def leapfrog(
    state: State,
    velocity: Tensor,
    energy: Energy,
    *,
    step_size: float,
    n_leapfrog: int,
    bounds: tuple[float, float] | None = None,
) -> tuple[State, Tensor]:
    """Follow ``x'' = -dE/dx`` by the leapfrog rule, reflected at the walls of a box.

    Half a kick, a drift, a full kick, ..., half a kick.  The map is reversible: from
    its end with the velocity turned round, it comes back to its start.

    Parameters
    ----------
    state : State
        With its gradient.
    velocity : Tensor, shape (n, d)
    energy : EnergyModel or callable
    step_size : float
        In the units of ``x``.
    n_leapfrog : int
    bounds : pair of float, optional

    Returns
    -------
    state : State
        At the end of the path.
    velocity : Tensor, shape (n, d)
    """
    x, value, gradient = state.positions, state.energy, _gradient_of(state)
    velocity = torch.add(velocity, gradient, alpha=-step_size / 2)
    for i in range(n_leapfrog):
        x = torch.add(x, velocity, alpha=step_size)
        if bounds is not None:
            x, flipped = reflect(x, bounds)
            velocity = torch.where(flipped, -velocity, velocity)
        value, gradient = energy_and_gradient(energy, x)
        kick = step_size if i < n_leapfrog - 1 else step_size / 2
        velocity = torch.add(velocity, gradient, alpha=-kick)
    return State(x, value, gradient, state.accepted), velocity


def _hamiltonian_step(
    kernel: _StepKernel,
    n_leapfrog: int,
    state: State,
    energy: Energy,
    generator: torch.Generator | None,
) -> State:
    """Draw a velocity, follow the path, accept its end or stay."""
    velocity = math.sqrt(kernel.temperature) * _noise(state.positions, generator)
    mirrors = kernel.bounds if kernel.boundary == "reflect" else None
    end, last = leapfrog(
        state,
        velocity,
        energy,
        step_size=kernel.step_size,
        n_leapfrog=n_leapfrog,
        bounds=mirrors,
    )
    kinetic = (velocity.square() - last.square()).sum(1) / 2
    log_ratio = (state.energy - end.energy + kinetic) / kernel.temperature
    refused = None
    if kernel.bounds is not None and mirrors is None:
        refused = outside(end.positions, kernel.bounds)
    return _accept(state, end._replace(accepted=refused), log_ratio, generator)


def _accept(
    old: State,
    new: State,
    log_ratio: Tensor,
    generator: torch.Generator | None,
) -> State:
    """Take each proposal with probability ``min(1, exp(log_ratio))``, else stay.

    ``new.accepted`` holds the proposals that are refused before any coin is tossed, or
    None.
    """
    u = torch.rand(
        len(log_ratio),
        dtype=log_ratio.dtype,
        device=log_ratio.device,
        generator=generator,
    )
    accepted = u.log_() < log_ratio
    if new.accepted is not None:
        accepted &= ~new.accepted
    taken = accepted[:, None]
    gradient = new.gradient
    if gradient is not None:
        gradient = torch.where(taken, gradient, _gradient_of(old))
    return State(
        torch.where(taken, new.positions, old.positions),
        torch.where(accepted, new.energy, old.energy),
        gradient,
        accepted,
    )


def started(positions: Tensor, value: Tensor, gradient: Tensor | None) -> State:
    """The first state; where there is no mass, no chain can start."""
    if (empty := value == math.inf).any():
        first = int(empty.nonzero()[0])
        raise ValueError(
            f"positions must have finite energy, got +inf at {int(empty.sum())} of "
            f"{len(value)}, the first in row {first}: {positions[first].tolist()}"
        )
    return State(positions.detach(), value, gradient, torch.ones_like(empty))


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the same shape, dtype and device."""
    return torch.randn(
        like.shape, dtype=like.dtype, device=like.device, generator=generator
    )


def _gradient_of(state: State) -> Tensor:
    if state.gradient is None:
        raise ValueError(
            "state must hold a gradient for this kernel; kernel.init(positions, "
            "energy) makes such a state"
        )
    return state.gradient
