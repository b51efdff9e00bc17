"""Annealed importance sampling against exact partition functions."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, Uniform

from ebmlib.energy import EnergyModel, TiltedEnergy, mlp
from ebmlib.grid import Grid, GridDensity
from ebmlib.samplers import (
    HMC,
    MALA,
    Langevin,
    RandomWalkMetropolis,
    annealed_importance_sampling,
    importance_sample,
)

DOUBLE = torch.float64
SD = 0.4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(dim, sd=1.0):
    return Independent(Normal(torch.zeros(dim, dtype=DOUBLE), sd), 1)


def narrow(x):
    """A Gaussian of standard deviation 0.4 without its constant."""
    return x.square().sum(1) / (2 * SD**2)


def log_z(dim):
    return dim / 2 * math.log(2 * math.pi * SD**2)


def within(values, wanted, times=4):
    """Whether a mean is within so many of its standard errors."""
    return abs(values.mean() - wanted) < times * values.std() / math.sqrt(len(values))


class Wells(EnergyModel):
    """Two wells in the plane, of unequal depth."""

    def energy(self, x):
        return 8 * (x[:, 0].square() - 0.5).square() + x[:, 0] + 2 * x[:, 1].square()


KERNELS = {
    "Metropolis": RandomWalkMetropolis(0.5),
    "MALA": MALA(0.3),
    "HMC": HMC(0.2, n_leapfrog=4),
    "a family": lambda b: MALA(0.5 - 0.3 * b),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_mean_weight_is_unbiased_whatever_the_kernel(name):
    """4,000 chains, 6 rungs: the mean weight within 4 standard errors of Z."""
    exact = GridDensity(Wells(), Grid(-4, 4, 400)).log_partition
    found = annealed_importance_sampling(
        Wells(), normal(2), KERNELS[name], 6, 4000, generator=seeded()
    )
    weights = (found.log_weights - exact).exp()
    assert within(weights, 1.0)
    assert float(weights.std()) < 4  # so that the check means something
    assert found.log_partition == pytest.approx(
        exact + math.log(float(weights.mean())), abs=1e-10
    )


def test_unbiased_with_two_rungs_and_a_kernel_that_hardly_moves():
    exact = log_z(1)
    for betas in ([0, 1], [0, 0.5, 1]):
        found = annealed_importance_sampling(
            narrow,
            normal(1),
            RandomWalkMetropolis(1e-4),
            betas,
            20_000,
            generator=seeded(),
        )
        assert within((found.log_weights - exact).exp(), 1.0)


def test_a_kernel_that_is_not_invariant_gives_a_bias():
    """Unadjusted Langevin with a long step: the docstring's warning, measured."""
    found = annealed_importance_sampling(
        narrow, normal(2), Langevin(0.45), 20, 4000, n_steps=3, generator=seeded()
    )
    assert not within((found.log_weights - log_z(2)).exp(), 1.0, times=10)


def test_with_two_rungs_it_is_importance_sampling_to_the_last_bit():
    annealed = annealed_importance_sampling(
        narrow, normal(3), MALA(0.1), 2, 200, generator=seeded()
    )
    plain = importance_sample(narrow, normal(3), 200, generator=seeded())
    assert torch.equal(annealed.log_weights, plain.log_weights)
    assert annealed.log_partition == plain.log_partition
    assert annealed.standard_error == plain.standard_error
    assert annealed.effective_sample_size == plain.effective_sample_size
    assert annealed.acceptance.shape == (0,)


@pytest.mark.parametrize("rungs", [3, 10])
def test_forwards_and_in_reverse_bracket_log_z(rungs):
    """Jensen's inequality, from both sides, beyond 4 standard errors; both unbiased.

    The target's variance is 0.64 of the start's: above one half, so that the reverse
    weights, which go from narrow to wide, have a variance.
    """
    dim, sd, n, generator = 4, 0.8, 4000, seeded()
    exact = dim / 2 * math.log(2 * math.pi * sd**2)

    def energy(x):
        return x.square().sum(1) / (2 * sd**2)

    forward = annealed_importance_sampling(
        energy, normal(dim), MALA(0.4), rungs, n, generator=generator
    )
    samples = sd * torch.randn(n, dim, dtype=DOUBLE, generator=generator)
    reverse = annealed_importance_sampling(
        energy,
        normal(dim),
        MALA(0.4),
        rungs,
        n,
        reverse_from=samples,
        generator=generator,
    )
    for run, sign in ((forward, -1), (reverse, 1)):
        gap = sign * (run.log_weights - exact)
        assert gap.mean() > 4 * gap.std() / math.sqrt(n)
        assert within((-gap).exp(), 1.0)
        assert abs(run.log_partition - exact) < 4 * run.standard_error
    assert reverse.log_partition == pytest.approx(
        -float(torch.logsumexp(-reverse.log_weights, 0)) + math.log(n), abs=1e-12
    )


def test_reverse_weights_of_a_narrow_target_have_no_variance():
    """The docstring's warning: at a variance of 0.16 the error bar lies."""
    errors = []
    for seed in range(10):
        samples = SD * torch.randn(2000, 4, dtype=DOUBLE, generator=seeded(seed))
        found = annealed_importance_sampling(
            narrow,
            normal(4),
            MALA(0.2),
            3,
            2000,
            reverse_from=samples,
            generator=seeded(100 + seed),
        )
        errors.append((found.log_partition - log_z(4)) / found.standard_error)
    assert np.median(errors) > 2


def test_more_rungs_close_the_bracket():
    gaps = []
    for rungs in (5, 20, 80):
        found = annealed_importance_sampling(
            narrow, normal(4), MALA(0.3), rungs, 1000, generator=seeded()
        )
        gaps.append(log_z(4) - float(found.log_weights.mean()))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def coverage(dim, rungs, repeats, generator):
    """Share of 95 % intervals that hold the exact value, and the mean error."""
    exact, hits, errors = log_z(dim), [], []
    for _ in range(repeats):
        found = annealed_importance_sampling(
            narrow, normal(dim), MALA(0.3), rungs, 100, generator=generator
        )
        hits.append(found.interval[0] < exact < found.interval[1])
        errors.append(found.log_partition - exact)
    return np.mean(hits), np.array(errors)


def test_the_interval_holds_its_level_when_the_weights_are_even():
    covered, errors = coverage(2, 15, 300, seeded())
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 300)
    # Markov's inequality: above log Z + log 20 at most once in 20
    assert (errors > math.log(20)).mean() <= 0.05


def test_the_interval_fails_when_a_few_chains_carry_the_sum():
    """20 dimensions and 3 rungs: what the docstring says of it, measured."""
    covered, errors = coverage(20, 3, 200, seeded())
    assert covered < 0.7
    assert np.median(errors) < -1
    assert (errors > math.log(20)).mean() <= 0.05


def test_confidence_sets_the_width():
    runs = [
        annealed_importance_sampling(
            narrow, normal(2), MALA(0.3), 5, confidence=c, generator=seeded()
        )
        for c in (0.5, 0.95)
    ]
    for run, quantile in zip(
        runs, (0.6744897501960817, 1.959963984540054), strict=True
    ):
        low, high = run.interval
        assert (high - low) / 2 == pytest.approx(
            quantile * run.standard_error, rel=1e-9
        )
        assert (high + low) / 2 == pytest.approx(run.log_partition, rel=1e-12)


def test_a_box_with_a_uniform_start_and_a_network():
    """A ReLU energy on the square, float32, reflected at its walls, by the grid."""
    network = mlp([2, 16, 1], init="torch", generator=seeded())
    with torch.no_grad():
        network[-1].weight.mul_(12)
    model = TiltedEnergy(network)
    grid = Grid(bins=400)
    exact = GridDensity(model, grid)
    side = torch.ones(2)
    start = Independent(Uniform(-side, side, validate_args=False), 1)
    kernel = RandomWalkMetropolis(0.4, bounds=(-1.0, 1.0))
    forward = annealed_importance_sampling(
        model, start, kernel, 10, 2000, generator=seeded()
    )
    reverse = annealed_importance_sampling(
        model,
        start,
        kernel,
        10,
        2000,
        reverse_from=exact.sample(2000, generator=seeded(1)),
        generator=seeded(2),
    )
    for run in (forward, reverse):
        assert abs(run.log_partition - exact.log_partition) < 4 * run.standard_error
        assert run.standard_error < 0.05
    assert bool(all(p.requires_grad for p in model.parameters()))
    weights = torch.softmax(forward.log_weights, 0)
    mean = weights @ forward.samples.double()
    error = (weights.square() @ (forward.samples.double() - mean).square()).sqrt()
    wanted = exact.expectation(grid.points)
    assert bool(((mean - wanted).abs() < 4 * error).all())


def test_acceptance_is_told_rung_by_rung_from_the_start_to_the_target():
    """A long step suits the wide end, so acceptance falls towards the target."""
    runs = [
        annealed_importance_sampling(
            narrow,
            normal(2),
            RandomWalkMetropolis(1.5),
            8,
            500,
            reverse_from=start,
            generator=seeded(),
        )
        for start in (None, SD * torch.randn(500, 2, dtype=DOUBLE, generator=seeded()))
    ]
    for run in runs:
        assert run.acceptance.shape == (6,)
        assert run.acceptance[0] > run.acceptance[-1] + 0.1


def test_runs_follow_the_generator_and_leave_the_global_seed_alone():
    before = torch.random.get_rng_state()
    first, again, other = (
        annealed_importance_sampling(
            narrow, normal(2), MALA(0.3), 5, 20, generator=seeded(seed)
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.log_weights, again.log_weights)
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.log_weights, other.log_weights)
    assert torch.equal(before, torch.random.get_rng_state())


def run(**changed):
    given = {
        "energy": narrow,
        "initial": normal(2),
        "kernel": MALA(0.3),
        "betas": 4,
        "n_chains": 10,
    }
    return annealed_importance_sampling(**given | changed)


MISTAKES = {
    "one rung": ({"betas": 1}, ValueError, "betas must be at least 2, got 1"),
    "no rungs": ({"betas": 0.5}, TypeError, "betas must be a number of rungs"),
    "a falling ladder": ({"betas": [0, 0.6, 0.5, 1]}, ValueError, "rise from 0 to 1"),
    "a short ladder": ({"betas": [0, 0.5]}, ValueError, "rise from 0 to 1"),
    "a table": ({"betas": torch.ones(2, 2)}, ValueError, r"got shape \(2, 2\)$"),
    "one chain": ({"n_chains": 1}, ValueError, "n_chains must be at least 2"),
    "no steps": ({"n_steps": 0}, ValueError, "n_steps must be at least 1"),
    "certainty": ({"confidence": 1.5}, ValueError, "confidence must be between"),
    "no kernel": ({"kernel": 0.3}, TypeError, "kernel must be a kernel"),
    "no initial": ({"initial": torch.randn}, TypeError, "initial must be a torch"),
    "another dimension": (
        {"reverse_from": torch.zeros(10, 3)},
        ValueError,
        r"reverse_from must have shape \(n, 2\)",
    ),
    "another number": (
        {"reverse_from": torch.zeros(9, 2)},
        ValueError,
        "n_chains=10 points, got 9",
    ),
    "a column": (
        {"energy": lambda x: x[:, :1]},
        ValueError,
        r"must have shape \(10,\)",
    ),
    "NaN": (
        {"energy": lambda x: narrow(x) * math.nan},
        FloatingPointError,
        r"between b = 0 and 0\.333",
    ),
    "no mass": (
        {"energy": lambda x: torch.where(x[:, 0] > 0, math.inf, 0.0)},
        FloatingPointError,
        "energy and initial must be finite",
    ),
    "a seed": ({"generator": 1}, TypeError, "generator must be"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    changed, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=message):
        run(**changed)
