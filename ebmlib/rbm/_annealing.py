"""Annealed importance sampling from independent visible units to the machine."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ebmlib._checks import check_between, check_finite, check_generator, check_int
from ebmlib.rbm._chains import coin
from ebmlib.samplers import AnnealedEstimate
from ebmlib.samplers._annealing import _estimate, _ladder

if TYPE_CHECKING:
    from ebmlib.rbm._model import _RBM


@torch.no_grad()
def ais(
    model: _RBM,
    betas: int | Tensor,
    n_chains: int,
    reverse_from: Tensor | None,
    confidence: float,
    generator: torch.Generator | None,
) -> AnnealedEstimate:
    """Chains up the ladder, or down it from samples of the machine."""
    ladder = _ladder(betas)
    check_int("n_chains", n_chains, 2)
    check_between("confidence", confidence, 0.0, 1.0)
    check_generator(generator)
    sign = 1
    if reverse_from is None:
        base = model._base_mean().expand(n_chains, -1)
        v = model._draw_visible(base, generator)
    else:
        model._check(reverse_from)
        if len(reverse_from) != n_chains:
            raise ValueError(
                f"reverse_from must hold n_chains={n_chains} rows, "
                f"got {len(reverse_from)}"
            )
        v, sign, ladder = reverse_from, -1, ladder.flip(0)
    log_weights = torch.zeros(n_chains, dtype=torch.float64, device=v.device)
    last = len(ladder) - 2
    for i, (here, there) in enumerate(pairwise(ladder.tolist())):
        inputs = model.hidden_input(v)
        # differences unit by unit, which are small: float32 keeps their digits
        gain = (F.softplus(inputs * there) - F.softplus(inputs * here)).sum(1)
        gain += model._bias_gain(v, model._bias_at(here), model._bias_at(there))
        log_weights += sign * gain.double()
        if i < last:
            h = coin(torch.sigmoid(inputs * there), generator)
            v = model._draw_visible(model._tempered_mean(h, there), generator)
    check_finite("log-weight", log_weights, "the machine's weights must be finite")
    return _estimate(log_weights + model._base_log_partition(), sign, confidence, v, [])
