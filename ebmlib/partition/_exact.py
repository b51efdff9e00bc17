"""What a partition answers about the density on it: one line each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib.grid import GridDensity
from ebmlib.partition._density import Moments, PolygonDensity
from ebmlib.partition._modes import Modes


class ExactQuantities:
    """Exact quantities of ``p = exp(f) p0 / Z`` on the box of a partition.

    Each method takes the prior ``p0`` (flat unless given) and integrates anew; for many
    answers about one density keep :meth:`density`.
    """

    def density(
        self, prior: Distribution | None = None, *, tolerance: float = 1e-10
    ) -> PolygonDensity:
        """The density ``exp(f) p0 / Z`` on the box, integrated once for many answers.

        Parameters
        ----------
        prior : torch.distributions.Distribution, optional
            The reference ``p0`` on the plane; ``None`` is flat, ``p0 = 1``.
        tolerance : float
            Relative error that quadrature may leave under a prior that is not flat.
        """
        return PolygonDensity(self, prior, tolerance=tolerance)

    def log_partition(self, prior: Distribution | None = None) -> float:
        """``log`` of the integral of ``exp(f) p0`` over the box."""
        return self.density(prior).log_partition

    def masses(self, prior: Distribution | None = None) -> Tensor:
        """Probability of each region, shape (R,), float64."""
        return self.density(prior).prob

    def moments(self, prior: Distribution | None = None) -> Moments:
        """``E[x]`` and ``E[x x^T]``."""
        return self.density(prior).moments()

    def expectation(
        self, g: Callable[[Tensor], Tensor], prior: Distribution | None = None
    ) -> Tensor:
        """``E[g(x)]`` by quadrature; see :meth:`PolygonDensity.expectation`."""
        return self.density(prior).expectation(g)

    def entropy(self, prior: Distribution | None = None) -> float:
        """Differential entropy in nats."""
        return self.density(prior).entropy()

    def kl(
        self, truth: Distribution | GridDensity, prior: Distribution | None = None
    ) -> float:
        """``KL(truth || p)`` in nats; see :meth:`PolygonDensity.kl`."""
        return self.density(prior).kl(truth)

    def sample(
        self,
        n: int,
        prior: Distribution | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Independent exact samples (n, 2); see :meth:`PolygonDensity.sample`."""
        return self.density(prior).sample(n, generator=generator)

    def modes(self, prior: Distribution | None = None) -> Modes:
        """All local maxima of the density on the box; see :class:`Modes`."""
        return self.density(prior).modes()
