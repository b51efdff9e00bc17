"""Direct samplers against SciPy, closed forms and the exact grid."""

import math
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import stats
from torch.distributions import Categorical, Independent, Normal, Uniform

from ebmlib import distributions
from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.grid import Grid, GridDensity
from ebmlib.samplers import (
    importance_sample,
    inverse_cdf,
    inverse_cdf_sample,
    pareto_k,
    rejection_sample,
    resample,
    sampling_importance_resampling,
)

few = settings(max_examples=40, deadline=None)
DOUBLE = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def uniform(dim=2, low=-1.0, high=1.0):
    side = torch.ones(dim, dtype=DOUBLE)
    return Independent(Uniform(low * side, high * side, validate_args=False), 1)


def normal(dim, sd=1.0, mean=0.0):
    one = torch.ones(dim, dtype=DOUBLE)
    return Independent(Normal(mean * one, sd * one), 1)


def bowl(x):
    """Energy of the standard normal density without its constant: Z = (2 pi)^(d/2)."""
    return x.square().sum(1) / 2


def chi_square(counts, expected):
    """P-value after cells are joined until each expects at least 10."""
    order = np.argsort(-expected)
    counts, expected = counts[order], expected[order]
    rare = expected < 10
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


# --- inverse CDF ---------------------------------------------------------------------


def test_the_quantiles_of_a_ramp_are_exact_on_any_grid():
    """The density 2x on [0, 1] is linear, so joining its values loses nothing."""
    u = torch.linspace(0, 1, 101, dtype=DOUBLE)
    for bins in (1, 7, 200):
        found = inverse_cdf(lambda x: -x[:, 0].log(), Grid(0, 1, bins, 1, DOUBLE), u)
        torch.testing.assert_close(found[:, 0], u.sqrt(), atol=1e-7, rtol=0)
        inner = u > 0.01  # rounding of 1e-16 under a root is 1e-8 at 0
        torch.testing.assert_close(
            found[inner, 0], u[inner].sqrt(), atol=1e-13, rtol=1e-13
        )


def test_the_quantiles_of_a_flat_density_are_the_probabilities():
    u = torch.rand(1000, dtype=DOUBLE, generator=seeded())
    grid = Grid(-1, 3, 13, 1, DOUBLE)
    found = inverse_cdf(lambda x: torch.zeros(len(x)), grid, u)
    torch.testing.assert_close(found, 4 * u[:, None] - 1, atol=1e-14, rtol=0)


def test_quantiles_converge_to_scipys_with_the_square_of_the_cell():
    u = torch.linspace(0.01, 0.99, 99, dtype=DOUBLE)
    exact = stats.truncnorm.ppf(u.numpy(), -4, 4)
    errors = []
    for bins in (40, 80, 160, 320):
        found = inverse_cdf(bowl, Grid(-4, 4, bins, 1, DOUBLE), u)
        errors.append(float(np.abs(found[:, 0].numpy() - exact).max()))
    ratios = np.array(errors[:-1]) / errors[1:]
    assert (np.abs(ratios - 4) < 0.3).all()  # halved cells: four times as close


def test_lines_come_closer_to_a_density_than_steps():
    """Total variation falls as h^2 for lines and as h for steps, by fine quadrature."""
    fine = torch.linspace(-4, 4, 80_001, dtype=DOUBLE)[:-1] + 5e-5
    truth = torch.exp(-bowl(fine[:, None]))
    truth /= truth.mean()
    gaps = {"lines": [], "steps": []}
    for bins in (20, 40):
        edges = np.linspace(-4, 4, bins + 1)
        lines = np.interp(fine.numpy(), edges, np.exp(-(edges**2) / 2))
        centres = (edges[:-1] + edges[1:]) / 2
        steps = np.repeat(np.exp(-(centres**2) / 2), 80_000 // bins)
        for name, values in (("lines", lines), ("steps", steps)):
            values = torch.as_tensor(values / values.mean())
            gaps[name].append(float((values - truth).abs().mean()) / 2)
    assert gaps["lines"][0] / gaps["lines"][1] == pytest.approx(4, rel=0.1)
    assert gaps["steps"][0] / gaps["steps"][1] == pytest.approx(2, rel=0.1)


@few
@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=12),
    st.lists(st.floats(0, 1), min_size=2, max_size=20).map(sorted),
)
def test_quantiles_invert_the_parabolas_of_the_distribution_function(values, u):
    """The library's inverse against the cumulative integral, written with NumPy."""
    grid = Grid(0, 1, len(values) - 1, 1, DOUBLE)
    density = np.exp(np.array(values))
    u = torch.tensor(u, dtype=DOUBLE)
    found = inverse_cdf(lambda x: -torch.tensor(values, dtype=DOUBLE), grid, u)[:, 0]
    assert bool((found.diff() >= 0).all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    edges = np.linspace(0, 1, len(values))
    x = found.numpy()
    height = np.interp(x, edges, density)
    areas = np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(edges))
    cell = np.minimum((x * (len(values) - 1)).astype(int), len(values) - 2)
    below = np.append(0, areas)[cell] + (x - edges[cell]) * (density[cell] + height) / 2
    np.testing.assert_allclose(below / areas[-1], u.numpy(), atol=1e-12)


def test_samples_pass_a_kolmogorov_smirnov_test_and_follow_the_generator():
    grid = Grid(-5, 5, 2000, 1)
    first = inverse_cdf_sample(bowl, grid, 5000, generator=seeded())
    assert first.shape == (5000, 1)
    assert first.dtype == torch.float32
    assert torch.equal(first, inverse_cdf_sample(bowl, grid, 5000, generator=seeded()))
    assert stats.kstest(first[:, 0].numpy(), "norm").pvalue > 1e-3
    # and a density with a hole gives no point in it
    hole = inverse_cdf_sample(
        lambda x: torch.where(x[:, 0].abs() < 1, math.inf, 0.0),
        Grid(-2, 2, 40, 1),
        5000,
        generator=seeded(),
    )
    assert float(hole.abs().min()) >= 0.9  # the lines reach one cell into it


def test_inverse_cdf_takes_models_and_densities_alike():
    u, grid = torch.linspace(0.1, 0.9, 9, dtype=DOUBLE), Grid(-1, 1, 50, 1, DOUBLE)
    density = distributions.get("three-gaussians-1d")
    network = mlp([1, 4, 1], "tanh", init="torch", generator=seeded()).double()
    model = TiltedEnergy(network, density)
    with torch.no_grad():
        network[-1].weight.zero_()
    torch.testing.assert_close(
        inverse_cdf(model, grid, u), inverse_cdf(density, grid, u)
    )


# --- rejection -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rejection_accepts_the_ratio_of_normalisers(seed):
    """Star under a uniform proposal: binomial acceptance, chi-square on the cells."""
    star, grid = distributions.get("star"), Grid(bins=40)
    exact = GridDensity(star, Grid(bins=400))
    bound = float(exact.log_prob.max()) + 0.1 + math.log(4)
    drawn = rejection_sample(
        star, uniform(), bound, 20_000, log_partition=0.0, generator=seeded(seed)
    )
    assert drawn.exact_acceptance == math.exp(-bound)
    wanted = drawn.exact_acceptance
    error = math.sqrt(wanted * (1 - wanted) / drawn.n_proposed)
    assert abs(drawn.acceptance - wanted) < 4 * error
    assert drawn.standard_error == pytest.approx(error, rel=0.1)
    assert abs(drawn.log_partition) < 4 * error / wanted
    assert drawn.samples.shape == (20_000, 2)
    masses = exact.prob.reshape(40, 10, 40, 10).sum((1, 3)).reshape(-1).numpy()
    counts = grid.count(drawn.samples).numpy()
    assert chi_square(counts, masses * 20_000) > 1e-3


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_a_product_proposal_accepts_m_to_the_minus_d(dim):
    """N(0, 1) under N(0, s^2) in d dimensions: the best bound is s^d."""
    s = 1.5
    log_bound = dim * (math.log(s) + math.log(2 * math.pi) / 2)
    drawn = rejection_sample(
        bowl,
        normal(dim, s),
        log_bound,
        5000,
        log_partition=dim / 2 * math.log(2 * math.pi),
        generator=seeded(dim),
    )
    assert drawn.exact_acceptance == pytest.approx(s**-dim, rel=1e-12)
    assert abs(drawn.acceptance - s**-dim) < 4 * drawn.standard_error
    flat = drawn.samples.flatten().numpy()
    assert stats.kstest(flat, "norm").pvalue > 1e-3


def test_measured_acceptance_is_unbiased_though_the_number_of_proposals_is_random():
    """(n - 1) / (N - 1): n / N would be 1/8 too high here, (1 - a) / n of itself."""
    bound, generator = math.log(2 * 1.0), seeded()
    rates = [
        rejection_sample(
            lambda x: torch.zeros(len(x)),
            uniform(1),
            bound + math.log(2),
            4,
            generator=generator,
        ).acceptance
        for _ in range(2000)
    ]
    mean, error = np.mean(rates), np.std(rates, ddof=1) / math.sqrt(2000)
    assert abs(mean - 0.5) < 4 * error
    assert error < 0.01
    one = rejection_sample(bowl, normal(1), 3.0, 1, generator=generator)
    assert one.acceptance == 1 / one.n_proposed


def test_a_violated_bound_is_an_error_that_says_where():
    with pytest.raises(ValueError, match=r"violated at \d+ of \d+ proposals, worst by"):
        rejection_sample(bowl, normal(1, 2.0), 1.0, 1000, generator=seeded())
    top = math.log(2) + math.log(2 * math.pi) / 2  # the exact bound is accepted
    rejection_sample(bowl, normal(1, 2.0), top, 1000, generator=seeded())
    with pytest.raises(ValueError, match=r"worst by 0\.0099"):
        rejection_sample(bowl, normal(1, 2.0), top - 0.01, 10_000, generator=seeded())
    with pytest.raises(ValueError, match="log_bound must be at least log_partition"):
        rejection_sample(bowl, normal(1), 0.0, 5, log_partition=1.0)


def test_a_target_equal_to_its_proposal_is_accepted_always_despite_rounding():
    """Float32 densities of 30 coordinates: the ratio is 1 up to rounding."""
    drawn = rejection_sample(gaussian(30), gaussian(30), 0.0, 500, generator=seeded())
    assert drawn.n_proposed == 500
    assert drawn.acceptance == 1.0
    assert drawn.samples.dtype == torch.float32


def test_rejection_gives_up_loudly():
    with pytest.raises(RuntimeError, match=r"only \d+ of n=100 samples after"):
        rejection_sample(
            bowl, normal(2, 9.0), 12.0, 100, max_proposals=1000, generator=seeded()
        )


def test_rejection_never_returns_a_point_of_zero_density():
    def half(x):
        return torch.where(x[:, 0] > 0, bowl(x), math.inf)

    drawn = rejection_sample(half, normal(2), math.log(7.0), 2000, generator=seeded())
    assert bool((drawn.samples[:, 0] > 0).all())
    wanted = math.pi / 7  # half of 2 pi, over the bound
    assert abs(drawn.acceptance - wanted) < 4 * drawn.standard_error


# --- importance sampling -------------------------------------------------------------


def test_the_mean_weight_is_unbiased_and_its_error_bar_honest():
    """600 repeats: mean of Z, and the 95 % coverage of log Z within binomial noise."""
    exact, generator = math.log(2 * math.pi), seeded()
    runs = [
        importance_sample(bowl, normal(2, 1.4), 400, generator=generator)
        for _ in range(600)
    ]
    z = np.exp([run.log_partition for run in runs])
    assert abs(z.mean() - 2 * math.pi) < 4 * z.std(ddof=1) / math.sqrt(600)
    errors = np.array([(r.log_partition - exact) / r.standard_error for r in runs])
    covered = (np.abs(errors) < 1.96).mean()
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 600)


@pytest.mark.parametrize(("dim", "sd"), [(1, 0.85), (2, 1.3), (6, 1.3), (3, 2.0)])
def test_effective_sample_size_has_its_closed_form(dim, sd):
    """N(0, I) from N(0, sd^2 I): E[w]^2 / E[w^2] = (sqrt(2 - sd^-2) / sd)^d."""
    n = 100_000
    share = (math.sqrt(2 - sd**-2) / sd) ** dim
    found = [
        importance_sample(normal(dim), normal(dim, sd), n, generator=seeded(seed))
        for seed in range(8)
    ]
    shares = np.array([run.effective_sample_size / n for run in found])
    assert abs(shares.mean() - share) < 4 * shares.std(ddof=1) / math.sqrt(8) + 1e-3
    identity = math.sqrt((1 / shares[0] - 1) / (n - 1))
    assert found[0].standard_error == pytest.approx(identity, rel=1e-12)
    weights = (
        found[0].log_weights.exp().numpy()
    )  # the delta method, from its definition
    by_hand = weights.std(ddof=1) / math.sqrt(n) / weights.mean()
    assert found[0].standard_error == pytest.approx(by_hand, rel=1e-9)


def test_log_partition_of_a_network_against_the_grid():
    network = mlp([2, 16, 1], "tanh", init="torch", generator=seeded()).double()
    with torch.no_grad():
        network[-1].weight.mul_(6)
    model = TiltedEnergy(network, normal(2, 0.5))
    exact = GridDensity(model, Grid(bins=400)).log_partition
    found = importance_sample(model, uniform(), 50_000, generator=seeded())
    assert abs(found.log_partition - exact) < 4 * found.standard_error
    assert found.standard_error < 0.02


def test_expectations_are_self_normalised_and_covered_by_their_errors():
    generator, hits = seeded(), []
    for _ in range(300):
        run = importance_sample(bowl, normal(2, 1.4), 400, generator=generator)
        mean, error = run.expectation(lambda x: x.square())
        hits.append(((mean - 1).abs() < 1.96 * error).numpy())
    # two coordinates a run, nearly independent; the ratio's bias is 1 / 400 of it
    assert abs(np.mean(hits) - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 600) + 0.01
    torch.testing.assert_close(
        run.expectation(run.samples)[0], run.weights @ run.samples
    )
    assert run.expectation(torch.ones(400))[0] == pytest.approx(1, abs=1e-14)


def test_weights_survive_any_constant_in_the_energy():
    low, high = (
        importance_sample(
            lambda x, c=c: bowl(x) + c, normal(2, 1.4), 100, generator=seeded()
        )
        for c in (0.0, 1e4)
    )
    torch.testing.assert_close(low.weights, high.weights, atol=1e-11, rtol=1e-9)
    assert high.log_partition == pytest.approx(low.log_partition - 1e4, abs=1e-8)
    assert low.largest_weight == float(low.weights.max())


@pytest.mark.parametrize("k", [-0.3, 0.2, 0.5, 0.9])
def test_pareto_k_finds_the_shape_of_a_generalised_pareto_law(k):
    """Mean over 40 draws against the shape, as the prior of ten draws shifts it."""
    n, random = 4000, np.random.default_rng(0)
    size = math.ceil(3 * math.sqrt(n))
    fits = []
    for _ in range(40):
        weights = 1 + stats.genpareto.rvs(k, size=n, random_state=random)
        fits.append(pareto_k(torch.tensor(weights).log()))
    shifted = (size * k + 5) / (size + 10)
    assert abs(np.mean(fits) - shifted) < 4 * np.std(fits, ddof=1) / math.sqrt(40) + (
        2 / size
    )


def test_pareto_k_agrees_with_the_likelihood_of_the_same_tail():
    """SciPy's maximum likelihood on the same excesses; both err by 1 / sqrt(tail)."""
    found = importance_sample(normal(1), normal(1, 0.6), 10_000, generator=seeded())
    top = found.log_weights.exp().sort().values[-301:].numpy()
    k, _, _ = stats.genpareto.fit(top[1:] - top[0], floc=0)
    assert found.pareto_k == pytest.approx(
        (300 * k + 5) / 310, abs=0.3 / math.sqrt(300)
    )


@pytest.mark.parametrize("name", ["few", "odd", "light", "heavy", "heavier"])
def test_pareto_k_is_that_of_arviz(name):
    """With its weak prior, which draws short tails towards 0.5."""
    stored = np.load(Path(__file__).parents[1] / "fixtures" / "arviz_pareto.npz")
    found = pareto_k(torch.from_numpy(stored[name]).double())
    assert found == pytest.approx(float(stored[f"{name}_answer"]), abs=1e-6)


def test_pareto_k_says_when_there_is_no_tail():
    assert math.isnan(pareto_k(torch.zeros(1000)))
    assert math.isnan(pareto_k(torch.randn(20, generator=seeded())))
    assert not math.isnan(pareto_k(torch.randn(40, generator=seeded())))


# --- resampling ----------------------------------------------------------------------


@few
@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-6),
    st.integers(1, 200),
    st.integers(0, 100),
)
def test_systematic_counts_are_the_expected_ones_rounded(weights, n, seed):
    weights = torch.tensor(weights, dtype=DOUBLE)
    index = resample(weights, n, generator=seeded(seed))
    counts = torch.bincount(index, minlength=len(weights)).double()
    expected = n * weights / weights.sum()
    assert int(counts.sum()) == n
    assert bool(((counts - expected).abs() < 1 + 1e-9).all())
    assert not counts[weights == 0].any()


@pytest.mark.parametrize("method", ["systematic", "multinomial"])
def test_resampling_is_unbiased(method):
    weights, generator = torch.tensor([0.0, 0.11, 0.32, 0.05, 0.52]), seeded()
    rounds = torch.stack(
        [
            torch.bincount(
                resample(weights, 10, method=method, generator=generator), minlength=5
            )
            for _ in range(2000)
        ]
    ).double()
    error = rounds.std(0) / math.sqrt(2000)
    assert bool(((rounds.mean(0) - 10 * weights).abs() <= 4 * error + 1e-6).all())
    assert not rounds[:, 0].any()


def test_resampled_points_converge_to_the_target():
    """With 4, 40, 400 proposals a point; the last passes a chi-square test."""
    star, n = distributions.get("star"), 2000
    grid, gaps = Grid(bins=20), []
    masses = GridDensity(star, Grid(bins=400)).prob.reshape(20, 20, 20, 20)
    masses = masses.sum((1, 3)).reshape(-1)
    for n_proposals in (200, 2000, 200_000):
        drawn = sampling_importance_resampling(
            star,
            uniform(),
            n,
            n_proposals=n_proposals,
            method="multinomial",
            generator=seeded(),
        )
        share = grid.count(drawn.samples) / n
        gaps.append(float((share - masses).abs().sum()) / 2)
        assert drawn.n_distinct == len(drawn.samples.unique(dim=0))
        assert drawn.n_distinct <= n_proposals
    assert gaps[0] > 1.5 * gaps[1] > 1.5 * gaps[2]
    assert chi_square(n * share.numpy(), n * masses.numpy()) > 1e-3


def test_resampling_cannot_beat_its_weights():
    drawn = sampling_importance_resampling(
        normal(10), normal(10, 2.0), 1000, generator=seeded()
    )
    assert len(drawn.proposals.samples) == 10_000
    assert drawn.n_distinct < 1000
    assert not torch.equal(drawn.samples, drawn.samples[drawn.samples[:, 0].argsort()])


# --- one generator, clear errors -----------------------------------------------------

DRAWS = {
    "rejection": lambda g: rejection_sample(bowl, normal(2, 2.0), 4.0, 50, generator=g),
    "torch proposal": lambda g: importance_sample(bowl, normal(2), 50, generator=g),
    "ebmlib proposal": lambda g: importance_sample(
        bowl, distributions.get("star"), 50, generator=g
    ),
    "sir": lambda g: sampling_importance_resampling(bowl, normal(2), 50, generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_follow_the_generator_and_leave_the_global_seed_alone(name):
    before = torch.random.get_rng_state()
    first, again, other = (DRAWS[name](seeded(s)).samples for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(5)
    without = DRAWS[name](None).samples
    torch.manual_seed(5)
    assert torch.equal(without, DRAWS[name](None).samples)


class Broken(EnergyModel):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def energy(self, x):
        return torch.where(x[:, 0] > 0.5, self.value, 0.0)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_energies_that_are_no_numbers_raise(value):
    for attempt in (
        lambda: rejection_sample(Broken(value), uniform(), 5.0, 50),
        lambda: importance_sample(Broken(value), uniform(), 50),
        lambda: inverse_cdf_sample(Broken(value), Grid(bins=9, dim=1), 50),
    ):
        with pytest.raises(FloatingPointError, match=r"log-density of Broken at"):
            attempt()


def test_targets_without_mass_raise():
    empty = Broken(0.0)
    empty.energy = lambda x: torch.full((len(x),), math.inf)
    with pytest.raises(FloatingPointError, match="every one of 50 weights is zero"):
        importance_sample(empty, uniform(), 50)
    with pytest.raises(FloatingPointError, match="no mass at the edges"):
        inverse_cdf_sample(empty, Grid(bins=9, dim=1), 50)


line = Grid(bins=9, dim=1)
half = torch.full((3,), 0.5)
MISTAKES = {
    "a column of energies": (
        lambda: importance_sample(lambda x: x[:, :1], uniform(), 9),
        ValueError,
        r"target\(x\) must have shape \(9,\)",
    ),
    "no target": (
        lambda: importance_sample(3, uniform(), 9),
        TypeError,
        "target must be an EnergyModel",
    ),
    "another dimension": (
        lambda: importance_sample(gaussian(3), uniform(), 9),
        ValueError,
        r"event_shape \(2,\)",
    ),
    "a batch of numbers": (
        lambda: importance_sample(bowl, Normal(torch.zeros(2), 1.0), 9),
        ValueError,
        r"proposal must have event_shape \(d,\)",
    ),
    "no proposal": (
        lambda: rejection_sample(bowl, torch.randn, 1.0, 9),
        TypeError,
        "proposal must be a torch",
    ),
    "one draw": (lambda: importance_sample(bowl, uniform(), 1), ValueError, "n must"),
    "no draw": (
        lambda: rejection_sample(bowl, uniform(), 1.0, 0),
        ValueError,
        "n must be at least 1",
    ),
    "an endless bound": (
        lambda: rejection_sample(bowl, uniform(), math.inf, 9),
        ValueError,
        "log_bound must be finite",
    ),
    "a seed": (
        lambda: importance_sample(bowl, uniform(), 9, generator=3),
        TypeError,
        "generator must be",
    ),
    "a wrong g": (
        lambda: importance_sample(bowl, uniform(), 9).expectation(torch.ones(8)),
        ValueError,
        "g must give 9 rows",
    ),
    "a g that is NaN": (
        lambda: importance_sample(bowl, uniform(), 9).expectation(
            torch.full((9,), math.nan)
        ),
        FloatingPointError,
        "expectation of g",
    ),
    "a plane": (
        lambda: inverse_cdf(bowl, Grid(bins=9), half),
        ValueError,
        "grid must have dim 1",
    ),
    "no grid": (lambda: inverse_cdf(bowl, 9, half), TypeError, "grid must be a Grid"),
    "a probability above 1": (
        lambda: inverse_cdf(bowl, line, 3 * half),
        ValueError,
        r"u must hold probabilities in \[0, 1\]",
    ),
    "a table of probabilities": (
        lambda: inverse_cdf(bowl, line, half[None]),
        ValueError,
        r"got shape \(1, 3\)",
    ),
    "a misspelt method": (
        lambda: resample(half, 3, method="sytematic"),
        ValueError,
        "Did you mean 'systematic'",
    ),
    "negative weights": (lambda: resample(-half, 3), ValueError, "none negative"),
    "no weight": (lambda: resample(0 * half, 3), ValueError, "one positive"),
    "infinite weights": (
        lambda: resample(half / 0, 3),
        FloatingPointError,
        "largest log-weight",
    ),
    "categories": (
        lambda: importance_sample(bowl, Categorical(torch.ones(3)), 9),
        ValueError,
        r"got \(\) and \(\)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    attempt, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=message):
        attempt()
