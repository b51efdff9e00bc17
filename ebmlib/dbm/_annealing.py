"""Annealed importance sampling on the first hidden layer, the two others summed out."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ebmlib._checks import (
    check_between,
    check_finite,
    check_generator,
    check_int,
    check_points,
)
from ebmlib.samplers import AnnealedEstimate
from ebmlib.samplers._annealing import _estimate, _ladder

if TYPE_CHECKING:
    from ebmlib.dbm._model import DBM


@torch.no_grad()
def ais(
    model: DBM,
    betas: int | Tensor,
    n_chains: int,
    base: Tensor | None,
    reverse_from: Tensor | None,
    confidence: float,
    generator: torch.Generator | None,
) -> AnnealedEstimate:
    """Run the ladder from independent units (b = 0) to the machine (b = 1).

    At rung b the visible biases are ``(1 - b) base + b visible_bias`` and everything
    else is multiplied by b, so that the mass of a state of the first hidden layer is
    known in closed form at every rung.
    """
    check_int("n_chains", n_chains, 2)
    check_between("confidence", confidence, 0.0, 1.0)
    check_generator(generator)
    ladder = _ladder(betas).tolist()
    n_visible, n1, n2 = model.sizes
    if base is None:
        base = model.visible_bias + model.weight1.sum(0) / 2
    if base.shape != (n_visible,):
        raise ValueError(
            f"base must have shape ({n_visible},), got {tuple(base.shape)}"
        )
    shift = model.visible_bias - base

    def drives(h1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        above = model.hidden2_bias + h1 @ model.weight2.T
        return h1 @ model.hidden1_bias, shift + h1 @ model.weight1, above

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
        if len(reverse_from) != n_chains:
            raise ValueError(
                f"reverse_from must hold n_chains={n_chains} rows, "
                f"got {len(reverse_from)}"
            )
        sign, h1, ladder = -1, reverse_from.to(base), ladder[::-1]
    log_weights = torch.zeros(n_chains, dtype=torch.float64, device=base.device)
    parts = drives(h1)
    for here, there in pairwise(ladder):
        log_weights += sign * (log_mass(parts, there) - log_mass(parts, here))
        visible, hidden2 = flip(base + there * parts[1]), flip(there * parts[2])
        drive = model.hidden1_bias + visible @ model.weight1.T + hidden2 @ model.weight2
        h1 = flip(there * drive)
        parts = drives(h1)
    check_finite("log-weights", log_weights, "the parameters have diverged")
    log_first = float(torch.nn.functional.softplus(base.double()).sum())
    log_weights += log_first + (n1 + n2) * math.log(2)
    return _estimate(log_weights, sign, confidence, h1, [])
