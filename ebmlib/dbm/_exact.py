"""What can be summed exactly: one layer listed, its neighbours in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ebmlib.dbm._model import DBM

_MAX_UNITS = 22  # of which all states are listed: four million
_CELLS = 1 << 22  # numbers at a time: 32 MB in float64


class Double(NamedTuple):
    """A machine's parameters in float64, with their graph."""

    w1: Tensor
    w2: Tensor
    b: Tensor
    c1: Tensor
    c2: Tensor


def as_double(model: DBM) -> Double:
    biases = model.visible_bias, model.hidden1_bias, model.hidden2_bias
    return Double(*(p.double() for p in (model.weight1, model.weight2, *biases)))


def softplus(a: Tensor) -> Tensor:
    """``log(1 + exp(a))``; torch's own is linear above 20, which is off by 2e-9."""
    return torch.logaddexp(a, torch.zeros_like(a))


def bernoulli_entropy(mean: Tensor) -> Tensor:
    """Entropy of each row of independent units, nats."""
    terms = torch.special.entr(mean) + torch.special.entr(1 - mean)
    return terms.sum(1)


def state_blocks(count: int, like: Tensor, cost: int) -> Iterator[Tensor]:
    """All vectors of ``count`` zeros and ones in blocks (m, count), float64.

    ``cost`` is how many numbers the caller holds for each state.
    """
    if count > _MAX_UNITS:
        raise ValueError(
            f"exact sums list the states of at most {_MAX_UNITS} units, the smallest "
            f"sufficient part of this machine has {count}; use method='ais' and the "
            "bound"
        )
    bits = torch.arange(count - 1, -1, -1, device=like.device)
    block = max(1, _CELLS // max(count, cost))
    for first in range(0, 1 << count, block):
        rows = torch.arange(first, min(first + block, 1 << count), device=like.device)
        yield ((rows[:, None] >> bits) & 1).double()


def log_partition(model: DBM) -> Tensor:
    """``log Z`` over the smaller of: the first hidden layer, the two others."""
    p = as_double(model)
    n_visible, n1, n2 = model.sizes
    if n1 <= n_visible + n2:
        blocks = state_blocks(n1, p.b, n_visible + n2)
        parts = [log_mass_hidden1(p, h1) for h1 in blocks]
    else:
        parts = []
        for states in state_blocks(n_visible + n2, p.b, n1):
            v, h2 = states.split([n_visible, n2], 1)
            drive = p.c1 + v @ p.w1.T + h2 @ p.w2
            parts.append(v @ p.b + h2 @ p.c2 + softplus(drive).sum(1))
    return torch.logsumexp(torch.stack([torch.logsumexp(x, 0) for x in parts]), 0)


def log_mass_hidden1(p: Double, h1: Tensor) -> Tensor:
    """Log of the unnormalised mass of states of the first hidden layer, (m,)."""
    return h1 @ p.c1 + softplus(p.b + h1 @ p.w1).sum(1) + _above(p, h1)


def _above(p: Double, h1: Tensor) -> Tensor:
    """What the second hidden layer adds once summed out, (m,)."""
    return softplus(p.c2 + h1 @ p.w2.T).sum(1)


def log_unnormalised(model: DBM, visible: Tensor) -> Tensor:
    """``log sum_h exp(-E)``, over the states of the smaller hidden layer."""
    p, v = as_double(model), visible.double()
    _, n1, n2 = model.sizes
    below, parts = p.c1 + v @ p.w1.T, []
    if n1 <= n2 + 4:  # a product of matrices a block, where the other needs logarithms
        for h1 in state_blocks(n1, v, len(v) + n2):
            parts.append(torch.logsumexp(below @ h1.T + _above(p, h1), 1))
    else:
        for h2 in state_blocks(n2, v, len(v) * n1):
            drive = below[:, None] + h2 @ p.w2
            parts.append(torch.logsumexp(softplus(drive).sum(2) + h2 @ p.c2, 1))
    return v @ p.b + torch.logsumexp(torch.stack(parts), 0)


def posterior_means(model: DBM, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the hidden units given the visible ones, by enumeration of the first."""
    with torch.no_grad():
        p, n1 = as_double(model), model.sizes[1]
        h1 = torch.cat(list(state_blocks(n1, p.b, n1)))
        above, upper = _above(p, h1), torch.sigmoid(p.c2 + h1 @ p.w2.T)
        means = []
        for v in visible.double().split(max(1, _CELLS >> n1)):
            weight = torch.softmax((p.c1 + v @ p.w1.T) @ h1.T + above, 1)
            means.append((weight @ h1, weight @ upper))
        first, second = zip(*means, strict=True)
        return torch.cat(first), torch.cat(second)


def sample_hidden1(model: DBM, n: int, generator: torch.Generator | None) -> Tensor:
    """Independent exact draws of the first hidden layer, (n, n_hidden1)."""
    p, (n_visible, n1, n2) = as_double(model), model.sizes
    blocks = list(state_blocks(n1, p.b, n_visible + n2))
    mass = torch.cat([log_mass_hidden1(p, h1) for h1 in blocks])
    cumulative = torch.softmax(mass, 0).cumsum(0)
    draw = torch.rand(n, dtype=torch.float64, generator=generator).to(p.b.device)
    index = torch.searchsorted(cumulative, draw * cumulative[-1], right=True)
    return torch.cat(blocks)[index.clamp(max=len(mass) - 1)]
