"""Make a density match statistics: Newton's method on an exact convex likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlib._checks import check_finite, check_int, check_positive, check_tensor

_SINGULAR = 1e-13  # of a correlation matrix: its rounding is some 1e-15 an entry


class StatisticsNotMatched(ValueError):
    """No member of the exponential family has the statistics that were asked for.

    Attributes
    ----------
    residual : float
        Largest gap between a statistic and its target when the search stopped.
    """

    def __init__(self, message: str, residual: float = math.inf) -> None:
        super().__init__(message)
        self.residual = residual


@dataclass(frozen=True)
class Match:
    """A member ``p(x_i) ~ base_i exp(c . phi(x_i))`` of an exponential family.

    Attributes
    ----------
    coefficients : Tensor, shape (k,)
    prob : Tensor, shape (n,)
        Its masses; they sum to 1.
    log_partition : float
        ``log sum_i base_i exp(c . phi(x_i))``.
    target, mean : Tensor, shape (k,)
        The expectations asked for, and its own ``E_p[phi]``.
    covariance : Tensor, shape (k, k)
        Of ``phi`` under it: the Hessian of the log-partition function.
    residual : float
        Largest gap between a statistic and its target.
    n_newton : int
        Newton steps taken.
    """

    coefficients: Tensor
    prob: Tensor
    log_partition: float
    target: Tensor
    mean: Tensor
    covariance: Tensor
    residual: float
    n_newton: int


def match_statistics(
    features: Tensor,
    target: Tensor,
    log_base: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-8,
    max_newton: int = 500,
) -> Match:
    """Find the coefficients whose density has given expectations.

    They maximise ``c . target - log sum_i exp(log_base_i + c . features_i)``, which is
    the mean log-likelihood of data with these statistics, up to a constant. It is
    concave, its gradient is ``target - E_p[features]`` and its Hessian minus the
    covariance of the features under the model, so that Newton's method with a line
    search finds the one solution from anywhere.

    Parameters
    ----------
    features : Tensor, shape (n, k), float64
        Statistics at each of the points that carry the density.
    target : Tensor, shape (k,)
        Expectations to match.
    log_base : Tensor, shape (n,)
        Logarithms of the base measure's masses; ``-inf`` takes a point away.
    start : Tensor, shape (k,), optional
        Where to begin; 0 unless given.
    tolerance : float
        Largest gap allowed, in the units of the features.
    max_newton : int

    Returns
    -------
    Match

    Raises
    ------
    StatisticsNotMatched
        A ``ValueError``: a target is outside what its feature can reach, or on the
        border; the features are collinear, so that the coefficients are not determined;
        or the steps run out.
    FloatingPointError
        If an argument is NaN or infinite.
    """
    features, target, log_base = _checked(features, target, log_base)
    check_positive("tolerance", tolerance)
    check_int("max_newton", max_newton, 1)
    c = torch.zeros_like(target) if start is None else start.double().clone()
    if c.shape != target.shape:
        raise ValueError(f"start must have shape {tuple(target.shape)}, got {c.shape}")
    support = features[torch.isfinite(log_base)]
    _check_reachable(support, target)
    _check_independent(support)
    state = _Point(features, target, log_base, c)
    for n_newton in range(max_newton + 1):
        covariance = state.covariance()
        residual = float(state.gradient.abs().max()) if len(c) else 0.0
        if residual <= tolerance:
            return Match(
                state.c,
                state.prob,
                state.log_partition,
                target,
                state.mean,
                covariance,
                residual,
                n_newton,
            )
        step = newton_step(covariance, state.gradient)
        ahead = None if step is None else _line_search(state, step)
        if ahead is None:
            break
        state = ahead
    raise StatisticsNotMatched(
        f"target is not matched: the largest gap is {residual:.2g} after {n_newton} "
        f"Newton steps, with coefficients up to {float(state.c.abs().max()):.2g}; the "
        "statistics lie on the border of what is possible, or outside, together if not "
        "one by one. Use fewer filters, or more data",
        residual,
    )


def newton_step(covariance: Tensor, gradient: Tensor) -> Tensor | None:
    """Solve ``covariance @ step = gradient`` for features of any scale.

    None when the covariance is singular: the mass has gone to where the features are
    bound to each other, or the filters are collinear.
    """
    scale = covariance.diagonal().clamp(min=0).sqrt()
    if not bool((scale > 0).all()):
        return None
    correlation = covariance / scale / scale[:, None]
    factor, failed = torch.linalg.cholesky_ex(correlation)
    if failed:
        return None
    return torch.cholesky_solve((gradient / scale)[:, None], factor)[:, 0] / scale


class _Point:
    """The objective and its gradient at some coefficients."""

    def __init__(self, features: Tensor, target: Tensor, log_base: Tensor, c: Tensor):
        self.problem = features, target, log_base
        self.c = c
        log_weight = features @ c + log_base
        self.log_partition = float(torch.logsumexp(log_weight, 0))
        self.prob = torch.softmax(log_weight, 0)
        self.mean = self.prob @ features
        self.gradient = target - self.mean
        self.value = float(c @ target) - self.log_partition

    def covariance(self) -> Tensor:
        centred = self.problem[0] - self.mean
        return centred.T @ (centred * self.prob[:, None])


def _line_search(state: _Point, step: Tensor) -> _Point | None:
    """Halve the step until the objective rises by a share of what it promises."""
    promise = float(step @ state.gradient)
    noise = 1e-14 * (1 + abs(state.value) + abs(state.log_partition))
    length = 1.0
    while length > 1e-10:
        ahead = _Point(*state.problem, state.c + length * step)
        # near the solution the rise drowns in rounding, where a full step is right
        if ahead.value >= state.value + 1e-4 * length * promise - noise:
            return ahead
        length /= 2
    return None


def _check_independent(features: Tensor) -> None:
    """No feature may be a combination of the others and a constant."""
    if not features.shape[1]:
        return
    centred = features - features.mean(0)
    centred = centred / centred.norm(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    if float(values[0]) < _SINGULAR:
        share = vectors[:, 0].abs()
        involved = (share > 0.01 * share.max()).nonzero()[:, 0].tolist()
        raise StatisticsNotMatched(
            f"features of index {involved} are collinear: one is a combination of the "
            "others and a constant, so that their coefficients are not determined. "
            "Leave one of them out"
        )


def _check_reachable(features: Tensor, target: Tensor) -> None:
    """Each target must be strictly between its feature's extremes."""
    if not len(target):
        return
    low, high = features.amin(0), features.amax(0)
    bad = ~((target > low) & (target < high))
    if bool(bad.any()):
        k = int(bad.nonzero()[0])
        raise StatisticsNotMatched(
            f"target {k} is {float(target[k]):.6g}, but its feature lies between "
            f"{float(low[k]):.6g} and {float(high[k]):.6g}: only values strictly "
            "between can be expectations of a density that is positive wherever the "
            "base measure is. A filter that no data point activates does this"
        )


def _checked(
    features: Tensor, target: Tensor, log_base: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    check_tensor("features", features)
    check_tensor("target", target)
    check_tensor("log_base", log_base)
    if features.ndim != 2 or target.shape != features.shape[1:]:
        raise ValueError(
            "features must be (n, k) and target (k,), got shapes "
            f"{tuple(features.shape)} and {tuple(target.shape)}"
        )
    if log_base.shape != features.shape[:1]:
        raise ValueError(
            f"log_base must have shape ({len(features)},), one a row of features, got "
            f"{tuple(log_base.shape)}"
        )
    check_finite("features", features)
    check_finite("target", target)
    check_finite("exp(log_base)", log_base.exp())
    if not bool(torch.isfinite(log_base).any()):
        raise ValueError("log_base must be finite somewhere, got -inf everywhere")
    return features.double(), target.double(), log_base.double()
