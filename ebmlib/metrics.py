"""Distances between densities, and between samples.

Densities known on a grid have exact divergences (:func:`kl`, :func:`total_variation`);
for samples there are :func:`mmd`, :func:`sliced_wasserstein` and
:func:`mode_coverage`, and for draws of Markov chains :func:`split_rhat` and
:func:`effective_sample_size`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebmlib._checks import check_generator, check_int, check_points, check_positive
from ebmlib._diagnostics import effective_sample_size, split_rhat
from ebmlib.grid import GridDensity

__all__ = [
    "ModeCoverage",
    "effective_sample_size",
    "kl",
    "mmd",
    "mode_coverage",
    "sliced_wasserstein",
    "split_rhat",
    "total_variation",
]


def kl(p: GridDensity, q: GridDensity) -> float:
    """Kullback-Leibler divergence ``KL(p || q)`` in nats, on their common grid.

    It is infinite where ``q`` has no mass and ``p`` has some.

    Raises
    ------
    ValueError
        If the two live on different grids.
    """
    _check_densities(p, q)
    return p.kl(q)


def total_variation(p: GridDensity, q: GridDensity) -> float:
    """Total variation distance, half the absolute difference of masses, in [0, 1].

    Raises
    ------
    ValueError
        If the two live on different grids.
    """
    _check_densities(p, q)
    return 0.5 * float((p.prob - q.prob).abs().sum())


def mmd(x: Tensor, y: Tensor, *, bandwidth: float) -> float:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel.

    The kernel is ``exp(-|a - b|**2 / (2 bandwidth**2))`` (Gretton et al. 2012,
    equation 3).  An unbiased estimate can be negative.  Costs ``O((n + m)**2)`` memory.

    Parameters
    ----------
    x, y : Tensor, shapes (n, d) and (m, d), at least two points each
    bandwidth : float
        In the units of ``x``.
    """
    _check_pair(x, y)
    check_positive("bandwidth", bandwidth)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"x and y must hold at least 2 points each, got {n} and {m}")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-_distances(a, b).square() / (2 * bandwidth**2)).exp()

    x, y = x.double(), y.double()
    # the diagonals are exactly 1 each and do not belong to an unbiased estimate
    within_x = (kernel(x, x).sum() - n) / (n * (n - 1))
    within_y = (kernel(y, y).sum() - m) / (m * (m - 1))
    return float(within_x + within_y - 2 * kernel(x, y).mean())


def sliced_wasserstein(
    x: Tensor,
    y: Tensor,
    *,
    n_projections: int = 200,
    generator: torch.Generator | None = None,
) -> float:
    """Wasserstein-2 distance averaged over random directions.

    Root mean square over directions of the exact one-dimensional distance between the
    projections (Bonneel et al. 2015).

    Parameters
    ----------
    x, y : Tensor, shapes (n, d) and (m, d)
    n_projections : int
        Directions, uniform on the sphere.
    generator : torch.Generator, optional
        For the directions.
    """
    _check_pair(x, y)
    check_int("n_projections", n_projections, 1)
    check_generator(generator)
    directions = torch.randn(
        x.shape[1], n_projections, dtype=torch.float64, generator=generator
    )
    directions = directions / directions.norm(dim=0)
    u = (x.double().cpu() @ directions).sort(0).values
    v = (y.double().cpu() @ directions).sort(0).values
    # both quantile functions are steps: constant between the merged jump heights
    n, m = len(x), len(y)
    heights = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n])
    heights = heights.unique()  # in units of 1 / (n m), exact in integers
    share = torch.diff(heights, prepend=heights.new_zeros(1)).double() / (n * m)
    gap = u[(heights - 1) // m] - v[(heights - 1) // n]
    return float((share @ gap.square()).mean().sqrt())


class ModeCoverage(NamedTuple):
    """How samples spread over known modes.

    Attributes
    ----------
    counts : Tensor, shape (k,)
        Samples within the radius of each mode, each counted at its nearest mode.
    covered : int
        Modes with at least one such sample.
    share : float
        Share of all samples that lie within the radius of some mode.
    """

    counts: Tensor
    covered: int
    share: float


def mode_coverage(samples: Tensor, modes: Tensor, *, radius: float) -> ModeCoverage:
    """Count samples near each of some known modes.

    Parameters
    ----------
    samples : Tensor, shape (n, d)
    modes : Tensor, shape (k, d)
    radius : float
        In the units of the samples; three standard deviations of a mode, say.
    """
    _check_pair(samples, modes, ("samples", "modes"))
    check_positive("radius", radius)
    distance, nearest = _distances(samples, modes.to(samples)).min(1)
    near = distance <= radius
    counts = torch.bincount(nearest[near], minlength=len(modes))
    return ModeCoverage(counts, int((counts > 0).sum()), float(near.double().mean()))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise distances, from differences: the matrix product would cancel digits."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _check_densities(p: GridDensity, q: GridDensity) -> None:
    for name, density in (("p", p), ("q", q)):
        if not isinstance(density, GridDensity):
            raise TypeError(
                f"{name} must be a GridDensity, got {type(density).__name__}; "
                f"GridDensity({name}, grid) makes one"
            )
    if p.grid != q.grid:
        raise ValueError(f"q must live on the grid of p, {p.grid}, got {q.grid}")


def _check_pair(x: Tensor, y: Tensor, names: tuple[str, str] = ("x", "y")) -> None:
    check_points(names[0], x, allow_empty=False)
    check_points(names[1], y, dim=x.shape[1], allow_empty=False)
