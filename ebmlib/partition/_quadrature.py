"""Adaptive quadrature on triangles, to a stated relative tolerance.

Two rules of different degree are compared on each triangle; those whose difference
matters to the sum are cut in four. The difference is the error of the coarser rule,
while the value of the finer one is kept, so the estimate errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import roots_jacobi, roots_legendre
from torch import Tensor

from ebmlib._checks import check_finite
from ebmlib.partition._integrals import areas_of

LogDensity = Callable[[Tensor, Tensor], Tensor]  # points (m, k, 2), regions (m,)
Bound = Callable[[Tensor, Tensor], Tensor]  # triangles (m, 3, 2), regions (m,)
Function = Callable[[Tensor, Tensor], Tensor]  # -> (m, k, j)

_COARSE, _FINE = 5, 7  # points a side; degrees 9 and 13
_CHUNK = 4096  # triangles evaluated at once
_NOTHING = -1e300  # the scale of a triangle whose density is zero
MAX_NEW_TRIANGLES = 500_000  # besides those that came


class Leaves(NamedTuple):
    """Triangles on which the finer rule is accurate.

    Attributes
    ----------
    corners : Tensor, shape (l, 3, 2)
    region : Tensor of int64, shape (l,)
    scale : Tensor, shape (l,)
        Largest log-density at the nodes: integrals are relative to ``exp(scale)``.
    integrals : Tensor, shape (l, 1 + j)
        Of the density, then of its products with the function given.
    """

    corners: Tensor
    region: Tensor
    scale: Tensor
    integrals: Tensor

    @property
    def log_mass(self) -> Tensor:
        """Logarithm of the mass of each triangle, shape (l,)."""
        return self.scale + self.integrals[:, 0].log()


@cache
def rule(n: int) -> tuple[Tensor, Tensor]:
    """Conical product rule with ``n * n`` nodes, exact to degree ``2 n - 1``.

    Gauss-Legendre along one side and Gauss-Jacobi towards the opposite corner
    (Stroud 1971); the nodes are inside and the weights positive.

    Returns
    -------
    barycentric : Tensor, shape (n * n, 3)
    weights : Tensor, shape (n * n,)
        They sum to 1.
    """
    t, t_weight = roots_jacobi(n, 1, 0)
    s, s_weight = roots_legendre(n)
    t, s = np.meshgrid((1 + t) / 2, (1 + s) / 2, indexing="ij")
    nodes = np.stack([t, (1 - t) * s, (1 - t) * (1 - s)], axis=-1).reshape(-1, 3)
    weights = np.outer(t_weight, s_weight).reshape(-1) / 4
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def nodes_of(corners: Tensor, n: int) -> Tensor:
    """Nodes of the rule in triangles (m, 3, 2), shape (m, n * n, 2)."""
    return rule(n)[0] @ corners


def integrate(
    corners: Tensor,
    region: Tensor,
    log_density: LogDensity,
    function: Function | None = None,
    *,
    n: int = _FINE,
) -> tuple[Tensor, Tensor]:
    """The scale (m,) and the integrals (m, 1 + j) of the rule on each triangle."""
    scales, integrals = [], []
    for part, r in zip(corners.split(_CHUNK), region.split(_CHUNK), strict=True):
        x = nodes_of(part, n)
        values = log_density(x, r)
        scale = values.max(1).values
        scale = torch.where(scale == -torch.inf, _NOTHING, scale)
        weights = (values - scale[:, None]).exp() * rule(n)[1]
        weights = weights * areas_of(part)[:, None]
        columns = [weights.sum(1, keepdim=True)]
        if function is not None:
            g = torch.where(weights[:, :, None] > 0, function(x, r), 0.0)
            columns.append(torch.einsum("mk,mkj->mj", weights, g))
        scales.append(scale)
        integrals.append(torch.cat(columns, 1))
    return torch.cat(scales), torch.cat(integrals)


def quarter(corners: Tensor) -> Tensor:
    """Cut triangles (m, 3, 2) at the middles of their sides, shape (4 m, 3, 2)."""
    a, b, c = corners.unbind(1)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return torch.stack([torch.stack(p, 1) for p in parts], 1).reshape(-1, 3, 2)


def split_wide(
    corners: Tensor,
    region: Tensor,
    width: float,
    log_density: LogDensity | None = None,
    bound: Bound | None = None,
    *,
    negligible: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cut triangles in four until no side exceeds a width where it matters.

    A rule does not see a peak that is narrow against its triangle. For a log-concave
    density the mass of a triangle lies between its area times the lowest corner and its
    area times a bound from above: triangles that hold less than a ``negligible`` share
    of the whole stay as they are. Without a bound all are cut.
    """
    n_given = len(region)
    while True:
        check_count(len(region) - n_given, f"sides of at most {width:.3g}")
        sides = corners - corners.roll(1, 1)
        cut = sides.square().sum(2).max(1).values > width**2
        if bound is not None and cut.any():
            log_area = areas_of(corners).log()
            lowest = log_density(corners, region).min(1).values
            least = torch.logsumexp(log_area + lowest, 0)
            share = (log_area + bound(corners, region) - least).exp()
            order = share.argsort()
            cut[order[share[order].cumsum(0) <= negligible]] = False
        if not cut.any():
            return corners, region
        corners = torch.cat([corners[~cut], quarter(corners[cut])])
        region = torch.cat([region[~cut], region[cut].repeat_interleave(4)])


def adaptive(
    corners: Tensor,
    region: Tensor,
    log_density: LogDensity,
    *,
    tolerance: float,
    function: Function | None = None,
    floor: float = 0.0,
) -> Leaves:
    """Refine triangles until the integrals reach a relative tolerance.

    Parameters
    ----------
    corners : Tensor, shape (t, 3, 2)
    region : Tensor of int64, shape (t,)
        Passed on to the children and to ``log_density``.
    log_density : callable
        Points (m, k, 2) and regions (m,) to log-densities (m, k).
    tolerance : float
        Of the total mass, and of each integral of ``function`` against the sum of its
        absolute values over triangles.
    function : callable, optional
        Points and regions to values (m, k, j).
    floor : float
        Means of ``function`` below this in size count as so large.

    Raises
    ------
    FloatingPointError
        If a value is NaN, or the tolerance needs more than ``MAX_NEW_TRIANGLES``.
    """
    done: list[Leaves] = []
    budget, n_given = tolerance, len(region)
    while True:
        n_new = sum(len(leaves.region) for leaves in done) + len(region) - n_given
        check_count(n_new, f"the relative tolerance {tolerance}")
        fresh = Leaves(
            corners, region, *integrate(corners, region, log_density, function)
        )
        coarse = integrate(corners, region, log_density, function, n=_COARSE)
        error = _relative_errors(done, fresh, *coarse, floor)
        order = error.argsort()
        spent = error[order].cumsum(0)
        finish = bool(spent[-1] <= budget)
        settled = torch.zeros_like(region, dtype=torch.bool)
        settled[order] = spent <= (budget if finish else budget / 2)
        budget -= float(error[settled].sum())
        done.append(Leaves(*(part[settled] for part in fresh)))
        if finish:
            return Leaves(*(torch.cat(parts) for parts in zip(*done, strict=True)))
        corners = quarter(corners[~settled])
        region = region[~settled].repeat_interleave(4)


def check_count(n_new: int, goal: str) -> None:
    """Refuse to go on when there are too many new triangles."""
    if n_new > MAX_NEW_TRIANGLES:
        raise FloatingPointError(
            f"quadrature did not reach {goal} with {MAX_NEW_TRIANGLES} more triangles; "
            "the density may jump or bend, or have features far narrower than the "
            "regions: try a larger tolerance, as in partition.density(prior, "
            "tolerance=1e-6), or a Grid"
        )


def totals(parts: list[Leaves]) -> tuple[float, Tensor, Tensor]:
    """The largest scale, and sums of integrals and of their sizes relative to it."""
    top = max(float(leaves.scale.max()) for leaves in parts if len(leaves.scale))
    scaled = torch.cat([p.integrals * (p.scale - top).exp()[:, None] for p in parts])
    return top, scaled.sum(0), scaled.abs().sum(0)


def _relative_errors(
    done: list[Leaves], fresh: Leaves, scale: Tensor, coarse: Tensor, floor: float
) -> Tensor:
    """Error of each fresh triangle's integrals over their totals so far, the worst."""
    top, _, sizes = totals([*done, fresh])
    hint = "the network, the prior and the function must be finite on the box"
    check_finite("sum of the integrals over triangles", sizes, hint)
    if sizes[0] == 0:
        raise FloatingPointError("the density has no mass on the box")
    fine = fresh.integrals * (fresh.scale - top).exp()[:, None]
    coarse = coarse * (scale - top).clamp_max(600.0).exp()[:, None]
    sizes = sizes.clamp_min(max(1e-300, floor * float(sizes[0])))
    return ((fine - coarse).abs() / sizes).max(1).values
