"""Mixtures of Gaussians with any parameters, whole or truncated to a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlib._checks import NonFiniteArgumentError
from ebmlib.distributions._base import (
    Bounds,
    Density,
    _Random,
    gauss_legendre,
    rejection,
)

_LEAST_MASS = 1e-3


class GaussianMixture(Density):
    """Gaussians with axis-parallel covariances: ``sum_k w_k N(x; m_k, diag(s_k^2))``.

    Normalised on the whole space, or exactly on the box (products of error
    functions) when `bounds` is given: the *mixture* is then cut off at the box and
    rescaled. Samples are exact; those of a truncated mixture come by rejection.

    Parameters
    ----------
    means : array_like (k, d)
        Centres, d = 1 or 2; inside the box when there is one.
    sds : float or array_like broadcastable to (k, d)
        Standard deviations.
    weights : array_like (k,), optional
        Positive, in any scale; equal when None.
    bounds : (low, high), optional
        Box of the truncation.
    validate_args : bool, optional
        See `Density`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong kind, shape or sign, a centre lies outside the
        box, or the box holds less than a thousandth of the mixture.
    """

    def __init__(
        self,
        means: Any,
        sds: Any,
        weights: Any = None,
        *,
        bounds: Bounds | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.means = _array("means", means)
        if self.means.ndim != 2 or 0 in self.means.shape or self.means.shape[1] > 2:
            raise ValueError(
                f"means must have shape (k, 1) or (k, 2), one centre a row, "
                f"got {tuple(self.means.shape)}"
            )
        k, dim = self.means.shape
        self.sds = _positive_array("sds", sds, (k, dim))
        weight = 1.0 if weights is None else weights
        self.weights = _positive_array("weights", weight, (k,))
        if weights is not None and _array("weights", weights).shape != (k,):
            raise ValueError(f"weights must have shape ({k},), one for each centre")
        self.weights = self.weights / self.weights.sum()
        super().__init__(dim, bounds, validate_args)
        self._shown = {"k": k, "dim": dim, "bounds": bounds}
        self._kept = torch.ones(k, dtype=torch.float64)
        if self._box is not None:
            self._kept = self._component_masses()
        self._total = float((self.weights * self._kept).sum())
        if self._total < _LEAST_MASS:
            raise ValueError(
                f"sds must suit the box: only {self._total:.2g} of the mixture lies "
                f"inside bounds {bounds!r}, at least {_LEAST_MASS} is needed"
            )

    def _component_masses(self) -> Tensor:
        """Mass of each component inside the box, (k,)."""
        low, high = self._box
        outside = (self.means < low) | (self.means > high)
        if bool(outside.any()):
            first = int(outside.any(dim=1).nonzero()[0, 0])
            raise ValueError(
                f"means must lie inside bounds, "
                f"got {self.means[first].tolist()} in row {first}"
            )
        a, b = (low - self.means) / self.sds, (high - self.means) / self.sds
        return (torch.special.ndtr(b) - torch.special.ndtr(a)).prod(dim=1)

    def _log_density(self, x: Tensor) -> Tensor:
        means, sds = self.means.to(x.device), self.sds.to(x.device)
        z = (x[..., None, :] - means) / sds
        log_scale = self.weights.log() - (self.sds * math.sqrt(2 * math.pi)).log().sum(
            dim=1
        )
        log_scale = log_scale.to(x.device) - math.log(self._total)
        return torch.logsumexp(log_scale - 0.5 * z.square().sum(dim=-1), dim=-1)

    def _draw(self, n: int, random: _Random) -> Tensor:
        means, sds = self.means.to(random.device), self.sds.to(random.device)

        def propose(m: int) -> tuple[Tensor, Tensor]:
            k = random.categories(self.weights, m)
            points = means[k] + sds[k] * random.normal(m, self.dim)
            if self._box is None:
                return points, torch.ones(m, dtype=torch.bool, device=points.device)
            low, high = self._box.to(random.device)
            return points, ((points >= low) & (points <= high)).all(dim=1)

        return rejection(n, self.dim, propose, random.device)

    @property
    def mean(self) -> Tensor:
        """Mean, (d,), in closed form."""
        return self._moments()[0]

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, (d,), in closed form."""
        first, second = self._moments()
        return second - first.square()

    def _moments(self) -> tuple[Tensor, Tensor]:
        """E x and E x^2 for each coordinate; those of truncated normals if cut."""
        first, second = self.means, self.means.square() + self.sds.square()
        if self._box is not None:
            low, high = self._box
            a, b = (low - self.means) / self.sds, (high - self.means) / self.sds
            mass = torch.special.ndtr(b) - torch.special.ndtr(a)
            pa, pb = _normal_density(a), _normal_density(b)
            first = self.means + self.sds * (pa - pb) / mass
            second = (
                self.means.square()
                + 2 * self.means * self.sds * (pa - pb) / mass
                + self.sds.square() * (1 + (a * pa - b * pb) / mass)
            )
        share = (self.weights * self._kept / self._total)[:, None]
        return (share * first).sum(dim=0), (share * second).sum(dim=0)

    def entropy(self) -> Tensor:
        """Entropy in nats, by quadrature.

        Gauss-Legendre over nine standard deviations about each centre, in panels of
        1.5 standard deviations with 12 nodes. The error is below 1e-8 when the
        standard deviations are alike.

        Returns
        -------
        Tensor ()
            Float64.
        """
        total = torch.zeros((), dtype=torch.float64)
        log_norm = math.log(self._total) + 0.5 * self.dim * math.log(2 * math.pi)
        for mean, sd, weight in zip(self.means, self.sds, self.weights, strict=True):
            rules = []
            for j in range(self.dim):
                low, high = -9.0, 9.0
                if self._box is not None:
                    low = max(low, float((self._box[0, j] - mean[j]) / sd[j]))
                    high = min(high, float((self._box[1, j] - mean[j]) / sd[j]))
                rules.append(gauss_legendre(low, high, 1.5))
            z = torch.cartesian_prod(*(r[0] for r in rules)).view(-1, self.dim)
            w = torch.cartesian_prod(*(r[1] for r in rules)).view(-1, self.dim).prod(1)
            density = (-0.5 * z.square().sum(dim=1) - log_norm).exp()
            total -= weight * (w * density * self._log_density(mean + sd * z)).sum()
        return total


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def _array(name: str, value: Any) -> Tensor:
    """A finite float64 tensor on the CPU, or an error that names the argument."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers, got {value!r}") from error
    if not np.isfinite(array).all():
        raise NonFiniteArgumentError(f"{name} must be finite, got {value!r}")
    return torch.from_numpy(array)


def _positive_array(name: str, value: Any, shape: Sequence[int]) -> Tensor:
    array = _array(name, value)
    if not bool((array > 0).all()):
        raise ValueError(f"{name} must be positive, got {value!r}")
    try:
        return array.expand(*shape).clone()
    except RuntimeError as error:
        raise ValueError(
            f"{name} must have shape {tuple(shape)} or broadcast to it, "
            f"got {tuple(array.shape)}"
        ) from error
