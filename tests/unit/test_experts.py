"""Experts against closed forms, enumeration and quadrature over growing boxes."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from scipy.special import gammaln
from torch.distributions import Independent, Normal

from ebmlib.energy import (
    EnergyModel,
    GaussianRBM,
    LogisticExperts,
    ProductOfExperts,
    StudentTExperts,
    TiltedEnergy,
    free_energy,
    gaussian,
)
from ebmlib.fit import fit
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives

DOUBLE = torch.float64
few = settings(max_examples=50, deadline=None)


def normal(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=DOUBLE, generator=generator)


def student(directions, strengths):
    """Student-t experts in the plane, by the angles (degrees) of their directions."""
    angle = torch.deg2rad(torch.tensor(directions, dtype=DOUBLE))
    weight = torch.stack([angle.cos(), angle.sin()], dim=1)
    return StudentTExperts(weight, torch.tensor(strengths, dtype=DOUBLE))


# Free energy

ENERGIES = st.lists(
    st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=4
)
BETAS = st.floats(0.01, 20)


@few
@given(ENERGIES, BETAS, BETAS)
def test_free_energy_rises_with_counting_and_falls_with_a_normalised_measure(
    rows, one, other
):
    """Each value is rounded to about eps * (|E| + log k / beta), 1e-12 at most here."""
    energies = torch.tensor(rows, dtype=DOUBLE)
    cold, warm = max(one, other), min(one, other)
    measure = torch.tensor([0.2, 0.3, 0.5], dtype=DOUBLE).log()
    rise = free_energy(energies, cold) - free_energy(energies, warm)
    fall = free_energy(energies, cold, log_measure=measure) - free_energy(
        energies, warm, log_measure=measure
    )
    assert (rise >= -1e-11).all()
    assert (fall <= 1e-11).all()


@few
@given(ENERGIES, BETAS)
def test_free_energy_is_within_log_k_over_beta_of_the_minimum(rows, beta):
    energies = torch.tensor(rows, dtype=DOUBLE)
    lowest = free_energy(energies, math.inf)
    gap = lowest - free_energy(energies, beta)
    assert (gap >= -1e-11).all()
    assert (gap <= math.log(3) / beta + 1e-11).all()
    torch.testing.assert_close(lowest, energies.amin(1))


def test_free_energy_of_a_normalised_measure_tends_to_the_mean_when_hot():
    """F = mean - beta variance / 2 + O(beta**2)."""
    energies, weights = normal(5, 4), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE)
    mean = energies @ weights
    variance = (energies - mean[:, None]) ** 2 @ weights
    found = free_energy(energies, 1e-4, log_measure=weights.log())
    torch.testing.assert_close(found, mean - 0.5e-4 * variance, atol=1e-7, rtol=0)


def test_free_energy_survives_energies_whose_exponentials_do_not():
    energies = torch.tensor([[2000.0, 2001.0], [-2000.0, -1000.0]], dtype=DOUBLE)
    expected = torch.tensor([2000 - math.log1p(math.exp(-1)), -2000], dtype=DOUBLE)
    torch.testing.assert_close(free_energy(energies, 1.0), expected)


def test_free_energy_leaves_out_what_has_no_measure():
    energies = torch.tensor([[0.0, 5.0]])
    measure = torch.tensor([-math.inf, 0.0])
    for beta in (0.5, math.inf):
        assert free_energy(energies, beta, log_measure=measure).tolist() == [5.0]


@pytest.mark.parametrize(
    ("energies", "beta", "measure", "message"),
    [
        (torch.zeros(3), 1.0, None, r"shape \(n, k\)"),
        (torch.zeros(3, 0), 1.0, None, r"shape \(n, k\)"),
        (torch.zeros(3, 2), 0.0, None, "beta must be positive"),
        (torch.zeros(3, 2), 1.0, torch.zeros(3), r"log_measure must have shape \(2,\)"),
        (torch.zeros(3, 2), 1.0, torch.full((2,), math.inf), "below"),
        (torch.zeros(3, 2), 1.0, torch.full((2,), -math.inf), "at least one z"),
    ],
)
def test_free_energy_refuses(energies, beta, measure, message):
    with pytest.raises(ValueError, match=message):
        free_energy(energies, beta, log_measure=measure)


def test_free_energy_refuses_energies_that_are_not_finite():
    with pytest.raises(FloatingPointError, match="energies is not finite: 1 NaN"):
        free_energy(torch.tensor([[0.0, math.nan]]), 1.0)


# Product of experts


def test_product_of_gaussians_is_the_gaussian_with_added_precisions():
    one, other = gaussian(sd=0.5), gaussian(sd=0.3)
    flat = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(flat.weight)
    product = ProductOfExperts([TiltedEnergy(flat, one), TiltedEnergy(flat, other)])
    sd = (1 / 0.5**2 + 1 / 0.3**2) ** -0.5
    x = normal(20, 2).float()
    relative = product.energy(x) - product.energy(x[:1])
    exact = -gaussian(sd=sd).log_prob(x)
    torch.testing.assert_close(relative, exact - exact[0], rtol=1e-4, atol=1e-4)


def test_product_trains_all_its_experts():
    product = ProductOfExperts([student([0], [1.0]), student([90], [1.0])])
    assert len(list(product.parameters())) == 6
    assert product.energy(normal(4, 2)).shape == (4,)


def test_product_refuses():
    with pytest.raises(ValueError, match="at least one"):
        ProductOfExperts([])
    with pytest.raises(TypeError, match="energy models, got Linear"):
        ProductOfExperts([torch.nn.Linear(2, 1)])


# Student-t experts


def test_student_energy_and_score_by_hand():
    model = student([0, 90], [1.5, 2.0])
    x = torch.tensor([[1.0, 2.0]], dtype=DOUBLE)
    energy = 1.5 * math.log(1.5) + 2 * math.log(3)
    torch.testing.assert_close(model.energy(x), torch.tensor([energy], dtype=DOUBLE))
    slope = torch.tensor([[-1.5 / 1.5, -2 * 2 / 3]], dtype=DOUBLE)
    torch.testing.assert_close(model.score(x), slope)


def test_student_partition_of_independent_experts_is_a_product_of_beta_functions():
    """The integral of (1 + u**2/2)**-a is sqrt(2 pi) Gamma(a - 1/2) / Gamma(a).

    Strength 4: outside radius 200 the tails hold 2 * 200**-7; the grid's cells of 0.1
    resolve experts of width 1 to quadrature order, which is spectral for functions
    analytic in a strip of width sqrt(2): exp(-2 pi sqrt(2) / 0.1).
    """
    model = student([0, 90], [4.0, 5.0])
    exact = sum(
        0.5 * math.log(2 * math.pi) + gammaln(a - 0.5) - gammaln(a) for a in (4, 5)
    )
    found = GridDensity(model, Grid(-50, 50, bins=1000)).log_partition
    assert found == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize(
    ("directions", "strengths", "finite"),
    [
        ([0, 90], [0.6, 0.6], True),
        ([0, 90], [0.6, 0.5], False),  # 1/2 is not above 1/2
        ([0, 90], [5.0, 0.4], False),  # a ridge along the first axis
        ([0, 60, 120], [0.4, 0.4, 0.4], True),
        ([0, 60, 120], [0.33, 0.33, 0.33], False),  # together below 1
        ([0, 0, 90], [0.3, 0.3, 0.6], True),
        ([0, 180, 90], [0.3, 0.3, 0.45], False),  # opposite is parallel
        ([30], [9.0], False),
        ([0, 60, 120], [0.25, 0.25, 0.5], False),  # together exactly 1
    ],
)
def test_student_condition_in_the_plane(directions, strengths, finite):
    assert student(directions, strengths).is_normalisable() is finite


def growth(model, radii=(1e3, 1e4, 1e5)):
    """Log of the mass between radii R and 2R in the plane, by polar quadrature.

    The angle is on a grid that is fine, in logarithm, near every ridge.
    """
    weight = model.weight.detach()
    ridges = torch.atan2(weight[:, 1], weight[:, 0]) + math.pi / 2
    away = torch.cat(
        [torch.zeros(1, dtype=DOUBLE), torch.logspace(-9, 0.5, 1500).double()]
    )
    angles = torch.cat([ridges[:, None] + away, ridges[:, None] - away]) % math.pi
    angles = torch.cat([angles.flatten(), torch.tensor([0, math.pi], dtype=DOUBLE)])
    angles = angles.unique()
    mass = []
    for radius in radii:
        r = radius * 2 ** torch.linspace(0, 1, 41, dtype=DOUBLE)
        x = torch.stack([angles.cos(), angles.sin()], 1)[None] * r[:, None, None]
        with torch.no_grad():
            p = torch.exp(-model.energy(x.reshape(-1, 2))).reshape(len(r), -1)
        mass.append(float(torch.trapezoid(torch.trapezoid(p, angles) * r, r)))
    return torch.tensor(mass, dtype=DOUBLE).log()


@pytest.mark.parametrize(
    ("directions", "strengths", "power"),
    [
        ([0, 30, 60, 90, 120, 150], [0.2] * 6, 2 - 2.4),  # all together decide
        ([0, 90], [2.0, 0.7], 1 - 1.4),  # the ridge of the first decides
        ([0, 90], [2.0, 0.4], 1 - 0.8),
        ([0, 60, 120], [0.3, 0.3, 0.3], 2 - 1.8),
    ],
)
def test_student_mass_in_rings_grows_with_the_power_that_was_counted(
    directions, strengths, power
):
    """Mass between R and 2R goes as R**power: summable if and only if power < 0."""
    model = student(directions, strengths)
    mass = growth(model)
    slopes = mass.diff() / math.log(10)
    # the next power is smaller by R**-0.4 at least: 1e3**-0.4 = 0.06
    assert slopes[-1] == pytest.approx(power, abs=0.03)
    assert model.is_normalisable() is (power < 0)


def test_student_condition_in_space_looks_at_planes_too():
    axes = torch.eye(3, dtype=DOUBLE)
    strong, weak = torch.full((3,), 0.6), torch.tensor([0.6, 0.6, 0.4])
    assert StudentTExperts(axes, strong).is_normalisable()
    assert not StudentTExperts(axes, weak).is_normalisable()
    assert not StudentTExperts(axes[:2], strong[:2] * 9).is_normalisable()
    # all directions vary along every line, and 4 * 0.4 * 2 > 3, but the plane
    # orthogonal to the doubled direction keeps only 2 * (0.4 + 0.4) = 1.6 < 2
    doubled = torch.cat([axes, axes[:1] + 1e-12])
    strength = torch.tensor([0.8, 0.4, 0.4, 0.8])
    assert not StudentTExperts(doubled, strength).is_normalisable()


@few
@given(st.lists(st.floats(0.05, 2), min_size=2, max_size=5), st.floats(0.1, 10))
def test_student_condition_does_not_change_with_the_units_of_x(strengths, scale):
    directions = [37.0 * i for i in range(len(strengths))]
    model = student(directions, strengths)
    scaled = StudentTExperts(scale * model.weight, model.strength)
    assert model.is_normalisable() is scaled.is_normalisable()


def test_student_refuses():
    weight = torch.eye(2)
    with pytest.raises(ValueError, match="strength must be positive"):
        StudentTExperts(weight, torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"strength must have shape \(2,\)"):
        StudentTExperts(weight, torch.ones(3))
    with pytest.raises(ValueError, match="bias must be finite"):
        StudentTExperts(weight, torch.ones(2), torch.tensor([0.0, math.nan]))
    with pytest.raises(ValueError, match=r"weight must have shape"):
        StudentTExperts(torch.ones(2), torch.ones(2))
    many = StudentTExperts(torch.ones(60, 8), torch.ones(60))
    with pytest.raises(ValueError, match="too many subsets"):
        many.is_normalisable()
    trained = StudentTExperts(weight, torch.ones(2))
    with torch.no_grad():
        trained.strength -= 3
    with pytest.raises(ValueError, match="strength must be positive"):
        trained.is_normalisable()


# Logistic experts and the Gaussian RBM


def logistic(count=5, sigma=0.8, seed=0):
    return LogisticExperts(
        normal(count, 2, seed=seed, scale=3.0),
        normal(count, seed=seed + 1),
        linear=normal(2, seed=seed + 2),
        sigma=sigma,
    )


def rbm(count=5, sd=0.4, seed=0):
    return GaussianRBM(
        normal(count, 2, seed=seed, scale=0.5),
        normal(count, seed=seed + 1),
        normal(2, seed=seed + 2, scale=0.3),
        sd=sd,
    )


@pytest.mark.parametrize("model", [logistic(), logistic(1, 2.0, 7), rbm(), rbm(8, 0.2)])
def test_enumerated_partition_is_that_of_a_wide_grid(model):
    """Every component ends 8 sd inside the box, which leaves out less than 1e-14.

    The midpoint rule on Gaussians of sd s with cells of h is off by
    exp(-2 (pi s / h)**2): below 1e-16 for h = 0.05 and s = 0.2.
    """
    parts = model.mixture().component_distribution
    assert float((parts.mean.abs() + 8 * parts.stddev).max()) < 20
    found = GridDensity(model, Grid(-20, 20, bins=800)).log_partition
    assert found == pytest.approx(model.log_partition(), abs=1e-10)
    assert model.is_normalisable()


@pytest.mark.parametrize("model", [logistic(), rbm()])
def test_mixture_has_the_density_of_the_energy(model):
    x = normal(50, 2, seed=9)
    log_prob = -model.energy(x) - model.log_partition()
    torch.testing.assert_close(model.mixture().log_prob(x), log_prob)


@pytest.mark.parametrize("model", [logistic(), rbm()])
def test_mixture_has_one_component_for_each_set_of_experts(model):
    """Bayes: responsibilities of component h are the product of logistic units."""
    x, mixture = normal(4, 2, seed=3), model.mixture()
    joint = mixture.component_distribution.log_prob(x[:, None])
    posterior = (joint + mixture.mixture_distribution.logits).softmax(1)
    if isinstance(model, GaussianRBM):
        drive = model.hidden_bias + x @ model.weight.T / model.sd**2
    else:
        drive = x @ model.weight.T + model.bias
    on = torch.sigmoid(drive)
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5).double()
    product = torch.where(bits[None] > 0, on[:, None], 1 - on[:, None]).prod(2)
    torch.testing.assert_close(posterior, product)


def test_gaussian_rbm_is_the_free_energy_of_its_joint_energy():
    model, x = rbm(), normal(30, 2, seed=4)
    joint = model.joint_energy(x, model.hidden_states())
    assert joint.shape == (30, 32)
    torch.testing.assert_close(free_energy(joint, 1.0), model.energy(x))


def test_gaussian_rbm_is_logistic_experts_up_to_a_constant():
    model, x = rbm(), normal(30, 2, seed=4)
    constant = (model.visible_bias**2).sum() / (2 * model.sd**2)
    torch.testing.assert_close(model.energy(x), model.experts().energy(x) + constant)
    hidden = model.hidden_states()
    means = model.visible_bias + hidden @ model.weight
    torch.testing.assert_close(model.mixture().component_distribution.mean, means.data)


def test_one_expert_at_rest_is_a_gaussian_of_sd_sigma_over_root_two():
    """w = 0: softplus(0) = log 2 is a constant, and only the bowl is left."""
    model = LogisticExperts(torch.zeros(1, 3, dtype=DOUBLE), sigma=0.7)
    volume = 1.5 * math.log(math.pi * 0.7**2)
    assert model.log_partition() == pytest.approx(math.log(2) + volume, abs=1e-12)
    x, sd = normal(10, 3), torch.full((3,), 0.7 / math.sqrt(2), dtype=DOUBLE)
    bare = Independent(Normal(torch.zeros_like(sd), sd), 1)
    torch.testing.assert_close(model.mixture().log_prob(x), bare.log_prob(x))


def test_experts_without_a_bowl_are_not_normalisable():
    """exp(-E) = product of (1 + e**a) is at least 1: the mass is the area at least."""
    model = LogisticExperts(normal(3, 2), sigma=math.inf)
    assert not model.is_normalisable()
    assert (model.energy(normal(100, 2, scale=30.0)) <= 0).all()
    masses = [
        GridDensity(model, Grid(-r, r, bins=50)).log_partition for r in (1, 2, 4, 8)
    ]
    assert all(
        m >= 2 * math.log(2 * r) for m, r in zip(masses, (1, 2, 4, 8), strict=True)
    )
    with pytest.raises(ValueError, match="sigma must be finite"):
        model.log_partition()


def test_experts_are_trained_like_any_energy():
    """A mixture of two Gaussians is within the family: training must approach it."""
    truth = GaussianRBM(
        torch.tensor([[1.0, 1.0]]),
        torch.tensor([0.0]),
        torch.tensor([-0.5, -0.5]),
        sd=0.2,
    )
    truth = truth.mixture()
    torch.manual_seed(0)
    data = truth.sample((2000,)).float()
    data = data[(data.abs() < 2).all(1)]
    grid = Grid(-2, 2, bins=60)
    model = LogisticExperts(torch.tensor([[4.0, 2.0]]), sigma=0.2 * math.sqrt(2))
    before = GridDensity(truth, grid).kl(model)
    fit(model, data, GridNegatives(grid), 300, lr=0.5, progress=False)
    after = GridDensity(truth, grid).kl(model)
    assert after < 0.01 < 1 < before


def test_logistic_and_rbm_refuse():
    with pytest.raises(ValueError, match="sigma must be positive"):
        LogisticExperts(torch.ones(1, 2), sigma=0.0)
    with pytest.raises(ValueError, match="sd must be finite"):
        GaussianRBM(torch.ones(1, 2), sd=math.inf)
    with pytest.raises(ValueError, match=r"linear must have shape \(2,\)"):
        LogisticExperts(torch.ones(3, 2), linear=torch.ones(3))
    with pytest.raises(ValueError, match="at most 20 rows"):
        LogisticExperts(torch.ones(21, 2)).log_partition()
    with pytest.raises(TypeError, match=r"hidden_bias must be a torch.Tensor"):
        GaussianRBM(torch.ones(1, 2), [0.0])


@pytest.mark.parametrize("model", [student([0, 90], [1.0, 1.0]), logistic(), rbm()])
def test_every_family_is_an_energy_model_with_a_score(model):
    assert isinstance(model, EnergyModel)
    x, h = normal(6, 2), 1e-6
    slope = [
        (model.energy(x + h * e) - model.energy(x - h * e)) / (2 * h)
        for e in torch.eye(2, dtype=DOUBLE)
    ]
    torch.testing.assert_close(
        model.score(x), -torch.stack(slope, 1).detach(), atol=1e-7, rtol=0
    )
