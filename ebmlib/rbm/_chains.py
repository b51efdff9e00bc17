"""Where the negative phase of a restricted Boltzmann machine comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from ebmlib.rbm import _exact

if TYPE_CHECKING:
    from ebmlib.rbm._model import _RBM


class Statistics(NamedTuple):
    """What one update needs: means of the data and of the machine."""

    product: Tensor  # mean of h s(v)^T under the data less that under the machine
    data_visible: Tensor
    data_hidden: Tensor
    model_visible: Tensor
    model_hidden: Tensor


class Chains(Protocol):
    """A negative phase, with what it keeps from one update to the next."""

    visible: Tensor | None  # its last visible states, (m, n_visible)

    def __call__(
        self, model: _RBM, batch: Tensor, generator: torch.Generator | None
    ) -> Statistics: ...


def coin(mean: Tensor, generator: torch.Generator | None) -> Tensor:
    """Zeros and ones, one with probability ``mean`` (any shape)."""
    return torch.empty_like(mean).uniform_(generator=generator).lt_(mean)


def make_chains(
    model: _RBM,
    method: str,
    n_chains: int,
    n_steps: int,
    temperatures: int,
    generator: torch.Generator | None,
) -> Chains:
    """The negative phase of a name; persistent chains start from the base rates."""
    if method == "exact":
        return ExactMoments()
    if method == "cd":
        return Contrastive(n_steps)
    rungs = torch.linspace(1, 0, temperatures).tolist() if method == "pt" else [1.0]
    return Persistent(model, rungs, n_chains, n_steps, generator)


class ExactMoments:
    """All states of the hidden units, weighted by their probability."""

    visible = None

    def __call__(
        self, model: _RBM, batch: Tensor, generator: torch.Generator | None
    ) -> Statistics:
        s, h = model._scaled(batch), torch.sigmoid(model.hidden_input(batch))
        hidden, visible, product = (m.to(s) for m in _exact.moments(model))
        product = (h.T @ s) / len(s) - product
        return Statistics(product, s.mean(0), h.mean(0), visible, hidden)


class Contrastive:
    """Chains of ``n_steps`` from each row of the batch (Hinton 2002)."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps
        self.visible: Tensor | None = None

    def __call__(
        self, model: _RBM, batch: Tensor, generator: torch.Generator | None
    ) -> Statistics:
        h = h_data = torch.sigmoid(model.hidden_input(batch))
        for _ in range(self.n_steps):
            mean = model._visible_mean(coin(h, generator))
            v = model._draw_visible(mean, generator)
            h = torch.sigmoid(model.hidden_input(v))
        self.visible = v
        rows = torch.cat([model._scaled(batch), model._scaled(v)])
        return _of_rows(rows, torch.cat([h_data, h]), len(batch))


class Persistent:
    """Chains that go on; with several rungs, tempered ones that swap (PCD and PT).

    The rung of inverse temperature b has weights and hidden biases counted b times,
    and visible biases between those of the base rates and the machine's.  Only the
    chains of the first rung, b = 1, enter the statistics.
    """

    def __init__(
        self,
        model: _RBM,
        rungs: list[float],
        n_chains: int,
        n_steps: int,
        generator: torch.Generator | None,
    ) -> None:
        self.n_chains, self.n_steps = n_chains, n_steps
        self.beta = torch.tensor(rungs).to(model.weight).repeat_interleave(n_chains)
        base = model._base_mean().expand(len(self.beta), -1)
        self.visible = model._draw_visible(base, generator)[:n_chains]
        # a hidden state for each chain: what the next visible state is drawn from
        inputs = self.beta[:, None] * model.hidden_input(
            model._draw_visible(base, generator)
        )
        self.hidden = coin(torch.sigmoid(inputs), generator)
        self.swapped = 0.0  # share of proposed swaps that the last update accepted

    def __call__(
        self, model: _RBM, batch: Tensor, generator: torch.Generator | None
    ) -> Statistics:
        m = self.n_chains
        for _ in range(self.n_steps - 1):
            h = torch.sigmoid(self._hidden_input(model, self._step(model, generator)))
            self.hidden = coin(h, generator)
        v = self._step(model, generator)
        if len(self.beta) > m:
            v = self._swap(model, v, generator)
        # one product for the rows of the data and those of the chains
        rows = torch.cat([model._scaled(batch), model._scaled(v[:m])])
        h = torch.sigmoid(torch.addmm(model.hidden_bias, rows, model.weight.T))
        model_h = h[len(batch) :]
        if len(self.beta) > m:
            hot = torch.sigmoid(self._hidden_input(model, v)[m:])
            model_h = torch.cat([model_h, hot])
        self.hidden, self.visible = coin(model_h, generator), v[:m]
        return _of_rows(rows, h, len(batch))

    def _step(self, model: _RBM, generator: torch.Generator | None) -> Tensor:
        """Draw every chain's visible units given its hidden ones."""
        if len(self.beta) == self.n_chains:
            return model._draw_visible(model._visible_mean(self.hidden), generator)
        mean = model._tempered_mean(self.hidden, self.beta[:, None])
        return model._draw_visible(mean, generator)

    def _hidden_input(self, model: _RBM, v: Tensor) -> Tensor:
        inputs = model.hidden_input(v)
        return inputs * self.beta[:, None] if len(self.beta) > self.n_chains else inputs

    def _swap(
        self, model: _RBM, v: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Exchange neighbouring rungs, pairs from even and from odd rungs in turn."""
        v = v.unflatten(0, (-1, self.n_chains)).clone()
        beta, accepted, pairs = self.beta[:: self.n_chains], 0, 0
        for start in (0, 1):
            i = torch.arange(start, len(beta) - 1, 2)
            cold, hot = v[i], v[i + 1]
            now = _log_p(model, cold, beta[i]) + _log_p(model, hot, beta[i + 1])
            then = _log_p(model, hot, beta[i]) + _log_p(model, cold, beta[i + 1])
            level = torch.empty_like(now).uniform_(generator=generator).log_()
            swap = (level < then - now)[..., None]
            v[i], v[i + 1] = (
                torch.where(swap, hot, cold),
                torch.where(swap, cold, hot),
            )
            accepted, pairs = accepted + int(swap.sum()), pairs + swap.numel()
        self.swapped = accepted / max(1, pairs)
        return v.flatten(0, 1)


def _log_p(model: _RBM, v: Tensor, beta: Tensor) -> Tensor:
    """Unnormalised log-densities of ``v`` (k, m, n_visible) at rungs (k,): (k, m)."""
    k, m, _ = v.shape
    rungs = beta[:, None].expand(k, m).reshape(-1, 1)
    return model._log_tempered(v.reshape(k * m, -1), rungs).view(k, m)


def _of_rows(rows: Tensor, hidden: Tensor, n: int) -> Statistics:
    """Statistics of the first ``n`` rows (the data) against the others."""
    m = len(rows) - n
    sign = hidden.new_full((len(rows), 1), 1 / n)
    sign[n:] = -1 / m
    product = (hidden * sign).T @ rows
    return Statistics(
        product,
        rows[:n].mean(0),
        hidden[:n].mean(0),
        rows[n:].mean(0),
        hidden[n:].mean(0),
    )
