"""Energies, scores, priors and networks against what they must be by hand."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, Normal

from ebmlib.energy import EnergyModel, TiltedEnergy, energy_of, gaussian, mlp


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(dim=2, seed=0, activation="tanh"):
    """A network whose output is not zero, float64."""
    network = mlp([dim, 5, 4, 1], activation, init="torch", generator=seeded(seed))
    return network.double()


class Quadratic(EnergyModel):
    """E = x' A x / 2: a Gaussian with precision A."""

    def __init__(self, precision):
        super().__init__()
        self.precision = precision

    def energy(self, x):
        return 0.5 * (x @ self.precision * x).sum(1)


def test_score_of_a_gaussian_is_minus_precision_times_x():
    precision = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    x = torch.randn(7, 2, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(Quadratic(precision).score(x), -x @ precision)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "softplus", "tanh"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_score_is_minus_the_slope_of_the_energy(dim, activation):
    """Central differences: error h**2 |E'''| / 6 + eps |E| / h, about 1e-10 here."""
    model = TiltedEnergy(bent(dim, activation=activation), gaussian(dim, sd=0.7))
    x = torch.randn(20, dim, dtype=torch.float64, generator=seeded(1))
    h = 1e-5
    slope = torch.stack(
        [
            (model.energy(x + h * e) - model.energy(x - h * e)) / (2 * h)
            for e in torch.eye(dim, dtype=torch.float64)
        ],
        dim=1,
    )
    torch.testing.assert_close(model.score(x), -slope, atol=1e-8, rtol=0)


def test_score_works_without_grad_and_leaves_no_gradient_behind():
    model = TiltedEnergy(bent())
    x = torch.randn(3, 2, dtype=torch.float64, generator=seeded(), requires_grad=True)
    with torch.no_grad():
        score = model.score(x)
    assert score.shape == (3, 2)
    assert x.grad is None
    assert all(p.grad is None for p in model.parameters())
    assert not score.requires_grad


def test_score_that_is_not_finite_is_an_error():
    class Cusp(EnergyModel):
        def energy(self, x):
            return x.abs().sqrt().sum(1)

    with pytest.raises(FloatingPointError, match=r"score of Cusp.*infinite of 2"):
        Cusp().score(torch.tensor([[1.0], [0.0]]))


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.5)])
def test_tilted_energy_is_minus_f_minus_log_prior(prior):
    network = bent()
    model = TiltedEnergy(network, prior)
    x = torch.randn(9, 2, dtype=torch.float64, generator=seeded())
    f = network(x)[:, 0]
    log_prior = torch.zeros(9, dtype=torch.float64)
    if prior is not None:  # by hand, not by torch.distributions
        log_prior = -2 * x.square().sum(1) - math.log(2 * math.pi * 0.25)
    torch.testing.assert_close(model.negative_energy(x), f)
    torch.testing.assert_close(model.log_prior(x), log_prior)
    torch.testing.assert_close(model.energy(x), -(f + log_prior))
    torch.testing.assert_close(model(x), model.energy(x))
    known = torch.arange(9.0, dtype=torch.float64)
    torch.testing.assert_close(model.energy(x, log_prior=known), -(f + known))


def test_a_network_may_return_one_number_a_point():
    model = TiltedEnergy(nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)))
    assert model.energy(torch.zeros(4, 2)).shape == (4,)
    assert model.energy(torch.zeros(1, 2)).shape == (1,)


def test_any_torch_distribution_is_a_prior():
    prior = Independent(Laplace(torch.zeros(2), 1.0), 1)
    x = torch.tensor([[0.5, -1.0]])
    energy = TiltedEnergy(mlp([2, 1]), prior).energy(x)
    torch.testing.assert_close(energy, torch.tensor([1.5 + 2 * math.log(2)]))


def test_gaussian_takes_a_standard_deviation_not_a_variance():
    assert gaussian(3, sd=0.1).event_shape == (3,)
    torch.testing.assert_close(gaussian(1, sd=0.1).stddev, torch.tensor([0.1]))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "softplus", "tanh"])
def test_mlp_has_the_layers_it_was_asked_for(activation):
    network = mlp([3, 7, 5, 1], activation)
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    shapes = [tuple(layer.weight.shape) for layer in linear]
    assert shapes == [(7, 3), (5, 7), (1, 5)]
    names = [type(layer).__name__.lower() for layer in network[1::2]]
    assert names == [activation.replace("_", "")] * 2
    assert network(torch.zeros(4, 3)).shape == (4, 1)


def test_lines_pass_through_the_data_and_the_density_starts_at_its_prior():
    data = torch.randn(40, 2, generator=seeded())
    network = mlp([2, 64, 8, 1], through=data, generator=seeded(1))
    first = network[0](data)  # (n, units): each unit is zero at one row at least
    # a sum of three float32 terms of size about |w| |x| < 20: rounding below 1e-5
    assert first.abs().min(0).values.max() < 1e-5
    assert network(data).eq(0).all()
    prior = gaussian(sd=0.3)
    model = TiltedEnergy(network, prior)
    torch.testing.assert_close(model.energy(data), -prior.log_prob(data))


def test_lines_cross_the_box_without_data():
    network = mlp([2, 200, 1], generator=seeded())
    corners = torch.cartesian_prod(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0]))
    values = network[0](corners)
    # a line that meets the box has corners on both sides of it
    assert ((values.min(0).values <= 1e-6) & (values.max(0).values >= -1e-6)).all()


def test_lines_are_as_wide_as_promised():
    """Sample sd of N normals: relative standard error 1/sqrt(2N); 4 of them allowed."""
    network = mlp([2, 300, 400, 1], generator=seeded())
    for layer, sd in ((network[0], 1.0), (network[2], 2 * math.sqrt(2 / 300))):
        allowed = 4 / math.sqrt(2 * layer.weight.numel())
        assert layer.weight.std().item() == pytest.approx(sd, rel=allowed)


def test_torch_initialisation_is_uniform_within_its_bound():
    network = mlp([2, 300, 1], init="torch", generator=seeded())
    for layer in (network[0], network[2]):
        bound = 1 / math.sqrt(layer.in_features)
        for values in (layer.weight, layer.bias):
            assert values.abs().max() <= bound
    assert network[2].weight.std().item() == pytest.approx(
        1 / math.sqrt(3 * 300), rel=0.2
    )


def test_one_affine_layer_is_a_network_too():
    network = mlp([2, 1], generator=seeded())
    assert len(network) == 1
    assert network(torch.ones(3, 2)).eq(0).all()


@pytest.mark.parametrize("init", ["lines", "torch"])
def test_generator_decides_everything_and_spares_the_global_one(init):
    before = torch.get_rng_state()
    one, two, three = (
        mlp([2, 8, 1], init=init, generator=seeded(s)) for s in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0].weight, two[0].weight)
    assert torch.equal(one[0].bias, two[0].bias)
    assert not torch.equal(one[0].weight, three[0].weight)


def test_without_a_generator_mlp_follows_the_seed_of_torch():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        one = mlp([2, 8, 1])
        torch.manual_seed(5)
        two = mlp([2, 8, 1])
    assert torch.equal(one[0].weight, two[0].weight)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mlp([2]), ValueError, r"widths must list at least 2 sizes, got \[2\]"),
        (lambda: mlp([2, 0, 1]), ValueError, "widths must be at least 1, got 0"),
        (lambda: mlp([2, 3.0, 1]), TypeError, "widths must be an integer, got 3.0"),
        (lambda: mlp([2, 1], "rleu"), ValueError, "Did you mean 'relu'"),
        (lambda: mlp([2, 1], init="line"), ValueError, "Did you mean 'lines'"),
        (
            lambda: mlp([2, 1], through=torch.zeros(3, 1)),
            ValueError,
            r"through must have shape \(n, 2\)",
        ),
        (
            lambda: mlp([2, 1], through=torch.zeros(0, 2)),
            ValueError,
            "through is empty",
        ),
        (
            lambda: mlp([2, 1], init="torch", through=torch.zeros(3, 2)),
            ValueError,
            "through needs init='lines', got init='torch'",
        ),
        (lambda: mlp([2, 1], generator=3), TypeError, "generator must be"),
        (lambda: gaussian(0), ValueError, "dim must be at least 1, got 0"),
        (lambda: gaussian(2, sd=0.0), ValueError, "sd must be positive, got 0.0"),
        (
            lambda: TiltedEnergy(torch.relu),
            TypeError,
            "network must be a torch.nn.Module, got",
        ),
        (
            lambda: TiltedEnergy(mlp([2, 1]), "normal"),
            TypeError,
            r"prior must be a torch\.distributions\.Distribution or None, got str",
        ),
        (
            lambda: TiltedEnergy(mlp([2, 1]), Normal(torch.zeros(2), 1.0)),
            ValueError,
            "one log-probability a point.*Independent",
        ),
        (
            lambda: TiltedEnergy(mlp([2, 2])).energy(torch.zeros(5, 2)),
            ValueError,
            r"network must map \(5, 2\) to \(5, 1\) or \(5,\), got \(5, 2\)",
        ),
        (
            lambda: TiltedEnergy(mlp([2, 1])).energy(torch.zeros(2)),
            ValueError,
            r"x must have shape \(n, d\)",
        ),
        (
            lambda: TiltedEnergy(mlp([1, 1]), gaussian(2)).energy(torch.zeros(5, 1)),
            ValueError,
            r"x must have shape \(n, 2\) for this prior, got \(5, 1\)",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_energies_of_shape_n_1_are_refused():
    class Column(EnergyModel):
        def energy(self, x):
            return x[:, :1]

    with pytest.raises(ValueError, match=r"\(4,\).*got \(4, 1\); squeeze"):
        energy_of(Column(), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="squeeze the last dimension"):
        Column().score(torch.zeros(4, 2))


def test_a_model_must_say_what_its_energy_is():
    class Forgetful(EnergyModel):
        pass

    with pytest.raises(NotImplementedError, match="Forgetful must define energy"):
        Forgetful()(torch.zeros(1, 2))


def test_widths_are_a_list_and_points_are_real():
    with pytest.raises(TypeError, match=r"widths must list sizes.* got int"):
        mlp(2)
    model = TiltedEnergy(mlp([2, 3, 1]))
    with pytest.raises(TypeError, match="x must have a floating-point dtype"):
        model.energy(torch.zeros(4, 2, dtype=torch.int64))
