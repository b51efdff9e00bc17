"""Restricted Boltzmann machines: energies, conditionals and Gibbs sampling."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ebmlib._checks import (
    check_between,
    check_choice,
    check_generator,
    check_int,
    check_points,
)
from ebmlib.rbm import _annealing, _exact, _reconstruct, _training
from ebmlib.rbm._chains import coin
from ebmlib.rbm._training import RBMHistory
from ebmlib.rbm._units import Units
from ebmlib.samplers import AnnealedEstimate

METHODS = ("exact", "ais")


class _RBM(Units):
    """What machines with Bernoulli and with Gaussian visible units can do."""

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

        With 784 visible units it takes about a second for 16 hidden ones, and doubles
        with each more.

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

    def fit(self, data: Tensor, n_epochs: int = 10, **options: Any) -> RBMHistory:
        """Train on ``data`` (n, n_visible): see :func:`ebmlib.rbm.fit`."""
        return _training.fit(self, data, n_epochs, **options)
