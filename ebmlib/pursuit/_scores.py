"""What a filter of the pool promises: four criteria, from the same expectations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ebmlib.pursuit._filters import Filters, batches
from ebmlib.pursuit._matching import newton_step

CRITERIA = ("mismatch", "normalised", "orthogonalised", "gain")
_NOTHING_NEW = 1e-9  # share of a variance below which it is rounding
_ROUNDING = 1e-13  # of a gain, in nats
_MAX_NEWTON = 200


def filter_scores(
    pool: Filters,
    target: Tensor,
    points: Tensor,
    prob: Tensor,
    criterion: str,
    chosen: Tensor,
) -> Tensor:
    """Score of each filter of a pool under a model; the largest is chosen next.

    With ``d`` the difference of the filter's expectation under the data and under the
    model, the criteria are

    - ``"mismatch"``: ``|d|``, as in the thesis;
    - ``"normalised"``: ``|d| / sd``, with the standard deviation under the model;
    - ``"orthogonalised"``: ``|d| / sd'``, with what is left of the standard deviation
      after a regression on the filters chosen before. ``d**2 / (2 sd'**2)`` is the gain
      in log-likelihood to second order when all coefficients are fitted again;
    - ``"gain"``: the exact gain when this one coefficient alone is fitted, the others
      kept: the maximum over ``c`` of ``c E_data[phi] - log E_model[exp(c phi)]``, nats.

    Parameters
    ----------
    pool : Filters
        Of m filters.
    target : Tensor, shape (m,)
        Their expectations under the data.
    points, prob : Tensor, shapes (n, 2) and (n,)
        The model: points and their masses.
    criterion : {"mismatch", "normalised", "orthogonalised", "gain"}
    chosen : Tensor, shape (n, k)
        Values of the filters chosen before at the points.

    Returns
    -------
    Tensor, shape (m,)
        A filter that is constant under the model, or a combination of those chosen
        before, scores 0 unless the criterion is the plain mismatch.
    """
    score = {
        "mismatch": _mismatch,
        "normalised": _normalised,
        "orthogonalised": _against(prob, chosen),
        "gain": exact_gains,
    }[criterion]
    some = prob > 0  # what has no mass cannot matter, and costs as much
    points, prob = points[some], prob[some]
    return torch.cat(
        [
            score(pool[part].values(points), target[part], prob)
            for part in batches(pool, len(points))
        ]
    )


def _mismatch(values: Tensor, target: Tensor, prob: Tensor) -> Tensor:
    return (target - prob @ values).abs()


def _normalised(values: Tensor, target: Tensor, prob: Tensor) -> Tensor:
    mean, square = prob @ values, prob @ values.square()
    return _ratio(target - mean, square - mean.square(), square)


def _against(prob: Tensor, chosen: Tensor) -> Callable[..., Tensor]:
    """Normalised by the standard deviation that the chosen filters leave."""
    if not chosen.shape[1]:
        return _normalised
    some = prob > 0
    centred = chosen[some] - prob @ chosen
    weighted = (centred * prob[some, None]).T
    covariance = weighted @ centred

    def score(values: Tensor, target: Tensor, prob: Tensor) -> Tensor:
        mean, square = prob @ values, prob @ values.square()
        shared = weighted @ values
        explained = (shared * _solve(covariance, shared)).sum(0)
        variance = square - mean.square()
        return _ratio(target - mean, variance - explained, square)

    return score


def _solve(covariance: Tensor, columns: Tensor) -> Tensor:
    scale = covariance.diagonal().sqrt()
    factor = torch.linalg.cholesky(covariance / scale / scale[:, None])
    return torch.cholesky_solve(columns / scale[:, None], factor) / scale[:, None]


def _ratio(gap: Tensor, variance: Tensor, square: Tensor) -> Tensor:
    """``|gap| / sqrt(variance)``, 0 where the variance is only rounding."""
    real = variance > _NOTHING_NEW * square
    return torch.where(real, gap.abs() / variance.where(real, 1.0).sqrt(), 0.0)


def exact_gains(
    values: Tensor, target: Tensor, prob: Tensor, *, tolerance: float = 1e-6
) -> Tensor:
    """Most that one coefficient can add to the log-likelihood, for each feature.

    The maximum over ``c`` of ``c t - log E_p[exp(c phi)]``, by Newton's method on all
    features at once.  A feature whose target is its smallest or largest value has its
    supremum at an infinite ``c``, which is approached to ``tolerance``.

    Parameters
    ----------
    values : Tensor, shape (n, m), float64
    target : Tensor, shape (m,)
    prob : Tensor, shape (n,)
    tolerance : float
        Newton's method stops where its next step promises less than this, in nats; a
        supremum at an infinite ``c`` can be short by a few times as much.

    Returns
    -------
    Tensor, shape (m,)
    """
    gains, c = torch.zeros_like(target), torch.zeros_like(target)
    step, length = torch.zeros_like(target), torch.ones_like(target)
    some = prob > 0
    v, prob = values[some].T.contiguous(), prob[some]
    low, high = v.amin(1), v.amax(1)
    active = rows = (high > low).nonzero()[:, 0]  # rows of v: those active, and more
    v = v[rows]
    for _ in range(_MAX_NEWTON):
        if 2 * len(active) <= len(rows):
            v, rows = v[torch.isin(rows, active)], active
        if not len(active):
            return gains
        trial = c[rows] + step[rows] * length[rows]
        top = torch.maximum(trial * low[rows], trial * high[rows])
        weight = (v * trial[:, None]).sub_(top[:, None]).exp_()
        total = weight @ prob
        gain = trial * target[rows] - total.log() - top
        weight.mul_(v)
        mean = weight @ prob / total
        variance = weight.mul_(v) @ prob / total - mean.square()
        gap = target[rows] - mean
        forward = torch.where(variance > 0, gap / variance, 0.0)
        worse = gain < gains[rows] - _ROUNDING
        length[rows] = torch.where(worse, length[rows] / 2, 1.0)
        kept = rows[~worse]
        gains[kept], c[kept], step[kept] = gain[~worse], trial[~worse], forward[~worse]
        left = 0.5 * gap * forward  # what Newton's model says is still to gain
        active = rows[worse | (left > tolerance)]
    raise FloatingPointError(
        f"the gains of {len(active)} of {len(target)} features did not settle in "
        f"{_MAX_NEWTON} Newton steps; try a larger tolerance"
    )


def second_order_gain(
    value: Tensor, target: float, prob: Tensor, chosen: Tensor
) -> float:
    """Gain in log-likelihood to second order when a filter joins those chosen.

    With the chosen statistics matched, the gradient of the log-likelihood in all
    coefficients is ``(0, ..., 0, d)``, and half its square in the metric of the inverse
    covariance is ``d**2 / (2 sd'**2)``.

    Parameters
    ----------
    value : Tensor, shape (n,)
        The filter at the points.
    target : float
        Its expectation under the data.
    prob : Tensor, shape (n,)
    chosen : Tensor, shape (n, k)

    Returns
    -------
    float
        Nats a point; NaN when the filter is a combination of those chosen under the
        model, so that no gain can be told from rounding.
    """
    features = torch.cat([chosen, value[:, None]], 1)
    centred = features - prob @ features
    covariance = centred.T @ (centred * prob[:, None])
    gradient = torch.zeros(features.shape[1], dtype=torch.float64)
    gradient[-1] = target - float(prob @ value)
    step = newton_step(covariance, gradient)
    return math.nan if step is None else 0.5 * float(gradient @ step)
