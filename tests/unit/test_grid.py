"""Everything a grid answers exactly, held against closed forms and SciPy."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import special, stats
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

import ebmlib.grid
from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.grid import Grid, GridDensity

few = settings(max_examples=25, deadline=None)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(mean, sd):
    """A Gaussian with independent coordinates, float64."""
    mean = torch.as_tensor(mean, dtype=torch.float64)
    sd = torch.tensor(sd, dtype=torch.float64).expand(mean.shape)
    return Independent(Normal(mean, sd), 1)


def bent(seed, dim=2, scale=1.0):
    """A small random tilted energy whose network is not zero."""
    network = mlp([dim, 6, 1], "tanh", init="torch", generator=seeded(seed))
    with torch.no_grad():
        network[-1].weight.mul_(scale)
    return TiltedEnergy(network, gaussian(dim))


class Given(EnergyModel):
    """Energies that were written down, whatever the points."""

    def __init__(self, energies):
        super().__init__()
        self.energies = torch.as_tensor(energies)

    def energy(self, x):
        return self.energies


def test_points_are_cell_centres_with_the_first_coordinate_slowest():
    grid = Grid(-1, 1, bins=2, dim=2)
    wanted = [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert grid.points.tolist() == wanted
    assert grid.shape == (2, 2)
    assert grid.width == 1.0
    assert grid.cell_volume == 1.0
    assert grid.axis.tolist() == [-0.5, 0.5]
    assert grid.points.dtype == torch.get_default_dtype()
    assert Grid(bins=2, dtype=torch.float64).points.dtype == torch.float64
    assert Grid(0, 3, bins=4, dim=3).points.shape == (64, 3)


def box_mass(mean, sd):
    """Mass of a product of Gaussians within [-1, 1]**d, by the error function."""
    mean, sd = np.asarray(mean), np.asarray(sd)
    root = sd * math.sqrt(2)
    sides = special.erf((1 - mean) / root) + special.erf((1 + mean) / root)
    return float(np.prod(sides / 2))


@pytest.mark.parametrize(("mean", "sd"), [([0.9], 0.35), ([0.3, -0.8], [0.4, 0.3])])
def test_quadrature_error_falls_as_the_square_of_the_cell(mean, sd):
    """Midpoint rule on [a, b]: |error| <= (b - a) h**2 max|p''| / 24 in each direction.

    For a Gaussian |p''| <= p(mean) / sd**2; in the plane the two directions add up, the
    other coordinate's integral being at most its own peak times the length.
    """
    dim = len(mean)
    sd = np.broadcast_to(sd, dim)
    peak = np.prod(1 / (sd * math.sqrt(2 * math.pi)))
    errors, widths = [], []
    for bins in (50, 100, 200, 400):
        grid = Grid(bins=bins, dim=dim)
        mass = math.exp(GridDensity(normal(mean, sd), grid).log_partition)
        error = abs(mass - box_mass(mean, sd))
        assert error <= 2**dim * grid.width**2 / 24 * peak * np.sum(1 / sd**2)
        errors.append(error)
        widths.append(grid.width)
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    # the next term of the error is of relative size (h / sd)**2 <= 0.02 on these grids
    assert slope == pytest.approx(2, abs=0.02)


def test_wide_box_gives_entropy_moments_and_kl_of_gaussians():
    """The box cuts 9 sd away and the midpoint rule converges faster than any power."""
    cov = torch.tensor([[0.02, 0.008], [0.008, 0.01]], dtype=torch.float64)
    mean = torch.tensor([0.1, -0.2], dtype=torch.float64)
    grid = Grid(-1.6, 1.6, bins=160)
    p = GridDensity(MultivariateNormal(mean, cov), grid)
    assert p.log_partition == pytest.approx(0, abs=1e-12)
    entropy = 0.5 * math.log((2 * math.pi * math.e) ** 2 * float(cov.det()))
    assert p.entropy() == pytest.approx(entropy, abs=1e-10)
    torch.testing.assert_close(p.expectation(lambda x: x), mean, atol=1e-12, rtol=0)
    second = p.expectation(lambda x: x[:, :, None] * x[:, None, :])
    torch.testing.assert_close(second, cov + mean[:, None] * mean, atol=1e-12, rtol=0)
    other_cov, other_mean = 2 * torch.eye(2, dtype=torch.float64) * 0.02, -mean
    q = MultivariateNormal(other_mean, other_cov)
    gap = (other_mean - mean).double()
    inverse = other_cov.inverse()
    closed = 0.5 * float(
        (inverse @ cov).trace() + gap @ inverse @ gap - 2
        + other_cov.logdet() - cov.logdet()
    )  # fmt: skip
    assert p.kl(q) == pytest.approx(closed, abs=1e-9)
    assert p.kl(GridDensity(q, grid)) == p.kl(q)


def test_masses_and_densities_agree():
    p = GridDensity(bent(0), Grid(bins=30))
    assert float(p.prob.sum()) == pytest.approx(1, abs=1e-13)
    torch.testing.assert_close(p.prob, p.log_prob.exp() * p.grid.cell_volume)
    assert p.prob.dtype == p.log_prob.dtype == torch.float64


@few
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.1, 20))
def test_kl_is_never_negative_and_zero_only_for_the_same_density(a, b, scale):
    grid = Grid(bins=12)
    p, q = GridDensity(bent(a, scale=scale), grid), GridDensity(bent(b), grid)
    assert p.kl(p) == 0
    # Pinsker: KL >= 2 TV**2, which is positive unless the masses agree
    tv = 0.5 * float((p.prob - q.prob).abs().sum())
    assert p.kl(q) >= 2 * tv**2 - 1e-13


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_constant_moves_only_log_z(seed, shift):
    """Float32 energies of size 50 carry rounding of 50 * 2**-24 = 3e-6."""
    model, grid = bent(seed), Grid(bins=9)
    before = GridDensity(model, grid)
    with torch.no_grad():
        model.network[-1].bias.add_(shift)
    after = GridDensity(model, grid)
    moved = after.log_partition - before.log_partition
    assert moved == pytest.approx(shift, abs=2e-5)
    assert before.kl(after) == pytest.approx(0, abs=1e-5)


def test_kl_is_infinite_where_the_other_has_no_mass():
    grid = Grid(bins=2, dim=1)
    half = GridDensity(Given([0.0, math.inf]), grid)
    whole = GridDensity(Given([0.0, 0.0]), grid)
    assert half.kl(whole) == pytest.approx(math.log(2))
    assert whole.kl(half) == math.inf
    assert half.entropy() == pytest.approx(0)  # uniform on an interval of length 1


def test_an_unvalidated_uniform_has_its_closed_forms():
    box = Independent(Uniform(-torch.ones(2) / 2, torch.ones(2) / 2, False), 1, False)
    p = GridDensity(box, Grid(bins=8))
    assert p.log_partition == pytest.approx(0, abs=1e-12)
    assert p.entropy() == pytest.approx(0, abs=1e-12)


def test_float32_models_are_summed_in_float64():
    """200 x 200 equal energies: a float32 sum would lose digits, this one may not."""
    model = TiltedEnergy(mlp([2, 4, 1], generator=seeded()))
    p = GridDensity(model, Grid(bins=200))
    assert p.log_partition == pytest.approx(math.log(4), abs=1e-13)
    double = bent(1)
    in32 = GridDensity(double, Grid(bins=20)).log_partition
    in64 = GridDensity(double.double(), Grid(bins=20)).log_partition
    assert in32 != in64
    assert in32 == pytest.approx(in64, abs=1e-6)


def test_chunks_change_nothing(monkeypatch):
    """Up to the order in which a matrix product of another shape is summed."""
    model = bent(2).double()
    whole = GridDensity(model, Grid(bins=20)).log_prob
    monkeypatch.setattr(ebmlib.grid, "_CHUNK", 7)
    torch.testing.assert_close(
        GridDensity(model, Grid(bins=20)).log_prob, whole, atol=1e-13, rtol=0
    )


def test_expectation_takes_values_too():
    p = GridDensity(Given([0.0, math.log(3)]), Grid(bins=2, dim=1))
    torch.testing.assert_close(
        p.expectation(torch.tensor([4.0, 8.0])), torch.tensor(5.0, dtype=torch.float64)
    )


def test_log_likelihood_is_that_of_the_points_themselves():
    """Against SciPy's truncated normal; the normaliser's error is bounded above."""
    grid = Grid(bins=400, dim=1)
    x = torch.tensor([[-0.9], [0.123], [0.777]], dtype=torch.float64)
    p = GridDensity(normal([0.2], 0.4), grid)
    truth = stats.truncnorm(-1.2 / 0.4, 0.8 / 0.4, 0.2, 0.4).logpdf(x.numpy()).mean()
    allowed = 2 * grid.width**2 / 24 / (0.4**3 * math.sqrt(2 * math.pi))
    assert p.log_likelihood(x) == pytest.approx(truth, abs=2 * allowed)


def test_a_density_is_a_snapshot():
    model = bent(0)
    p, x = GridDensity(model, Grid(bins=10)), torch.zeros(1, 2)
    before = p.log_likelihood(x)
    with torch.no_grad():
        model.network[-1].bias.add_(1)
    assert p.log_likelihood(x) == before


@pytest.mark.parametrize("dim", [1, 2])
def test_samples_fill_the_cells_in_proportion(dim):
    """Chi-square over the cells that expect five or more, at level 0.001."""
    grid = Grid(bins=(40, 12)[dim - 1], dim=dim)
    p = GridDensity(normal([0.2] * dim, 0.4), grid)
    x = p.sample(50_000, generator=seeded(dim))
    assert x.shape == (50_000, dim)
    assert x.dtype == grid.points.dtype
    counts, expected = grid.count(x).numpy(), 50_000 * p.prob.numpy()
    enough = expected >= 5
    observed = np.append(counts[enough], counts[~enough].sum())
    wanted = np.append(expected[enough], expected[~enough].sum())
    assert stats.chisquare(observed[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3
    # within its cell a sample is uniform
    offset = (x.double() - grid.points_as(torch.float64)[grid.cells(x)]) / grid.width
    assert stats.kstest(offset[:, 0].numpy() + 0.5, "uniform").pvalue > 1e-3


def test_samples_never_fall_where_there_is_no_mass():
    p = GridDensity(Given([math.inf, 0.0, math.inf]), Grid(bins=3, dim=1))
    x = p.sample(1000, generator=seeded())
    assert set(p.grid.cells(x).tolist()) == {1}


def test_generator_decides_the_sample_and_spares_the_global_one():
    before = torch.get_rng_state()
    p = GridDensity(bent(0), Grid(bins=10))
    p.modes(), p.entropy(), p.kl(p)
    one, two = (p.sample(5, generator=seeded(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, p.sample(5, generator=seeded(2)))
    assert torch.equal(torch.get_rng_state(), before)


def test_modes_of_a_mixture_come_highest_first():
    centres = torch.tensor([[-0.55, 0.15], [0.45, 0.45], [0.05, -0.65]]).double()
    weights = torch.tensor([0.2, 0.5, 0.3]).double()

    class Mixture(EnergyModel):
        def energy(self, x):
            squares = (x[:, None] - centres).square().sum(2) / (2 * 0.1**2)
            return -torch.logsumexp(weights.log() - squares, 1)

    modes = GridDensity(Mixture(), Grid(bins=20)).modes()
    torch.testing.assert_close(modes.double(), centres[[1, 2, 0]], atol=1e-6, rtol=0)
    line = GridDensity(Given([3.0, 1, 2, 0, 1, 0.5]), Grid(0, 6, bins=6, dim=1)).modes()
    assert line[:, 0].tolist() == [3.5, 5.5, 1.5]


def test_on_a_plateau_every_point_is_a_mode_and_empty_cells_never_are():
    flat = GridDensity(Given(torch.zeros(9)), Grid(bins=3))
    assert len(flat.modes()) == 9
    some = GridDensity(
        Given([math.inf] * 3 + [0.0] + [math.inf] * 3), Grid(bins=7, dim=1)
    )
    assert some.modes().tolist() == [[0.0]]


@st.composite
def grids_and_points(draw):
    low = draw(st.floats(-5, 5))
    high = low + draw(st.floats(0.01, 10))
    dim, bins = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    share = torch.rand(draw(st.integers(0, 20)), dim, generator=seeded(bins)).to(dtype)
    x = (low + share * (high - low)).clamp(low, high)
    corner = torch.full((1, dim), high, dtype=dtype)
    return Grid(low, high, bins, dim), torch.cat([x, corner])


@few
@given(grids_and_points())
def test_every_point_is_counted_once_in_the_nearest_cell(case):
    grid, x = case
    counts = grid.count(x)
    assert counts.shape == (grid.bins**grid.dim,)
    assert float(counts.sum()) == len(x)
    gap = (x.double() - grid.points_as(torch.float64)[grid.cells(x)]).abs()
    # the point itself, and so its distance, is known up to the rounding of its dtype
    rounding = 4 * torch.finfo(x.dtype).eps * max(abs(grid.low), abs(grid.high), 1)
    assert float(gap.max()) <= grid.width / 2 + rounding
    centres = grid.points_as(torch.float64)
    assert torch.equal(grid.cells(centres), torch.arange(len(centres)))


def test_edges_belong_to_the_box_even_when_their_dtype_rounds_them():
    grid = Grid(-0.1, 0.1, bins=10, dim=1)
    edges = torch.tensor([[-0.1], [0.1]])
    assert float(edges[0]) < grid.low  # float32 rounds it out of the box
    assert grid.cells(edges).tolist() == [0, 9]
    exact = torch.tensor([[-0.1], [0.03], [0.1]], dtype=torch.float64)
    assert grid.cells(exact).tolist() == [0, 6, 9]


def bad(*energies):
    return lambda: GridDensity(Given(list(energies)), Grid(bins=len(energies), dim=1))


FLAT = GridDensity(Given(torch.zeros(4)), Grid(bins=2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Grid(bins=0), ValueError, "bins must be at least 1, got 0"),
        (lambda: Grid(bins=2.0), TypeError, "bins must be an integer"),
        (lambda: Grid(dim=0), ValueError, "dim must be at least 1, got 0"),
        (lambda: Grid(1, -1), ValueError, "low must be below high"),
        (lambda: Grid(low=math.nan), ValueError, "low must be finite"),
        (
            lambda: Grid(bins=2).cells(torch.tensor([[0.0, 0.0], [0.0, 1.5]])),
            ValueError,
            r"x must lie in the box from -1.0 to 1.0, got 1 of 2 points outside it, "
            r"the first in row 1: \[0.0, 1.5\]",
        ),
        (
            lambda: Grid(bins=2).count(torch.zeros(3, 1)),
            ValueError,
            r"x must have shape \(n, 2\)",
        ),
        (
            lambda: Grid(bins=2).count(torch.tensor([[0.0, math.nan]])),
            ValueError,
            "x must be finite",
        ),
        (
            bad(0.0, math.nan),
            FloatingPointError,
            "Given is NaN.* at 1 of 2 grid points",
        ),
        (bad(-math.inf, 0.0), FloatingPointError, "infinitely likely at 1 of 2"),
        (bad(math.inf, math.inf), FloatingPointError, "Given has no mass on the grid"),
        (
            lambda: GridDensity(Given([[0.0], [1.0]]), Grid(bins=2, dim=1)),
            ValueError,
            r"got \(2, 1\); squeeze",
        ),
        (
            lambda: GridDensity(torch.nn.Linear(2, 1), Grid(bins=2)),
            TypeError,
            "model must be an EnergyModel or a torch Distribution, got Linear",
        ),
        (
            lambda: GridDensity(Normal(0.0, 1.0), Grid(bins=2, dim=1)),
            ValueError,
            r"model must have event_shape \(1,\) and no batch_shape.*got \(\)",
        ),
        (
            lambda: GridDensity(gaussian(2), Grid(bins=2, dim=1)),
            ValueError,
            r"event_shape \(1,\).*got \(2,\)",
        ),
        (
            lambda: FLAT.kl(GridDensity(gaussian(), Grid(bins=3))),
            ValueError,
            "other must live on the same grid",
        ),
        (lambda: FLAT.sample(0), ValueError, "n must be at least 1, got 0"),
        (lambda: FLAT.sample(1, generator=0), TypeError, "generator must be"),
        (
            lambda: FLAT.expectation(torch.zeros(3)),
            ValueError,
            r"g must give 4 rows, one a grid point, got shape \(3,\)",
        ),
        (lambda: FLAT.expectation(torch.tensor(1.0)), ValueError, "g must give 4 rows"),
        (
            lambda: FLAT.expectation(lambda x: x / 0),
            FloatingPointError,
            "expectation of g is not finite",
        ),
        (
            lambda: FLAT.log_likelihood(torch.zeros(0, 2)),
            ValueError,
            "x is empty",
        ),
        (
            lambda: FLAT.log_likelihood(torch.full((1, 2), 2.0)),
            ValueError,
            "x must lie in the box",
        ),
        (
            lambda: GridDensity(gaussian(3), Grid(bins=2, dim=3)).modes(),
            ValueError,
            "modes needs a grid of dim 1 or 2, got 3",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_number_is_no_grid():
    with pytest.raises(TypeError, match=r"grid must be a Grid.* got int"):
        GridDensity(gaussian(), 20)
