"""Generators: a network that carries a simple latent distribution to the data space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Uniform

from ebmlib._checks import check_choice, check_generator, check_int
from ebmlib.energy import gaussian

LATENTS = ("uniform", "gaussian")


class Generator(nn.Module):
    """An implicit model: ``x = B(z)`` with ``z`` from a fixed latent distribution.

    Samples are easy to draw.  A density is there too when ``B`` is a ReLU network of
    the plane: :class:`~ebmlib.gan.GeneratorDensity`.

    Parameters
    ----------
    network : nn.Module
        Maps latent points (n, latent_dim) to points (n, d) or images (n, c, h, w).
    latent : {"uniform", "gaussian"}
        Uniform on the box ``[-1, 1]**latent_dim``, or normal with unit variance.
    latent_dim : int, optional
        By default the number of inputs of the network's first affine layer.

    Raises
    ------
    ValueError
        If there is no affine layer to read ``latent_dim`` from, or another latent
        distribution is asked for.
    """

    def __init__(
        self,
        network: nn.Module,
        latent: str = "uniform",
        *,
        latent_dim: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"network must be an nn.Module, got {type(network).__name__}"
            )
        check_choice("latent", latent, LATENTS)
        if latent_dim is None:
            affine = (m for m in network.modules() if isinstance(m, nn.Linear))
            first = next(affine, None)
            if first is None:
                raise ValueError(
                    "latent_dim must be given for a network without an affine layer"
                )
            latent_dim = first.in_features
        check_int("latent_dim", latent_dim, 1)
        self.network = network
        self.latent_name, self.latent_dim = latent, latent_dim

    @property
    def latent(self) -> Distribution:
        """The latent distribution, in the dtype of the network."""
        like = self._like()
        if self.latent_name == "gaussian":
            return gaussian(self.latent_dim, dtype=like.dtype)
        high = like.new_ones(self.latent_dim)
        return Independent(Uniform(-high, high, validate_args=False), 1)

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return self._like().device

    def log_prior(self, z: Tensor) -> Tensor:
        """Log-density of the latent points (n, latent_dim); minus infinity off the box.

        Returns
        -------
        Tensor, shape (n,)
        """
        return self.latent.log_prob(z).to(z.dtype)

    def forward(self, z: Tensor) -> Tensor:
        """Where the latent points (n, latent_dim) go."""
        return self.network(z)

    def sample_latent(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Latent points, shape (n, latent_dim)."""
        check_int("n", n, 0)
        check_generator(generator)
        like = self._like()
        shape, options = (n, self.latent_dim), {"dtype": like.dtype}
        options |= {"device": like.device, "generator": generator}
        if self.latent_name == "gaussian":
            return torch.randn(shape, **options)
        return torch.rand(shape, **options).mul_(2).sub_(1)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Samples of the model: ``n`` latent points, carried to the data space."""
        return self(self.sample_latent(n, generator=generator))

    def _like(self) -> Tensor:
        return next(self.network.parameters(), torch.zeros(()))
