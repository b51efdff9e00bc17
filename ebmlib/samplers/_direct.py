"""Independent draws from a density known up to a constant: no chain is involved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import (
    check_finite,
    check_generator,
    check_int,
    check_number,
    check_tensor,
)
from ebmlib.distributions import Density
from ebmlib.energy import EnergyModel, energy_of
from ebmlib.grid import Grid

Target = EnergyModel | Distribution | Callable[[Tensor], Tensor]

_CHUNK = 1 << 16  # proposals at once: bounds the memory
_ROUNDING = 32  # a log ratio may exceed its bound by so many units of rounding


class Rejection(NamedTuple):
    """What rejection sampling found.

    Attributes
    ----------
    samples : Tensor, shape (n, d)
        Independent and exact.
    acceptance : float
        Measured: ``(n - 1) / (n_proposed - 1)``, the unbiased estimate when proposals
        are made until n are accepted (``1 / n_proposed`` for n = 1).
    standard_error : float
        Of ``acceptance``: ``sqrt(a (1 - a) / n_proposed)``.
    exact_acceptance : float or None
        ``Z / M``, when ``log_partition`` was given.
    log_partition : float
        Estimate of ``log Z``: the bound plus the logarithm of ``acceptance``.  Its
        standard error is ``standard_error / acceptance``.
    n_proposed : int
        Proposals up to the n-th accepted one.
    """

    samples: Tensor
    acceptance: float
    standard_error: float
    exact_acceptance: float | None
    log_partition: float
    n_proposed: int


def rejection_sample(
    target: Target,
    proposal: Distribution,
    log_bound: float,
    n: int,
    *,
    log_partition: float | None = None,
    max_proposals: int = 10_000_000,
    generator: torch.Generator | None = None,
) -> Rejection:
    """Exact samples: propose from r, keep with probability ``exp(-E(x)) / (M r(x))``.

    A proposal is kept with probability ``Z / M`` on average (von Neumann 1951), where
    ``Z`` is the integral of ``exp(-E)`` over the points that r can propose.

    Parameters
    ----------
    target : EnergyModel, Distribution or callable
        A model, a density, or an energy ``x (n, d) -> (n,)``, low where likely.  An
        energy of ``+inf`` is a density of zero.
    proposal : torch.distributions.Distribution
        ``r``, with ``event_shape`` (d,).
    log_bound : float
        ``log M``, where ``exp(-E(x)) <= M r(x)`` for every x.
    n : int
        Samples wanted.
    log_partition : float, optional
        The exact ``log Z``, for the exact acceptance.
    max_proposals : int
        Give up after so many.
    generator : torch.Generator, optional

    Returns
    -------
    Rejection

    Raises
    ------
    ValueError
        If a proposal violates the bound: then no sample can be trusted, and the message
        says where and by how much.
    RuntimeError
        If ``max_proposals`` do not suffice.
    FloatingPointError
        If an energy is NaN or ``-inf``.
    """
    check_proposal("proposal", proposal)
    check_number("log_bound", log_bound)
    check_int("n", n, 1)
    check_int("max_proposals", max_proposals, n)
    check_generator(generator)
    exact = None
    if log_partition is not None:
        check_number("log_partition", log_partition)
        if log_partition > log_bound:
            raise ValueError(
                f"log_bound must be at least log_partition={log_partition:g} when the "
                f"proposal is normalised, got {log_bound:g}"
            )
        exact = math.exp(float(log_partition) - float(log_bound))
    kept: list[Tensor] = []
    accepted = proposed = 0
    while accepted < n:
        if proposed >= max_proposals:
            raise RuntimeError(
                f"only {accepted} of n={n} samples after max_proposals={max_proposals} "
                "proposals; use a proposal closer to the target, or a Markov chain"
            )
        guess = exact or (accepted + 1) / (proposed + 1)
        size = min(int(1.1 * (n - accepted) / guess) + 32, _CHUNK)
        x = draw(proposal, min(size, max_proposals - proposed), generator)
        keep = _keep(target, proposal, float(log_bound), x, generator)
        place = keep.nonzero()[: n - accepted, 0]
        kept.append(x[place])
        accepted += len(place)
        proposed += int(place[-1]) + 1 if accepted == n else len(x)
    rate = (n - 1) / (proposed - 1) if n > 1 else 1 / proposed
    error = math.sqrt(rate * (1 - rate) / proposed)
    log_estimate = float(log_bound) + math.log(rate)
    return Rejection(torch.cat(kept), rate, error, exact, log_estimate, proposed)


def _keep(
    target: Target,
    proposal: Distribution,
    log_bound: float,
    x: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """Which proposals to keep, (n,) bool; the bound is checked at all of them."""
    log_p, log_r = log_density(target, x), log_density(proposal, x)
    excess = log_p - log_r - log_bound
    size = log_p.abs() + log_r.abs() + abs(log_bound)
    rounding = _ROUNDING * torch.finfo(x.dtype).eps * torch.nan_to_num(size, posinf=0)
    over = excess > rounding
    if over.any():
        worst = int(torch.where(over, excess, -math.inf).argmax())
        raise ValueError(
            f"log_bound={log_bound:g} is violated at {int(over.sum())} of {len(x)} "
            f"proposals, worst by {float(excess[worst]):.6g} nats at "
            f"x = {x[worst].tolist()}: it must be at least the largest -E(x) - log r(x)"
        )
    return uniform(len(x), generator).to(excess.device).log() < excess


def inverse_cdf(target: Target, grid: Grid, u: Tensor) -> Tensor:
    """Quantiles of a density on an interval, linear between the edges of the cells.

    The density is evaluated at the edges of the cells and joined by straight lines; its
    distribution function is then a parabola on each cell, inverted in closed form.  For
    that density the result is exact; its error in total variation falls as the square
    of the cell's side, that of the steps of :meth:`ebmlib.grid.GridDensity.sample`,
    which use the values at the centres, only as the side.

    Parameters
    ----------
    target : EnergyModel, Distribution or callable
        As in :func:`rejection_sample`; d = 1.
    grid : Grid
        Of dimension 1.
    u : Tensor, shape (n,)
        Probabilities in [0, 1].

    Returns
    -------
    Tensor, shape (n, 1), dtype of the grid's points

    Raises
    ------
    ValueError
        If the grid has another dimension or a probability lies outside [0, 1].
    FloatingPointError
        If an energy at an edge is NaN or ``-inf``, or all are ``+inf``.
    """
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a Grid, got {type(grid).__name__}")
    if grid.dim != 1:
        raise ValueError(
            f"grid must have dim 1, got {grid.dim}; GridDensity.sample draws from "
            "cells of any dimension"
        )
    check_tensor("u", u)
    if u.ndim != 1 or not bool(((u >= 0) & (u <= 1)).all()):
        raise ValueError(
            f"u must hold probabilities in [0, 1], shape (n,), got shape "
            f"{tuple(u.shape)}" + (f", {u.tolist()[:5]} ..." if u.ndim == 1 else "")
        )
    edges = grid.low + torch.arange(grid.bins + 1, dtype=torch.float64) * grid.width
    log_p = log_density(target, edges[:, None]).cpu()
    if bool((log_p == -math.inf).all()):
        raise FloatingPointError(f"target has no mass at the edges of {grid}")
    p = (log_p - log_p.max()).exp()
    mass = (p[:-1] + p[1:]) / 2
    cumulative = mass.cumsum(0)
    wanted = u.double().cpu() * cumulative[-1]
    # the maximum index guards u = 1, and what rounding makes of numbers near it
    cell = torch.searchsorted(cumulative, wanted, right=True).clamp_(
        max=int(mass.nonzero()[-1])
    )
    left, slope = p[cell], p[cell + 1] - p[cell]
    rest = wanted - (cumulative[cell] - mass[cell])
    root = (left.square() + 2 * slope * rest).clamp_(min=0).sqrt()
    # solves left t + slope t**2 / 2 = rest without cancellation
    share = torch.where(rest > 0, 2 * rest / (left + root), 0.0).clamp_(0, 1)
    points = edges[cell] + share * grid.width
    return points[:, None].to(grid.points.dtype)


def inverse_cdf_sample(
    target: Target, grid: Grid, n: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Independent samples by :func:`inverse_cdf` of uniform random numbers.

    Parameters
    ----------
    target, grid
        As in :func:`inverse_cdf`.
    n : int
    generator : torch.Generator, optional

    Returns
    -------
    Tensor, shape (n, 1), dtype of the grid's points
    """
    check_int("n", n, 1)
    check_generator(generator)
    return inverse_cdf(target, grid, uniform(n, generator))


def log_density(target: Target, x: Tensor) -> Tensor:
    """``-E(x)`` or ``log p(x)`` of any target, (n,) float64, checked, without graph.

    Minus infinity, a density of zero, is fine; NaN and plus infinity are not.
    """
    with torch.no_grad():
        if isinstance(target, EnergyModel):
            like = next(target.parameters(), x)
            values = -energy_of(target, x.to(like))
        elif isinstance(target, Distribution):
            check_proposal("target", target, dim=x.shape[1])
            values = target.log_prob(x)
        elif callable(target):
            values = -target(x)
            if values.shape != x.shape[:1]:
                raise ValueError(
                    f"target(x) must have shape ({len(x)},) for x of shape "
                    f"{tuple(x.shape)}, got {tuple(values.shape)}"
                )
        else:
            raise TypeError(
                "target must be an EnergyModel, a torch Distribution or an energy "
                f"function, got {type(target).__name__}"
            )
    values = values.double().to(x.device)
    name = f"log-density of {type(target).__name__} at {len(x)} points"
    hint = "an energy must be a number or +inf (zero density)"
    check_finite(name, torch.where(values == -math.inf, 0.0, values), hint)
    return values


def check_proposal(name: str, proposal: Distribution, dim: int | None = None) -> None:
    """Require a distribution of points: event_shape (d,), no batch_shape."""
    if not isinstance(proposal, Distribution):
        raise TypeError(
            f"{name} must be a torch.distributions.Distribution, "
            f"got {type(proposal).__name__}"
        )
    shape = tuple(proposal.event_shape)
    if len(shape) != 1 or proposal.batch_shape or dim not in (None, *shape):
        raise ValueError(
            f"{name} must have event_shape ({'d' if dim is None else dim},) and no "
            f"batch_shape, got {shape} and {tuple(proposal.batch_shape)}; "
            "torch.distributions.Independent(distribution, 1) joins coordinates"
        )


def uniform(n: int, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1), (n,) float64, on the generator's device."""
    device = None if generator is None else generator.device
    return torch.rand(n, dtype=torch.float64, generator=generator, device=device)


def draw(
    distribution: Distribution, n: int, generator: torch.Generator | None
) -> Tensor:
    """Sample n points with a generator, which torch's own distributions do not take.

    For these the global generators are seeded from ``generator`` and then put back.
    """
    if isinstance(distribution, Density):
        return distribution.sample((n,), generator=generator)
    if generator is None:
        return distribution.sample((n,))
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    on_gpu = torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if on_gpu else ()
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would put a call and its stack trace by for a later start of
        # CUDA, each time: slow, and never freed
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed_all(seed)
        return distribution.sample((n,))
