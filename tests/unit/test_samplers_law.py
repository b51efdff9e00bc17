"""The exact law of Langevin chains on a line, against theory and simulated chains."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.grid import Grid
from ebmlib.samplers import MALA, Langevin, langevin_matrix, law_after, sample

BOX = (-1.0, 1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def line(bins: int) -> Grid:
    return Grid(*BOX, bins, 1)


def even(grid: Grid) -> torch.Tensor:
    return torch.full((grid.bins,), 1 / grid.bins, dtype=torch.float64)


def bent(seed: int, scale: float) -> TiltedEnergy:
    """A network on the line with kinks at random places."""
    network = mlp([1, 12, 1], generator=seeded(seed)).double()
    nn.init.normal_(network[-1].weight, 0, scale, generator=seeded(seed))
    return TiltedEnergy(network)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0.02, 0.2),
    st.floats(0.3, 1.5),
    st.sampled_from(["reflect", "reject"]),
)
def test_rows_are_laws_and_a_flat_energy_keeps_the_uniform_one(seed, step, t, rule):
    kernel = Langevin(step, bounds=BOX, temperature=t, boundary=rule)
    matrix = langevin_matrix(kernel, bent(seed, 5.0), grid := line(250))
    assert matrix.min() >= 0
    assert (matrix.sum(1) - 1).abs().max() < 1e-12
    flat = langevin_matrix(kernel, lambda x: 0 * x[:, 0], grid)
    assert (even(grid) @ flat - even(grid)).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_spring_gives_the_autoregression(temperature):
    """Mean and variance by their recursions; the error falls as h**2.

    The walls are 9 standard deviations away.  A piecewise constant density with the
    law's masses has the variance of its centres plus h**2 / 12.
    """
    stiffness, step, n_steps = 150.0, 0.08, 4
    ratio = 1 - step**2 / 2 * stiffness
    mean, variance = 0.25, 0.5**2 / 12  # uniform on [0, 0.5]
    for _ in range(n_steps):
        mean, variance = ratio * mean, ratio**2 * variance + temperature * step**2
    kernel = Langevin(step, bounds=BOX, temperature=temperature)
    errors = []
    for bins in (80, 160, 320):
        grid = line(bins)
        start = ((grid.axis > 0) & (grid.axis < 0.5)).double()
        matrix = langevin_matrix(kernel, lambda x: stiffness * x[:, 0] ** 2 / 2, grid)
        law = law_after(start / start.sum(), matrix, n_steps)
        assert float(law @ grid.axis) == pytest.approx(mean, abs=1e-6)
        second = float(law @ grid.axis**2) + grid.width**2 / 12
        errors.append(abs(second - mean**2 - variance))
    # Sheppard's correction holds to the fourth order: h**2 alone would give 5e-5
    assert errors[0] < 0.05 * line(80).width ** 2
    assert errors[2] < 1e-6


@pytest.mark.parametrize("boundary", ["reflect", "reject"])
@pytest.mark.parametrize(("scale", "step"), [(3.0, 0.1), (60.0, 0.05)])
def test_law_of_many_steps_against_simulated_chains(scale, step, boundary):
    """Masses of 25 intervals: within 4.5 binomial standard errors and the grid's own.

    The grid's error is measured, as the change from half as many cells.
    """
    n, n_steps, model = 100_000, 12, bent(3, scale)
    kernel = Langevin(step, bounds=BOX, boundary=boundary)
    masses = []
    for bins in (400, 800):
        grid = line(bins)
        law = law_after(even(grid), langevin_matrix(kernel, model, grid), n_steps)
        masses.append(law.reshape(25, -1).sum(1))
    start = 2 * torch.rand(n, 1, dtype=torch.float64, generator=seeded()) - 1
    end = sample(kernel, model, start, n_steps, generator=seeded(1)).positions
    share = line(25).count(end) / n
    allowed = 4.5 * (masses[1] * (1 - masses[1]) / n).sqrt()
    allowed = allowed + (masses[1] - masses[0]).abs()
    assert ((share - masses[1]).abs() < allowed).all(), (share - masses[1]) / allowed
    assert (masses[1] - masses[0]).abs().max() < 4.5 * math.sqrt(1 / 4 / n)


def test_many_small_steps_reach_the_density_with_an_error_of_step_squared():
    """With a slope of zero at the walls; elsewhere reflection costs a term in step."""
    grid, errors = line(400), []

    def wells(x: torch.Tensor) -> torch.Tensor:
        return 0.8 * torch.cos(2 * math.pi * x[:, 0])

    mass = torch.softmax(-wells(grid.points_as(torch.float64)), 0)
    for step in (0.16, 0.08):
        matrix = langevin_matrix(Langevin(step, bounds=BOX), wells, grid)
        power = torch.linalg.matrix_power(matrix, 2**14)
        assert (power[0] - power[-1]).abs().max() < 1e-9  # the start is forgotten
        errors.append(float((power[0] - mass).abs().sum()) / 2)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15), errors


def test_backwards_it_is_an_expected_value():
    """The mass in a set is the mean, over the starts, of the chance to end there."""
    grid = line(200)
    matrix = langevin_matrix(Langevin(0.1, bounds=BOX), bent(1, 10.0), grid)
    inside = (grid.axis > 0.2).double()
    chance = law_after(inside, matrix.T, 9)
    assert chance.min() >= 0
    assert chance.max() <= 1 + 1e-12
    ahead = law_after(even(grid), matrix, 9) @ inside
    assert float(chance.mean()) == pytest.approx(float(ahead), abs=1e-13)
    assert torch.equal(law_after(inside, matrix, 0), inside)


def test_errors():
    energy, kernel = bent(0, 1.0), Langevin(0.05, bounds=BOX)
    with pytest.raises(TypeError, match="kernel must be Langevin, got MALA"):
        langevin_matrix(MALA(0.05, bounds=BOX), energy, line(100))
    with pytest.raises(TypeError, match="grid must be a Grid, got int"):
        langevin_matrix(kernel, energy, 100)
    for grid in (Grid(bins=100), Grid(-2.0, 1.0, 100, 1)):
        with pytest.raises(ValueError, match="grid must be a line with the kernel's"):
            langevin_matrix(kernel, energy, grid)
    with pytest.raises(ValueError, match="no wider than the noise of a step"):
        langevin_matrix(kernel, energy, line(20))
    with pytest.raises(ValueError, match="at least eight times that"):
        langevin_matrix(Langevin(0.3, bounds=BOX), energy, line(20))
    with pytest.raises(FloatingPointError, match="energy is NaN"):
        langevin_matrix(kernel, lambda x: (x[:, 0] - 0.5).sqrt(), line(100))
    with pytest.raises(ValueError, match="law and matrix must have shapes"):
        law_after(torch.ones(3) / 3, torch.eye(4), 1)
    with pytest.raises(ValueError, match="n_steps"):
        law_after(torch.ones(3) / 3, torch.eye(3), -1)
    assert math.isclose(float(law_after([0.5, 0.5], torch.eye(2), 3).sum()), 1)
