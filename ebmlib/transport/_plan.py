"""Plans between weighted points, their cost and their dual, by POT's solvers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import ot
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from ebmlib._checks import (
    check_choice,
    check_int,
    check_points,
    check_positive,
    check_tensor,
)

COSTS = {"euclidean": "euclidean", "squared": "sqeuclidean"}
STEEP = 500.0  # exp of so much, and its inverse, are far from the ends of float64


class Plan(NamedTuple):
    """A transport plan between n points x and m points y; all tensors are float64.

    Attributes
    ----------
    matrix : Tensor, shape (n, m)
        Mass that goes from ``x[i]`` to ``y[j]``.
    cost : float
        Sum of mass times cost, in the units of the cost.
    marginal_error : float
        Sum of absolute differences of the row and column sums to the weights.
    potentials : (Tensor, Tensor), shapes (n,) and (m,)
        Dual potentials ``f`` and ``g``, fixed up to a constant that one gains and the
        other loses.  Exact plan: ``f[i] + g[j] <= C[i, j]``, with equality where mass
        moves.  Entropic plan: ``matrix = exp((f + g - C) / regularisation)``.
    dual : float
        Value of the dual, ``sum(a f) + sum(b g)`` for weights ``a`` and ``b``.  It is
        the cost of an exact plan; for an entropic one it is the cost plus
        ``regularisation * sum(matrix * log(matrix))``.
    """

    matrix: Tensor
    cost: float
    marginal_error: float
    potentials: tuple[Tensor, Tensor]
    dual: float


def plan(
    x: Tensor,
    y: Tensor,
    *,
    x_weights: Tensor | None = None,
    y_weights: Tensor | None = None,
    cost: str = "euclidean",
    regularisation: float | None = None,
    max_steps: int = 100_000,
    tolerance: float = 1e-9,
) -> Plan:
    """Plan that moves the mass at x onto y at least cost.

    Minimises ``sum(P * C)`` over couplings ``P``, by network simplex; with a
    regularisation ``r`` it minimises ``sum(P * C) + r sum(P log P)`` by Sinkhorn's
    iteration (Cuturi 2013).  Takes ``O(n m)`` memory; the simplex some ``O(n**3)``
    time, an iteration of Sinkhorn ``O(n m)``.

    Parameters
    ----------
    x, y : Tensor, shapes (n, d) and (m, d)
    x_weights, y_weights : Tensor, shapes (n,) and (m,), optional
        Masses: not negative, with sum 1; equal when not given.
    cost : {"euclidean", "squared"}
        Distance, for W1, or its square, for W2.
    regularisation : float, optional
        Weight of the entropy in the units of the cost; the exact plan when None.
    max_steps : int
        Steps of the simplex, or iterations of Sinkhorn, before giving up.
    tolerance : float
        Norm of the error of the column sums at which Sinkhorn's iteration ends.

    Raises
    ------
    ValueError
        If weights are negative or do not sum to 1, or, with a regularisation, zero.
    RuntimeError
        If the solver stops early; no half-finished plan is returned.
    """
    check_pair(x, y)
    check_choice("cost", cost, COSTS)
    check_int("max_steps", max_steps, 1)
    check_positive("tolerance", tolerance)
    a = _weights("x_weights", x_weights, len(x), allow_zero=regularisation is None)
    b = _weights("y_weights", y_weights, len(y), allow_zero=regularisation is None)
    costs = cdist(to_numpy(x), to_numpy(y), COSTS[cost])
    scale = costs.max() or 1.0  # the solvers' tolerances expect costs of about one
    if regularisation is None:
        answer = _solve(_simplex, a, b, costs / scale, max_steps)
    else:
        check_positive("regularisation", regularisation)
        slope = regularisation / scale
        answer = _solve(_sinkhorn, a, b, costs / scale, slope, max_steps, tolerance)
    matrix, f, g = answer[0], scale * answer[1], scale * answer[2]
    error = abs(matrix.sum(1) - a).sum() + abs(matrix.sum(0) - b).sum()
    return Plan(
        torch.from_numpy(matrix),
        float((matrix * costs).sum()),
        float(error),
        (torch.from_numpy(f), torch.from_numpy(g)),
        float(a @ f + b @ g),
    )


def wasserstein(
    x: Tensor,
    y: Tensor,
    p: int = 1,
    *,
    x_weights: Tensor | None = None,
    y_weights: Tensor | None = None,
    max_steps: int = 100_000,
) -> float:
    """Exact Wasserstein distance of order 1 or 2 between weighted points.

    ``(min over couplings of the mean of |x - y|**p) ** (1 / p)``, in the units of x
    (Peyré and Cuturi 2019, chapter 2): by sorting on the line, by :func:`plan`
    elsewhere.

    Parameters
    ----------
    x, y : Tensor, shapes (n, d) and (m, d)
    p : {1, 2}
    x_weights, y_weights, max_steps
        As for :func:`plan`, whose errors it raises.
    """
    if isinstance(p, bool) or p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p!r}")
    check_pair(x, y)
    if x.shape[1] > 1:
        best = plan(
            x,
            y,
            x_weights=x_weights,
            y_weights=y_weights,
            cost=("euclidean", "squared")[p - 1],
            max_steps=max_steps,
        )
        return best.cost ** (1 / p)
    a = _weights("x_weights", x_weights, len(x))
    b = _weights("y_weights", y_weights, len(y))
    u, v = to_numpy(x)[:, 0], to_numpy(y)[:, 0]
    return float(ot.wasserstein_1d(u, v, a, b, p)) ** (1 / p)


class OptimalCritic(nn.Module):
    """The 1-Lipschitz function that tells data from fakes best: W1's dual solution.

    Kantorovich and Rubinstein: ``W1 = max(mean f(data) - mean f(fakes))`` over
    functions ``f`` of slope at most 1.  Only its values at the points are fixed; this
    is the lowest such function, ``f(z) = max_i c_i - |z - data_i|`` (a c-transform,
    Peyré and Cuturi 2019, chapter 6).  It is high on the data, and at a fake its
    gradient points to the datum that the plan matches it with, or to one of those that
    would do as well.

    Parameters
    ----------
    data, fakes : Tensor, shapes (n, d) and (m, d)
    **options
        Weights and ``max_steps`` as for :func:`plan`.

    Attributes
    ----------
    distance : float
        W1, by the plan: what the two means differ by.
    """

    def __init__(self, data: Tensor, fakes: Tensor, **options: Any) -> None:
        super().__init__()
        best = plan(data, fakes, **options)
        self.distance = best.cost
        self.register_buffer("anchors", data.detach().double().cpu())
        self.register_buffer("tops", best.potentials[0])

    def forward(self, x: Tensor) -> Tensor:
        """Values at x, shape (n, d): a float64 tensor of shape (n,)."""
        check_points("x", x, self.anchors.shape[1])
        mode = "donot_use_mm_for_euclid_dist"  # the matrix product cancels digits
        distances = torch.cdist(x.double(), self.anchors, compute_mode=mode)
        return (self.tops - distances).max(1).values


def _simplex(a: np.ndarray, b: np.ndarray, costs: np.ndarray, steps: int) -> tuple:
    matrix, log = ot.emd(a, b, costs, numItermax=steps, log=True)
    return matrix, log["u"], log["v"]


def _sinkhorn(
    a: np.ndarray,
    b: np.ndarray,
    costs: np.ndarray,
    regularisation: float,
    steps: int,
    tolerance: float,
) -> tuple:
    """Matrix products where exp(-cost / regularisation) is safe, logarithms elsewhere.

    The products are many times faster; in logarithms nothing can underflow.
    """
    steep = costs.max() > STEEP * regularisation
    with np.errstate(over="ignore"):  # of exp(log u), which nobody reads
        matrix, log = ot.sinkhorn(
            *(a, b, costs, regularisation),
            method="sinkhorn_log" if steep else "sinkhorn",
            numItermax=steps,
            stopThr=tolerance,
            log=True,
        )
    f, g = (log["log_u"], log["log_v"]) if steep else map(np.log, (log["u"], log["v"]))
    return matrix, regularisation * f, regularisation * g


def _solve(solver: Callable[..., tuple], *arguments: object) -> tuple:
    """Run a solver of POT; what it only warns of is an error here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return solver(*arguments)
    except Warning as warning:
        also = ", the regularisation or the tolerance" if solver is _sinkhorn else ""
        message = f"no transport plan: raise max_steps{also}; POT says: {warning}"
        raise RuntimeError(message) from warning


def check_pair(x: Tensor, y: Tensor) -> None:
    check_points("x", x, allow_empty=False)
    check_points("y", y, x.shape[1], allow_empty=False)


def _weights(
    name: str, weights: Tensor | None, n: int, *, allow_zero: bool = True
) -> np.ndarray:
    if weights is None:
        return np.full(n, 1 / n)
    check_tensor(name, weights)
    if weights.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {tuple(weights.shape)}")
    masses = to_numpy(weights)
    if not (masses >= 0).all() or not abs(masses.sum() - 1) < 1e-6:
        raise ValueError(
            f"{name} must not be negative and must sum to 1, got the sum "
            f"{masses.sum():.6g} and the least {masses.min():.3g}; divide by the sum"
        )
    if not allow_zero and not masses.all():
        raise ValueError(
            f"{name} must be positive with a regularisation, got "
            f"{int((masses == 0).sum())} zeros; leave those points out"
        )
    return masses / masses.sum()


def to_numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().double().numpy()
