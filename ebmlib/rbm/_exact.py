"""Exact quantities of a restricted Boltzmann machine, by enumeration in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ebmlib.rbm._model import _RBM

MOST_BITS = 28  # 2**28 states take minutes; 2**20 about two seconds
MOST_HIDDEN = 24  # where every state's probability is kept in memory
BLOCK = 1 << 14  # states at a time: two arrays of them stay in a core's cache
LOG_MOST = 690.0  # products stay below exp(LOG_MOST), the range of float64


class Moments(NamedTuple):
    """Exact expectations: of ``h``, of ``s(v)`` and of ``h s(v)^T``, float64."""

    hidden: Tensor
    visible: Tensor
    product: Tensor


def states(n: int) -> Tensor:
    """All ``2**n`` states of ``n`` units, shape (2**n, n), float64.

    State k has the binary digits of k, the first unit's the most significant.
    """
    return digits(torch.arange(1 << n), n)


def digits(codes: Tensor, n: int) -> Tensor:
    """The states with these numbers, (k,) integers: (k, n), float64."""
    return ((codes[:, None] >> torch.arange(n - 1, -1, -1)) & 1).double()


def state_blocks(n: int) -> Iterator[tuple[slice, Tensor]]:
    """All states of ``n`` units, a block at a time, and where in the list it stands."""
    for codes in torch.arange(1 << n).split(BLOCK):
        start = int(codes[0])
        yield slice(start, start + len(codes)), digits(codes, n)


@torch.no_grad()
def log_partition(model: _RBM) -> float:
    """``log Z`` from all states of the smaller side (of the hidden one if Gaussian)."""
    by_visible = getattr(model, "_visible_log_masses", None)
    if by_visible is not None and model.n_visible < model.n_hidden:
        check_size(model.n_visible, MOST_BITS, "visible")
        return float(torch.logsumexp(by_visible(), 0))
    check_size(model.n_hidden, MOST_BITS, "hidden")
    return float(torch.logsumexp(model._hidden_log_masses(), 0))


def sum_out(bias: Tensor, other_bias: Tensor, weight: Tensor) -> Tensor:
    """``log sum_y exp(a.x + b.y + x.W y)`` for every binary ``x``: shape (2**n,).

    ``bias`` a (n,), ``other_bias`` b (m,), ``weight`` W (n, m), all float64.

    The sum over ``y`` is the product of ``1 + exp(b_i + x.W_i)`` over i.  With ``x``
    cut in two halves the exponential is an outer product, of ``2**(n/2)`` numbers
    each; the factors of several i are multiplied before one logarithm is taken.
    """
    n = len(bias)
    left = states(n // 2)
    right = states(n - n // 2)
    first, second = left @ weight[: n // 2] + other_bias, right @ weight[n // 2 :]
    linear = (left @ bias[: n // 2])[:, None] + right @ bias[n // 2 :]
    # an upper bound of log(1 + exp(first + second)) for each i
    bound = F.softplus(first.amax(0) + second.amax(0))
    groups = _groups(bound)
    exp_first = [first[:, g].exp() if len(g) > 1 else first[:, g] for g in groups]
    exp_second = [second[:, g].exp() if len(g) > 1 else second[:, g] for g in groups]

    def block(rows: Tensor) -> Tensor:
        total = linear[rows]
        outer, product = torch.empty_like(total), torch.empty_like(total)
        for one, two in zip(exp_first, exp_second, strict=True):
            if one.shape[1] == 1:  # too large for a product
                total += F.softplus(one[rows] + two.T)
                continue
            product.fill_(1)
            for i in range(one.shape[1]):
                torch.mul(one[rows, i, None], two[:, i], out=outer)
                product.addcmul_(product, outer)
            total += product.log_()
        return total

    height = max(1, BLOCK // len(right))
    return _threaded(block, torch.arange(len(left)).split(height)).flatten()


def _groups(bound: Tensor) -> list[list[int]]:
    """Cut the factors into runs whose product stays in the range of float64."""
    groups: list[list[int]] = [[]]
    log_product = 0.0
    for i, b in enumerate(bound.tolist()):
        if log_product + b > LOG_MOST and groups[-1]:
            groups.append([])
            log_product = 0.0
        groups[-1].append(i)
        log_product += b
    return groups


def _threaded(work: Callable[[Tensor], Tensor], blocks: tuple[Tensor, ...]) -> Tensor:
    """``work`` on every block, in as many threads as torch uses, in order."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.cat(list(pool.map(torch.no_grad()(work), blocks)))


def check_size(n: int, most: int, what: str) -> None:
    """Refuse to enumerate more than ``2**most`` states."""
    if n > most:
        raise ValueError(
            f"exact enumeration takes at most {most} {what} units, got {n}: "
            "use method='ais', or a smaller machine"
        )


def free_energy(model: _RBM, v: Tensor) -> Tensor:
    """Free energies (n,) in float64, in blocks of rows."""
    double = copy.deepcopy(model).double()
    rows = [double.free_energy(part.double()) for part in v.split(8192)]
    return torch.cat(rows) if rows else v.new_zeros(0, dtype=torch.float64)


@torch.no_grad()
def hidden_log_prob(model: _RBM) -> Tensor:
    """Log-probability of every hidden state, shape (2**n_hidden,), float64."""
    check_size(model.n_hidden, MOST_HIDDEN, "hidden")
    return torch.log_softmax(model._hidden_log_masses(), 0)


def sample_hidden(model: _RBM, n: int, generator: torch.Generator | None) -> Tensor:
    """Independent exact hidden states, shape (n, n_hidden), float64."""
    cumulative = hidden_log_prob(model).exp().cumsum(0)
    uniform = torch.rand(n, dtype=torch.float64, generator=generator)
    codes = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
    codes = codes.clamp_max(len(cumulative) - 1)
    return digits(codes, model.n_hidden)


@torch.no_grad()
def moments(model: _RBM) -> Moments:
    """Exact expectations under the machine."""
    prob = hidden_log_prob(model).exp()
    double = copy.deepcopy(model).double()
    hidden = prob.new_zeros(model.n_hidden)
    visible = prob.new_zeros(model.n_visible)
    product = prob.new_zeros(model.n_hidden, model.n_visible)
    for where, h in state_blocks(model.n_hidden):
        p, mean = prob[where], double._scaled(double._visible_mean(h))
        hidden += p @ h
        visible += p @ mean
        product += (h * p[:, None]).T @ mean
    return Moments(hidden, visible, product)


@torch.no_grad()
def pseudo_log_likelihood(model: _RBM, v: Tensor) -> Tensor:
    """``sum_i log p(v_i | the others)`` of rows (n, d) of zeros and ones, float64.

    Flipping pixel i adds ``w_ji`` to (or takes it from) the input of unit j.  The free
    energy therefore changes by the sum over j of ``log(1 + p_j (exp(+-w_ji) - 1))``,
    with ``p_j`` the unit's mean: products are taken before one logarithm, as above.
    """
    double = copy.deepcopy(model).double()
    weight, bias = double.weight, double.visible_bias
    on, off = weight.exp() - 1, (-weight).exp() - 1  # a pixel goes on, goes off
    groups = _groups(weight.abs().amax(1))

    def block(rows: Tensor) -> Tensor:
        x = v[rows].double()
        mean = torch.sigmoid(double.hidden_input(x))
        lit = x.bool()
        gain = bias * (1 - 2 * x)  # log p(flipped) - log p(as it is)
        for group in groups:
            product = torch.ones_like(x)
            for j in group:
                factor = torch.where(lit, off[j], on[j])
                product.addcmul_(product, factor.mul_(mean[:, j, None]))
            gain += product.log_()
        return -F.softplus(gain).sum(1)

    if len(v) == 0:
        return v.new_zeros(0, dtype=torch.float64)
    height = max(1, BLOCK // model.n_visible)
    return _threaded(block, torch.arange(len(v)).split(height))


def gaussian_log_masses(shift: Tensor, hidden_bias: Tensor, weight: Tensor) -> Tensor:
    """Log-weights of the Gaussians that a Gaussian machine mixes: (2**n_hidden,).

    ``c.h + |W^T h|**2 / 2 + (b / sd) . W^T h`` with ``shift`` = b / sd; the factor of
    the Gaussians' own normalisation, the same for all, is left out.
    """

    n = len(hidden_bias)

    def block(codes: Tensor) -> Tensor:
        h = digits(codes, n)
        move = h @ weight
        return h @ hidden_bias + move.square().sum(1) / 2 + move @ shift

    return _threaded(block, torch.arange(1 << n).split(BLOCK))
