"""The exact negative phase, against the density on the same grid."""

import math

import pytest
import torch
from torch.distributions import Independent, Uniform

from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import FixedPoints, GridNegatives


def bent(seed=0, prior=None):
    generator = torch.Generator().manual_seed(seed)
    network = mlp([2, 6, 1], "tanh", init="torch", generator=generator)
    return TiltedEnergy(network.double(), prior)


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.4)])
def test_weights_are_the_masses_of_the_cells(prior):
    model, grid = bent(prior=prior), Grid(bins=20)
    density, negative = GridDensity(model, grid), GridNegatives(grid)(model)
    torch.testing.assert_close(negative.weights, density.prob, atol=1e-15, rtol=1e-12)
    assert float(negative.weights.sum()) == pytest.approx(1, abs=1e-13)
    assert float(negative.log_partition) == pytest.approx(
        density.log_partition, abs=1e-12
    )
    torch.testing.assert_close(negative.energy, model.energy(negative.points))
    assert negative.energy.requires_grad
    assert not negative.weights.requires_grad
    assert not negative.log_partition.requires_grad


def test_float32_models_are_normalised_in_float64():
    """4e4 float32 weights, each rounded by 2**-24 of itself, still sum to 1 +- 1e-7."""
    model, grid = TiltedEnergy(mlp([2, 4, 1])), Grid(bins=200)
    negative = GridNegatives(grid)(model)
    assert negative.points.dtype == negative.weights.dtype == torch.float32
    assert float(negative.weights.double().sum()) == pytest.approx(1, abs=1e-7)
    assert float(negative.log_partition) == pytest.approx(math.log(4), abs=1e-13)


def test_energies_far_from_zero_do_not_overflow():
    model, grid = bent(), Grid(bins=10)
    before = GridNegatives(grid)(model)
    with torch.no_grad():
        model.network[-1].bias.add_(1e4)
    after = GridNegatives(grid)(model)
    assert float(after.log_partition - before.log_partition) == pytest.approx(1e4)
    torch.testing.assert_close(after.weights, before.weights, atol=0, rtol=1e-10)


def test_weighted_gradient_is_minus_that_of_log_z():
    """The identity behind the whole course, against autograd through logsumexp."""
    model, grid = bent(prior=gaussian()), Grid(bins=15)
    parameters = list(model.parameters())
    negative = GridNegatives(grid)(model)
    by_weights = torch.autograd.grad(
        torch.dot(negative.weights, negative.energy), parameters
    )
    points = grid.points_as(torch.float64)
    log_z = torch.logsumexp(-model.energy(points), 0)
    by_autograd = torch.autograd.grad(log_z, parameters)
    for ours, theirs in zip(by_weights, by_autograd, strict=True):
        torch.testing.assert_close(ours, -theirs, atol=1e-12, rtol=0)


def test_one_phase_follows_a_change_of_model_dtype_and_prior():
    phase, grid = GridNegatives(Grid(bins=5)), Grid(bins=5)

    def agrees(model):
        prob = GridDensity(model, grid).prob
        return torch.allclose(phase(model).weights.double(), prob, atol=1e-6)

    first, second = bent(0), bent(1, gaussian(sd=0.2))
    assert agrees(first)
    assert agrees(second)
    second.prior = gaussian(sd=2.0)
    assert agrees(second)
    first.float()
    assert agrees(first)
    assert phase(first).weights.dtype == torch.float32
    first.double()
    assert agrees(first)
    assert phase(first).weights.dtype == torch.float64


def test_any_energy_will_do():
    class Bowl(EnergyModel):
        def energy(self, x):
            return x.square().sum(1)

    class Own(TiltedEnergy):
        def energy(self, x):  # takes no log_prior
            return 2 * x.square().sum(1)

    for model in (Bowl(), Own(mlp([2, 1]), gaussian())):
        grid = Grid(bins=6, dtype=torch.float64)
        weights = GridNegatives(grid)(model).weights.double()
        torch.testing.assert_close(
            weights, GridDensity(model, grid).prob, atol=1e-7, rtol=0
        )


def test_what_is_not_a_grid_is_refused():
    with pytest.raises(TypeError, match="grid must be a Grid, got int"):
        GridNegatives(200)


def test_a_prior_without_mass_at_a_point_is_refused():
    half = Independent(Uniform(-torch.ones(2) / 2, torch.ones(2) / 2, False), 1, False)
    points = torch.tensor([[0.0, 0.0], [0.75, 0.0], [-0.9, 0.0]])
    with pytest.raises(ValueError, match=r"-inf at \[0.75, 0.0\] and 1 more of 3"):
        FixedPoints(TiltedEnergy(mlp([2, 1]), half), points)
