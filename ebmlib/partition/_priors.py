"""The reference density of a tilted energy, as the exact integrals need it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal


@dataclass(frozen=True)
class GaussianPrior:
    """``log p0(x) = log_scale - (x - mean)' precision (x - mean) / 2``, float64.

    Attributes
    ----------
    mean : Tensor, shape (2,)
    precision : Tensor, shape (2, 2)
        Inverse of the covariance.
    log_scale : float
    """

    mean: Tensor
    precision: Tensor
    log_scale: float

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of points (..., 2), shape (...)."""
        a, b, c = self.precision[0, 0], self.precision[0, 1], self.precision[1, 1]
        dx, dy = x[..., 0] - self.mean[0], x[..., 1] - self.mean[1]
        return self.log_scale - (a * dx * dx + 2 * b * dx * dy + c * dy * dy) / 2

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the log-density at points (..., 2)."""
        return (self.mean - x) @ self.precision

    @property
    def narrowest(self) -> float:
        """Smallest standard deviation along any direction."""
        return float(torch.linalg.eigvalsh(self.precision)[-1]) ** -0.5


Prior = GaussianPrior | Distribution | None


def read_prior(prior: Distribution | None, name: str = "prior") -> Prior:
    """The prior itself, checked, or its parameters in float64 if it is normal.

    The name is for messages.

    Raises
    ------
    TypeError
        If it is neither None nor a distribution.
    ValueError
        If it does not give one log-probability a point of the plane.
    """
    if prior is None or isinstance(prior, GaussianPrior):
        return prior
    if not isinstance(prior, Distribution):
        raise TypeError(
            f"{name} must be a torch.distributions.Distribution or None, "
            f"got {type(prior).__name__}"
        )
    if tuple(prior.event_shape) != (2,) or prior.batch_shape:
        raise ValueError(
            f"{name} must be a density on the plane: event_shape (2,) and no "
            f"batch_shape, got event_shape {tuple(prior.event_shape)} and batch_shape "
            f"{tuple(prior.batch_shape)}"
        )
    if isinstance(prior, Independent) and isinstance(prior.base_dist, Normal):
        variance = prior.base_dist.scale.detach() ** 2  # in its dtype, as torch does
        precision = torch.diag(1 / variance.double().cpu())
        peak = prior.mean.double()
    elif isinstance(prior, MultivariateNormal):
        precision = torch.linalg.inv(prior.covariance_matrix.detach().double().cpu())
        precision = (precision + precision.T) / 2
        peak = prior.mean
    else:
        return prior
    log_scale = float(prior.log_prob(peak))
    return GaussianPrior(prior.mean.detach().double().cpu(), precision, log_scale)


def log_prior(prior: Prior, x: Tensor) -> Tensor:
    """Log-density of the prior at points (..., 2), float64; 0 for the flat one."""
    if prior is None:
        return x.new_zeros(x.shape[:-1])
    return prior.log_prob(x).double()
