"""Filter pursuit: add one ReLU filter at a time, and fit all coefficients again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_choice, check_int, check_positive
from ebmlib.grid import Grid
from ebmlib.pursuit._filters import Filters, filter_pool
from ebmlib.pursuit._matching import Match, StatisticsNotMatched
from ebmlib.pursuit._problem import Problem
from ebmlib.pursuit._result import Pursuit, Step
from ebmlib.pursuit._scores import CRITERIA, filter_scores, second_order_gain

_REFINE_FROM = (math.pi / 72, 0.033)  # half a cell of the default pool: 2.5 degrees
_TIE = 1e-6  # relative difference of scores that is rounding, not preference


def pursue(
    data: Tensor | Distribution,
    prior: Distribution | None,
    n_filters: int,
    *,
    criterion: str = "mismatch",
    pool: Filters | None = None,
    grid: Grid | None = None,
    refine: int = 0,
    resume: Pursuit | None = None,
    keep_scores: bool = False,
    tolerance: float = 1e-8,
) -> Pursuit:
    """Choose ReLU filters one by one; match the expectations of all of them each time.

    This is the pursuit of FRAME (Zhu, Wu and Mumford 1997) with ReLU filters in place
    of histograms (Zhu 2019, chapter 4). From the prior on, each step takes the filter
    of the pool with the best score under the present model, then fits *all*
    coefficients by Newton's method on the exact likelihood, until every chosen
    statistic agrees with the data.

    Parameters
    ----------
    data : Tensor, shape (n, 2), or Distribution
        Points, whose statistics are their means; or a distribution, whose statistics
        are sums over the grid, normalised on its box.
    prior : Distribution or None
        The reference ``p0``; ``None`` is the flat one.
    n_filters : int
        Filters to add. There are fewer in the end when no filter of the pool is
        mismatched by more than ``tolerance``.
    criterion : {"mismatch", "normalised", "orthogonalised", "gain"}
        See :func:`filter_scores`.
    pool : Filters, optional
        Filters to choose from; :func:`filter_pool` unless given. Those whose statistic
        is at the end of their range (no data point activates them) cannot be matched
        and are passed over.
    grid : Grid, optional
        Where expectations under the model are taken, in float64; 100 bins a side
        unless given.
    refine : int
        Rounds of a local search about the best filter of the pool; each tries 25
        directions and offsets, the first at most 2.5 degrees and 0.033 away,
        and halves these distances.
    resume : Pursuit, optional
        Go on from here; with a pool of one filter, add one by hand.
    keep_scores : bool
        Keep the scores of the whole pool at every step.
    tolerance : float
        Largest gap allowed between a statistic and its target.

    Returns
    -------
    Pursuit

    Raises
    ------
    StatisticsNotMatched
        A ``ValueError``: no filter of the pool can be matched, or those chosen cannot
        be matched together.
    ValueError
        If an argument is out of its range, points lie outside the grid, or the prior
        is zero where there are data.
    TypeError
        If an argument is of the wrong kind.

    Examples
    --------
    >>> from ebmlib.distributions import TwoGaussians
    >>> pursuit = pursue(TwoGaussians(), None, 4)
    >>> len(pursuit.filters), len(pursuit.network)
    (4, 3)
    """
    check_int("n_filters", n_filters, 0)
    check_int("refine", refine, 0)
    check_choice("criterion", criterion, CRITERIA)
    check_positive("tolerance", tolerance)
    pool = filter_pool() if pool is None else pool
    if not isinstance(pool, Filters):
        raise TypeError(f"pool must be Filters, got {type(pool).__name__}")
    grid = _grid(grid, resume)
    problem = Problem(data, prior, grid, tolerance)
    pursuit = Pursuit(
        Filters(torch.zeros(0), torch.zeros(0)),
        prior,
        grid,
        [],
        criterion,
        problem.log_likelihood(problem.match(None, None)),
        problem.entropy,
    )
    if resume is not None:
        pursuit = _again(resume, pursuit)
    target = problem.expect(pool)
    match = problem.match(pursuit.filters, pursuit.coefficients)
    for _ in range(n_filters):
        ahead = _add(pursuit, problem, match, pool, target, refine, keep_scores)
        if ahead is None:
            break
        pursuit, match = ahead
    return pursuit


def _add(
    pursuit: Pursuit,
    problem: Problem,
    match: Match,
    pool: Filters,
    target: Tensor,
    refine: int,
    keep_scores: bool,
) -> tuple[Pursuit, Match] | None:
    """One step: score, choose, match; None when nothing is left to match."""
    chosen = problem.features(pursuit.filters)

    def scores(filters: Filters, target: Tensor) -> Tensor:
        value = filter_scores(
            filters, target, problem.points, match.prob, pursuit.criterion, chosen
        )
        return torch.where(problem.reachable(filters, target), value, -1.0)

    all_scores = scores(pool, target)
    best = _first_best(all_scores)
    if all_scores[best] < 0:
        raise StatisticsNotMatched(
            f"pool: none of its {len(pool)} filters has a statistic that a positive "
            "density can match; no data point activates them"
        )
    new, score = pool[best : best + 1], float(all_scores[best])
    for n_round in range(refine):
        new, score = _nearby(new, score, 0.5**n_round, scores, problem)
    statistic = float(problem.expect(new))
    value = problem.features(new)[:, 0]
    before = float(match.prob @ value)
    if abs(statistic - before) <= problem.tolerance:
        return None
    predicted = second_order_gain(value, statistic, match.prob, chosen)
    filters = pursuit.filters.joined(new)
    start = torch.cat([match.coefficients, torch.zeros(1, dtype=torch.float64)])
    after = problem.match(filters, start)
    gain = problem.log_likelihood(after) - problem.log_likelihood(match)
    step = Step(
        float(new.angles),
        float(new.offsets),
        score,
        statistic,
        before,
        gain,
        predicted,
        after.residual,
        after.n_newton,
        after.coefficients,
        all_scores if keep_scores else None,
    )
    return replace(pursuit, filters=filters, history=[*pursuit.history, step]), after


def _first_best(scores: Tensor) -> int:
    """Index of the first of the best scores: symmetric data make ties."""
    top = scores.max()
    return int((scores >= top - _TIE * top.abs()).nonzero()[0])


def _nearby(
    new: Filters,
    score: float,
    scale: float,
    scores: Callable[[Filters, Tensor], Tensor],
    problem: Problem,
) -> tuple[Filters, float]:
    """The best of a filter and its neighbours at some distance."""
    reach = torch.linspace(-1, 1, 5, dtype=torch.float64)
    turn, shift = torch.meshgrid(reach, reach, indexing="ij")
    around = Filters(
        new.angles + turn.reshape(-1) * _REFINE_FROM[0] * scale,
        new.offsets + shift.reshape(-1) * _REFINE_FROM[1] * scale,
    )
    found = scores(around, problem.expect(around))
    best = _first_best(found)
    if float(found[best]) <= score * (1 + _TIE):
        return new, score
    return around[best : best + 1], float(found[best])


def _again(resume: Pursuit, fresh: Pursuit) -> Pursuit:
    """A pursuit to go on with, if it is one of these data and this prior."""
    if not isinstance(resume, Pursuit):
        raise TypeError(
            f"resume must be what pursue returned, got {type(resume).__name__}"
        )
    if not math.isclose(
        resume.start_log_likelihood, fresh.start_log_likelihood, abs_tol=1e-9
    ):
        raise ValueError(
            "resume must be a pursuit of the same data, prior and grid: its prior had "
            f"the log-likelihood {resume.start_log_likelihood:.9g}, this one has "
            f"{fresh.start_log_likelihood:.9g}"
        )
    return replace(resume, prior=fresh.prior, criterion=fresh.criterion)


def _grid(grid: Grid | None, resume: Pursuit | None) -> Grid:
    if grid is None:
        grid = getattr(resume, "grid", Grid(bins=100))
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a Grid, got {type(grid).__name__}")
    if grid.dim != 2:
        raise ValueError(f"grid must have dim 2, got {grid.dim}")
    return grid
