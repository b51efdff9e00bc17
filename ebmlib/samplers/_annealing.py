"""Annealed importance sampling: a ladder from a known density to the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import (
    check_between,
    check_finite,
    check_generator,
    check_int,
    check_points,
)
from ebmlib.energy import EnergyModel
from ebmlib.samplers._direct import check_proposal, draw, log_density
from ebmlib.samplers._energies import Energy, frozen
from ebmlib.samplers._kernels import Kernel, State

KernelFamily = Kernel | Callable[[float], Kernel]


class AnnealedEstimate(NamedTuple):
    """What annealed chains say about ``log Z``.

    Attributes
    ----------
    log_partition : float
        Forwards ``log mean exp(log_weights)``; in reverse ``-log mean
        exp(-log_weights)``.
    standard_error : float
        Of ``log_partition``, by the delta method: ``sqrt((n / ess - 1) / (n - 1))``.
    interval : (float, float)
        ``log_partition`` plus and minus the normal quantile times ``standard_error``.
        It holds its level when the weights are even; when a few chains carry the sum it
        is too short and too low (too high in reverse).
    log_weights : Tensor, shape (n_chains,), float64
        One estimate of ``log Z`` a chain.  Forwards each is low on average, in reverse
        high: ``mean exp(log_weights)`` is unbiased for ``Z``, in reverse ``mean
        exp(-log_weights)`` for ``1 / Z``.
    effective_sample_size : float
        Of the weights, from 1 to n_chains.
    samples : Tensor, shape (n_chains, d)
        Where the chains ended.  Forwards, weighted by ``softmax(log_weights)``, they
        stand for the target.
    acceptance : Tensor, shape (k - 2,), float64
        Mean acceptance at each rung between the ends, from the initial distribution
        (rung 1) to the target.
    """

    log_partition: float
    standard_error: float
    interval: tuple[float, float]
    log_weights: Tensor
    effective_sample_size: float
    samples: Tensor
    acceptance: Tensor


def annealed_importance_sampling(
    energy: Energy,
    initial: Distribution,
    kernel: KernelFamily,
    betas: int | Sequence[float] | Tensor,
    n_chains: int = 100,
    *,
    n_steps: int = 1,
    reverse_from: Tensor | None = None,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
) -> AnnealedEstimate:
    """Estimate ``log Z`` along a ladder of densities (Neal 2001).

    The rungs are ``p_b(x)`` proportional to ``p_0(x)**(1 - b) exp(-b E(x))``: the
    initial distribution at b = 0, the target at b = 1.  A chain starts from a sample of
    ``p_0``; from rung b to b' its log-weight grows by ``(b' - b) (-E(x) - log p_0(x))``
    and the kernel moves it at b'.  The mean weight is unbiased for ``Z``, however few
    the rungs and however poorly the kernel mixes, if the kernel leaves each ``p_b``
    invariant: Metropolis, MALA and HMC do, unadjusted Langevin does not.

    In reverse (Grosse et al. 2015) chains start from exact samples of the target and
    run down the ladder, which estimates ``1 / Z``.  Forwards the expected log-weight is
    below ``log Z``, in reverse above: together they bracket it.  Whatever the variance,
    ``log Z`` is above the forward estimate minus ``log(1 / a)`` with probability at
    least ``1 - a`` (Markov's inequality), and likewise below in reverse.  From a target
    much narrower than ``p_0`` the reverse weights go from narrow to wide, and may have
    no variance.

    Parameters
    ----------
    energy : EnergyModel or callable
        Maps points (n, d) to energies (n,), low where likely; finite wherever
        ``initial`` puts points.
    initial : torch.distributions.Distribution
        ``p_0``, normalised, with ``event_shape`` (d,).  ``Z`` is the integral of
        ``exp(-E)`` over its support, which the kernel's ``bounds`` must match.
    kernel : kernel or callable
        For example ``MALA(0.1)``, or a function from b in (0, 1) to a kernel.  It must
        satisfy detailed balance when run in reverse.
    betas : int or sequence of float
        The rungs, rising from 0 to 1; a number k of them means k equal steps' ends,
        ``linspace(0, 1, k)``.
    n_chains : int
    n_steps : int
        Steps of the kernel at each rung.
    reverse_from : Tensor, shape (n_chains, d), optional
        Exact samples of the target: run in reverse from them.
    confidence : float
        Level of ``interval``.
    generator : torch.Generator, optional

    Returns
    -------
    AnnealedEstimate

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    FloatingPointError
        If an energy is not finite; the message names the rung.
    """
    check_proposal("initial", initial)
    ladder = _ladder(betas)
    check_int("n_chains", n_chains, 2)
    check_int("n_steps", n_steps, 1)
    check_between("confidence", confidence, 0.0, 1.0)
    check_generator(generator)
    if not (hasattr(kernel, "step") or callable(kernel)):
        raise TypeError(
            "kernel must be a kernel, such as MALA(0.1), or a function from b to one, "
            f"got {type(kernel).__name__}"
        )
    if reverse_from is None:
        x, sign = draw(initial, n_chains, generator), 1
    else:
        check_points("reverse_from", reverse_from, dim=initial.event_shape[0])
        if len(reverse_from) != n_chains:
            raise ValueError(
                f"reverse_from must hold n_chains={n_chains} points, "
                f"got {len(reverse_from)}"
            )
        x, sign, ladder = reverse_from, -1, ladder.flip(0)
    if isinstance(energy, EnergyModel):
        x = x.to(next(energy.parameters(), x))
    log_weights = torch.zeros(n_chains, dtype=torch.float64, device=x.device)
    rates: list[float] = []
    with frozen(energy):
        for i, (here, there) in enumerate(pairwise(ladder)):
            try:
                gain = log_density(energy, x) - log_density(initial, x)
                check_finite("log-weight", gain, "energy and initial must be finite")
                if i < len(ladder) - 2:
                    tempered = _rung(energy, initial, float(there))
                    state, rate = _move(
                        kernel, float(there), tempered, x, n_steps, generator
                    )
                    x = state.positions
                    rates.append(rate)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"between b = {float(here):g} and {float(there):g}: {error}"
                ) from error
            log_weights += (there - here).abs() * gain
    return _estimate(log_weights, sign, confidence, x, rates[::sign])


def _rung(
    energy: Energy, initial: Distribution, b: float
) -> Callable[[Tensor], Tensor]:
    """The energy of one rung, ``b E(x) - (1 - b) log p_0(x)``."""

    def tempered(x: Tensor) -> Tensor:
        target = energy.energy(x) if isinstance(energy, EnergyModel) else energy(x)
        return b * target - (1 - b) * initial.log_prob(x).to(target.dtype)

    return tempered


def _move(
    kernel: KernelFamily,
    b: float,
    energy: Energy,
    x: Tensor,
    n_steps: int,
    generator: torch.Generator | None,
) -> tuple[State, float]:
    """Move chains at one rung; their state, and the share of accepted steps."""
    here = kernel if hasattr(kernel, "step") else kernel(b)
    state, accepted = here.init(x, energy), 0.0
    for _ in range(n_steps):
        state = here.step(state, energy, generator=generator)
        accepted += float(state.accepted.double().mean())
    return state, accepted / n_steps


def _estimate(
    log_weights: Tensor, sign: int, confidence: float, x: Tensor, rates: list[float]
) -> AnnealedEstimate:
    """Everything that follows from the weights; sign -1 for chains run in reverse."""
    n = len(log_weights)
    share = torch.softmax(sign * log_weights, 0)
    ess = 1 / float(share.square().sum())
    log_mean = float(torch.logsumexp(sign * log_weights, 0)) - math.log(n)
    error = math.sqrt(max(0.0, n / ess - 1) / (n - 1))
    level = torch.tensor((1 + float(confidence)) / 2, dtype=torch.float64)
    half = float(torch.special.ndtri(level)) * error
    log_z = sign * log_mean
    return AnnealedEstimate(
        log_z,
        error,
        (log_z - half, log_z + half),
        log_weights,
        ess,
        x,
        torch.tensor(rates, dtype=torch.float64),
    )


def _ladder(betas: int | Sequence[float] | Tensor) -> Tensor:
    """The rungs, checked: float64, rising from 0 to 1."""
    if isinstance(betas, int) and not isinstance(betas, bool):
        check_int("betas", betas, 2)
        return torch.linspace(0, 1, betas, dtype=torch.float64)
    if not isinstance(betas, Sequence | Tensor) or isinstance(betas, str):
        raise TypeError(
            "betas must be a number of rungs or a sequence rising from 0 to 1, "
            f"got {type(betas).__name__}"
        )
    ladder = torch.as_tensor(betas, dtype=torch.float64).cpu()
    rising = ladder.ndim == 1 and len(ladder) >= 2 and bool((ladder.diff() > 0).all())
    if not rising or float(ladder[0]) != 0 or float(ladder[-1]) != 1:
        raise ValueError(
            "betas must rise from 0 to 1 without a repeat, at least 2 of them, got "
            f"shape {tuple(ladder.shape)}"
            + (f", {ladder[:3].tolist()} ..." if ladder.ndim == 1 else "")
        )
    return ladder
