"""The one loop that runs any kernel over many chains at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ebmlib._checks import check_generator, check_int
from ebmlib._memory import keep_freed_memory
from ebmlib._progress import wants_bar
from ebmlib.samplers._energies import Energy, frozen
from ebmlib.samplers._kernels import Kernel


class Samples(NamedTuple):
    """Where chains ended, and how they came there.

    Attributes
    ----------
    positions : Tensor, shape (n, d)
        After the last step.
    energy : Tensor, shape (n,)
        There.
    acceptance : Tensor, shape (n,), float64
        Share of accepted proposals of each chain, the burn-in not counted.
    trajectory : Tensor, shape (m, n, d), or None
        Positions after every ``thin``-th step, ``m = n_steps // thin``.
    energies : Tensor, shape (m, n), or None
        Energies along the trajectory.
    swap_rates : Tensor, shape (k - 1,), float64, or None
        Of tempering: share of accepted swaps between neighbouring temperatures.
    """

    positions: Tensor
    energy: Tensor
    acceptance: Tensor
    trajectory: Tensor | None = None
    energies: Tensor | None = None
    swap_rates: Tensor | None = None


def sample(
    kernel: Kernel,
    energy: Energy,
    initial: Tensor,
    n_steps: int,
    *,
    burn_in: int = 0,
    thin: int = 1,
    trajectory: bool = False,
    progress: bool | None = None,
    generator: torch.Generator | None = None,
) -> Samples:
    """Run a kernel from given points, all chains at once.

    Parameters
    ----------
    kernel : kernel
        For example ``Langevin(0.05)``; anything with ``init`` and ``step``.
    energy : EnergyModel or callable
        Maps points (n, d) to energies (n,), low where a point is likely.
    initial : Tensor, shape (n, d)
        Where the n chains start.
    n_steps : int
        Steps after the burn-in.
    burn_in : int
        Steps before, which leave no trace in the result.
    thin : int
        The trajectory holds every ``thin``-th step.
    trajectory : bool
        Whether to keep the way, which takes ``n_steps // thin * n * d`` numbers.
    progress : bool, optional
        Whether to show a bar; in a live notebook only, unless given.
    generator : torch.Generator, optional
        Source of all randomness.

    Returns
    -------
    Samples

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the energy gives a wrong shape.
    FloatingPointError
        If an energy or gradient is not finite; the message names the step.
    """
    check_int("n_steps", n_steps, 1)
    check_int("burn_in", burn_in, 0)
    check_int("thin", thin, 1)
    check_generator(generator)
    if not (hasattr(kernel, "init") and hasattr(kernel, "step")):
        raise TypeError(
            "kernel must have init and step, as Langevin(0.05) has, got "
            f"{type(kernel).__name__}"
        )
    keep_freed_memory()
    way, energies, swapped = [], [], 0.0
    bar = tqdm(
        range(1 - burn_in, n_steps + 1), disable=not wants_bar(progress), desc="sample"
    )
    with frozen(energy):
        state = kernel.init(initial, energy)
        accepted = torch.zeros(len(initial), dtype=torch.int32, device=initial.device)
        for i in bar:
            try:
                state = kernel.step(state, energy, generator=generator)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"step {i + burn_in} of {n_steps + burn_in}: {error}"
                ) from error
            if i < 1:
                continue
            accepted += state.accepted
            if (swaps := getattr(state, "swapped", None)) is not None:
                swapped = swapped + swaps.double().mean(0)
            if trajectory and i % thin == 0:
                way.append(state.positions)
                energies.append(state.energy)
    return Samples(
        state.positions,
        state.energy,
        accepted.double() / n_steps,
        _stack(way, state.positions) if trajectory else None,
        _stack(energies, state.energy) if trajectory else None,
        swapped / n_steps if isinstance(swapped, Tensor) else None,
    )


def _stack(values: list[Tensor], like: Tensor) -> Tensor:
    """Join what was kept; nothing is kept when ``thin`` exceeds the steps."""
    return torch.stack(values) if values else like.new_empty((0, *like.shape))
