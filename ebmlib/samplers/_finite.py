"""Markov chains on finitely many states, where the whole chain is a matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ebmlib._checks import check_finite

_ROUNDING = 1e-9  # how far a row's sum may be from 1


def metropolis_matrix(prob: Any, proposal: Any) -> Tensor:
    """Transition matrix of the Metropolis-Hastings chain (Metropolis et al. 1953).

    Row ``i`` holds the probabilities of going from state ``i`` to each state: the
    proposal's, times ``min(1, prob[j] proposal[j, i] / (prob[i] proposal[i, j]))``, and
    on the diagonal what was proposed and refused (Hastings 1970).  Then
    ``prob[i] matrix[i, j]`` is symmetric: detailed balance, to rounding.

    Parameters
    ----------
    prob : array_like, shape (m,)
        The law to leave invariant: not negative, not all zero.  Only ratios matter.
    proposal : array_like, shape (m, m)
        Row ``i``: where a proposal from state ``i`` goes; rows sum to 1.

    Returns
    -------
    Tensor, shape (m, m), float64

    Raises
    ------
    ValueError
        If the shapes do not fit, a probability is negative, or a row does not sum to 1.
    FloatingPointError
        If an entry is NaN or infinite.
    """
    proposal = _checked_matrix("proposal", proposal)
    prob = torch.as_tensor(prob, dtype=torch.float64)
    if prob.shape != proposal.shape[:1]:
        raise ValueError(
            f"prob must have shape ({len(proposal)},) for this proposal, got "
            f"{tuple(prob.shape)}"
        )
    check_finite("prob", prob)
    if (prob < 0).any() or not prob.any():
        raise ValueError("prob must not be negative, nor zero everywhere")
    flow = prob[:, None] * proposal
    # from a state without mass anything is accepted: the chain leaves it for good
    matrix = torch.where(
        prob[:, None] > 0, torch.minimum(flow, flow.T) / prob[:, None], proposal
    )
    matrix.fill_diagonal_(0)
    matrix.diagonal().copy_(1 - matrix.sum(1))
    matrix.diagonal().clamp_(min=0)  # rounding
    return matrix


def stationary(matrix: Any) -> Tensor:
    """The law that a transition matrix leaves invariant, from ``pi = pi matrix``.

    Parameters
    ----------
    matrix : array_like, shape (m, m)
        Rows sum to 1; one closed class of states, or the answer is not unique.

    Returns
    -------
    Tensor, shape (m,), float64
        Sums to 1.

    Raises
    ------
    ValueError
        If it is no transition matrix, or more than one law is invariant.
    """
    matrix = _checked_matrix("matrix", matrix)
    system = matrix.T - torch.eye(len(matrix), dtype=torch.float64)
    system[-1] = 1.0  # the equations are dependent: one makes room for the sum
    right = torch.zeros(len(matrix), dtype=torch.float64)
    right[-1] = 1.0
    solution, info = torch.linalg.solve_ex(system, right)
    # a singular system shows as such, or as weights that are no law
    if int(info) or not solution.isfinite().all() or solution.min() < -_ROUNDING:
        raise ValueError(
            "matrix must leave exactly one law invariant; this chain falls apart into "
            "sets of states that it never leaves"
        )
    solution = solution.clamp(min=0)
    return solution / solution.sum()


def _checked_matrix(name: str, value: Any) -> Tensor:
    matrix = torch.as_tensor(value, dtype=torch.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"{name} must have shape (m, m), got {tuple(matrix.shape)}")
    check_finite(name, matrix)
    off = (matrix.sum(1) - 1).abs()
    if (matrix < 0).any() or off.max() > _ROUNDING:
        worst = int(off.argmax())
        total, least = float(matrix[worst].sum()), float(matrix.min())
        raise ValueError(
            f"{name} must have rows that are not negative and sum to 1, got row "
            f"{worst} with sum {total} and an entry {least}"
        )
    return matrix
