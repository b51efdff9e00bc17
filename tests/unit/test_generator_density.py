"""The exact density of a ReLU generator, held against closed forms and counting."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import binom
from torch import nn
from torch.distributions import Independent, Normal, Uniform

from ebmlib.energy import mlp
from ebmlib.gan import GeneratorDensity, push_forward
from ebmlib.gan._folds import cells_of, following
from ebmlib.grid import Grid

few = settings(max_examples=25, deadline=None)
WIDTHS = [[2, 2], [2, 9, 2], [2, 8, 7, 2], [2, 6, 6, 6, 2]]


class Base(nn.Module):
    """What a generator must have: a network and a latent distribution."""

    def __init__(self, network, latent=None):
        super().__init__()
        self.network = network
        self.latent = latent or Independent(Uniform(-torch.ones(2), torch.ones(2)), 1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_network(seed, widths, slope=0.0):
    """Normal weights, scaled so that images keep the size of the latent square."""
    network = mlp(widths, "leaky_relu" if slope else "relu").double()
    generator = seeded(seed)
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.LeakyReLU):
                module.negative_slope = slope
            if isinstance(module, nn.Linear):
                for parameter in module.parameters():
                    draw = torch.randn(
                        parameter.shape, dtype=torch.float64, generator=generator
                    )
                    parameter.copy_(draw * math.sqrt(2 / module.in_features))
    return network


def network_of(*layers):
    """A ReLU network with the given weights and biases."""
    widths = [2, *(len(bias) for _, bias in layers)]
    network = mlp(widths).double()
    with torch.no_grad():
        for module, (weight, bias) in zip(network[::2], layers, strict=True):
            module.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            module.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return network


PARTS = [[1, 0], [-1, 0], [0, 1], [0, -1]]  # relu of z1, -z1, z2, -z2


def by_parts(first, second):
    """``B(z)`` from the positive and negative parts of both coordinates."""
    return network_of((PARTS, [0] * 4), ([first, second], [0, 0]))


FOLD = by_parts([1, 1, 0, 0], [0, 0, 1, -1])  # (|z1|, z2)
FOLD_TWICE = by_parts([1, 1, 0, 0], [0, 0, 1, 1])  # (|z1|, |z2|)
IDENTITY = by_parts([1, -1, 0, 0], [0, 0, 1, -1])  # z, in four polygons
HALF_FLAT = by_parts([1, 0, 0, 0], [0, 0, 1, -1])  # (max(z1, 0), z2)


def points(n, seed=0, low=-1.0, high=1.0):
    x = torch.rand(n, 2, dtype=torch.float64, generator=seeded(seed))
    return low + (high - low) * x


def jacobians_at(network, z):
    """By automatic differentiation, one output after the other."""
    z = z.clone().requires_grad_(True)
    rows = [
        torch.autograd.grad(network(z)[:, k].sum(), z, allow_unused=True)[0]
        for k in (0, 1)
    ]
    return torch.stack(rows, 1)


def away_from_kinks(network, z):
    """Points whose pre-activations are all clearly of one sign."""
    keep, x = torch.ones(len(z), dtype=torch.bool), z
    with torch.no_grad():
        for module in list(network)[:-1]:
            x = module(x)
            if isinstance(module, nn.Linear):
                keep &= (x.abs() > 1e-9).all(1)
    return keep


networks = st.builds(
    random_network,
    st.integers(0, 10_000),
    st.sampled_from(WIDTHS),
    st.sampled_from([0.0, 0.0, 0.3]),
)


class TestClosedForms:
    def test_an_affine_map_has_one_region_and_a_constant_density(self):
        network = network_of(([[0.5, 0.1], [-0.2, -0.3]], [0.1, 0.2]))
        density = GeneratorDensity.from_network(network)
        det = -0.5 * 0.3 + 0.2 * 0.1
        assert density.n_regions == 1
        assert density.dets.item() == pytest.approx(det)
        z = points(100)
        x = network(z).detach()
        expected = torch.full((100,), -math.log(4 * abs(det)), dtype=torch.float64)
        torch.testing.assert_close(density.log_prob(x), expected)
        torch.testing.assert_close(density.preimages(x).z, z)
        outside = torch.tensor([[0.1 + 0.61, 0.2], [5.0, 5.0]]).double()
        assert density.log_prob(outside).tolist() == [-math.inf, -math.inf]

    def test_a_fold_doubles_the_density_and_has_two_preimages(self):
        density = GeneratorDensity.from_network(FOLD)
        x = points(200, low=0.01, high=0.99)
        assert (density.count(x) == 2).all()
        torch.testing.assert_close(
            density.log_prob(x).exp(), torch.full((200,), 0.5).double()
        )
        point, _, z = density.preimages(x)
        assert point.tolist() == sorted([*range(200)] * 2)
        torch.testing.assert_close(z.abs(), x[point].abs())
        assert z[:, 0].reshape(-1, 2).prod(1).max() < 0  # one on either side
        assert density.log_prob(-x).tolist() == [-math.inf] * 200
        masses = density.cell_probabilities(Grid(bins=4))
        expected = torch.tensor([0, 0, 1 / 8, 1 / 8]).double().repeat_interleave(4)
        torch.testing.assert_close(masses.prob, expected, rtol=0, atol=1e-15)
        assert masses.outside == 0
        assert density.singular_mass == 0

    def test_two_folds_quadruple_it(self):
        density = GeneratorDensity.from_network(FOLD_TWICE)
        x = points(200, low=0.01, high=0.99)
        assert (density.count(x) == 4).all()
        assert density.log_prob(x).tolist() == [0.0] * 200

    def test_borders_between_polygons_count_once(self):
        density = GeneratorDensity.from_network(IDENTITY)
        assert density.n_regions == 4
        line = torch.arange(-9, 10, dtype=torch.float64) / 10
        cross = torch.cartesian_prod(line, line)  # 37 of them on the borders
        assert (cross == 0).any(1).sum() == 37
        assert density.count(cross).tolist() == [1] * 361
        assert density.log_prob(cross).tolist() == [math.log(0.25)] * 361

    def test_mass_on_a_line_is_reported_and_has_no_density(self):
        density = GeneratorDensity.from_network(HALF_FLAT)
        assert density.singular_mass == 0.5
        assert density.singular.sum() == 2
        x = points(200, low=0.01, high=0.99)
        assert density.log_prob(x).tolist() == [math.log(0.25)] * 200
        # the line x1 = 0 belongs to the column that starts there
        masses = density.cell_probabilities(Grid(bins=4))
        columns = masses.prob.reshape(4, 4)
        expected = torch.tensor([0, 0, 1 / 16 + 1 / 8, 1 / 16]).double()
        torch.testing.assert_close(columns, expected[:, None].expand(4, 4))
        assert masses.outside == 0

    def test_mass_on_a_point(self):
        network = network_of((PARTS, [0] * 4), ([[0] * 4] * 2, [0.3, 1.0]))
        density = GeneratorDensity.from_network(network)
        assert density.singular_mass == 1
        assert density.log_prob(torch.tensor([[0.3, 1.0]])).item() == -math.inf
        assert density.count(points(5)).tolist() == [0] * 5
        masses = density.cell_probabilities(Grid(bins=2))
        assert masses.prob.tolist() == [0, 0, 0, 1]  # 1.0 is in the box
        away = density.cell_probabilities(Grid(low=-1, high=0.9, bins=2))
        assert away.prob.sum() == 0
        assert away.outside == 1

    def test_rank_one_up_to_rounding_is_singular_and_a_tiny_map_is_not(self):
        # 0.1 and 0.3 times (0.3, 0.7): a determinant that rounding makes 1e-18
        thin = network_of(([[0.3, 0.7]], [2.0]), ([[0.1], [0.3]], [0, 0]))
        density = GeneratorDensity.from_network(thin)
        assert density.singular_mass == 1
        tiny = network_of(([[1e-9, 0], [0, 1e-9]], [0, 0]))
        density = GeneratorDensity.from_network(tiny)
        assert density.singular_mass == 0
        expected = -math.log(4e-18)
        assert density.log_prob(torch.zeros(1, 2)).item() == pytest.approx(expected)

    def test_another_box(self):
        density = GeneratorDensity.from_network(FOLD, low=(-2, 0), high=(1, 4))
        x = torch.tensor([[0.5, 2.0], [1.5, 2.0], [0.5, -1.0]])
        expected = [2 / 12, 1 / 12, 0]
        assert density.log_prob(x).exp().tolist() == pytest.approx(expected)
        assert density.areas.sum().item() == pytest.approx(12)


class TestInvariants:
    @few
    @given(networks)
    def test_jacobians_agree_with_automatic_differentiation(self, network):
        density = GeneratorDensity.from_network(network)
        middles = torch.stack([corners.mean(0) for corners in density.polygons])
        # sums of at most 10 products a layer over 4 layers, in float64
        close = {"rtol": 0, "atol": 1e-13 * float(1 + density.jacobians.abs().max())}
        expected = jacobians_at(network, middles)
        torch.testing.assert_close(density.jacobians, expected, **close)
        torch.testing.assert_close(density.dets, torch.linalg.det(expected), **close)
        x = (density.jacobians @ middles[:, :, None])[:, :, 0] + density.offsets
        torch.testing.assert_close(x, network(middles).detach(), **close)

    @few
    @given(networks, st.integers(1, 40), st.floats(0.1, 3.0))
    def test_masses_of_cells_sum_to_one(self, network, bins, half):
        density = GeneratorDensity.from_network(network)
        masses = density.cell_probabilities(Grid(-half, half, bins))
        assert masses.prob.min() >= -1e-16
        # a sum of some thousand areas, each with an error of some 1e-16 of itself
        assert masses.prob.sum().item() + masses.outside == pytest.approx(1, abs=1e-12)

    @few
    @given(networks, st.integers(0, 100))
    def test_a_latent_point_is_among_the_preimages_of_its_image(self, network, seed):
        density = GeneratorDensity.from_network(network)
        z = points(300, seed)
        det = torch.linalg.det(jacobians_at(network, z))
        z = z[away_from_kinks(network, z) & (det.abs() > 1e-6)]
        if not len(z):
            return
        jacobian = jacobians_at(network, z)
        x = network(z).detach()
        least = math.log(0.25) - torch.linalg.det(jacobian).abs().log()
        # a determinant from 1e-6 on has at least 9 digits
        assert (density.log_prob(x) - least).min() > -1e-9
        point, _, found = density.preimages(x)
        gap = (found - z[point]).norm(dim=1)
        nearest = torch.full((len(z),), math.inf).double()
        nearest.scatter_reduce_(0, point, gap, "amin")
        # rounding of x, some 1e-15 of its size, is divided by the slope, at least
        # |det| over the larger singular value
        slope = 1e-6 / torch.linalg.matrix_norm(jacobian, 2)
        assert (nearest < 1e-13 * (1 + x.norm(dim=1)) / slope).all()
        torch.testing.assert_close(
            density.count(x), torch.bincount(point, minlength=len(x))
        )
        torch.testing.assert_close(network(found).detach(), x[point])


@pytest.mark.parametrize(("seed", "widths"), [(0, [2, 16, 16, 2]), (1, [2, 30, 2])])
def test_samples_fall_into_cells_as_the_masses_say(seed, widths):
    network, n = random_network(seed, widths), 1_000_000
    density = GeneratorDensity.from_network(network)
    corners = torch.cat(density.images)
    # a square that the image reaches beyond on two sides
    grid = Grid(float(corners.min()) + 0.05, float(corners.max()) - 0.05, 12)
    masses = density.cell_probabilities(grid)
    x = network(points(n, seed)).detach()
    inside = ((x >= grid.low) & (x <= grid.high)).all(1)
    count = torch.cat([grid.count(x[inside]), (~inside).sum()[None]]).numpy()
    prob = torch.cat([masses.prob, torch.tensor([masses.outside])]).numpy().clip(0)
    five = 2.9e-7  # the tail of a normal beyond 5 standard errors
    assert binom.cdf(count, n, prob).min() > five
    assert binom.sf(count - 1, n, prob).min() > five
    assert (count > 0).sum() > 10


@pytest.mark.parametrize("seed", range(3))
def test_the_density_integrates_to_the_masses(seed):
    density = GeneratorDensity.from_network(random_network(seed, [2, 5, 2], 0.3))
    coarse, m = Grid(-1.5, 1.5, 6), 120
    fine = Grid(-1.5, 1.5, 6 * m, dtype=torch.float64)
    p = density.log_prob(fine.points).exp().reshape(6, m, 6, m)
    integral = p.sum((1, 3)).reshape(-1) * fine.cell_volume
    masses = density.cell_probabilities(coarse)
    # the midpoint rule errs where the border of a polygon's image passes a fine cell:
    # a segment of length l passes at most sqrt(2) l / width + 3 of them
    error = 0.0
    for corners, det in zip(density.images, density.dets, strict=True):
        sides = (corners.roll(-1, 0) - corners).norm(dim=1)
        passed = (math.sqrt(2) * sides / fine.width + 3).sum()
        error += float(passed * fine.cell_volume / (4 * det.abs()))
    assert float((integral - masses.prob).abs().sum()) < error < 0.5


class TestPushForward:
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_the_exact_masses(self, seed):
        network, n = random_network(seed, [2, 10, 10, 2]), 600
        grid = Grid(bins=10)
        density = GeneratorDensity.from_network(network)
        counted = push_forward(Base(network), grid, n)
        exact = density.cell_probabilities(grid)
        gap = 0.5 * float((counted.prob - exact.prob).abs().sum())
        # latent parts are misplaced only where the cuts pass them: see above
        borders = np.linspace(-1, 1, 11)
        cuts, length = 0, 0.0
        for parts, _, _ in cells_of(density._pieces, borders):
            side = parts.table[following(parts.lengths), :2] - parts.table[:, :2]
            length += np.linalg.norm(side, axis=1).sum()
            cuts += len(side)
        whole = sum(
            float((corners.roll(-1, 0) - corners).norm(dim=1).sum())
            for corners in density.polygons
        )
        length = (length - whole) / 2  # each cut is a side of two parts
        passed = math.sqrt(2) * length / (2 / n) + 3 * cuts / 2
        assert gap < passed / n**2
        assert gap < counted.error  # which is that of half the resolution
        assert counted.prob.sum() + counted.outside == pytest.approx(1)

    def test_a_bent_map_in_closed_form(self):
        eye = torch.eye(2)
        network = mlp([2, 2, 2], "tanh")
        with torch.no_grad():
            for module in network[::2]:
                module.weight.copy_(eye)
                module.bias.zero_()
        n, bins = 500, 8
        counted = push_forward(Base(network), Grid(bins=bins), n)
        border = torch.linspace(-1, 1, bins + 1).double().atanh().clamp(-1, 1)
        share = border.diff() / 2
        exact = torch.outer(share, share).reshape(-1)
        # 2 (bins + 1) straight borders, each through at most n parts of mass n**-2
        assert float((counted.prob - exact).abs().sum()) < 2 * (bins + 1) / n

    def test_a_gaussian_latent_has_the_masses_of_the_normal_law(self):
        network = network_of(([[0.5, 0], [0, 2.0]], [0, 0.25]))
        latent = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
        n, bins = 500, 8
        counted = push_forward(Base(network, latent), Grid(bins=bins), n)
        border = torch.linspace(-1, 1, bins + 1).double()
        one = torch.special.ndtr(border / 0.5).diff()
        two = torch.special.ndtr((border - 0.25) / 2).diff()
        exact = torch.outer(one, two).reshape(-1)
        assert float((counted.prob - exact).abs().sum()) < 2 * (bins + 1) / n
        assert counted.outside == pytest.approx(float(1 - exact.sum()), abs=4 / n)

    def test_a_latent_line(self):
        network = nn.Sequential(nn.Linear(1, 2, bias=False)).double()
        with torch.no_grad():
            network[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        latent = Independent(Uniform(-torch.ones(1), torch.ones(1)), 1)
        counted = push_forward(Base(network, latent), Grid(bins=4), 400)
        expected = torch.eye(4).flip(0).double() / 4
        torch.testing.assert_close(counted.prob.reshape(4, 4), expected)

    def test_refuses_what_it_cannot_do(self):
        base = Base(FOLD)
        with pytest.raises(ValueError, match="n_side must be even"):
            push_forward(base, Grid(), 501)
        with pytest.raises(TypeError, match="base must be a Generator"):
            push_forward(FOLD, Grid(), 500)
        with pytest.raises(TypeError, match="independent latent coordinates"):
            push_forward(Base(FOLD, Normal(0.0, 1.0)), Grid(), 500)
        cube = Independent(Uniform(-torch.ones(3), torch.ones(3)), 1)
        with pytest.raises(ValueError, match="dimension 1 or 2, got 3"):
            push_forward(Base(FOLD, cube), Grid(), 500)
        with pytest.raises(FloatingPointError, match="image of the latent grid"):
            overflow = network_of(([[1e308, 1e308], [0, 1]], [1e308, 0]))
            push_forward(Base(overflow), Grid(), 4)


class TestRefusals:
    def test_reads_the_box_from_a_generator(self):
        box = Independent(Uniform(torch.tensor([-2.0, 0]), torch.tensor([1.0, 4])), 1)
        density = GeneratorDensity.from_generator(Base(FOLD, box))
        assert density.low.tolist() == [-2, 0]
        assert density.high.tolist() == [1, 4]
        assert "n_regions=" in repr(density)

    def test_refuses_other_networks_and_latents(self):
        normal = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
        with pytest.raises(TypeError, match="got Normal; push_forward"):
            GeneratorDensity.from_generator(Base(FOLD, normal))
        with pytest.raises(ValueError, match="2 inputs and 2 outputs, got 2 and 1"):
            GeneratorDensity.from_network(mlp([2, 4, 1]))
        with pytest.raises(ValueError, match="got Tanh"):
            GeneratorDensity.from_network(mlp([2, 4, 2], "tanh"))
        density = GeneratorDensity.from_network(FOLD)
        with pytest.raises(ValueError, match="grid must be one of the plane"):
            density.cell_probabilities(Grid(dim=1))
        with pytest.raises(TypeError, match="grid must be a Grid"):
            density.cell_probabilities(200)
        with pytest.raises(ValueError, match="x must have shape"):
            density.log_prob(torch.zeros(3, 1))
