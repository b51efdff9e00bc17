"""Restricted Boltzmann machines: energies, conditionals and Gibbs sampling."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebmlib._checks import (
    NonFiniteArgumentError,
    check_between,
    check_choice,
    check_generator,
    check_int,
    check_points,
    check_positive,
)
from ebmlib.energy import EnergyModel
from ebmlib.rbm import _annealing, _exact, _reconstruct, _training
from ebmlib.rbm._chains import coin
from ebmlib.samplers import AnnealedEstimate

METHODS = ("exact", "ais")


class _RBM(EnergyModel):
    """What Bernoulli and Gaussian visible units share.

    With ``s(v)`` the visible units in units of their noise, the hidden units are
    independent given the visible ones, ``p(h_j = 1 | v) = sigmoid(c_j + W_j . s(v))``.
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    base_bias: Tensor

    def __init__(
        self,
        n_visible: int,
        n_hidden: int,
        *,
        weight_sd: float = 0.01,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_int("n_visible", n_visible, 1)
        check_int("n_hidden", n_hidden, 1)
        check_positive("weight_sd", weight_sd, allow_zero=True)
        check_generator(generator)
        weight = torch.randn(n_hidden, n_visible, generator=generator, dtype=dtype)
        self.weight = nn.Parameter(weight * weight_sd)
        self.visible_bias = nn.Parameter(torch.zeros(n_visible, dtype=dtype))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden, dtype=dtype))
        self.register_buffer("base_bias", torch.zeros(n_visible, dtype=dtype))

    @property
    def n_visible(self) -> int:
        """Number of visible units."""
        return self.weight.shape[1]

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return self.weight.shape[0]

    def extra_repr(self) -> str:
        return f"n_visible={self.n_visible}, n_hidden={self.n_hidden}"

    # --- energies -----------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor | None = None) -> Tensor:
        """Energy of joint states; of the visible units alone when ``h`` is left out.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)
        h : Tensor, shape (n, n_hidden), optional
            Zeros and ones.  Without it the hidden units are summed out:
            ``energy(v)`` is :meth:`free_energy`, which makes the machine an
            :class:`~ebmlib.energy.EnergyModel` of its visible units.

        Returns
        -------
        Tensor, shape (n,)
        """
        if h is None:
            return self.free_energy(v)
        self._check(v)
        check_points("h", h, dim=self.n_hidden)
        if len(h) != len(v):
            raise ValueError(f"v and h must have as many rows, got {len(v)}, {len(h)}")
        return self._visible_energy(v) - (self.hidden_input(v) * h).sum(1)

    def free_energy(self, v: Tensor) -> Tensor:
        """Energy of the visible units, ``-log sum_h exp(-energy(v, h))``.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)

        Returns
        -------
        Tensor, shape (n,)
            Low where ``v`` is likely: ``log p(v) = -free_energy(v) - log Z``.
        """
        self._check(v)
        return self._visible_energy(v) - F.softplus(self.hidden_input(v)).sum(1)

    # --- conditionals -------------------------------------------------------------

    def hidden_input(self, v: Tensor) -> Tensor:
        """Log-odds of each hidden unit given ``v``, ``c + W s(v)``: (n, n_hidden)."""
        return torch.addmm(self.hidden_bias, self._scaled(v), self.weight.T)

    def hidden_mean(self, v: Tensor) -> Tensor:
        """``p(h_j = 1 | v)``, shape (n, n_hidden): the features of ``v``."""
        self._check(v)
        return torch.sigmoid(self.hidden_input(v))

    @torch.no_grad()
    def sample_hidden(
        self, v: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the hidden units given the visible ones.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (n, n_hidden)
            Zeros and ones.
        """
        check_generator(generator)
        return coin(self.hidden_mean(v), generator)

    @torch.no_grad()
    def sample_visible(
        self, h: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the visible units given the hidden ones.

        Parameters
        ----------
        h : Tensor, shape (n, n_hidden)
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (n, n_visible)
        """
        check_generator(generator)
        return self._draw_visible(self.visible_mean(h), generator)

    @torch.no_grad()
    def gibbs(
        self,
        v: Tensor,
        n_steps: int = 1,
        *,
        known: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run block Gibbs chains: all hidden units, then all visible ones, in turn.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)
            Where the chains start.
        n_steps : int
            Pairs of half-steps; 0 returns ``v``.
        known : Tensor of bool, shape (n_visible,) or (n, n_visible), optional
            Visible units that are held at their values in ``v``.
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (n, n_visible)
            Where the chains are after ``n_steps``.
        """
        check_int("n_steps", n_steps, 0)
        check_generator(generator)
        self._check(v)
        mask = None if known is None else _reconstruct.as_mask(known, v)
        now = v
        for _ in range(n_steps):
            h = coin(torch.sigmoid(self.hidden_input(now)), generator)
            now = self._draw_visible(self._visible_mean(h), generator)
            if mask is not None:
                now = torch.where(mask, v, now)
        return now

    def visible_mean(self, h: Tensor) -> Tensor:
        """Mean of the visible units given ``h`` (n, n_hidden): (n, n_visible)."""
        check_points("h", h, dim=self.n_hidden)
        return self._visible_mean(h)

    # --- the partition function and what follows from it ------------------------------

    def log_partition(self, method: str = "exact", **options: Any) -> float:
        """``log Z``, by enumeration or by annealed importance sampling.

        Parameters
        ----------
        method : {"exact", "ais"}
            ``"exact"`` sums over all states of the smaller side, in float64: a second
            or two for 20 hidden units.  ``"ais"`` is the estimate of :meth:`ais`, and
            takes its options; use that method itself for the interval.

        Returns
        -------
        float
            In nats.

        Raises
        ------
        ValueError
            For another method, or if the smaller side has more than 28 units.
        """
        check_choice("method", method, METHODS)
        if method == "ais":
            return self.ais(**options).log_partition
        if options:
            raise TypeError(f"method='exact' takes no options, got {list(options)}")
        return _exact.log_partition(self)

    def ais(
        self,
        betas: int | Tensor = 1000,
        n_chains: int = 100,
        *,
        reverse_from: Tensor | None = None,
        confidence: float = 0.95,
        generator: torch.Generator | None = None,
    ) -> AnnealedEstimate:
        """Estimate ``log Z`` by annealed importance sampling.

        The ladder leads from independent visible units with biases ``base_bias`` (the
        data's log-odds, set by :meth:`fit`) to the machine: at rung b the weights and
        the hidden biases count b times, the visible biases are ``(1 - b) base_bias + b
        visible_bias`` (Salakhutdinov and Murray 2008).

        Parameters
        ----------
        betas : int or Tensor
            The rungs, rising from 0 to 1; a number k means ``linspace(0, 1, k)``.
        n_chains : int
        reverse_from : Tensor, shape (n_chains, n_visible), optional
            Samples of the machine: run down the ladder from them.  The estimate is then
            high on average, if they are samples: the two directions bracket ``log Z``.
            :meth:`sample_exact` draws them where enumeration is possible.
        confidence : float
            Level of the interval.
        generator : torch.Generator, optional

        Returns
        -------
        AnnealedEstimate
            See :class:`ebmlib.samplers.AnnealedEstimate`; ``samples`` (n_chains,
            n_visible) is where the chains ended, and ``acceptance`` is empty.
        """
        return _annealing.ais(
            self, betas, n_chains, reverse_from, confidence, generator
        )

    def log_likelihood(
        self, v: Tensor, *, log_partition: float | None = None
    ) -> Tensor:
        """``log p(v)`` of each row, in nats.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)
        log_partition : float, optional
            ``log Z`` when it is known or estimated; else it is computed exactly.

        Returns
        -------
        Tensor, shape (n,), float64
        """
        self._check(v)
        log_z = self.log_partition() if log_partition is None else log_partition
        check_between("log_partition", log_z, -math.inf, math.inf)
        with torch.no_grad():
            return -_exact.free_energy(self, v) - log_z

    @torch.no_grad()
    def sample_exact(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Independent exact samples, by enumeration of the hidden states.

        Parameters
        ----------
        n : int
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (n, n_visible)

        Raises
        ------
        ValueError
            With more than 24 hidden units.
        """
        check_int("n", n, 1)
        check_generator(generator)
        h = _exact.sample_hidden(self, n, generator).to(self.weight)
        return self._draw_visible(self._visible_mean(h), generator)

    def moments(self) -> _exact.Moments:
        """Exact expectations under the machine: the negative phase without noise.

        Returns
        -------
        Moments
            ``hidden`` (n_hidden,), ``visible`` (n_visible,) and ``product`` (n_hidden,
            n_visible): the means of ``h``, ``s(v)`` and ``h s(v)^T``, float64.

        Raises
        ------
        ValueError
            With more than 24 hidden units.
        """
        return _exact.moments(self)

    def reconstruct(
        self,
        v: Tensor,
        known: Tensor,
        *,
        method: str = "gibbs",
        n_steps: int = 100,
        burn_in: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean of the unknown visible units given the known ones.

        Parameters
        ----------
        v : Tensor, shape (n, n_visible)
            Values of the known units; what stands at the others does not matter to
            ``"exact"``, and is where ``"gibbs"`` starts.
        known : Tensor of bool, shape (n_visible,) or (n, n_visible)
        method : {"gibbs", "exact"}
            ``"gibbs"`` averages ``E[v | h]`` along chains in which the known units are
            clamped.  ``"exact"`` enumerates the hidden states, or the states of the
            unknown units where these are fewer.
        n_steps : int
            Gibbs steps that are averaged over.
        burn_in : int, optional
            Gibbs steps before that; as many as ``n_steps`` unless given.
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (n, n_visible)
            The known values, and the means of the others.

        Raises
        ------
        ValueError
            For another method, a mask of another shape or dtype, or if neither side
            has at most 20 units to enumerate.
        """
        check_choice("method", method, ("gibbs", "exact"))
        self._check(v)
        mask = _reconstruct.as_mask(known, v)
        if method == "exact":
            return _reconstruct.exact(self, v, mask)
        burn_in = n_steps if burn_in is None else burn_in
        return _reconstruct.clamped(self, v, mask, n_steps, burn_in, generator)

    def fit(self, data: Tensor, n_epochs: int = 10, **options: Any):
        """Train on ``data`` (n, n_visible): see :func:`ebmlib.rbm.fit`."""
        return _training.fit(self, data, n_epochs, **options)

    # --- the ladder from independent visible units to the machine ------------------

    def _bias_at(self, beta: float | Tensor) -> Tensor:
        """Visible biases at rung ``beta``: from ``base_bias`` to ``visible_bias``."""
        return torch.lerp(self.base_bias, self.visible_bias, beta)

    def _base_mean(self) -> Tensor:
        """Mean of the visible units at rung 0, shape (1, n_visible)."""
        nothing = self.weight.new_zeros(1, self.n_hidden)
        return self._visible_mean(nothing, self.base_bias)

    def _tempered_mean(self, h: Tensor, beta: float | Tensor) -> Tensor:
        """Mean of the visible units given ``h`` at rung ``beta``, or (n, 1) of them."""
        return self._visible_mean(h * beta, self._bias_at(beta))

    def _log_tempered(self, v: Tensor, beta: Tensor) -> Tensor:
        """Unnormalised log-density of ``v`` (n, n_visible) at rungs (n, 1): (n,)."""
        hidden = F.softplus(self.hidden_input(v) * beta).sum(1)
        return hidden - self._visible_energy(v, self._bias_at(beta))

    # --- what the two kinds differ in -------------------------------------------------

    def _scaled(self, v: Tensor) -> Tensor:
        """``s(v)``: the visible units in units of their noise."""
        raise NotImplementedError

    def _visible_energy(self, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """The part of the energy that no hidden unit is in: (n,)."""
        raise NotImplementedError

    def _visible_mean(self, h: Tensor, bias: Tensor | None = None) -> Tensor:
        """Mean of the visible units given ``h``."""
        raise NotImplementedError

    def _draw_visible(self, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw visible units of the given conditional means."""
        raise NotImplementedError

    def _bias_gain(self, v: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """Fall of :meth:`_visible_energy` from biases ``here`` to ``there``: (n,)."""
        raise NotImplementedError

    def _scaled_back(self, bias: Tensor) -> Tensor:
        """A step of the visible biases, from units of the noise to those of ``v``."""
        return bias

    def _biases_of(self, data: Tensor) -> Tensor:
        """Visible biases with which independent units have the data's means."""
        raise NotImplementedError

    def _base_log_partition(self) -> float:
        """Exact ``log Z`` at rung 0."""
        raise NotImplementedError

    def _hidden_log_masses(self) -> Tensor:
        """Log of ``exp(-E)`` of all hidden states, ``v`` summed out: (2**n_hidden,)."""
        raise NotImplementedError

    def _subset(self, units: Tensor) -> _RBM:
        """The machine of some visible units alone, in float64."""
        part = copy.deepcopy(self).double()
        part.weight = nn.Parameter(part.weight[:, units])
        part.visible_bias = nn.Parameter(part.visible_bias[units])
        part.base_bias = part.base_bias[units]
        return part

    def _check(self, v: Tensor) -> None:
        """Require visible states that the machine can take."""
        check_points("v", v, dim=self.n_visible)
        like = self.weight
        if (v.dtype, v.device) != (like.dtype, like.device):
            raise TypeError(
                f"v must have the dtype and device of the machine, {like.dtype} on "
                f"{like.device}, got {v.dtype} on {v.device}"
            )


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
        lit = data.sum(0, dtype=torch.float64)
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

    def _check(self, v: Tensor) -> None:
        super()._check(v)
        if v.numel() and (float(v.min()) < 0 or float(v.max()) > 1):
            raise ValueError(
                "v must lie between 0 and 1, got values from "
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
        return data.mean(0, dtype=torch.float64).to(data)

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
