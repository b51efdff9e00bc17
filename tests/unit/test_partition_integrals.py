"""Integrals over polygons, held against multiprecision, closed forms and quadrature."""

import math

import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal, StudentT
from torch.distributions import Uniform as Flat

from ebmlib.distributions import ImageDensity, Star
from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.fit import fit
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives, PolygonNegatives
from ebmlib.partition import PolygonDensity, ReLUPartition
from ebmlib.partition._integrals import (
    areas_of,
    barycentric_means,
    barycentric_seconds,
    exp_difference,
    log_masses,
    sample_triangles,
)
from ebmlib.partition._quadrature import adaptive, integrate, quarter, rule, split_wide

EPS = 2.0**-52
few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 10**6)
TRIANGLE = torch.tensor([[[0.1, 0.2], [0.9, 0.4], [0.3, 0.8]]], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(seed=0, widths=(2, 8, 6, 1), scale=8.0):
    """A random ReLU network, steep enough that its density is far from flat."""
    network = mlp(list(widths), init="torch", generator=seeded(seed)).double()
    with torch.no_grad():
        network[-1].weight.mul_(scale)
    return network


def by_hand(*layers):
    """A ReLU network with given weights and biases."""
    network = mlp([2, *(len(bias) for _, bias in layers)]).double()
    with torch.no_grad():
        for linear, (weight, bias) in zip(network[::2], layers, strict=True):
            linear.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            linear.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return network


def affine(gradient=(0.0, 0.0), offset=0.0):
    """A network without hidden neurons."""
    return by_hand(([list(gradient)], [offset]))


CROSS = ([[1, 0], [-1, 0], [0, 1], [0, -1]], [0, 0, 0, 0])  # |x|, |y| in halves


def tent(slope):
    """``f = -slope (|x| + |y|)``: four planes that meet at the origin."""
    return by_hand(CROSS, ([[-slope] * 4], [0.0]))


def pyramid(height):
    """``f = height max(0, 1 - |x| - |y|)``, flat outside the diamond."""
    return by_hand(CROSS, ([[-1.0] * 4], [1.0]), ([[height]], [0.0]))


def exact(network, prior=None, low=-1.0, high=1.0, **options):
    return ReLUPartition.from_network(network, low, high).density(prior, **options)


def normal(mean, sd):
    mean = torch.tensor(mean, dtype=torch.float64)
    return Independent(Normal(mean, torch.full((2,), sd, dtype=torch.float64)), 1)


def log_normal_mass(mean, sd, low=-1.0, high=1.0):
    """Log of the mass that a normal density has in an interval."""
    return float(stats.norm(mean, sd).logcdf(high)) + math.log1p(
        -math.exp(stats.norm(mean, sd).logcdf(low) - stats.norm(mean, sd).logcdf(high))
    )


# --- divided differences -------------------------------------------------------------


def multiprecision(nodes):
    """The divided difference as a corner of the exponential of a bidiagonal matrix."""
    n = len(nodes)
    with mpmath.workdps(60):
        matrix = mpmath.matrix(n, n)
        for i, node in enumerate(nodes):
            matrix[i, i] = mpmath.mpf(node) - mpmath.mpf(nodes[-1])
            if i + 1 < n:
                matrix[i, i + 1] = 1
        return mpmath.expm(matrix)[0, n - 1]


GAPS = [0, 1e-300, 1e-16, 1e-9, 1e-4, 0.1, 0.999, 1, 1.001, 2, 3, 4, 10, 100, 700]


@pytest.mark.parametrize("first", GAPS)
def test_divided_differences_agree_with_multiprecision_at_every_gap(first):
    """Equal, nearly equal and far nodes, on both sides of every threshold."""
    for second in GAPS:
        nodes = [-first - second, -first, 0.0]
        ours = float(exp_difference(torch.tensor(nodes, dtype=torch.float64)[:, None]))
        assert ours == pytest.approx(float(multiprecision(nodes)), rel=8 * EPS, abs=0)


@few
@given(st.lists(st.sampled_from(GAPS[:-2]), min_size=3, max_size=4), st.floats(0.1, 1))
def test_repeated_and_many_nodes_lose_no_digits_either(gaps, factor):
    nodes = [0.0]
    for gap in gaps:
        nodes.insert(0, nodes[0] - factor * gap)
    ours = float(exp_difference(torch.tensor(nodes, dtype=torch.float64)[:, None]))
    assert ours == pytest.approx(float(multiprecision(nodes)), rel=16 * EPS, abs=0)


def test_equal_values_give_the_area_and_huge_ones_do_not_overflow():
    areas = torch.tensor([0.5, 0.0], dtype=torch.float64)
    values = torch.full((2, 3), 3000.0, dtype=torch.float64)
    log_mass = log_masses(areas, values)
    assert float(log_mass[0]) == 3000 + math.log(0.5)
    assert float(log_mass[1]) == -math.inf
    assert log_masses(areas[:0], values[:0]).shape == (0,)
    # exp[0, 0, -L] = (1 - (1 - exp(-L)) / L) / L by partial integration
    steep = log_masses(areas[:1], torch.tensor([[0.0, 0.0, -2000.0]]).double())
    assert float(steep) == pytest.approx(math.log((1 - 1 / 2000) / 2000), rel=EPS)


@few
@given(seeds, st.floats(0, 60))
def test_barycentric_moments_agree_with_a_quadrature_and_sum_as_they_must(seed, scale):
    """The same mean from a rule of degree 13 on 4**4 parts: gaps of at most 4 each."""
    values = torch.rand(1, 3, dtype=torch.float64, generator=seeded(seed)) * scale
    means, seconds = barycentric_means(values), barycentric_seconds(values)
    assert float(means.sum()) == pytest.approx(1, abs=16 * EPS)
    torch.testing.assert_close(seconds.sum(2), means, rtol=0, atol=32 * EPS)
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    slope = values[0, 1:] - values[0, 0]
    for _ in range(4):
        corners = quarter(corners)
    region = torch.zeros(len(corners), dtype=torch.int64)
    _, sums = integrate(
        corners,
        region,
        lambda x, r: x @ slope - float(slope.clamp_min(0).max()),
        lambda x, r: torch.cat([x, x * x, x[..., :1] * x[..., 1:]], -1),
    )
    scales, _ = integrate(
        corners, region, lambda x, r: x @ slope - float(slope.clamp_min(0).max())
    )
    total = (sums * scales.exp()[:, None]).sum(0)
    x, y, xx, yy, xy = (total[1:] / total[0]).tolist()
    wanted = torch.tensor([[1 - x - y, x, y]], dtype=torch.float64)
    torch.testing.assert_close(means, wanted, rtol=0, atol=1e-11)
    ours = seconds[0, 1, 1], seconds[0, 2, 2], seconds[0, 1, 2]
    assert [float(v) for v in ours] == pytest.approx([xx, yy, xy], abs=1e-11)


# --- quadrature on triangles ---------------------------------------------------------


@pytest.mark.parametrize("n", [5, 7])
def test_the_rule_is_exact_to_its_degree_and_not_beyond(n):
    """Against the integral of a monomial over a triangle, ``2 A i! j! / (i + j + 2)!``,
    which is the mean with ``A = 1`` halved twice."""
    nodes, weights = rule(n)
    assert (nodes > 0).all()
    assert (weights > 0).all()
    for i in range(2 * n):
        j = 2 * n - 1 - i
        mean = float(weights @ (nodes[:, 0] ** i * nodes[:, 1] ** j))
        wanted = 2 * math.factorial(i) * math.factorial(j) / math.factorial(i + j + 2)
        assert mean == pytest.approx(wanted, rel=1e-12)
    wrong = float(weights @ nodes[:, 0] ** (2 * n + 1))
    assert wrong != pytest.approx(2 / (2 * n + 2) / (2 * n + 3), rel=1e-12)


def test_quarters_tile_the_triangle():
    assert float(areas_of(quarter(TRIANGLE)).sum()) == pytest.approx(
        float(areas_of(TRIANGLE)), rel=4 * EPS
    )
    assert len(split_wide(TRIANGLE, torch.zeros(1, dtype=torch.int64), 0.3)[0]) == 16


def test_a_jump_is_given_up_with_advice(monkeypatch):
    monkeypatch.setattr("ebmlib.partition._quadrature.MAX_NEW_TRIANGLES", 500)
    density = exact(affine())
    with pytest.raises(FloatingPointError, match="try a larger tolerance"):
        density.expectation(lambda x: (x[:, 0] > 0.1234567).double())


def test_the_estimate_of_the_error_is_never_too_small():
    """Against a closed form, over tolerances: the promise is kept each time."""
    for tolerance in (1e-3, 1e-6, 1e-9, 1e-12):
        leaves = adaptive(
            TRIANGLE,
            torch.zeros(1, dtype=torch.int64),
            lambda x, r: 40 * x[..., 0] - 25 * x[..., 1],
            tolerance=tolerance,
        )
        values = TRIANGLE @ torch.tensor([40.0, -25.0], dtype=torch.float64)
        wanted = float(log_masses(areas_of(TRIANGLE), values))
        ours = float(torch.logsumexp(leaves.log_mass, 0))
        assert abs(math.expm1(ours - wanted)) < tolerance


# --- the partition function, flat prior ----------------------------------------------


def test_one_neuron_has_the_partition_function_done_by_hand():
    """``f = 3 relu(x - 1/4)`` on a box of height 2."""
    network = by_hand(([[1, 0]], [-0.25]), ([[3.0]], [0.0]))
    wanted = math.log(2 * (1.25 + math.expm1(3 * 0.75) / 3))
    assert exact(network).log_partition == pytest.approx(wanted, abs=8 * EPS)


@pytest.mark.parametrize("slope", [1e-9, 0.3, 5.0, 4000.0])
def test_tents_of_any_steepness_have_theirs(slope):
    wanted = 2 * math.log(-2 * math.expm1(-slope) / slope)
    assert exact(tent(slope)).log_partition == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("height", [0.5, 5.0, 300.0])
def test_a_pyramid_on_a_plain_has_its_own(height):
    """``4 (e^k - 1 - k) / k^2`` on the diamond and 2 on the plain."""
    with mpmath.workdps(30):
        k = mpmath.mpf(height)
        wanted = float(mpmath.log(4 * (mpmath.exp(k) - 1 - k) / k**2 + 2))
    assert exact(pyramid(height)).log_partition == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("hidden", [(12,), (8, 6), (6, 6, 6), (5, 5, 5, 5)])
def test_any_depth_agrees_with_a_refined_quadrature(hidden):
    """16 parts of each triangle, a rule of degree 13: where ``f`` differs by less than
    1 from its mean, the remainder of the exponential's series is below ``2 / 14!``."""
    partition = ReLUPartition.from_network(bent(1, (2, *hidden, 1)))
    corners, region = partition.triangles
    for _ in range(2):
        corners, region = quarter(corners), region.repeat_interleave(4)
    f = (corners * partition.gradients[region][:, None]).sum(2)
    assert float((f.amax(1) - f.amin(1)).max()) < 2

    def log_density(x, r):
        value = (x * partition.gradients[r][:, None]).sum(-1)
        return value + partition.offsets[r][:, None]

    scale, sums = integrate(corners, region, log_density)
    wanted = float(torch.logsumexp(scale + sums[:, 0].log(), 0))
    assert partition.log_partition() == pytest.approx(wanted, abs=1e-12)


def test_the_midpoint_grid_is_off_by_the_square_of_the_cell():
    """Over networks, the fitted order is 2 within four standard errors."""
    bins = [25, 50, 100, 200, 400]
    slopes = []
    for seed in range(12):
        network = bent(seed, (2, 6, 4, 1), scale=3.0)
        wanted = exact(network).log_partition
        errors = [
            GridDensity(TiltedEnergy(network), Grid(bins=b)).log_partition - wanted
            for b in bins
        ]
        assert abs(errors[-1]) < 1e-3
        slopes.append(np.polyfit(np.log(bins), np.log(np.abs(errors)), 1)[0])
    standard_error = np.std(slopes, ddof=1) / math.sqrt(len(slopes))
    assert standard_error < 0.15
    assert np.mean(slopes) == pytest.approx(-2, abs=4 * standard_error)


@few
@given(seeds, st.floats(-2000, 2000))
def test_a_constant_added_to_f_only_shifts_log_z(seed, constant):
    network = bent(seed)
    before = exact(network)
    with torch.no_grad():
        network[-1].bias.add_(constant)
    after = exact(network)
    shift = after.log_partition - before.log_partition
    assert shift == pytest.approx(constant, abs=1e-11)
    torch.testing.assert_close(after.prob, before.prob, rtol=1e-9, atol=1e-12)
    assert after.entropy() == pytest.approx(before.entropy(), abs=1e-10)


@few
@given(seeds, st.floats(0.01, 100))
def test_a_neuron_scaled_up_and_down_again_changes_nothing(seed, factor):
    network = bent(seed)
    before = exact(network)
    with torch.no_grad():
        network[0].weight[0] *= factor
        network[0].bias[0] *= factor
        network[2].weight[:, 0] /= factor
    after = exact(network)
    assert after.log_partition == pytest.approx(before.log_partition, abs=1e-11)
    assert after.entropy() == pytest.approx(before.entropy(), abs=1e-10)


@few
@given(seeds, st.sampled_from([1e-6, 1.0, 100.0, 3000.0]))
def test_masses_are_a_distribution_and_means_lie_in_their_regions(seed, scale):
    partition = ReLUPartition.from_network(bent(seed, scale=scale))
    density = partition.density()
    assert float(density.prob.sum()) == pytest.approx(1, abs=1e-12)
    assert (density.prob >= 0).all()
    some = density.prob > 1e-250
    means = density.region_means()[some]
    owner = partition.corner_regions[:, None].expand(-1, 2)
    start = partition.vertices.new_full((partition.n_regions, 2), math.nan)
    below, above = (
        start.scatter_reduce(0, owner, partition.vertices, way, include_self=False)
        for way in ("amin", "amax")
    )
    assert (means >= below[some] - 1e-12).all()
    assert (means <= above[some] + 1e-12).all()


def test_a_box_cut_in_two_has_the_sum_of_its_parts():
    network = bent(3)
    whole = exact(network, low=(-0.5, -1.0), high=(2.0, 1.5)).log_partition
    left = exact(network, low=(-0.5, -1.0), high=(0.3, 1.5)).log_partition
    right = exact(network, low=(0.3, -1.0), high=(2.0, 1.5)).log_partition
    assert whole == pytest.approx(np.logaddexp(left, right), abs=1e-13)


# --- other priors --------------------------------------------------------------------


@pytest.mark.parametrize("sd", [3.0, 0.3, 0.01, 1e-3])
def test_a_gaussian_tilted_by_a_plane_is_a_gaussian_elsewhere(sd):
    """Completing the square, with the mass in the box by SciPy; also a peak that is a
    thousand times narrower than the two triangles of the box."""
    mean, gradient = (0.2, -0.1), (0.4, 0.3)
    shifted = [m + sd**2 * g for m, g in zip(mean, gradient, strict=True)]
    wanted = sum(
        g * m + sd**2 * g * g / 2 + log_normal_mass(s, sd)
        for g, m, s in zip(gradient, mean, shifted, strict=True)
    )
    density = exact(affine(gradient), normal(mean, sd))
    assert density.log_partition == pytest.approx(wanted, abs=1e-10)
    if sd < 0.1:
        moments = density.moments()
        assert moments.mean.tolist() == pytest.approx(shifted, abs=1e-8)
        covariance = moments.second - torch.outer(moments.mean, moments.mean)
        assert covariance.flatten().tolist() == pytest.approx(
            [sd**2, 0, 0, sd**2], abs=1e-9
        )
        entropy = 1 + math.log(2 * math.pi * sd**2)
        assert density.entropy() == pytest.approx(entropy, abs=1e-8)


@pytest.mark.parametrize("sd", [1.0, 0.2])
def test_the_tolerance_under_a_gaussian_prior_is_kept(sd):
    network = bent(5, scale=30.0)
    reference = exact(network, gaussian(sd=sd), tolerance=1e-13).log_partition
    for tolerance in (1e-4, 1e-7, 1e-10):
        ours = exact(network, gaussian(sd=sd), tolerance=tolerance).log_partition
        assert abs(math.expm1(ours - reference)) < tolerance
    grid = GridDensity(TiltedEnergy(network, gaussian(sd=sd)), Grid(bins=800))
    assert grid.log_partition == pytest.approx(reference, abs=1e-4)


def test_a_wide_gaussian_is_the_flat_prior():
    network, sd = bent(2), 1e6
    flat, wide = exact(network), exact(network, normal((0.0, 0.0), sd))
    level = -math.log(2 * math.pi * sd**2)
    assert wide.log_partition - level == pytest.approx(flat.log_partition, abs=1e-11)
    torch.testing.assert_close(wide.prob, flat.prob, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        wide.region_means(), flat.region_means(), rtol=0, atol=1e-8
    )


def test_correlated_and_other_priors_agree_with_a_grid():
    network, grid = bent(4), Grid(bins=600)
    covariance = torch.tensor([[0.2, 0.15], [0.15, 0.3]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    heavy = StudentT(torch.full((2,), 3.0).double(), zero, torch.full_like(zero, 0.4))
    for prior in (MultivariateNormal(zero, covariance), Independent(heavy, 1)):
        ours = exact(network, prior)
        theirs = GridDensity(TiltedEnergy(network, prior), grid)
        assert ours.log_partition == pytest.approx(theirs.log_partition, abs=1e-5)
        assert ours.entropy() == pytest.approx(theirs.entropy(), abs=1e-5)
        mean = theirs.expectation(lambda x: x)
        torch.testing.assert_close(ours.moments().mean, mean, rtol=0, atol=1e-5)


def test_a_uniform_prior_is_the_flat_one_less_its_logarithm():
    network = bent(6)
    box = Independent(Flat(-torch.ones(2).double(), torch.ones(2).double()), 1)
    flat = exact(network)
    ours = exact(network, box)
    gap = ours.log_partition - flat.log_partition
    assert gap == pytest.approx(-math.log(4), abs=1e-10)
    assert ours.entropy() == pytest.approx(flat.entropy(), abs=1e-9)
    with pytest.raises(TypeError, match="flat or a normal prior"):
        ours.sample(3)
    with pytest.raises(TypeError, match="flat or a normal prior"):
        ours.modes()


def test_a_prior_that_is_zero_in_half_of_the_box_cuts_it():
    """The jump is at x = 0, where edges of triangles can be made to lie."""
    network = by_hand(([[1.0, 0.0]], [0.0]), ([[2.0]], [0.0]))
    low, high = torch.tensor([0.0, -1.0]).double(), torch.ones(2).double()
    half = Independent(Flat(low, high, validate_args=False), 1, validate_args=False)
    ours, wanted = exact(network, half), exact(network, low=(0, -1), high=(1, 1))
    gap = ours.log_partition - wanted.log_partition
    assert gap == pytest.approx(-math.log(2), abs=1e-10)
    assert ours.entropy() == pytest.approx(wanted.entropy(), abs=1e-9)
    torch.testing.assert_close(
        ours.moments().second, wanted.moments().second, rtol=0, atol=1e-9
    )
    assert sorted(ours.prob.tolist()) == pytest.approx([0, 1], abs=1e-12)


# --- moments, entropy, divergences ---------------------------------------------------


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.5)])
@few
@given(seed=seeds)
def test_moments_are_the_expectations_that_quadrature_gives(prior, seed):
    density = exact(bent(seed, (2, 5, 4, 1)), prior)
    moments = density.moments()
    mean = density.expectation(lambda x: x)
    second = density.expectation(lambda x: x[:, :, None] * x[:, None, :])
    torch.testing.assert_close(moments.mean, mean, rtol=0, atol=1e-7)
    torch.testing.assert_close(moments.second, second, rtol=0, atol=1e-7)
    one = density.partition.expectation(lambda x: torch.ones(len(x)), prior)
    assert float(one) == pytest.approx(1, abs=1e-12)
    log_p = density.expectation(density.log_prob, tolerance=1e-6)
    assert float(log_p) == pytest.approx(-density.entropy(), abs=1e-4)


def test_moments_of_the_tent_are_done_by_hand():
    """``E x**2`` under ``exp(-a |x|)`` on [-1, 1], and ``log 4`` for no tilt at all."""
    a = 5.0
    with mpmath.workdps(30):
        z = mpmath.quad(lambda t: mpmath.exp(-a * t), [0, 1])
        wanted = mpmath.quad(lambda t: t * t * mpmath.exp(-a * t), [0, 1]) / z
        mean = mpmath.quad(lambda t: t * mpmath.exp(-a * t), [0, 1]) / z
    partition = ReLUPartition.from_network(tent(a))
    moments = partition.moments()
    torch.testing.assert_close(
        moments.second, float(wanted) * torch.eye(2).double(), rtol=0, atol=1e-15
    )
    torch.testing.assert_close(
        moments.mean, torch.zeros(2).double(), rtol=0, atol=1e-15
    )
    entropy = 2 * (math.log(2 * float(z)) + a * float(mean))
    assert partition.entropy() == pytest.approx(entropy, abs=1e-14)
    assert exact(affine()).entropy() == pytest.approx(math.log(4), abs=EPS)


def test_log_prob_is_f_and_the_prior_less_log_z():
    network, prior = bent(7), gaussian(sd=0.7)
    x = torch.rand(50, 2, dtype=torch.float64, generator=seeded()) * 2 - 1
    density = exact(network, prior)
    with torch.no_grad():
        wanted = -TiltedEnergy(network, prior).energy(x) - density.log_partition
    torch.testing.assert_close(density.log_prob(x), wanted, rtol=0, atol=1e-12)


def test_kl_between_gaussians_in_a_wide_box_is_the_textbook_one():
    q, p = normal((0.1, 0.0), 0.1), normal((0.0, -0.05), 0.15)
    wanted = (
        2 * math.log(0.15 / 0.1) + (2 * 0.1**2 + 0.1**2 + 0.05**2) / (2 * 0.15**2) - 1
    )  # tails beyond six standard deviations are below 1e-8
    ours = exact(affine(), p).kl(q)
    assert ours == pytest.approx(wanted, abs=1e-7)
    assert exact(affine(), q).kl(q) == pytest.approx(0, abs=1e-8)


def test_kl_counts_the_part_of_the_truth_that_is_in_the_box():
    """As the grid does: both densities are normalised on the box."""
    network, q = bent(8), normal((0.9, 0.9), 0.3)
    grid = Grid(bins=400)
    theirs = GridDensity(q, grid).kl(TiltedEnergy(network))
    assert exact(network).kl(q) == pytest.approx(theirs, abs=1e-4)


def test_kl_to_a_density_on_a_grid_is_its_midpoint_value():
    network, truth = bent(9), Star()
    density = exact(network, gaussian(sd=1.0))
    fine = density.kl(truth)
    errors = [density.kl(GridDensity(truth, Grid(bins=b))) - fine for b in (100, 200)]
    assert abs(errors[1]) < 1e-3
    assert density.kl(GridDensity(truth, Grid(bins=200))) == pytest.approx(
        GridDensity(truth, Grid(bins=200)).kl(TiltedEnergy(network, gaussian(sd=1.0))),
        abs=1e-3,
    )


# --- samples -------------------------------------------------------------------------


@few
@given(seeds, st.sampled_from([0.0, 1e-12, 1.0, 30.0, 2000.0]))
def test_draws_from_a_triangle_invert_to_the_uniforms(seed, scale):
    """The share of the mass in the copy that is shrunk by ``w``, and of the side, from
    the draw: a probability integral transform, exact for each draw."""
    generator = seeded(seed)
    values = torch.rand(40, 3, dtype=torch.float64, generator=generator) * scale
    values[:10, 1] = values[:10, 0]  # two equal corners
    uniforms = torch.rand(40, 2, dtype=torch.float64, generator=generator)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    x = sample_triangles(corners.expand(40, 3, 2), values, uniforms)
    share = torch.stack([1 - x.sum(1), x[:, 0], x[:, 1]], 1)
    assert (share > -4 * EPS).all()
    nodes, order = values.sort(1)
    share = share.gather(1, order)
    w = 1 - share[:, 2]
    nodes = (nodes - nodes[:, 2:]).T
    got = w**2 * exp_difference(nodes * w) / exp_difference(nodes)
    torch.testing.assert_close(got, uniforms[:, 0], rtol=1e-9, atol=1e-9)
    drop = (nodes[0] - nodes[1]) * w
    along = share[:, 0] / w
    got = torch.where(drop < 0, torch.expm1(drop * along) / torch.expm1(drop), along)
    torch.testing.assert_close(got, uniforms[:, 1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("prior", [None, gaussian(sd=1.0), gaussian(sd=0.15)])
@pytest.mark.parametrize("seed", range(3))
def test_samples_fall_into_regions_by_their_masses(prior, seed):
    """Chi-square over the exact masses; p-values below 1e-4 do not happen by chance.
    The chi-square within regions comes from cells of a finer partition."""
    n, network = 20_000, bent(seed)
    partition = ReLUPartition.from_network(network)
    density = partition.density(prior)
    x = density.sample(n, generator=seeded(seed))
    assert x.shape == (n, 2)
    finer = torch.nn.Sequential(*bent(seed))
    wider = mlp([2, 8 + 14, 6, 1]).double()
    with torch.no_grad():  # 14 more lines that cut regions and leave f as it is
        wider[0].weight[:8], wider[0].bias[:8] = finer[0].weight, finer[0].bias
        wider[0].weight[8:15] = torch.tensor([1.0, 0.0]).double()
        wider[0].weight[15:] = torch.tensor([0.0, 1.0]).double()
        wider[0].bias[8:15] = wider[0].bias[15:] = torch.linspace(-0.75, 0.75, 7)
        wider[2].weight[:, :8], wider[2].weight[:, 8:] = finer[2].weight, 0.0
        wider[2].bias.copy_(finer[2].bias)
        wider[4].weight.copy_(finer[4].weight)
        wider[4].bias.copy_(finer[4].bias)
    for cells in (partition, ReLUPartition.from_network(wider)):
        prob = cells.masses(prior)
        counts = torch.bincount(cells.locate(x), minlength=cells.n_regions).double()
        large = prob * n > 5
        observed = [*counts[large].tolist(), float(counts[~large].sum())]
        wanted = [*(prob[large] * n).tolist(), float(prob[~large].sum()) * n]
        if wanted[-1] < 5:  # too few to be approximately normal: join with another
            observed[-2:], wanted[-2:] = [sum(observed[-2:])], [sum(wanted[-2:])]
        assert stats.chisquare(observed, wanted, sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.4), gaussian(sd=0.02)])
def test_samples_have_the_exact_moments(prior):
    n = 40_000
    density = exact(bent(11), prior)
    x, moments = density.sample(n, generator=seeded(1)), density.moments()
    error = (x.std(0) / math.sqrt(n)).tolist()
    assert ((x.mean(0) - moments.mean).abs() < 4 * torch.tensor(error)).all()
    products = x[:, :, None] * x[:, None, :]
    error = products.std(0) / math.sqrt(n)
    assert ((products.mean(0) - moments.second).abs() < 4 * error).all()


def test_samples_repeat_with_their_generator_alone():
    density = exact(bent(12), gaussian(sd=0.3))
    state = torch.get_rng_state()
    first = density.sample(100, generator=seeded(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, density.sample(100, generator=seeded(3)))
    assert not torch.equal(first, density.sample(100, generator=seeded(4)))
    assert (first.abs() <= 1).all()


# --- the exact gradient --------------------------------------------------------------


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.5)])
@pytest.mark.parametrize("widths", [(2, 7, 1), (2, 6, 5, 1), (2, 4, 4, 4, 1)])
def test_polygon_negatives_are_the_gradient_of_the_exact_log_z(prior, widths):
    """Against central differences along random directions: error ``h**2``, and that
    of the quadrature over ``h``."""
    model = TiltedEnergy(bent(13, widths), prior)
    parameters = list(model.parameters())
    negative = PolygonNegatives(tolerance=1e-12)(model)
    assert not negative.weights.requires_grad
    assert float(negative.weights.sum()) == pytest.approx(1, abs=1e-12)
    energy = torch.dot(negative.weights, model.energy(negative.points))
    gradient = torch.autograd.grad(energy, parameters)
    h = 1e-4
    for seed in range(3):
        generator = seeded(seed)
        step = [
            torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters
        ]

        def log_z(t, step=step):
            with torch.no_grad():
                for p, s in zip(parameters, step, strict=True):
                    p.add_(s, alpha=t)
                value = exact(model.network, prior, tolerance=1e-13).log_partition
                for p, s in zip(parameters, step, strict=True):
                    p.add_(s, alpha=-t)
            return value

        slope = (8 * (log_z(h) - log_z(-h)) - log_z(2 * h) + log_z(-2 * h)) / (12 * h)
        ours = -sum(float((g * s).sum()) for g, s in zip(gradient, step, strict=True))
        assert ours == pytest.approx(slope, abs=2e-7 * max(1, abs(slope)))
    assert float(negative.log_partition) == pytest.approx(log_z(0.0), abs=1e-11)


def test_the_grid_gradient_converges_to_it():
    model = TiltedEnergy(bent(14))
    parameters = list(model.parameters())

    def gradient(phase):
        negative = phase(model)
        energy = torch.dot(negative.weights, model.energy(negative.points))
        parts = torch.autograd.grad(energy, parameters)
        return torch.cat([part.ravel() for part in parts])

    wanted = gradient(PolygonNegatives())
    errors = [
        float((gradient(GridNegatives(Grid(bins=b))) - wanted).norm())
        for b in (50, 800)
    ]
    assert errors[1] < errors[0] / 16  # 256 if smooth; kinks make it irregular
    assert errors[1] < 1e-3 * float(wanted.norm())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", [None, gaussian(sd=0.8)])
def test_fit_trains_with_it_and_reports_the_exact_likelihood(seed, prior):
    truth = normal((0.3, -0.2), 0.2)
    torch.manual_seed(seed)
    data = truth.sample((400,))
    data = data[(data.abs() < 1).all(1)]
    model = TiltedEnergy(bent(seed, (2, 8, 1), scale=1.0), prior)
    history = fit(model, data, PolygonNegatives(), 60, progress=False)
    assert history.loss[-1] < history.loss[0] - 0.5
    again = fit(model, data, PolygonNegatives(), 1, resume=history, progress=False)
    network = model.network
    assert again.n_steps == 61
    assert math.isfinite(exact(network, prior).log_partition)
    floor = float(-truth.log_prob(data).mean())
    assert floor - 0.2 < history.loss[-1]


def test_float32_models_get_float32_points_and_a_float64_log_z():
    model = TiltedEnergy(mlp([2, 5, 1], generator=seeded()))
    negative = PolygonNegatives()(model)
    assert negative.points.dtype == negative.weights.dtype == torch.float32
    assert negative.log_partition.dtype == torch.float64
    assert float(negative.log_partition) == pytest.approx(math.log(4), abs=1e-12)


# --- bad input -----------------------------------------------------------------------


def test_bad_arguments_are_named():
    partition = ReLUPartition.from_network(affine())
    with pytest.raises(TypeError, match=r"prior must be a torch\.distributions"):
        partition.log_partition("flat")
    with pytest.raises(ValueError, match=r"event_shape \(2,\)"):
        partition.log_partition(gaussian(3))
    with pytest.raises(ValueError, match=r"event_shape \(2,\)"):
        partition.log_partition(Normal(torch.zeros(2), 1.0))
    with pytest.raises(ValueError, match="tolerance must be between"):
        PolygonDensity(partition, tolerance=1e-20)
    with pytest.raises(ValueError, match="tolerance must be between"):
        partition.density().expectation(lambda x: x, tolerance=0.0)
    with pytest.raises(ValueError, match="tolerance must be between"):
        PolygonNegatives(tolerance=1.0)
    with pytest.raises(ValueError, match="n must be at least 1"):
        partition.sample(0)
    with pytest.raises(TypeError, match="generator must be"):
        partition.sample(3, generator=0)
    with pytest.raises(TypeError, match="g must be callable"):
        partition.expectation(3)
    with pytest.raises(ValueError, match="g must map"):
        partition.expectation(lambda x: x.sum())
    with pytest.raises(ValueError, match="g must map"):
        partition.expectation(lambda x: 3)
    with pytest.raises(TypeError, match="truth must be"):
        partition.kl(torch.zeros(3))
    with pytest.raises(ValueError, match="truth must be a density on the plane"):
        partition.kl(gaussian(3))
    with pytest.raises(ValueError, match="on the plane"):
        partition.kl(GridDensity(gaussian(1), Grid(dim=1)))
    with pytest.raises(ValueError, match="GridDensity"):
        partition.kl(ImageDensity([[1.0, 2.0]], (-1, 1)))
    with pytest.raises(ValueError, match="in the box"):
        partition.kl(GridDensity(gaussian(), Grid(-2, 2, bins=4)))


def test_what_is_not_finite_is_said_and_not_returned():
    partition = ReLUPartition.from_network(affine())
    with pytest.raises(FloatingPointError, match="not finite"):
        partition.expectation(lambda x: x.log())
    far = normal((1e6, 0.0), 1e-150)
    with pytest.raises(FloatingPointError):
        partition.log_partition(far)


class Other(EnergyModel):
    def energy(self, x):
        return x.sum(1)


def test_polygon_negatives_refuse_what_is_not_piecewise_affine():
    with pytest.raises(TypeError, match="model must be a TiltedEnergy"):
        PolygonNegatives()(Other())
    smooth = TiltedEnergy(mlp([2, 3, 1], "tanh"))
    with pytest.raises(ValueError, match="ReLU"):
        PolygonNegatives()(smooth)
