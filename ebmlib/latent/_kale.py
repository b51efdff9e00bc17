"""The bound on a divergence that an energy and a base certify together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebmlib._checks import check_finite, check_number, check_tensor


def kale_bound(
    energy_data: Tensor,
    energy_base: Tensor,
    c: float | None = None,
    *,
    data_weights: Tensor | None = None,
    base_weights: Tensor | None = None,
) -> float:
    """Lower bound on ``KL(q || p_g)``, the value of a generalised energy-based model.

    ``-E_q[E + c] - E_{p_g}[exp(-(E + c))] + 1`` (Arbel, Zhou and Gretton 2021), below
    ``-E_q[E] - log E_{p_g}[exp(-E)]`` for every c because ``log t <= t - 1``, equal to
    it at ``c = log E_{p_g}[exp(-E)]``, and equal to the divergence when also ``-E`` is
    the log-ratio ``log(q / p_g)`` up to a constant.

    Parameters
    ----------
    energy_data : Tensor, shape (n,)
        E at points of the data.
    energy_base : Tensor, shape (m,)
        E at points of the generator.
    c : float, optional
        The best one unless given.  With samples it is fitted to them, so that the
        estimate is high on average; choose it on other samples to avoid that.
    data_weights, base_weights : Tensor, optional
        Masses that sum to 1, on a grid for example; equal unless given.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    ValueError
        If shapes disagree, or weights are negative or do not sum to 1.
    FloatingPointError
        If the bound is not finite.
    """
    data, base = (
        _column("energy_data", energy_data),
        _column("energy_base", energy_base),
    )
    w = _masses("data_weights", data_weights, data)
    log_v = _masses("base_weights", base_weights, base).log()
    if c is None:
        c = float(torch.logsumexp(log_v - base, 0))
    check_number("c", c)
    used = torch.where(w > 0, w * (data + c), 0.0)
    bound = 1 - used.sum() - (log_v - base - c).exp().sum()
    check_finite("KALE bound", bound, "energies this low overflow; give a larger c")
    return float(bound)


def _column(name: str, energy: Tensor) -> Tensor:
    check_tensor(name, energy)
    if energy.ndim != 1 or not len(energy):
        raise ValueError(f"{name} must have shape (n,), got {tuple(energy.shape)}")
    return energy.detach().double()


def _masses(name: str, weights: Tensor | None, like: Tensor) -> Tensor:
    if weights is None:
        return torch.full_like(like, 1 / len(like))
    check_tensor(name, weights)
    if weights.shape != like.shape or not bool((weights >= 0).all()):
        raise ValueError(
            f"{name} must have shape {tuple(like.shape)} and not be negative, got "
            f"shape {tuple(weights.shape)}"
        )
    if not math.isclose(total := float(weights.double().sum()), 1, abs_tol=1e-5):
        raise ValueError(f"{name} must sum to 1, got {total:g}")
    return weights.double()
