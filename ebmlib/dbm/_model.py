"""The machine: energy, conditionals, block Gibbs, mean field and the bound."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ebmlib._checks import (
    check_choice,
    check_finite,
    check_generator,
    check_int,
    check_points,
    check_positive,
)
from ebmlib.dbm import _annealing, _exact
from ebmlib.dbm._layers import LAYERS, Layers, MeanField, log_odds
from ebmlib.rbm._chains import coin
from ebmlib.samplers import AnnealedEstimate


class DBM(nn.Module):
    """Deep Boltzmann machine with binary units and two hidden layers.

    ``E(v, h1, h2) = -b'v - c1'h1 - c2'h2 - h1'W1 v - h2'W2 h1`` (Salakhutdinov and
    Hinton 2009, equation 9, with biases).  Units of one layer do not see each other,
    and the visible layer does not see the second hidden one.

    Parameters
    ----------
    n_visible, n_hidden1, n_hidden2 : int
        Units of each layer.
    data : Tensor, shape (n, n_visible), optional
        Zeros and ones; the visible biases start at the log-odds of their means
        (smoothed by one image of each kind).  Zero unless given.
    sd : float
        Standard deviation of the weights at first.  Hidden biases start at 0.
    generator : torch.Generator, optional

    Attributes
    ----------
    weight1 : Parameter, shape (n_hidden1, n_visible)
    weight2 : Parameter, shape (n_hidden2, n_hidden1)
    visible_bias, hidden1_bias, hidden2_bias : Parameter

    Raises
    ------
    ValueError
        If a size is below 1, or ``data`` have another width.
    """

    def __init__(
        self,
        n_visible: int,
        n_hidden1: int,
        n_hidden2: int,
        *,
        data: Tensor | None = None,
        sd: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = {"n_visible": n_visible, "n_hidden1": n_hidden1, "n_hidden2": n_hidden2}
        for name, size in sizes.items():
            check_int(name, size, 1)
        check_positive("sd", sd, allow_zero=True)
        check_generator(generator)
        bias = torch.zeros(n_visible)
        if data is not None:
            bias = log_odds(data, n_visible)
        weight1 = sd * torch.randn(n_hidden1, n_visible, generator=generator)
        weight2 = sd * torch.randn(n_hidden2, n_hidden1, generator=generator)
        self.weight1, self.weight2 = nn.Parameter(weight1), nn.Parameter(weight2)
        self.visible_bias = nn.Parameter(bias)
        self.hidden1_bias = nn.Parameter(torch.zeros(n_hidden1))
        self.hidden2_bias = nn.Parameter(torch.zeros(n_hidden2))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Units of the visible, first and second hidden layer."""
        return (*self.weight1.T.shape, len(self.weight2))

    @property
    def n_parameters(self) -> int:
        """Weights and biases, counted."""
        return sum(parameter.numel() for parameter in self.parameters())

    def energy(self, visible: Tensor, hidden1: Tensor, hidden2: Tensor) -> Tensor:
        """Energy of each row of states, shape (n,)."""
        self._check(Layers(visible, hidden1, hidden2))
        linear = visible @ self.visible_bias + hidden1 @ self.hidden1_bias
        pairs = (visible @ self.weight1.T + hidden2 @ self.weight2) * hidden1
        return -(linear + hidden2 @ self.hidden2_bias + pairs.sum(1))

    def visible_mean(self, hidden1: Tensor) -> Tensor:
        """``P(v = 1 | h1)``, shape (n, n_visible)."""
        return torch.sigmoid(self.visible_bias + hidden1 @ self.weight1)

    def hidden1_mean(self, visible: Tensor, hidden2: Tensor) -> Tensor:
        """``P(h1 = 1 | v, h2)``, shape (n, n_hidden1): both neighbours have a say."""
        below, above = visible @ self.weight1.T, hidden2 @ self.weight2
        return torch.sigmoid(self.hidden1_bias + below + above)

    def hidden2_mean(self, hidden1: Tensor) -> Tensor:
        """``P(h2 = 1 | h1)``, shape (n, n_hidden2)."""
        return torch.sigmoid(self.hidden2_bias + hidden1 @ self.weight2.T)

    def random_states(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Layers:
        """Fair coin flips for every unit of n machines, where chains can start."""
        check_int("n", n, 1)
        like = self.visible_bias
        rows = (torch.rand(n, k, generator=generator) < 0.5 for k in self.sizes)
        return Layers(*(row.to(like) for row in rows))

    @torch.no_grad()
    def gibbs(
        self,
        states: Layers,
        n_steps: int = 1,
        *,
        clamp: Collection[str] = (),
        generator: torch.Generator | None = None,
    ) -> Layers:
        """Block Gibbs sampling: the first hidden layer, then the two others at once.

        Parameters
        ----------
        states : Layers
            Zeros and ones.
        n_steps : int
            Sweeps over all layers.
        clamp : collection of {"visible", "hidden1", "hidden2"}
            Layers that keep their states.
        generator : torch.Generator, optional

        Returns
        -------
        Layers
        """
        self._check(states)
        check_int("n_steps", n_steps, 0)
        check_generator(generator)
        for name in clamp:
            check_choice("clamp", name, LAYERS)
        visible, hidden1, hidden2 = states
        for _ in range(n_steps):
            if "hidden1" not in clamp:
                hidden1 = coin(self.hidden1_mean(visible, hidden2), generator)
            if "visible" not in clamp:
                visible = coin(self.visible_mean(hidden1), generator)
            if "hidden2" not in clamp:
                hidden2 = coin(self.hidden2_mean(hidden1), generator)
        return Layers(visible, hidden1, hidden2)

    @torch.no_grad()
    def mean_field(
        self,
        visible: Tensor,
        *,
        start: Tensor | None = None,
        max_steps: int = 1000,
        tolerance: float = 1e-5,
        strict: bool = True,
    ) -> MeanField:
        """The factorised posterior that is best near its start, layer by layer.

        ``m1 = sigmoid(c1 + W1 v + W2'm2)`` and ``m2 = sigmoid(c2 + W2 m1)`` in turn
        (Salakhutdinov and Hinton 2009, equations 12 and 13).  Given one layer, the
        update of the other is the exact maximum of :meth:`bound`: no sweep can lower
        it, and no damping is needed.  Updating both from old values has no such
        guarantee and can swing for ever.

        Parameters
        ----------
        visible : Tensor, shape (n, n_visible)
        start : Tensor, shape (n, n_hidden2), optional
            ``m2`` to start from.  By default one pass upwards in which the second layer
            is missing and the first one's input from below counts twice.
        max_steps : int
            Sweeps at most.
        tolerance : float
            Stop when no probability changes by more in a sweep.
        strict : bool
            Whether to refuse a result that has not converged.

        Returns
        -------
        MeanField

        Raises
        ------
        FloatingPointError
            If a probability is not finite, or ``strict`` and not converged.
        """
        check_points("visible", visible, dim=self.sizes[0], allow_empty=False)
        check_int("max_steps", max_steps, 1)
        check_positive("tolerance", tolerance)
        visible = visible.to(self.visible_bias)
        below = self.hidden1_bias + visible @ self.weight1.T
        if start is None:
            twice = torch.sigmoid(below + visible @ self.weight1.T)
            hidden2 = self.hidden2_mean(twice)
        else:
            check_points("start", start, dim=self.sizes[2])
            hidden2 = start
        hidden1, change = torch.sigmoid(below + hidden2 @ self.weight2), torch.inf
        for n_steps in range(1, max_steps + 1):  # noqa: B007
            old1, old2 = hidden1, hidden2
            hidden2 = self.hidden2_mean(hidden1)
            hidden1 = torch.sigmoid(below + hidden2 @ self.weight2)
            moved = (hidden2 - old2).abs().max(), (hidden1 - old1).abs().max()
            change = float(torch.stack(moved).max())
            if not change > tolerance:
                break
        check_finite("mean field", hidden1, "the parameters have diverged")
        if strict and change > tolerance:
            raise FloatingPointError(
                f"mean field not converged after {max_steps} sweeps: a probability "
                f"still changes by {change:.2g}; raise max_steps or tolerance"
            )
        return MeanField(hidden1, hidden2, n_steps, change)

    def bound(
        self,
        visible: Tensor,
        *,
        log_partition: float | None = None,
        mean_field: MeanField | None = None,
    ) -> Tensor:
        """Lower bound on the log-likelihood of each row, nats.

        ``E_q[-E(v, h1, h2)] + H(q) - log Z`` for the factorised ``q``; it is below
        ``log p(v)`` by exactly ``KL(q || p(h1, h2 | v))``.  With an estimate in place
        of ``log Z`` it is a bound no longer, but an estimate of one.

        Parameters
        ----------
        visible : Tensor, shape (n, n_visible)
        log_partition : float, optional
            ``log Z`` when it is known or estimated; else it is computed exactly.
        mean_field : MeanField, optional
            The means of ``q``; computed unless given.

        Returns
        -------
        Tensor, shape (n,), float64
        """
        found = self.mean_field(visible) if mean_field is None else mean_field
        with torch.no_grad():
            wide = _exact.as_double(self)
            v, m1, m2 = (t.double() for t in (visible, found.hidden1, found.hidden2))
            linear = v @ wide.b + m1 @ wide.c1 + m2 @ wide.c2
            pairs = ((v @ wide.w1.T + m2 @ wide.w2) * m1).sum(1)
            entropy = _exact.bernoulli_entropy(m1) + _exact.bernoulli_entropy(m2)
            log_z = self.log_partition() if log_partition is None else log_partition
            return linear + pairs + entropy - log_z

    def unnormalised_log_prob(self, visible: Tensor) -> Tensor:
        """``log sum_h exp(-E(v, h1, h2))`` of each row, exact and differentiable.

        Enumerates the smaller hidden layer, at most 22 units.

        Returns
        -------
        Tensor, shape (n,), float64
        """
        check_points("visible", visible, dim=self.sizes[0], allow_empty=False)
        return _exact.log_unnormalised(self, visible)

    def log_partition(self, method: str = "exact", **options: Any) -> float:
        """``log Z`` by enumeration or by annealed importance sampling.

        Parameters
        ----------
        method : {"exact", "ais"}
            ``"exact"`` sums over the first hidden layer, or over the two others,
            whichever has fewer units (at most 22), with the rest summed in closed form.
            ``"ais"`` is the estimate of :meth:`ais`, and takes its options; use that
            method itself for the interval.

        Returns
        -------
        float
            In nats.

        Raises
        ------
        ValueError
            For another method, or if there are too many units to enumerate.
        """
        check_choice("method", method, ("exact", "ais"))
        if method == "ais":
            return self.ais(**options).log_partition
        if options:
            raise TypeError(f"method='exact' takes no options, got {list(options)}")
        with torch.no_grad():
            return float(_exact.log_partition(self))

    def ais(
        self,
        betas: int | Tensor = 1000,
        n_chains: int = 100,
        *,
        base: Tensor | None = None,
        reverse_from: Tensor | None = None,
        confidence: float = 0.95,
        generator: torch.Generator | None = None,
    ) -> AnnealedEstimate:
        """Estimate ``log Z`` by chains on the first hidden layer.

        The two other layers are summed out (Salakhutdinov and Hinton 2009, section
        3.3).  The ladder leads from independent units to the machine: at rung b the
        visible biases are ``(1 - b) base + b visible_bias``, and everything else counts
        b times.

        Parameters
        ----------
        betas : int or Tensor
            The rungs, rising from 0 to 1; a number k means ``linspace(0, 1, k)``.
        n_chains : int
        base : Tensor, shape (n_visible,), optional
            The log-odds of the data serve well.  Unless given, the visible units' input
            when half of the first hidden layer is on.
        reverse_from : Tensor, shape (n_chains, n_hidden1), optional
            Exact samples of the first hidden layer: run down the ladder from them.
        confidence : float
            Level of the interval.
        generator : torch.Generator, optional

        Returns
        -------
        AnnealedEstimate
            ``samples`` (n_chains, n_hidden1) is where the chains ended, and
            ``acceptance`` is empty.
        """
        return _annealing.ais(
            self, betas, n_chains, base, reverse_from, confidence, generator
        )

    def log_likelihood(
        self, visible: Tensor, *, log_partition: float | None = None
    ) -> Tensor:
        """Exact ``log p(v)`` of each row, nats; differentiable in the parameters.

        Parameters
        ----------
        visible : Tensor, shape (n, n_visible)
        log_partition : float, optional
            ``log Z`` when it is known or estimated; it is then taken as a constant.

        Returns
        -------
        Tensor, shape (n,), float64
        """
        log_z = _exact.log_partition(self) if log_partition is None else log_partition
        return self.unnormalised_log_prob(visible) - log_z

    def posterior_means(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Exact ``P(h1 = 1 | v)`` and ``P(h2 = 1 | v)``, by enumeration, float64."""
        check_points("visible", visible, dim=self.sizes[0], allow_empty=False)
        return _exact.posterior_means(self, visible)

    def sample_exact(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Layers:
        """Exact, independent samples of all layers, by enumeration of the first."""
        check_int("n", n, 1)
        check_generator(generator)
        with torch.no_grad():
            hidden1 = _exact.sample_hidden1(self, n, generator).to(self.visible_bias)
            visible = coin(self.visible_mean(hidden1), generator)
            return Layers(visible, hidden1, coin(self.hidden2_mean(hidden1), generator))

    def _check(self, states: Layers) -> None:
        for name, rows, size in zip(LAYERS, states, self.sizes, strict=True):
            check_points(name, rows, dim=size, allow_empty=False)
