"""Annealed importance sampling on the first hidden layer, the two others summed out."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ebmlib._checks import check_finite, check_generator, check_int, check_points
from ebmlib.samplers import AnnealedEstimate
from ebmlib.samplers._annealing import _estimate, _ladder

if TYPE_CHECKING:
    from ebmlib.dbm._model import DBM


@torch.no_grad()
def annealed(
    model: DBM,
    n_chains: int,
    betas: int | Tensor,
    base: Tensor | None,
    reverse_from: Tensor | None,
    generator: torch.Generator | None,
) -> AnnealedEstimate:
    """Run the ladder from independent units (b = 0) to the machine (b = 1).

    At rung b the visible biases are ``(1 - b) base + b visible_bias`` and everything
    else is multiplied by b, so that the mass of a state of the first hidden layer is
    known in closed form at every rung.
    """
    check_int("n_chains", n_chains, 2)
    check_generator(generator)
    ladder = _ladder(betas).tolist()
    n_visible, n1, n2 = model.sizes
    if base is None:
        base = model.visible_bias + model.weight1.sum(1) / 2
    if base.shape != (n_visible,):
        raise ValueError(f"base must have shape ({n_visible},), got {base.shape}")
    shift = model.visible_bias - base

    def drives(h1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        above = model.hidden2_bias + h1 @ model.weight2
        return h1 @ model.hidden1_bias, shift + h1 @ model.weight1.T, above

    def log_mass(parts: tuple[Tensor, Tensor, Tensor], b: float) -> Tensor:
        own, below, above = parts
        softplus = torch.nn.functional.softplus
        outer = softplus(base + b * below).sum(1, dtype=torch.float64)
        return b * own.double() + outer + softplus(b * above).sum(1).double()

    def flip(logit: Tensor) -> Tensor:
        draw = torch.rand(logit.shape, dtype=logit.dtype, generator=generator)
        return (draw.to(logit.device) < torch.sigmoid(logit)).to(logit)

    if reverse_from is None:
        sign, h1 = 1, flip(base.new_zeros(n_chains, n1))
    else:
        check_points("reverse_from", reverse_from, dim=n1)
        sign, h1, n_chains = -1, reverse_from.to(base), len(reverse_from)
        ladder = ladder[::-1]
    log_weights = torch.zeros(n_chains, dtype=torch.float64, device=base.device)
    parts = drives(h1)
    for here, there in pairwise(ladder):
        log_weights += sign * (log_mass(parts, there) - log_mass(parts, here))
        visible, hidden2 = flip(base + there * parts[1]), flip(there * parts[2])
        drive = model.hidden1_bias + visible @ model.weight1 + hidden2 @ model.weight2.T
        h1 = flip(there * drive)
        parts = drives(h1)
    check_finite("log-weights", log_weights, "the parameters have diverged")
    log_first = float(torch.nn.functional.softplus(base.double()).sum())
    log_weights += log_first + (n1 + n2) * math.log(2)
    rates = [1.0] * (len(ladder) - 2)  # Gibbs accepts everything
    return _estimate(log_weights, sign, 0.95, h1, rates)
