"""A tilted density on a partition, exactly: masses, moments, samples, divergences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import (
    check_between,
    check_generator,
    check_int,
)
from ebmlib.distributions import ImageDensity
from ebmlib.grid import GridDensity
from ebmlib.partition._integrals import (
    areas_of,
    barycentric_means,
    barycentric_seconds,
    log_masses,
    sample_triangles,
)
from ebmlib.partition._modes import Modes, find_modes
from ebmlib.partition._priors import GaussianPrior, log_prior, read_prior
from ebmlib.partition._quadrature import adaptive, integrate, split_wide, totals

if TYPE_CHECKING:
    from ebmlib.partition._partition import ReLUPartition

_WIDE = 4.0  # sides of triangles, in the prior's smallest standard deviations


class Moments(NamedTuple):
    """First and second moments of a density on the plane.

    Attributes
    ----------
    mean : Tensor, shape (2,)
        ``E[x]``.
    second : Tensor, shape (2, 2)
        ``E[x x^T]``; the covariance is ``second - outer(mean, mean)``.
    """

    mean: Tensor
    second: Tensor


class PolygonDensity:
    """The density ``exp(f) p0 / Z`` on the box of a partition, integrated exactly.

    With the flat prior every integral is a sum of closed forms over triangles (divided
    differences of the exponential). With any other prior it is an adaptive quadrature
    on triangles, on which ``f`` is affine and the integrand smooth.

    Parameters
    ----------
    partition : ReLUPartition
        Where ``f`` is affine.
    prior : torch.distributions.Distribution, optional
        The reference ``p0`` on the plane, restricted to the box; flat unless given. A
        normal one (``Independent(Normal)``, ``MultivariateNormal``) has samples and
        modes as well. Features of another prior that are narrower than a sixteenth of
        the box may be missed.
    tolerance : float
        Relative error of ``Z`` that quadrature may leave, where there is any.

    Attributes
    ----------
    log_partition : float
        ``log`` of the integral of ``exp(f) p0`` over the box.
    prob : Tensor, shape (n_regions,), float64
        Mass of each region; sums to 1.

    Raises
    ------
    FloatingPointError
        If the density has no mass on the box or is not finite, or the tolerance is out
        of reach.
    TypeError
        If ``prior`` is no distribution.
    ValueError
        If ``prior`` is not one on the plane, or ``tolerance`` is not between 1e-13 and
        0.01.
    """

    def __init__(
        self,
        partition: ReLUPartition,
        prior: Distribution | None = None,
        *,
        tolerance: float = 1e-10,
    ) -> None:
        check_between("tolerance", tolerance, 1e-13, 1e-2)
        self.partition, self.prior, self.tolerance = partition, prior, tolerance
        self._prior = read_prior(prior)
        self._corners, self._region = partition.triangles
        if self._prior is None:
            self._values = self._f(self._corners, self._region)
            log_mass = log_masses(areas_of(self._corners), self._values)
        else:
            self._refine()
            leaves = adaptive(
                self._corners, self._region, self._log_density, tolerance=tolerance
            )
            self._corners, self._region = leaves.corners, leaves.region
            log_mass = leaves.log_mass
        self.log_partition = float(torch.logsumexp(log_mass, 0))
        self._prob = torch.softmax(log_mass, 0)
        self.prob = self._by_region(self._prob)

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density of points in the box, shape (n,), float64.

        Parameters
        ----------
        x : Tensor, shape (n, 2)
        """
        region = self.partition.locate(x)
        x = x.detach().double().cpu()[:, None]
        return self._log_density(x, region)[:, 0] - self.log_partition

    def region_means(self) -> Tensor:
        """Mean of ``x`` within each region, shape (n_regions, 2).

        It lies in the region, which is convex. For a region without mass (in float64)
        it is NaN.
        """
        first = self._by_region(self._prob[:, None] * self._leaf_means())
        return first / self.prob[:, None]

    def moments(self) -> Moments:
        """Mean and second moment of ``x``."""
        mean = (self._prob[:, None] * self._leaf_means()).sum(0)
        second = (self._prob[:, None, None] * self._leaf_seconds()).sum(0)
        return Moments(mean, second)

    def entropy(self) -> float:
        """Differential entropy in nats, ``log Z - E[f + log p0]``."""
        f = self._f(self._leaf_means()[:, None], self._region)[:, 0]
        return self.log_partition - float(self._prob @ f) - self._mean_log_prior()

    def expectation(
        self, g: Callable[[Tensor], Tensor], *, tolerance: float = 1e-8
    ) -> Tensor:
        """Expected value of a function, by adaptive quadrature on triangles.

        Parameters
        ----------
        g : callable
            Maps points (n, 2), float64, to values (n, ...).
        tolerance : float
            Error against ``E|g|`` (per component).

        Returns
        -------
        Tensor, shape (...), float64

        Raises
        ------
        FloatingPointError
            If ``g`` is not finite, or jumps so that the tolerance is out of reach.
        ValueError
            If ``g`` does not give one value a point.
        """
        check_between("tolerance", tolerance, 1e-13, 1e-2)
        shape = _shape_of(g, self._corners.mean(1)[:1])

        def function(x: Tensor, region: Tensor) -> Tensor:
            flat = x.reshape(-1, 2)
            return g(flat).detach().double().cpu().reshape(*x.shape[:2], -1)

        leaves = adaptive(
            self._corners,
            self._region,
            self._log_density,
            tolerance=tolerance,
            function=function,
        )
        _, sums, _ = totals([leaves])
        return (sums[1:] / sums[0]).reshape(shape)

    def kl(
        self, truth: Distribution | GridDensity, *, tolerance: float = 1e-8
    ) -> float:
        """Kullback-Leibler divergence ``KL(truth || self)`` in nats, on the box.

        It is ``E_q[log q - f - log p0] + log Z`` with ``q`` the true density restricted
        to the box and normalised there.

        Parameters
        ----------
        truth : torch.distributions.Distribution or GridDensity
            A distribution is integrated by adaptive quadrature on triangles; it must be
            continuous, and features narrower than a sixteenth of the box may be missed.
            A density on a grid is taken at the centres of its cells (the midpoint
            rule), for densities that jump, such as images.
        tolerance : float
            Error in nats, or against ``E_q|log q - log p|`` where that exceeds 1.

        Raises
        ------
        FloatingPointError
            If the tolerance is out of reach, or ``truth`` has no mass on the box.
        TypeError
            If ``truth`` is neither a distribution nor a density on a grid.
        ValueError
            If ``truth`` is not one on the plane, its grid is not in the box, or it is
            an image.
        """
        if isinstance(truth, GridDensity):
            return self._kl_from_grid(truth)
        if not isinstance(truth, Distribution):
            raise TypeError(
                "truth must be a torch Distribution or a GridDensity, "
                f"got {type(truth).__name__}"
            )
        if isinstance(truth, ImageDensity):
            raise ValueError(
                "truth jumps between pixels, where no quadrature converges fast; pass "
                "GridDensity(truth, Grid(bins=m)) with m a multiple of the pixels"
            )
        check_between("tolerance", tolerance, 1e-13, 1e-2)
        log_q = read_prior(truth, "truth").log_prob

        def log_ratio(x: Tensor, region: Tensor) -> Tensor:
            log_p = self._log_density(x, region) - self.log_partition
            return (log_q(x).double() - log_p)[:, :, None]

        width = float((self.partition.high - self.partition.low).max()) / 16
        leaves = adaptive(
            *split_wide(*self.partition.triangles, width),
            lambda x, region: log_q(x).double(),
            tolerance=tolerance,
            function=log_ratio,
            floor=1.0,
        )
        top, sums, _ = totals([leaves])
        return float(sums[1] / sums[0] - sums[0].log()) - top

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent exact samples.

        A triangle is drawn by its mass, then a point in it: by inversion under the flat
        prior, by rejection from an exponential that touches the density from above
        under a normal one.

        Parameters
        ----------
        n : int
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (n, 2), float64

        Raises
        ------
        TypeError
            If the prior is neither flat nor normal.
        """
        check_int("n", n, 1)
        check_generator(generator)
        if not (self._prior is None or isinstance(self._prior, GaussianPrior)):
            raise TypeError(
                "sample needs a flat or a normal prior, got "
                f"{type(self._prior).__name__}; GridDensity(model, grid).sample(n) "
                "serves any prior"
            )
        cumulative = self._prob.cumsum(0)
        u = torch.rand(n, dtype=torch.float64, generator=generator) * cumulative[-1]
        # the maximum guards u == cumulative[-1], which rounding can produce
        leaf = torch.searchsorted(cumulative, u, right=True).clamp_(
            max=int(self._prob.nonzero()[-1])
        )
        if self._prior is None:
            uniforms = torch.rand(n, 2, dtype=torch.float64, generator=generator)
            return sample_triangles(self._corners[leaf], self._values[leaf], uniforms)
        return self._sample_by_rejection(leaf, generator)

    def modes(self) -> Modes:
        """All local maxima of the density on the box; see :class:`Modes`."""
        return find_modes(self.partition, self.prior, self.log_partition)

    def _f(self, x: Tensor, region: Tensor) -> Tensor:
        """Negative energy at points (m, k, 2) of regions (m,), shape (m, k)."""
        gradient = self.partition.gradients[region]
        value = x[..., 0] * gradient[:, :1] + x[..., 1] * gradient[:, 1:]
        return value + self.partition.offsets[region][:, None]

    def _log_density(self, x: Tensor, region: Tensor) -> Tensor:
        return self._f(x, region) + log_prior(self._prior, x)

    def _tangent(self, at: Tensor, corners: Tensor, region: Tensor) -> Tensor:
        """The plane that touches the log-density at points, at corners, (m, 3)."""
        slope = self.partition.gradients[region] + self._prior.gradient(at)
        value = self._log_density(at[:, None], region)
        return value + ((corners - at[:, None]) * slope[:, None]).sum(2)

    def _refine(self) -> None:
        """Cut triangles that could hide a peak of the prior from the quadrature."""
        if not isinstance(self._prior, GaussianPrior):
            width = float((self.partition.high - self.partition.low).max()) / 16
            self._corners, self._region = split_wide(self._corners, self._region, width)
            return

        def bound(corners: Tensor, region: Tensor) -> Tensor:
            return self._tangent(corners.mean(1), corners, region).max(1).values

        self._corners, self._region = split_wide(
            self._corners,
            self._region,
            _WIDE * self._prior.narrowest,
            self._log_density,
            bound,
            negligible=self.tolerance / 10,
        )

    def _by_region(self, values: Tensor) -> Tensor:
        """Sums over the triangles of each region."""
        out = values.new_zeros(self.partition.n_regions, *values.shape[1:])
        return out.index_add(0, self._region, values)

    def _leaf_means(self) -> Tensor:
        """Mean of ``x`` within each triangle, shape (l, 2)."""
        if self._prior is None:
            weights = barycentric_means(self._values)
            return (weights[:, :, None] * self._corners).sum(1)
        return self._leaf_average(lambda x, region: x)

    def _leaf_seconds(self) -> Tensor:
        """Mean of ``x x^T`` within each triangle, shape (l, 2, 2)."""
        if self._prior is None:
            weights = barycentric_seconds(self._values)
            return self._corners.mT @ weights @ self._corners
        outer = self._leaf_average(
            lambda x, _: (x[..., None] * x[..., None, :]).flatten(2)
        )
        return outer.reshape(-1, 2, 2)

    def _leaf_average(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Mean of a function within each triangle by the finer rule, shape (l, j)."""
        _, integrals = integrate(
            self._corners, self._region, self._log_density, function
        )
        mass = integrals[:, :1]
        return torch.where(mass > 0, integrals[:, 1:] / mass, 0.0)

    def _mean_log_prior(self) -> float:
        if self._prior is None:
            return 0.0
        mean = self._leaf_average(lambda x, _: log_prior(self._prior, x)[..., None])
        return float(self._prob @ mean[:, 0])

    def _kl_from_grid(self, truth: GridDensity) -> float:
        if truth.grid.dim != 2:
            raise ValueError(f"truth must be on the plane, got dim {truth.grid.dim}")
        log_p = self.log_prob(truth.grid.points_as(torch.float64))
        gap = torch.where(truth.prob > 0, truth.log_prob - log_p, 0.0)
        return float(truth.prob @ gap)

    def _sample_by_rejection(
        self, leaf: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw from the tangent plane's exponential; keep what lies under the density.

        A log-concave density stands below its tangent at the triangle's mean, and a
        triangle with mass is small against the prior, so most draws are kept.
        """
        centres = self._leaf_means()
        out = self._corners.new_empty(len(leaf), 2)
        pending = torch.arange(len(leaf))
        while len(pending):
            chosen = leaf[pending]
            corners, at = self._corners[chosen], centres[chosen]
            uniforms = torch.rand(
                len(pending), 3, dtype=torch.float64, generator=generator
            )
            plane = self._tangent(at, corners, self._region[chosen])
            x = sample_triangles(corners, plane, uniforms[:, :2])
            away = x - at
            log_share = -((away @ self._prior.precision) * away).sum(1) / 2
            kept = uniforms[:, 2].log() < log_share
            out[pending[kept]] = x[kept]
            pending = pending[~kept]
        return out


def _shape_of(g: Callable[[Tensor], Tensor], point: Tensor) -> tuple[int, ...]:
    """Shape of one value of ``g``, which must give one a point."""
    if not callable(g):
        raise TypeError(f"g must be callable, got {type(g).__name__}")
    value = g(point)
    if not isinstance(value, Tensor) or value.shape[:1] != (1,):
        came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"g must map (n, 2) to n rows, got {came} for n = 1")
    return tuple(value.shape[1:])
