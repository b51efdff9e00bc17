"""Metropolis on finitely many states: the whole chain is a matrix."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ebmlib.samplers import metropolis_matrix, stationary


def random_case(seed: int, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A law over many orders of magnitude, and a lopsided proposal with gaps."""
    generator = torch.Generator().manual_seed(seed)
    prob = torch.exp(4 * torch.randn(m, generator=generator, dtype=torch.float64))
    proposal = torch.rand(m, m, generator=generator, dtype=torch.float64)
    proposal[torch.rand(m, m, generator=generator) < 0.3] = 0
    proposal += 0.05 * torch.eye(m)
    return prob / prob.sum(), proposal / proposal.sum(1, keepdim=True)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_detailed_balance_rows_and_invariance(seed, m):
    prob, proposal = random_case(seed, m)
    matrix = metropolis_matrix(prob, proposal)
    flow = prob[:, None] * matrix
    assert (flow - flow.T).abs().max() < 1e-12
    assert (matrix.sum(1) - 1).abs().max() < 1e-12
    assert (prob @ matrix - prob).abs().max() < 1e-12
    assert matrix.min() >= 0
    # only ratios of the law enter
    torch.testing.assert_close(metropolis_matrix(7.5 * prob, proposal), matrix)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_entry_by_entry_as_printed(seed, m):
    """The three cases of the printed equation, with loops."""
    prob, proposal = random_case(seed, m)
    p, j = prob.tolist(), proposal.tolist()

    def ratio(x: int, y: int) -> float:
        return p[y] * j[y][x] / (p[x] * j[x][y])

    expected = torch.zeros(m, m, dtype=torch.float64)
    for x in range(m):
        for y in range(m):
            if x == y:
                refused = [
                    j[x][z] * (1 - ratio(x, z))
                    for z in range(m)
                    if z != x and j[x][z] > 0 and ratio(x, z) < 1
                ]
                expected[x, x] = j[x][x] + sum(refused)
            elif j[x][y] > 0:
                expected[x, y] = j[x][y] * min(1.0, ratio(x, y))
    torch.testing.assert_close(
        metropolis_matrix(prob, proposal), expected, rtol=1e-12, atol=1e-14
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 10))
def test_stationary_finds_the_law(seed, m):
    prob, proposal = random_case(seed, m)
    proposal = (proposal + 0.1) / (proposal + 0.1).sum(1, keepdim=True)  # connected
    found = stationary(metropolis_matrix(prob, proposal))
    assert (found - prob).abs().max() < 1e-9
    # of a chain that is not reversible: every power's rows tend to it
    law = stationary(proposal)
    power = torch.linalg.matrix_power(proposal, 512)
    torch.testing.assert_close(power, law.expand(m, m), atol=1e-9, rtol=0)


def test_two_states_by_hand():
    # jumps at rates a and b: the second eigenvalue is 1 - a - b
    a, b = 0.02, 0.06
    matrix = torch.tensor([[1 - a, a], [b, 1 - b]], dtype=torch.float64)
    torch.testing.assert_close(
        stationary(matrix), torch.tensor([b, a], dtype=torch.float64) / (a + b)
    )
    proposal = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    made = metropolis_matrix([0.75, 0.25], proposal)
    expected = torch.tensor([[5 / 6, 1 / 6], [1 / 2, 1 / 2]], dtype=torch.float64)
    torch.testing.assert_close(made, expected)


def test_states_without_mass_are_left_for_good():
    proposal = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    matrix = metropolis_matrix([0.5, 0.5, 0.0], proposal)
    assert matrix[0, 2] == matrix[1, 2] == 0
    torch.testing.assert_close(matrix[2], proposal[2])
    torch.testing.assert_close(
        stationary(matrix), torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    )


def test_errors():
    half = torch.full((2, 2), 0.5)
    with pytest.raises(ValueError, match=r"prob must have shape \(2,\)"):
        metropolis_matrix([0.2, 0.3, 0.5], half)
    with pytest.raises(ValueError, match="prob must not be negative"):
        metropolis_matrix([-0.1, 1.1], half)
    with pytest.raises(ValueError, match="nor zero everywhere"):
        metropolis_matrix([0.0, 0.0], half)
    with pytest.raises(FloatingPointError, match="prob"):
        metropolis_matrix([math.nan, 1.0], half)
    with pytest.raises(ValueError, match=r"proposal must have shape \(m, m\)"):
        metropolis_matrix([0.5, 0.5], torch.ones(2))
    with pytest.raises(ValueError, match=r"row 0 with sum 2\.0"):
        metropolis_matrix([0.5, 0.5], 2 * torch.eye(2))
    with pytest.raises(ValueError, match="not negative and sum to 1"):
        stationary([[1.5, -0.5], [0.5, 0.5]])
    with pytest.raises(FloatingPointError, match="matrix"):
        stationary([[math.nan, 1.0], [0.5, 0.5]])
    with pytest.raises(ValueError, match="exactly one law"):
        stationary(torch.eye(3))
