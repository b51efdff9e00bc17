"""The two kinds of restricted Boltzmann machines, by their visible units."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ebmlib._checks import NonFiniteArgumentError
from ebmlib.rbm import _exact
from ebmlib.rbm._chains import coin
from ebmlib.rbm._model import _RBM


class BernoulliRBM(_RBM):
    """Restricted Boltzmann machine with visible and hidden units of 0 and 1.

    ``E(v, h) = -b . v - c . h - h . W v`` (Smolensky 1986; Fischer and Igel 2012,
    equation 12).

    Parameters
    ----------
    n_visible, n_hidden : int
    weight_sd : float
        Weights start as independent normal numbers of this standard deviation, biases
        at 0; :meth:`fit` moves visible biases that are all 0 to the data's log-odds.
    dtype : torch.dtype
    generator : torch.Generator, optional

    Attributes
    ----------
    weight : Parameter, shape (n_hidden, n_visible)
        ``W``; row j is the filter of hidden unit j.
    visible_bias, hidden_bias : Parameter, shape (n_visible,), (n_hidden,)
        ``b`` and ``c``.
    base_bias : Tensor, shape (n_visible,)
        Log-odds of the data's pixels: the independent-pixel model that AIS starts from.
    """

    def _scaled(self, v: Tensor) -> Tensor:
        return v

    def _visible_energy(self, v: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = self.visible_bias if bias is None else bias
        return -(v * bias).sum(1) if bias.ndim == 2 else -(v @ bias)

    def _visible_mean(self, h: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = self.visible_bias if bias is None else bias
        return torch.sigmoid(torch.addmm(bias, h, self.weight))

    def _draw_visible(self, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        return coin(mean, generator)

    def _bias_gain(self, v: Tensor, here: Tensor, there: Tensor) -> Tensor:
        return v @ (there - here)

    def _biases_of(self, data: Tensor) -> Tensor:
        n = len(data)  # half a count is added on either side: no pixel is impossible
        lit = column_sums(data)
        return ((lit + 0.5) / (n - lit + 0.5)).log().to(data)

    def _base_log_partition(self) -> float:
        ones = F.softplus(self.base_bias.double()).sum()
        return float(ones) + self.n_hidden * math.log(2)

    def _hidden_log_masses(self) -> Tensor:
        weight = self.weight.detach().double()
        biases = self.hidden_bias.double(), self.visible_bias.double()
        return _exact.sum_out(*biases, weight)

    def _visible_log_masses(self) -> Tensor:
        """Log of ``exp(-F)`` of all visible states, shape (2**n_visible,)."""
        weight = self.weight.detach().double()
        biases = self.visible_bias.double(), self.hidden_bias.double()
        return _exact.sum_out(*biases, weight.T.contiguous())

    def _check(self, v: Tensor, name: str = "v") -> None:
        super()._check(v, name)
        if v.numel() and not self._allowed(v, 0.0, 1.0):
            raise ValueError(
                f"{name} must lie between 0 and 1, got values from "
                f"{float(v.min()):g} to {float(v.max()):g}; "
                "ebmlib.images.binarise makes zeros and ones of grey images"
            )

    @torch.no_grad()
    def pseudo_log_likelihood(self, v: Tensor) -> Tensor:
        """``sum_i log p(v_i | all other visible units)`` of each row, over all pixels.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)
            Zeros and ones.

        Returns
        -------
        Tensor, shape (n,), float64
            In nats (Besag 1975).  It needs no ``log Z``; scikit-learn's
            ``score_samples`` estimates it from one random pixel a row.

        Raises
        ------
        ValueError
            If a value is neither 0 nor 1.
        """
        self._check(v)
        if not bool(((v == 0) | (v == 1)).all()):
            raise ValueError("v must hold zeros and ones only")
        return _exact.pseudo_log_likelihood(self, v)


class GaussianRBM(_RBM):
    """Restricted Boltzmann machine with real visible units of known noise.

    ``E(v, h) = sum_i (v_i - b_i)**2 / (2 sd_i**2) - c . h - h . W (v / sd)`` (Hinton
    2012, section 13.2): given ``h`` the visible units are independent normal with mean
    ``b + sd * (W^T h)`` and standard deviation ``sd``.  Summed over ``h`` it is a
    mixture of ``2**n_hidden`` Gaussians.

    Parameters
    ----------
    n_visible, n_hidden : int
    sd : float or Tensor of shape (n_visible,)
        Noise of the visible units, in the units of ``v``; not learned.
    weight_sd, dtype, generator
        As for :class:`BernoulliRBM`; visible biases start at 0 and :meth:`fit` moves
        them to the data's means.
    """

    noise_sd: Tensor

    def __init__(
        self,
        n_visible: int,
        n_hidden: int,
        *,
        sd: float | Tensor = 1.0,
        weight_sd: float = 0.01,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            n_visible, n_hidden, weight_sd=weight_sd, dtype=dtype, generator=generator
        )
        noise = torch.as_tensor(sd, dtype=dtype)
        if noise.shape not in ((), (n_visible,)):
            raise ValueError(
                f"sd must be a number or have shape ({n_visible},), "
                f"got {tuple(noise.shape)}"
            )
        if not bool(torch.isfinite(noise).all()):
            raise NonFiniteArgumentError(f"sd must be finite, got {sd}")
        if not bool((noise > 0).all()):
            raise ValueError(f"sd must be positive, got {sd}")
        self.register_buffer("noise_sd", noise.expand(n_visible).clone())

    def _scaled(self, v: Tensor) -> Tensor:
        return v / self.noise_sd

    def _visible_energy(self, v: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = self.visible_bias if bias is None else bias
        return ((v - bias) / self.noise_sd).square().sum(1) / 2

    def _visible_mean(self, h: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = self.visible_bias if bias is None else bias
        return bias + self.noise_sd * (h @ self.weight)

    def _draw_visible(self, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.empty_like(mean).normal_(generator=generator)
        return mean + self.noise_sd * noise

    def _bias_gain(self, v: Tensor, here: Tensor, there: Tensor) -> Tensor:
        weight = (there - here) / self.noise_sd.square()
        return (v - (there + here) / 2) @ weight

    def _scaled_back(self, bias: Tensor) -> Tensor:
        return bias * self.noise_sd

    def _biases_of(self, data: Tensor) -> Tensor:
        return (column_sums(data) / len(data)).to(data)

    def _base_log_partition(self) -> float:
        return self._log_constant() + self.n_hidden * math.log(2)

    def _log_constant(self) -> float:
        """Log of the integral of ``exp(-|v - b|**2 / (2 sd**2))``."""
        sd = self.noise_sd.double()
        return float(sd.log().sum()) + len(sd) * math.log(2 * math.pi) / 2

    def _hidden_log_masses(self) -> Tensor:
        model = copy.deepcopy(self).double()
        shift = model.visible_bias / model.noise_sd
        masses = _exact.gaussian_log_masses(shift, model.hidden_bias, model.weight)
        return masses + self._log_constant()

    def _subset(self, units: Tensor) -> GaussianRBM:
        part = super()._subset(units)
        part.noise_sd = part.noise_sd[units]
        return part


def column_sums(data: Tensor) -> Tensor:
    """Sum of each column of (n, d) in float64; of zeros and ones, without error."""
    return torch.stack([part.sum(0).double() for part in data.split(8192)]).sum(0)
