"""Generators corrected by a logit, against changes of variables and exact chains."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.distributions import Independent, Normal, Uniform

from ebmlib.distributions import Clusters
from ebmlib.energy import gaussian, mlp
from ebmlib.gan import Generator, GeneratorDensity, objective
from ebmlib.grid import Grid, GridDensity
from ebmlib.latent import (
    LatentEnergy,
    discriminator_rejection,
    kale_bound,
    mh_acceptance,
    mh_gan,
    reweight,
    wave_critic,
)
from ebmlib.samplers import HMC, MALA, Langevin, RandomWalkMetropolis, sample

few = settings(max_examples=40, deadline=None)
DOUBLE = torch.float64
# where the data are: two coordinates, independent, with different spreads
TRUTH = Independent(
    Normal(torch.tensor([0.3, -0.2], dtype=DOUBLE), torch.tensor([0.25, 0.35])), 1
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Stretch(nn.Module):
    """``x = z + a z**3`` along each axis, and its density by change of variables."""

    def __init__(self, a=1.0):
        super().__init__()
        self.a = a

    def forward(self, z):
        return z + self.a * z**3

    def log_density(self, z):
        """Log-density of the image of z, which is uniform on the square, at B(z)."""
        return -math.log(4) - torch.log1p(3 * self.a * z**2).sum(1)

    def inverse(self, x):
        """By Newton's method, which converges from anywhere: B is convex on a side."""
        z = x / (1 + self.a)
        for _ in range(15):
            z = z - (self(z) - x) / (1 + 3 * self.a * z**2)
        return z


class Base(Generator):
    """The stretched square, in float64."""

    @property
    def latent(self):
        high = torch.ones(2, dtype=DOUBLE)
        return Independent(Uniform(-high, high, validate_args=False), 1)

    def sample_latent(self, n, *, generator=None):
        return 2 * torch.rand(n, 2, dtype=DOUBLE, generator=generator) - 1


STRETCH = Stretch()
BASE = Base(STRETCH, latent_dim=2)  # of which the image, [-2, 2]^2, holds the data


def exact_logit(x):
    return TRUTH.log_prob(x) - STRETCH.log_density(STRETCH.inverse(x))


def wrong_logit(x):
    return 0.5 * exact_logit(x)


def moments(x):
    return torch.cat([x, x**2], 1)


WANTED = moments(torch.zeros(1, 2, dtype=DOUBLE))[0]
WANTED[:2], WANTED[2:] = TRUTH.mean, TRUTH.mean**2 + TRUTH.variance


def far(x, errors=5.0):
    """Largest distance of independent points' moments from the truth, in errors."""
    values = moments(x)
    gap = (values.mean(0) - WANTED).abs()
    return float((gap / (values.std(0) / math.sqrt(len(x)))).max()) > errors


def latent_density(logit, bins):
    return GridDensity(LatentEnergy(BASE, logit), Grid(bins=bins))


def pushed(density):
    return density.expectation(lambda z: moments(STRETCH(z)))


def test_the_posterior_is_pushed_to_the_data_exactly():
    # both theorems by quadrature in the latent square: Z_0 = 1, and expectations
    coarse, fine = (latent_density(exact_logit, bins) for bins in (100, 200))
    # the midpoint rule errs as h^2: the finer one by a third of their difference; the
    # data have a mass of 3e-7 outside the image, and second moments of 2e-6
    Z = [math.exp(density.log_partition) for density in (coarse, fine)]
    assert abs(Z[1] - 1) < abs(Z[1] - Z[0]) / 2 + 1e-6
    gap = (pushed(fine) - pushed(coarse)).abs()
    assert bool(((pushed(fine) - WANTED).abs() < gap / 2 + 5e-6).all())
    assert float(gap.max()) < 1e-3


def test_a_wrong_logit_does_not_give_the_data():
    got = pushed(latent_density(wrong_logit, 200))
    assert float((got - WANTED).abs().max()) > 0.05


def test_a_constant_moves_only_the_normaliser():
    one, right = (latent_density(lambda x, c=c: exact_logit(x) + c, 50) for c in (1, 0))
    assert math.isclose(one.log_partition, right.log_partition + 1)
    torch.testing.assert_close(one.prob, right.prob)


def test_the_density_in_the_plane_is_the_data_s():
    # theorem 1 in the data space: p_g exp(d) / Z_0 = q, at points, by the Jacobian
    z = 2 * torch.rand(500, 2, dtype=DOUBLE, generator=seeded()) - 1
    log_density = STRETCH.log_density(z) - LatentEnergy(BASE, exact_logit)(z)
    log_density = log_density - BASE.log_prior(z)
    torch.testing.assert_close(log_density, TRUTH.log_prob(STRETCH(z)))


@pytest.mark.parametrize(
    "kernel",
    [
        MALA(0.1),
        MALA(0.1, bounds=(-1.0, 1.0)),
        HMC(0.08, n_leapfrog=4),
        RandomWalkMetropolis(0.3),
    ],
)
def test_chains_that_refuse_sample_the_posterior(kernel):
    energy = LatentEnergy(BASE, exact_logit)
    start = BASE.sample_latent(4000, generator=seeded(1)) / 2  # corners are too steep
    chains = sample(kernel, energy, start, 200, generator=seeded(2), progress=False)
    assert 0.3 < float(chains.acceptance.mean()) < 1
    assert not far(BASE(chains.positions))
    assert float(chains.positions.abs().max()) <= 1


def test_chains_on_a_wrong_logit_miss_the_data():
    energy = LatentEnergy(BASE, wrong_logit)
    start = BASE.sample_latent(4000, generator=seeded(1)) / 2  # corners are too steep
    chains = sample(MALA(0.1), energy, start, 200, generator=seeded(2), progress=False)
    assert far(BASE(chains.positions))


def test_outside_the_square_there_is_no_mass():
    energy = LatentEnergy(BASE, exact_logit)
    z = torch.tensor([[0.0, 0.0], [1.5, 0.0], [1.0, -1.0]], dtype=DOUBLE)
    values = energy.energy(z)
    assert values[1] == math.inf
    assert math.isfinite(values[0])
    with pytest.raises(FloatingPointError, match="can reject"):
        sample(Langevin(1.0), energy, z[:1], 100, generator=seeded(), progress=False)
    with pytest.raises(ValueError, match="finite energy"):
        sample(MALA(0.1), energy, z[1:2], 1)


def test_the_temperature_divides_the_critic_alone():
    base = Generator(nn.Linear(3, 2), "gaussian")
    z = torch.randn(7, 3, generator=seeded())
    energy = LatentEnergy(base, lambda x: x.sum(1, keepdim=True), 2.0)
    expected = -gaussian(3).log_prob(z) - base(z).sum(1) / 2
    torch.testing.assert_close(energy(z), expected)
    assert energy.score(z).shape == z.shape


@pytest.mark.parametrize("batch", [1, 5])
def test_weights_are_exponentials_of_the_logit(batch):
    # 40,001 points: more than are sent through the networks at once
    found = reweight(BASE, exact_logit, 40_000 + batch, generator=seeded())
    torch.testing.assert_close(found.log_weights, exact_logit(found.samples))
    assert abs(math.exp(found.log_partition) - 1) < 4 * found.standard_error
    mean, error = found.expectation(moments)
    assert bool(((mean - WANTED).abs() < 4 * error).all())
    wrong = reweight(BASE, wrong_logit, 40_000, generator=seeded())
    mean, error = wrong.expectation(moments)
    assert bool(((mean - WANTED).abs() > 10 * error).any())


def test_rejection_keeps_what_the_data_would():
    found = discriminator_rejection(BASE, exact_logit, 5000, generator=seeded())
    assert len(found.samples) == 5000
    assert not far(found.samples)
    # the acceptance is Z_0 / exp(d_max), up to its own noise
    rate = math.exp(-found.log_bound)
    error = math.sqrt(rate * (1 - rate) / found.n_proposed)
    assert abs(found.acceptance - rate) < 4 * error
    wrong = discriminator_rejection(BASE, wrong_logit, 5000, generator=seeded())
    assert far(wrong.samples)


def test_gamma_shifts_the_logit_of_the_acceptance():
    def share(gamma):
        # two kinds of points: d = 0 on the right, d = log(1/4) on the left
        logit = torch.tensor([math.log(0.25), 0.0], dtype=DOUBLE)
        found = discriminator_rejection(
            BASE,
            lambda x: logit[(x[:, 0] > 0).long()],
            4000,
            gamma=gamma,
            generator=seeded(),
        )
        left = float((found.samples[:, 0] < 0).double().mean())
        a = 1 / 4
        keep = 1 / (1 + math.exp(-(math.log(a / (1 - a)) - (gamma or 0))))
        expected = keep / (1 + keep)
        assert abs(left - expected) < 4 * math.sqrt(expected / 4000)
        assert found.n_raised == 0
        return found.acceptance

    assert share(1.0) < share(None) == share(0.0) < share(-1.0)


def test_a_raised_bound_is_counted():
    found = discriminator_rejection(
        BASE, lambda x: 5 * x[:, 0], 100, n_bound=1, generator=seeded()
    )
    assert found.n_raised > 1
    assert found.log_bound > 9
    with pytest.raises(RuntimeError, match="max_proposals"):
        discriminator_rejection(
            BASE, lambda x: 50 * x[:, 0], 1000, max_proposals=1000, generator=seeded()
        )


@few
@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6))
def test_acceptance_is_the_formula(D, proposed):
    d = torch.logit(torch.tensor([D, proposed], dtype=DOUBLE))
    got = float(mh_acceptance(d[0], d[1]))
    assert math.isclose(got, min(1, (1 / D - 1) / (1 / proposed - 1)), rel_tol=1e-9)


def test_acceptance_keeps_digits_where_the_probability_has_none():
    d = torch.tensor([800.0, 799.0], dtype=DOUBLE)
    assert math.isclose(float(mh_acceptance(d[0], d[1])), math.exp(-1))


@few
@given(st.integers(0, 10_000))
def test_the_chain_leaves_the_data_invariant(seed):
    # on k points: proposals from p_g, acceptance by the formula, all in one matrix
    log_p = torch.randn(2, 6, dtype=DOUBLE, generator=seeded(seed)).log_softmax(1)
    q, p_g = log_p.exp()
    d = log_p[0] - log_p[1]
    matrix = p_g * mh_acceptance(d[:, None], d[None, :])
    matrix += torch.diag(1 - matrix.sum(1))
    torch.testing.assert_close(q @ matrix, q)
    # with a wrong logit it does not
    wrong = p_g * mh_acceptance(0.5 * d[:, None], 0.5 * d[None, :])
    wrong += torch.diag(1 - wrong.sum(1))
    assert float((q @ wrong - q).abs().max()) > 1e-6


def test_mh_gan_moves_by_that_matrix():
    # three points of the line with known p_g and q: the law of the chain, step by step
    p_g, q = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]], dtype=DOUBLE)
    edges = 2 * p_g.cumsum(0)[:-1] - 1
    base = Base(nn.Identity(), latent_dim=2)
    d = (q / p_g).log()

    def place(x):
        return torch.searchsorted(edges, x[:, 0].contiguous())

    n = 20_000
    start = torch.full((n, 2), -1.0, dtype=DOUBLE)
    chains = mh_gan(
        base,
        lambda x: d[place(x)],
        n,
        3,
        initial=start,
        trajectory=True,
        generator=seeded(),
    )
    matrix = p_g * mh_acceptance(d[:, None], d[None, :])
    matrix += torch.diag(1 - matrix.sum(1))
    law = torch.tensor([1.0, 0, 0], dtype=DOUBLE)
    for positions in chains.trajectory:
        law = law @ matrix
        share = torch.bincount(place(positions), minlength=3) / n
        assert bool(((share - law).abs() < 4 * (law * (1 - law) / n).sqrt()).all())


def test_mh_gan_samples_the_data():
    chains = mh_gan(BASE, exact_logit, 4000, 100, generator=seeded())
    assert not far(chains.positions)
    assert far(mh_gan(BASE, wrong_logit, 4000, 100, generator=seeded()).positions)
    assert torch.equal(
        chains.positions,
        mh_gan(BASE, exact_logit, 4000, 100, generator=seeded()).positions,
    )
    torch.testing.assert_close(chains.energy, -exact_logit(chains.positions))


GRID = Grid(bins=60)
Q = GridDensity(Independent(Normal(torch.zeros(2), 0.4 * torch.ones(2)), 1), GRID)
P = GridDensity(
    Independent(Normal(torch.tensor([0.2, 0]), 0.6 * torch.ones(2)), 1), GRID
)


def on_grid(energy, c=None):
    return kale_bound(energy, energy, c, data_weights=Q.prob, base_weights=P.prob)


def test_kale_is_tight_at_the_optimum():
    energy = P.log_prob - Q.log_prob
    assert math.isclose(on_grid(energy, 0.0), Q.kl(P), rel_tol=1e-12)
    assert math.isclose(on_grid(energy + 3), Q.kl(P), rel_tol=1e-12)  # best c undoes it
    assert on_grid(energy + 3, 0.0) < Q.kl(P) - 1


@few
@given(st.integers(0, 10_000), st.floats(0.01, 3), st.floats(-2, 2))
def test_kale_never_exceeds_the_divergence(seed, size, c):
    noise = size * torch.randn(60**2, dtype=DOUBLE, generator=seeded(seed))
    energy = P.log_prob - Q.log_prob + noise
    best = on_grid(energy)
    assert on_grid(energy, c) <= best + 1e-12
    assert best < Q.kl(P)


def test_kale_allows_data_of_no_mass():
    # infinite energy where the data have no mass costs nothing
    energy = torch.tensor([0.0, math.inf], dtype=DOUBLE)
    q, p = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=DOUBLE)
    bound = kale_bound(energy, energy, data_weights=q, base_weights=p)
    assert math.isclose(bound, math.log(2))


def test_kale_is_the_training_loss_with_its_sign_turned():
    real, fake = torch.randn(2, 50, dtype=DOUBLE, generator=seeded())
    loss = objective("kale").critic(real, fake)
    assert math.isclose(kale_bound(-real, -fake, 0.0), -float(loss))
    # the constant is the bias of the critic: d = -(E + c)
    assert math.isclose(kale_bound(-real - 0.7, -fake - 0.7, 0.7), -float(loss))


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match="base must be"):
        LatentEnergy(nn.Linear(2, 2), exact_logit)
    several = type("B", (), {"latent": Normal(0.0, 1.0), "sample_latent": 0})
    with pytest.raises(ValueError, match="event_shape"):
        LatentEnergy(several, exact_logit)
    with pytest.raises(TypeError, match="logit must map"):
        LatentEnergy(BASE, 3)
    with pytest.raises(ValueError, match="temperature"):
        LatentEnergy(BASE, exact_logit, 0.0)
    with pytest.raises(ValueError, match="z must have shape"):
        LatentEnergy(BASE, exact_logit)(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="must map"):
        reweight(BASE, lambda x: x, 10)
    with pytest.raises(FloatingPointError, match="logit"):
        reweight(BASE, lambda x: x[:, 0] / 0, 10)
    with pytest.raises(ValueError, match="n_chains"):
        mh_gan(BASE, exact_logit, 5, 1, initial=torch.zeros(4, 2))
    with pytest.raises(ValueError, match="energy_data"):
        kale_bound(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match="sum to 1"):
        kale_bound(torch.zeros(3), torch.zeros(3), data_weights=torch.ones(3))
    with pytest.raises(ValueError, match="not be negative"):
        kale_bound(torch.zeros(3), torch.zeros(3), base_weights=torch.ones(2))
    with pytest.raises(FloatingPointError, match="KALE"):
        kale_bound(torch.zeros(3), torch.full((3,), -1e4), 0.0)
    base = Generator(nn.Linear(2, 2))
    assert LatentEnergy(base, lambda x: x[:, 0])(torch.zeros(3, 2)).shape == (3,)


def test_waves_are_sines_and_cosines():
    critic = wave_critic((8,), n_waves=3, frequency=2.0, generator=seeded())
    x = torch.randn(5, 2, generator=seeded(1))
    phase = x @ critic[0].frequencies
    expected = torch.cat([torch.sin(phase), torch.cos(phase)], 1)
    torch.testing.assert_close(critic[0](x), expected)
    assert critic(x).shape == (5, 1)
    assert not any(p is critic[0].frequencies for p in critic.parameters())
    many = wave_critic((8,), n_waves=5000, frequency=2.0, generator=seeded())
    assert abs(float(many[0].frequencies.std()) - 2) < 0.1
    same = wave_critic((8,), n_waves=3, frequency=2.0, generator=seeded())
    assert torch.equal(same(x), critic(x))


@pytest.mark.parametrize(("stretch", "reached"), [(64, 1.0), (16, 0.63)])
def test_a_relu_generator_is_corrected_on_what_it_reaches(stretch, reached):
    # folds and all: Z_0 is the mass of the data in the image, the posterior their law
    truth = Clusters(radius=0.6, sd=0.06)
    network = mlp([2, 16, 16, 2], init="torch", generator=seeded(2)).double()
    with torch.no_grad():
        network[-1].bias -= network(torch.zeros(1, 2, dtype=DOUBLE))[0]
        network[-1].weight *= stretch
        network[-1].bias *= stretch
    base = Generator(network)
    p_g = GeneratorDensity.from_generator(base)

    def log_ratio(x):
        return truth.log_prob(x) - p_g.log_prob(x.detach())

    grid = Grid(bins=300)
    posterior = GridDensity(LatentEnergy(base, log_ratio), grid)
    data = truth.sample((100_000,), generator=seeded()).double()
    inside = p_g.count(data) > 0
    mass = float(inside.double().mean())
    assert abs(mass - reached) < 0.01
    # sampling error of the mass, and of the midpoint rule across the folds (below 1 %)
    error = math.sqrt(mass * (1 - mass) / len(data))
    assert abs(math.exp(posterior.log_partition) - mass) < 4 * error + 0.01
    with torch.no_grad():
        mean = posterior.expectation(base(grid.points.double()))
    torch.testing.assert_close(mean, data[inside].mean(0), atol=0.015, rtol=0)
