"""Latent variables summed out: free energy, logistic experts, the Gaussian RBM."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ebmlib._checks import check_finite, check_points, check_positive, check_tensor
from ebmlib.energy._experts import parameter, vector
from ebmlib.energy._models import EnergyModel

_MAX_UNITS = 20  # binary units of which all states are listed


def free_energy(
    energies: Tensor, beta: float, *, log_measure: Tensor | None = None
) -> Tensor:
    """Energy of ``x`` after the latent variable ``z`` has been summed out.

    ``F(x) = -1/beta log sum_z m(z) exp(-beta E(x, z))`` (LeCun et al. 2006).  With the
    counting measure (``m = 1``) it rises with ``beta``; with a normalised one
    (``sum_z m = 1``) it falls.  Both tend to ``min_z E(x, z)`` as ``beta`` grows.

    Parameters
    ----------
    energies : Tensor, shape (n, k)
        ``E(x, z)``, a point a row and a value of ``z`` a column.
    beta : float
        Inverse temperature, positive; ``math.inf`` takes the minimum over ``z``.
    log_measure : Tensor, shape (k,), optional
        ``log m(z)``, for example the log of the quadrature weights of a continuous
        ``z``; zero unless given.  ``-inf`` leaves a value of ``z`` out.

    Returns
    -------
    Tensor, shape (n,)

    Raises
    ------
    FloatingPointError
        If an energy is NaN or infinite.
    ValueError
        If ``beta`` is not positive, or a shape is wrong.
    """
    check_tensor("energies", energies)
    if energies.ndim != 2 or energies.shape[1] == 0:
        raise ValueError(
            "energies must have shape (n, k), a value of z a column, got "
            f"{tuple(energies.shape)}"
        )
    check_finite("energies", energies, "leave values of z out by log_measure=-inf")
    if log_measure is None:
        log_measure = energies.new_zeros(energies.shape[1])
    check_tensor("log_measure", log_measure)
    if log_measure.shape != energies.shape[1:] or not (log_measure < math.inf).all():
        raise ValueError(
            f"log_measure must have shape ({energies.shape[1]},) and be below +inf, "
            f"got shape {tuple(log_measure.shape)}, largest {float(log_measure.max())}"
        )
    if (log_measure == -math.inf).all():
        raise ValueError("log_measure must leave at least one z in, got all -inf")
    if beta == math.inf:
        return energies[:, log_measure > -math.inf].min(1).values
    check_positive("beta", beta)
    return -torch.logsumexp(log_measure - beta * energies, 1) / beta


class LogisticExperts(EnergyModel):
    """A quadratic bowl and logistic experts (Kim and Bengio 2016, equations 5, 11).

    ``E(x) = x'x / sigma**2 - linear' x - sum_i softplus(w_i' x + b_i)``.

    Parameters
    ----------
    weight : Tensor, shape (k, d)
        ``w_i``, one a row.
    bias : Tensor, shape (k,), optional
        ``b_i``; zero unless given.
    linear : Tensor, shape (d,), optional
        Zero unless given.
    sigma : float
        Width of the bowl, in the units of ``x``; alone it is a Gaussian whose standard
        deviation is ``sigma / sqrt(2)``, not ``sigma``.  ``math.inf`` leaves it out.

    Raises
    ------
    ValueError
        If a shape is wrong, a value not finite, or ``sigma`` not positive.

    Notes
    -----
    Since ``exp(softplus(a)) = 1 + exp(a)``, multiplying out makes ``exp(-E)`` a sum of
    ``2**k`` Gaussians: everything about the density is known, see :meth:`mixture`.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        linear: Tensor | None = None,
        sigma: float = 1.0,
    ) -> None:
        super().__init__()
        check_points("weight", weight, allow_empty=False)
        if sigma != math.inf:
            check_positive("sigma", sigma)
        self.weight = parameter(weight)
        self.bias = vector("bias", bias, weight[:, 0])
        self.linear = vector("linear", linear, weight[0])
        self.sigma = float(sigma)

    def energy(self, x: Tensor) -> Tensor:
        """Energy of each point, shape (n,)."""
        bowl = (x**2).sum(1) / self.sigma**2 - x @ self.linear
        return bowl - _softplus(x @ self.weight.T + self.bias).sum(1)

    def is_normalisable(self) -> bool:
        """Whether ``Z`` is finite: with the bowl always, without it never."""
        return self.sigma < math.inf

    def mixture(self) -> MixtureSameFamily:
        """The same density as a mixture of ``2**k`` Gaussians, float64.

        One component for each set ``h`` of experts that are on, with standard deviation
        ``sigma / sqrt(2)`` and mean ``sigma**2 / 2 (linear + sum_i h_i w_i)``.  It
        has the exact ``log_prob`` and draws independent exact samples.

        Raises
        ------
        ValueError
            Without a bowl, or for more than 20 experts.
        """
        log_weight, mean = self._components()
        parts = Independent(Normal(mean, self.sigma / math.sqrt(2)), 1)
        return MixtureSameFamily(Categorical(logits=log_weight), parts)

    def log_partition(self) -> float:
        """Exact ``log Z`` over the whole space, by enumeration of the components."""
        return float(torch.logsumexp(self._components()[0], 0))

    def _components(self) -> tuple[Tensor, Tensor]:
        """Log-masses (2**k,) and means (2**k, d) of the Gaussians, float64."""
        if not self.is_normalisable():
            raise ValueError("sigma must be finite for a density, got inf: Z = inf")
        on = _binary_states(len(self.weight))
        slope = self.linear.detach().double() + on @ self.weight.detach().double()
        peak = on @ self.bias.detach().double() + (slope**2).sum(1) * self.sigma**2 / 4
        volume = slope.shape[1] / 2 * math.log(math.pi * self.sigma**2)
        return peak + volume, slope * self.sigma**2 / 2


class GaussianRBM(EnergyModel):
    """Restricted Boltzmann machine with Gaussian visible and binary hidden units.

    ``E(x, h) = |x - b|**2 / (2 sd**2) - h'c - h' W x / sd**2`` with ``h`` in
    ``{0, 1}**k``; summing ``h`` out leaves the free energy
    ``|x - b|**2 / (2 sd**2) - sum_j softplus(c_j + w_j' x / sd**2)``, which is
    :meth:`energy` (Kim and Bengio 2016, equation 5; Cho et al. 2011 for these units).

    Parameters
    ----------
    weight : Tensor, shape (k, d)
        ``w_j``: how far hidden unit j moves the mean of ``x`` when it is on.
    hidden_bias : Tensor, shape (k,), optional
        ``c``; zero unless given.
    visible_bias : Tensor, shape (d,), optional
        ``b``, the mean of ``x`` when all hidden units are off; zero unless given.
    sd : float
        Standard deviation of ``x`` given ``h``, in the units of ``x``.

    Raises
    ------
    ValueError
        If a shape is wrong, a value not finite, or ``sd`` not positive.
    """

    def __init__(
        self,
        weight: Tensor,
        hidden_bias: Tensor | None = None,
        visible_bias: Tensor | None = None,
        *,
        sd: float = 1.0,
    ) -> None:
        super().__init__()
        check_points("weight", weight, allow_empty=False)
        check_positive("sd", sd)
        self.weight = parameter(weight)
        self.hidden_bias = vector("hidden_bias", hidden_bias, weight[:, 0])
        self.visible_bias = vector("visible_bias", visible_bias, weight[0])
        self.sd = float(sd)

    def joint_energy(self, x: Tensor, h: Tensor) -> Tensor:
        """``E(x, h)`` of every pair.

        Parameters
        ----------
        x : Tensor, shape (n, d)
        h : Tensor, shape (m, k)
            Zeros and ones.

        Returns
        -------
        Tensor, shape (n, m)
        """
        drive = self.hidden_bias + x @ self.weight.T / self.sd**2
        return self._bowl(x)[:, None] - drive @ h.T

    def hidden_states(self) -> Tensor:
        """All states of the hidden units, shape (2**k, k), zeros and ones."""
        return _binary_states(len(self.weight)).to(self.weight)

    def energy(self, x: Tensor) -> Tensor:
        """The free energy of each point, shape (n,), in closed form."""
        drive = self.hidden_bias + x @ self.weight.T / self.sd**2
        return self._bowl(x) - _softplus(drive).sum(1)

    def _bowl(self, x: Tensor) -> Tensor:
        return ((x - self.visible_bias) ** 2).sum(1) / (2 * self.sd**2)

    def is_normalisable(self) -> bool:
        """Whether ``Z`` is finite: always."""
        return True

    def experts(self) -> LogisticExperts:
        """The logistic experts with the same density, a copy.

        ``sigma = sqrt(2) sd``, weights and visible bias divided by ``sd**2``; the two
        energies differ by the constant ``|visible_bias|**2 / (2 sd**2)``.
        """
        variance = self.sd**2
        return LogisticExperts(
            self.weight.detach() / variance,
            self.hidden_bias.detach(),
            linear=self.visible_bias.detach() / variance,
            sigma=math.sqrt(2 * variance),
        )

    def mixture(self) -> MixtureSameFamily:
        """The same density as a mixture of ``2**k`` Gaussians, float64.

        The component of ``h`` has mean ``visible_bias + W' h`` and standard deviation
        ``sd``.
        """
        return self.experts().mixture()

    def log_partition(self) -> float:
        """Exact ``log Z`` of the free energy, by enumeration of the hidden states."""
        shift = float((self.visible_bias.detach().double() ** 2).sum())
        return self.experts().log_partition() - shift / (2 * self.sd**2)


def _softplus(a: Tensor) -> Tensor:
    """``log(1 + exp(a))``; torch's own is linear above 20, which is off by 2e-9."""
    return torch.logaddexp(a, torch.zeros_like(a))


def _binary_states(count: int) -> Tensor:
    """All vectors of ``count`` zeros and ones, (2**count, count), float64."""
    if count > _MAX_UNITS:
        raise ValueError(
            f"weight must have at most {_MAX_UNITS} rows to list all their states, "
            f"got {count}"
        )
    bits = torch.arange(count - 1, -1, -1)
    return ((torch.arange(1 << count)[:, None] >> bits) & 1).double()
