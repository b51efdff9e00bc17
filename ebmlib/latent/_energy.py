"""The energy of a latent point: its prior, and what the critic says of its image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_points, check_positive
from ebmlib.energy import EnergyModel
from ebmlib.gan import critic_values

Logit = Callable[[Tensor], Tensor]


class LatentEnergy(EnergyModel):
    """Energy on the latent space: ``E(z) = -log p_0(z) - d(B(z)) / temperature``.

    Its density ``p_0(z) exp(d(B(z)) / T) / Z_0`` is the posterior of a generalised
    energy-based model (Arbel, Zhou and Gretton 2021), with energy ``-d``, and that of
    discriminator-driven latent sampling (Che et al. 2020).  If z follows it, then
    ``B(z)`` follows ``p_g exp(d / T) / Z_0``: the data's density when T = 1 and d is
    the log-ratio of the data's density to the generator's, and then ``Z_0 = 1``.

    Outside the support of ``p_0`` the energy is ``+inf``.  `MALA`, `HMC` and
    `RandomWalkMetropolis` refuse such points, or are kept inside by ``bounds``, and
    either way are exact.  `Langevin` cannot refuse: it needs ``bounds=(-1, 1)`` on the
    square, and is right only in the limit of small steps, there more than elsewhere.

    Parameters
    ----------
    base : Generator
        The generator B, see the module's description.
    logit : callable
        d, from points (n, d) to (n,) or (n, 1), high on data.  Kernels that use a
        gradient need one that can be differentiated.
    temperature : float
        Of the critic alone: below 1 it counts for more, at infinity not at all.  The
        kernels' own temperature also flattens ``p_0``, which matters unless that is
        uniform.

    Raises
    ------
    TypeError
        If ``base`` has no latent distribution, or ``logit`` cannot be called.
    ValueError
        If ``temperature`` is not positive.
    """

    def __init__(self, base: Any, logit: Logit, temperature: float = 1.0) -> None:
        super().__init__()
        check_base(base)
        check_logit(logit)
        check_positive("temperature", temperature)
        self.base, self.logit = base, logit
        self.temperature = float(temperature)

    def energy(self, z: Tensor) -> Tensor:
        """Energy of latent points (n, k), shape (n,); ``+inf`` where p_0 is zero."""
        latent = self.base.latent
        check_points("z", z, dim=latent.event_shape[0])
        inside = latent.support.check(z)
        # where there is no mass the critic need not be defined, and is not asked
        z = torch.where(inside[:, None], z, latent.mean.to(z))
        log_prior = latent.log_prob(z).to(z.dtype)
        energy = -log_prior - critic_values(self.logit, self.base(z)) / self.temperature
        return torch.where(inside, energy, math.inf)


def check_base(base: Any) -> None:
    """Require a callable with a latent distribution of points that can be drawn."""
    latent = getattr(base, "latent", None)
    if not (
        callable(base)
        and isinstance(latent, Distribution)
        and hasattr(base, "sample_latent")
    ):
        raise TypeError(
            "base must be an ebmlib.gan.Generator, or a callable with latent (a torch "
            f"Distribution) and sample_latent, got {type(base).__name__}"
        )
    if len(latent.event_shape) != 1 or latent.batch_shape:
        raise ValueError(
            "base.latent must have event_shape (k,) and no batch_shape, got "
            f"{tuple(latent.event_shape)} and {tuple(latent.batch_shape)}"
        )


def check_logit(logit: Any) -> None:
    """Require something that can be called."""
    if not callable(logit):
        raise TypeError(
            "logit must map points to logits: a critic or a function, got "
            f"{type(logit).__name__}"
        )
