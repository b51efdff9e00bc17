"""The machine: energy, conditionals, block Gibbs, mean field and the bound."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

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
from ebmlib.samplers import AnnealedEstimate

LAYERS = ("visible", "hidden1", "hidden2")


class Layers(NamedTuple):
    """States, or means, of the three layers, one machine a row.

    Attributes
    ----------
    visible : Tensor, shape (n, n_visible)
    hidden1 : Tensor, shape (n, n_hidden1)
    hidden2 : Tensor, shape (n, n_hidden2)
    """

    visible: Tensor
    hidden1: Tensor
    hidden2: Tensor


class MeanField(NamedTuple):
    """A factorised approximation to the posterior of the hidden units.

    Attributes
    ----------
    hidden1 : Tensor, shape (n, n_hidden1)
        Probability that each unit is on, given the visible units of the row.
    hidden2 : Tensor, shape (n, n_hidden2)
    n_steps : int
        Sweeps over the two layers that were made.
    change : float
        Largest change of a probability in the last sweep.
    """

    hidden1: Tensor
    hidden2: Tensor
    n_steps: int
    change: float


class DBM(nn.Module):
    """Deep Boltzmann machine with binary units and two hidden layers.

    ``E(v, h1, h2) = -b'v - c1'h1 - c2'h2 - v'W1 h1 - h1'W2 h2`` (Salakhutdinov and
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
    weight1 : Parameter, shape (n_visible, n_hidden1)
    weight2 : Parameter, shape (n_hidden1, n_hidden2)
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
        weight1 = sd * torch.randn(n_visible, n_hidden1, generator=generator)
        weight2 = sd * torch.randn(n_hidden1, n_hidden2, generator=generator)
        self.weight1, self.weight2 = nn.Parameter(weight1), nn.Parameter(weight2)
        self.visible_bias = nn.Parameter(bias)
        self.hidden1_bias = nn.Parameter(torch.zeros(n_hidden1))
        self.hidden2_bias = nn.Parameter(torch.zeros(n_hidden2))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Units of the visible, first and second hidden layer."""
        return (*self.weight1.shape, self.weight2.shape[1])

    @property
    def n_parameters(self) -> int:
        """Weights and biases, counted."""
        return sum(parameter.numel() for parameter in self.parameters())

    def energy(self, visible: Tensor, hidden1: Tensor, hidden2: Tensor) -> Tensor:
        """Energy of each row of states, shape (n,)."""
        self._check(Layers(visible, hidden1, hidden2))
        linear = visible @ self.visible_bias + hidden1 @ self.hidden1_bias
        pairs = (visible @ self.weight1 + hidden2 @ self.weight2.T) * hidden1
        return -(linear + hidden2 @ self.hidden2_bias + pairs.sum(1))

    def visible_mean(self, hidden1: Tensor) -> Tensor:
        """``P(v = 1 | h1)``, shape (n, n_visible)."""
        return torch.sigmoid(self.visible_bias + hidden1 @ self.weight1.T)

    def hidden1_mean(self, visible: Tensor, hidden2: Tensor) -> Tensor:
        """``P(h1 = 1 | v, h2)``, shape (n, n_hidden1): both neighbours have a say."""
        below, above = visible @ self.weight1, hidden2 @ self.weight2.T
        return torch.sigmoid(self.hidden1_bias + below + above)

    def hidden2_mean(self, hidden1: Tensor) -> Tensor:
        """``P(h2 = 1 | h1)``, shape (n, n_hidden2)."""
        return torch.sigmoid(self.hidden2_bias + hidden1 @ self.weight2)

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
                hidden1 = flip(self.hidden1_mean(visible, hidden2), generator)
            if "visible" not in clamp:
                visible = flip(self.visible_mean(hidden1), generator)
            if "hidden2" not in clamp:
                hidden2 = flip(self.hidden2_mean(hidden1), generator)
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

        ``m1 = sigmoid(c1 + W1'v + W2 m2)`` and ``m2 = sigmoid(c2 + W2'm1)`` in turn
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
        below = self.hidden1_bias + visible @ self.weight1
        if start is None:
            twice = torch.sigmoid(below + visible @ self.weight1)
            hidden2 = self.hidden2_mean(twice)
        else:
            check_points("start", start, dim=self.sizes[2])
            hidden2 = start
        hidden1, change = torch.sigmoid(below + hidden2 @ self.weight2.T), torch.inf
        for n_steps in range(1, max_steps + 1):  # noqa: B007
            old1, old2 = hidden1, hidden2
            hidden2 = self.hidden2_mean(hidden1)
            hidden1 = torch.sigmoid(below + hidden2 @ self.weight2.T)
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
        log_partition: float | Tensor,
        mean_field: MeanField | None = None,
    ) -> Tensor:
        """Lower bound on the log-likelihood of each row, nats.

        ``E_q[-E(v, h1, h2)] + H(q) - log Z`` for the factorised ``q``; it is below
        ``log p(v)`` by exactly ``KL(q || p(h1, h2 | v))``.  With an estimate in place
        of ``log Z`` it is a bound no longer, but an estimate of one.

        Parameters
        ----------
        visible : Tensor, shape (n, n_visible)
        log_partition : float or Tensor
        mean_field : MeanField, optional
            Computed unless given.

        Returns
        -------
        Tensor, shape (n,), float64
        """
        found = self.mean_field(visible) if mean_field is None else mean_field
        with torch.no_grad():
            wide = _exact.as_double(self)
            v, m1, m2 = (t.double() for t in (visible, found.hidden1, found.hidden2))
            linear = v @ wide.b + m1 @ wide.c1 + m2 @ wide.c2
            pairs = ((v @ wide.w1 + m2 @ wide.w2.T) * m1).sum(1)
            entropy = _exact.bernoulli_entropy(m1) + _exact.bernoulli_entropy(m2)
            return linear + pairs + entropy - float(log_partition)

    def unnormalised_log_prob(self, visible: Tensor) -> Tensor:
        """``log sum_h exp(-E(v, h1, h2))`` of each row, exact and differentiable.

        Enumerates the smaller hidden layer, at most 22 units.

        Returns
        -------
        Tensor, shape (n,), float64
        """
        check_points("visible", visible, dim=self.sizes[0], allow_empty=False)
        return _exact.log_unnormalised(self, visible)

    def log_partition(
        self,
        method: str = "exact",
        *,
        n_chains: int = 100,
        betas: int | Tensor = 1000,
        base: Tensor | None = None,
        reverse_from: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor | AnnealedEstimate:
        """``log Z`` by enumeration, or annealed importance sampling's estimate of it.

        Parameters
        ----------
        method : {"exact", "ais"}
            ``"exact"`` sums over the first hidden layer, or over the two others,
            whichever has fewer units (at most 22), with the rest summed in closed form;
            differentiable.  ``"ais"`` runs chains on the first hidden layer with the
            two others summed out (Salakhutdinov and Hinton 2009, section 3.3).
        n_chains : int
        betas : int or Tensor
            Rungs of the ladder, or how many equal ones.
        base : Tensor, shape (n_visible,), optional
            Visible biases of the machine without weights at which the ladder begins;
            the model's own mean input unless given.
        reverse_from : Tensor, shape (n_chains, n_hidden1), optional
            Exact samples of the first hidden layer: run the ladder downwards.
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, shape (), float64, or AnnealedEstimate

        Raises
        ------
        ValueError
            If there are too many units to enumerate.
        """
        check_choice("method", method, ("exact", "ais"))
        if method == "exact":
            return _exact.log_partition(self)
        return _annealing.annealed(self, n_chains, betas, base, reverse_from, generator)

    def log_likelihood(
        self, visible: Tensor, log_partition: float | Tensor | None = None
    ) -> Tensor:
        """Exact ``log p(v)`` of each row, nats; differentiable in the parameters.

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

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Layers:
        """Exact, independent samples of all layers, by enumeration of the first."""
        check_int("n", n, 1)
        check_generator(generator)
        with torch.no_grad():
            hidden1 = _exact.sample_hidden1(self, n, generator).to(self.visible_bias)
            visible = flip(self.visible_mean(hidden1), generator)
            return Layers(visible, hidden1, flip(self.hidden2_mean(hidden1), generator))

    def _check(self, states: Layers) -> None:
        for name, rows, size in zip(LAYERS, states, self.sizes, strict=True):
            check_points(name, rows, dim=size, allow_empty=False)


def flip(prob: Tensor, generator: torch.Generator | None) -> Tensor:
    """Zeros and ones with the given probabilities of a one."""
    draw = torch.rand(prob.shape, dtype=prob.dtype, generator=generator)
    return (draw.to(prob.device) < prob).to(prob)


def log_odds(data: Tensor, width: int | None = None) -> Tensor:
    """Log-odds of the means of the columns, with one image of each kind added."""
    check_points("data", data, dim=width, allow_empty=False)
    if not ((data == 0) | (data == 1)).all():
        raise ValueError("data must hold zeros and ones only; threshold them first")
    return torch.logit((data.sum(0) + 1) / (len(data) + 2))
