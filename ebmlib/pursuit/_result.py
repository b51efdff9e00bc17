"""What a pursuit hands back: the model, and the steps that led to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ebmlib._checks import check_int
from ebmlib.energy import TiltedEnergy
from ebmlib.grid import Grid
from ebmlib.pursuit._filters import Filters


@dataclass(frozen=True)
class Step:
    """What one step of a pursuit did.

    Attributes
    ----------
    angle, offset : float
        The filter that was added: ``relu(x . w - offset)``, ``w = (cos, sin)(angle)``.
    score : float
        Its score under the model before, by the criterion of the pursuit.
    statistic : float
        Its expectation under the data, which the model matches from here on.
    statistic_before : float
        Its expectation under the model before.
    gain : float
        What the step added to the mean log-likelihood, nats a point.
    predicted_gain : float
        The same to second order, ``d**2 / (2 sd'**2)``; see
        :func:`~ebmlib.pursuit.second_order_gain`.
    residual : float
        Largest gap over all statistics after the step.
    n_newton : int
        Newton steps that this took.
    coefficients : Tensor, shape (k,)
        Of all filters, after the step.
    scores : Tensor, shape (m,), or None
        Of the whole pool, when ``keep_scores`` asked for them.
    """

    angle: float
    offset: float
    score: float
    statistic: float
    statistic_before: float
    gain: float
    predicted_gain: float
    residual: float
    n_newton: int
    coefficients: Tensor
    scores: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Pursuit:
    """A one-hidden-layer ReLU energy, and how it was put together.

    Attributes
    ----------
    filters : Filters
        Those chosen, in order.
    prior : Distribution or None
    grid : Grid
        Where the model's expectations are taken.
    history : list of Step
        One entry a filter.
    criterion : str
    start_log_likelihood : float
        Mean log-likelihood of the prior, normalised on the grid's box, nats a point.
    data_entropy : float or None
        Of the data on the grid when they are a distribution.
    """

    filters: Filters
    prior: Distribution | None
    grid: Grid
    history: list[Step]
    criterion: str
    start_log_likelihood: float
    data_entropy: float | None

    @property
    def coefficients(self) -> Tensor:
        """Coefficients of the filters after the last step, shape (k,), float64."""
        return self._coefficients(len(self.history))

    @property
    def model(self) -> TiltedEnergy:
        """The model ``p(x) ~ p0(x) exp(sum_k c_k relu(x . w_k - b_k))``."""
        return self.after(len(self.history))

    @property
    def network(self) -> nn.Sequential:
        """Its negative energy, a network as :func:`~ebmlib.energy.mlp` makes them."""
        return self.model.network

    @property
    def log_likelihood(self) -> Tensor:
        """Mean log-likelihood of the data with 0, 1, ... filters, shape (k + 1,)."""
        gains = [step.gain for step in self.history]
        start = torch.tensor([self.start_log_likelihood, *gains], dtype=torch.float64)
        return start.cumsum(0)

    @property
    def kl(self) -> Tensor:
        """``KL(data || model)`` on the grid with 0, 1, ... filters, shape (k + 1,).

        Raises
        ------
        ValueError
            If the data were points, whose own density is not known.
        """
        if self.data_entropy is None:
            raise ValueError(
                "kl needs data with a density, and these were points; with the true "
                "one, GridDensity(truth, grid).kl(pursuit.after(k)) measures it"
            )
        return -self.data_entropy - self.log_likelihood

    def after(self, n_filters: int) -> TiltedEnergy:
        """The model when it had that many filters; without any, the prior."""
        check_int("n_filters", n_filters, 0)
        if n_filters > len(self.history):
            raise ValueError(
                f"n_filters must be at most {len(self.history)}, got {n_filters}"
            )
        if n_filters == 0:  # a filter with coefficient 0 keeps the form of the network
            nothing = Filters(torch.zeros(1), torch.zeros(1))
            return TiltedEnergy(nothing.network(torch.zeros(1)), self.prior)
        network = self.filters[:n_filters].network(self._coefficients(n_filters))
        return TiltedEnergy(network, self.prior)

    def _coefficients(self, n: int) -> Tensor:
        empty = torch.zeros(0, dtype=torch.float64)
        return self.history[n - 1].coefficients if n else empty
