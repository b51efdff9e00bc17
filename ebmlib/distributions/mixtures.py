"""The named mixtures: two Gaussians, clusters, dots, star, textons, three in 1-D."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ebmlib._checks import check_between, check_int, check_number, check_positive
from ebmlib.distributions._base import Bounds, Density, _Random, entropy_on_box
from ebmlib.distributions.gaussians import GaussianMixture

_STAR = (
    (-0.68, 0.55),
    (-0.48, 0.70),
    (0.10, 0.78),
    (0.66, 0.50),
    (0.74, -0.16),
    (0.28, -0.36),
    (-0.25, -0.72),
    (-0.72, -0.22),
)


class TwoGaussians(GaussianMixture):
    """Two equal Gaussians at (-offset, -offset) and (offset, offset).

    Normalised on the plane.

    Parameters
    ----------
    offset : float
        Coordinate of the second centre.
    sd : float
        Standard deviation.
    """

    def __init__(
        self,
        offset: float = 0.4,
        sd: float = 0.12,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_positive("offset", offset)
        check_positive("sd", sd)
        means = [[-offset, -offset], [offset, offset]]
        super().__init__(means, sd, validate_args=validate_args)
        self._shown = {"offset": offset, "sd": sd}


class Clusters(GaussianMixture):
    """Small equal Gaussians, evenly spaced on a circle: data in very small areas.

    Normalised on the plane.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    radius : float
        Radius of the circle of centres.
    sd : float
        Standard deviation.
    angle : float
        Angle of the first centre, radians.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        radius: float = 0.7,
        sd: float = 0.02,
        angle: float = 0.3,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_int("n_clusters", n_clusters, 1)
        check_positive("radius", radius)
        check_positive("sd", sd)
        check_number("angle", angle)
        turn = angle + 2 * np.pi * np.arange(n_clusters) / n_clusters
        means = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        super().__init__(means, sd, validate_args=validate_args)
        self._shown = {
            "n_clusters": n_clusters,
            "radius": radius,
            "sd": sd,
            "angle": angle,
        }


class Dots(GaussianMixture):
    """Several dots: equal Gaussians on a square lattice.

    Normalised on the plane.

    Parameters
    ----------
    per_side : int
        Dots along a side, per_side^2 in all.
    half_width : float
        The lattice spans [-half_width, half_width] in both directions.
    sd : float
        Standard deviation.
    """

    def __init__(
        self,
        per_side: int = 3,
        half_width: float = 0.6,
        sd: float = 0.06,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_int("per_side", per_side, 2)
        check_positive("half_width", half_width)
        check_positive("sd", sd)
        side = np.linspace(-half_width, half_width, per_side)
        means = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
        super().__init__(means.reshape(-1, 2), sd, validate_args=validate_args)
        self._shown = {"per_side": per_side, "half_width": half_width, "sd": sd}


class Star(GaussianMixture):
    """Eight equal Gaussians, two of them close together in the upper left.

    Truncated to the square [-1, 1]^2 and normalised on it; with ``bounds=None``,
    whole and normalised on the plane.

    Parameters
    ----------
    sd : float
        Standard deviation.
    bounds : (low, high) or None
        Box of the truncation; it must hold the centres.
    """

    def __init__(
        self,
        sd: float = 0.06,
        *,
        bounds: Bounds | None = (-1.0, 1.0),
        validate_args: bool | None = None,
    ) -> None:
        check_positive("sd", sd)
        super().__init__(_STAR, sd, bounds=bounds, validate_args=validate_args)
        self._shown = {"sd": sd, "bounds": bounds}


class ThreeGaussians1D(GaussianMixture):
    """Three Gaussians on the line at -0.8, -0.2, 0.65 with weights 3:2:3.

    Points have shape (n, 1). Truncated to [-1, 1] and normalised on it, so that a
    grid over the interval holds all of the data; with ``bounds=None``, whole and
    normalised on the line. (The first centre lies close to the end: the whole
    density has about 0.1 % of its mass outside.) The centres and weights are those
    of the thesis, section 5.4; it does not give the standard deviation.

    Parameters
    ----------
    sd : float
        Standard deviation.
    bounds : (low, high) or None
        Interval of the truncation; it must hold the centres.
    """

    def __init__(
        self,
        sd: float = 0.07,
        *,
        bounds: Bounds | None = (-1.0, 1.0),
        validate_args: bool | None = None,
    ) -> None:
        check_positive("sd", sd)
        super().__init__(
            [[-0.8], [-0.2], [0.65]],
            sd,
            [3.0, 2.0, 3.0],
            bounds=bounds,
            validate_args=validate_args,
        )
        self._shown = {"sd": sd, "bounds": bounds}


class TextonTexture(Density):
    """Eight textons on a uniform background: a star and a flat floor.

    Lives on the square [-1, 1]^2 and is normalised on it.

    Parameters
    ----------
    share : float
        Part of the mass that the star has; the background has the rest. In (0, 1).
    sd : float
        Standard deviation of the textons.
    """

    def __init__(
        self,
        share: float = 0.7,
        sd: float = 0.06,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_between("share", share, 0.0, 1.0)
        if share in (0, 1):
            raise ValueError(f"share must be above 0 and below 1, got {share}")
        self.share = float(share)
        self.star = Star(sd)
        super().__init__(2, (-1.0, 1.0), validate_args)
        self._shown = {"share": share, "sd": sd}

    def _log_density(self, x: Tensor) -> Tensor:
        star = math.log(self.share) + self.star._log_density(x)
        floor = torch.full_like(star, math.log((1 - self.share) / 4))
        return torch.logaddexp(star, floor)

    def _draw(self, n: int, random: _Random) -> Tensor:
        from_star = random.uniform(n, 1) < self.share
        star = self.star._draw(n, random)
        return torch.where(from_star, star, 2 * random.uniform(n, 2) - 1)

    @property
    def mean(self) -> Tensor:
        """Mean, (2,), in closed form."""
        return self.share * self.star.mean

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, (2,), in closed form."""
        second = self.star.variance + self.star.mean.square()
        return self.share * second + (1 - self.share) / 3 - self.mean.square()

    def entropy(self) -> Tensor:
        """Entropy in nats, by quadrature (error below 1e-8).

        Gauss-Legendre on the square, in panels as wide as the standard deviation
        (at most 0.1 and at least 0.01) with 12 nodes.

        Returns
        -------
        Tensor ()
            Float64.
        """
        panel = min(max(float(self.star.sds.min()), 0.01), 0.1)
        return entropy_on_box(self._log_density, (-1, -1), (1, 1), panel)
