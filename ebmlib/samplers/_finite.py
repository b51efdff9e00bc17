"""Markov chains whose law is a vector: finitely many states, or cells on a line."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ebmlib._checks import check_finite, check_int
from ebmlib.grid import Grid
from ebmlib.samplers._energies import Energy, energy_and_gradient, reflect
from ebmlib.samplers._kernels import Langevin

_ROUNDING = 1e-9  # how far a row's sum may be from 1
_STARTS = 4  # in each cell of a line


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


def langevin_matrix(kernel: Langevin, energy: Energy, grid: Grid) -> Tensor:
    """Transition matrix of a Langevin chain between the cells of a line.

    Row ``i`` holds the probabilities that one step from cell ``i`` ends in each cell:
    the Gaussian of the step, integrated over the cells by its error function, with what
    the box folds back or refuses, as the mean over four starts spread over the cell.
    Spreading mass evenly over cells at every step adds ``h**2 / 6`` to its variance,
    with ``h`` the cells' width (Sheppard's correction); the Gaussian's is made smaller
    by that.  The error of the law falls as ``h**2``; where the energy has a kink within
    a cell, and the drift jumps, as ``h``.  Compare two grids to see it.

    Parameters
    ----------
    kernel : Langevin
        With the grid's box as its ``bounds``.
    energy : EnergyModel or callable
        Maps points (m, 1) to energies (m,), low where a point is likely.
    grid : Grid
        On the line, ``grid.dim == 1``.

    Returns
    -------
    Tensor, shape (bins, bins), float64
        For :func:`law_after`.

    Raises
    ------
    TypeError
        If the kernel is not Langevin, or the grid no grid.
    ValueError
        If the grid is not a line or not the kernel's box, its cells are wider than the
        noise of a step, or the noise is wider than an eighth of the box.
    FloatingPointError
        If an energy or its gradient is not finite.
    """
    if type(kernel) is not Langevin:
        raise TypeError(f"kernel must be Langevin, got {type(kernel).__name__}")
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a Grid, got {type(grid).__name__}")
    box = (grid.low, grid.high)
    if grid.dim != 1 or kernel.bounds != box:
        raise ValueError(
            "grid must be a line with the kernel's box, Grid(*kernel.bounds, bins, 1), "
            f"got dimension {grid.dim} and {box} for bounds {kernel.bounds}"
        )
    noise, length = (
        math.sqrt(kernel.temperature) * kernel.step_size,
        grid.high - grid.low,
    )
    if not grid.width <= noise <= length / 8:
        raise ValueError(
            "grid must have cells no wider than the noise of a step, and a box of at "
            f"least eight times that, got {grid.width:.3g} and {length:.3g} for "
            f"sqrt(T) * step_size = {noise:.3g}"
        )
    x = Grid(*box, grid.bins * _STARTS, 1).points_as(torch.float64)
    like = next(energy.parameters(), x) if isinstance(energy, nn.Module) else x
    _, gradient = energy_and_gradient(energy, x.to(like), allow_infinite=False)
    mean = x - kernel.step_size**2 / 2 * gradient.double()
    # the starts' own variance, and that of the cell in which a point ends
    spread = grid.width**2 / 12 * (2 - 1 / _STARTS**2)
    sd = math.sqrt(noise**2 - spread)
    edges = torch.linspace(*box, grid.bins + 1, dtype=torch.float64)
    if kernel.boundary == "reject":
        matrix = _between(edges, mean, sd)
        return matrix + torch.diag(1 - matrix.sum(1))
    # folding the mean changes no law that is folded afterwards; the noise then reaches
    # no farther than the mirror images of the box on either side
    mean = reflect(mean, box)[0]
    matrix = _between(edges, mean, sd)
    for mirror in (2 * grid.low - edges, 2 * grid.high - edges):
        matrix += _between(mirror.flip(0), mean, sd).flip(1)
    return matrix / matrix.sum(1, keepdim=True)  # rounding


def law_after(law: Any, matrix: Any, n_steps: int) -> Tensor:
    """The law of a chain after some steps, ``law @ matrix**n_steps``.

    With the transposed matrix and a function of the states in place of the law it is
    the function's expected value after ``n_steps``, for each state as the start.

    Parameters
    ----------
    law : array_like, shape (m,)
        Probabilities of the states at the start.
    matrix : array_like, shape (m, m)
        Row ``i``: where a step from state ``i`` goes.
    n_steps : int
        0 or more.

    Returns
    -------
    Tensor, shape (m,), float64

    Raises
    ------
    ValueError
        If the shapes do not fit, or ``n_steps`` is negative.
    """
    check_int("n_steps", n_steps, 0)
    law = torch.as_tensor(law, dtype=torch.float64)
    matrix = torch.as_tensor(matrix, dtype=torch.float64)
    if law.ndim != 1 or matrix.shape != (len(law), len(law)):
        raise ValueError(
            "law and matrix must have shapes (m,) and (m, m), got "
            f"{tuple(law.shape)} and {tuple(matrix.shape)}"
        )
    for _ in range(n_steps):
        law = law @ matrix
    return law


def _between(edges: Tensor, mean: Tensor, sd: float) -> Tensor:
    """Mass of N(mean, sd**2) in each cell, as the mean over the starts of a row."""
    mass: Tensor | float = 0.0
    for start in mean.reshape(-1, _STARTS).split(1, dim=1):
        mass = mass + torch.special.ndtr((edges - start) / sd).diff(dim=1)
    return mass / _STARTS


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
