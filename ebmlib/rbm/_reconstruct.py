"""The unknown visible units given the known ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ebmlib._checks import check_generator, check_int
from ebmlib.rbm._chains import coin
from ebmlib.rbm._exact import check_size, state_blocks, states

if TYPE_CHECKING:
    from ebmlib.rbm._model import _RBM

MOST = 20


def as_mask(known: Any, v: Tensor) -> Tensor:
    """The mask of known units, expanded to the shape of ``v``.

    Raises
    ------
    TypeError
        If it is not a tensor of bool.
    ValueError
        If its shape does not fit.
    """
    if not isinstance(known, Tensor) or known.dtype != torch.bool:
        kind = known.dtype if isinstance(known, Tensor) else type(known).__name__
        raise TypeError(f"known must be a tensor of bool, got {kind}")
    if known.shape not in (v.shape, v.shape[1:]):
        raise ValueError(
            f"known must have shape {tuple(v.shape[1:])} or {tuple(v.shape)}, "
            f"got {tuple(known.shape)}"
        )
    return known.to(v.device).expand(v.shape)


@torch.no_grad()
def clamped(
    model: _RBM,
    v: Tensor,
    known: Tensor,
    n_steps: int,
    burn_in: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Mean of ``E[v | h]`` along clamped chains; known units keep their values."""
    check_int("n_steps", n_steps, 1)
    check_int("burn_in", burn_in, 0)
    check_generator(generator)
    now, total = v, torch.zeros_like(v, dtype=torch.float64)
    for step in range(burn_in + n_steps):
        h = coin(torch.sigmoid(model.hidden_input(now)), generator)
        mean = model._visible_mean(h)
        now = torch.where(known, v, model._draw_visible(mean, generator))
        if step >= burn_in:
            total += mean
    return torch.where(known, v, (total / n_steps).to(v))


@torch.no_grad()
def exact(model: _RBM, v: Tensor, known: Tensor) -> Tensor:
    """Exact conditional means, for each pattern of known units at once."""
    result = v.clone()
    for mask in known.unique(dim=0):
        rows = (known == mask).all(1).nonzero()[:, 0]
        unknown = (~mask).nonzero()[:, 0]
        if len(unknown) == 0:
            continue
        part, inputs = model._subset(unknown), _known_input(model, v[rows], mask)
        few = len(unknown) < model.n_hidden and hasattr(part, "_visible_log_masses")
        check_size(len(unknown) if few else model.n_hidden, MOST, "of the fewer")
        mean = (_by_unknown if few else _by_hidden)(part, inputs)
        result[rows[:, None], unknown] = mean.to(v)
    return result


def _known_input(model: _RBM, v: Tensor, mask: Tensor) -> Tensor:
    """What the known units add to the hidden inputs, (n, n_hidden), float64."""
    scaled = (model._scaled(v) * mask).double()
    return scaled @ model.weight.double().T


def _by_hidden(part: _RBM, inputs: Tensor) -> Tensor:
    """Means of the unknown units (n, u) from all hidden states."""
    masses, n = part._hidden_log_masses(), part.n_hidden
    means = []
    for rows in inputs.split(512):
        log_z = rows.new_full((len(rows),), -math.inf)
        for where, h in state_blocks(n):
            log_z = torch.logaddexp(log_z, (masses[where] + rows @ h.T).logsumexp(1))
        mean = rows.new_zeros(len(rows), part.n_visible)
        for where, h in state_blocks(n):
            prob = (masses[where] + rows @ h.T - log_z[:, None]).exp_()
            mean += prob @ part._visible_mean(h)
        means.append(mean)
    return torch.cat(means)


def _by_unknown(part: Any, inputs: Tensor) -> Tensor:
    """The same from all states of the unknown units, one row at a time."""
    u, bias = states(part.n_visible), part.hidden_bias.clone()
    means = []
    for row in inputs:
        part.hidden_bias.copy_(bias + row)
        means.append(torch.softmax(part._visible_log_masses(), 0) @ u)
    return torch.stack(means)
