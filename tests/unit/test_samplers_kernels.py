"""Markov kernels: what they leave invariant, held against exact grid answers."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from ebmlib.energy import EnergyModel
from ebmlib.grid import Grid, GridDensity
from ebmlib.samplers import (
    HMC,
    MALA,
    Gibbs,
    Langevin,
    ParallelTempering,
    RandomWalkMetropolis,
    State,
    leapfrog,
    sample,
)

N_CHAINS = 10_000
WIDE = Grid(-4.0, 4.0, 320)  # the wells below leave less than 1e-5 outside
CUT = (-1.0, 0.6)


class TwoWells(EnergyModel):
    """Two wells along the first axis, two nats deep, and a slanted second axis."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.unbind(1)
        wells = 2 * (first**2 - 1) ** 2 + 2 * (second - first / 2) ** 2
        return wells / self.temperature


def normal(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1) / 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform_start(low: float, high: float, n: int = N_CHAINS) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, 2, generator=seeded(99)).double()


def chi_square(points: torch.Tensor, density: GridDensity, factor: int) -> float:
    """p-value of points against the exact masses of ``factor`` x ``factor`` cells."""
    grid = density.grid
    coarse = Grid(grid.low, grid.high, grid.bins // factor)
    blocks = (coarse.bins, factor, coarse.bins, factor)
    expected = density.prob.reshape(blocks).sum((1, 3)).reshape(-1) * len(points)
    observed = coarse.count(points)
    rare = expected < 5  # too few for the test: they count as one cell
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    observed = torch.cat([observed[~rare], observed[rare].sum()[None]])
    if expected[-1] < 5:
        expected = torch.cat([expected[:-2], expected[-2:].sum()[None]])
        observed = torch.cat([observed[:-2], observed[-2:].sum()[None]])
    statistic = ((observed - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(float(statistic), len(expected) - 1))


def moments(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x**2, x[:, :1] * x[:, 1:]], 1)


def assert_moments(points: torch.Tensor, density: GridDensity) -> None:
    """Means, squares and the product within 4.5 standard errors of the exact ones."""
    values = moments(points.double())
    error = values.mean(0) - density.expectation(moments)
    assert (error.abs() < 4.5 * values.std(0) / math.sqrt(len(points))).all(), error


EXACT = [
    RandomWalkMetropolis(0.9),
    MALA(0.3),
    HMC(0.25, n_leapfrog=6),
    ParallelTempering(MALA(0.3), (1.0, 1.8)),
    RandomWalkMetropolis(0.7, temperature=0.6),
    MALA(0.3, temperature=2.0),
    HMC(0.25, n_leapfrog=6, temperature=0.6),
]


@pytest.mark.parametrize("kernel", EXACT, ids=repr)
def test_exact_moments_and_chi_square(kernel):
    temperature = getattr(kernel, "temperature", 1.0)
    density = GridDensity(TwoWells(temperature), WIDE)
    start = uniform_start(-1.3, 1.3)
    assert chi_square(start, density, 10) < 1e-12  # the start is far off
    drawn = sample(kernel, TwoWells(), start, 250, generator=seeded())
    assert_moments(drawn.positions, density)
    assert chi_square(drawn.positions, density, 10) > 1e-4


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_gibbs_has_the_law_of_its_cells(temperature):
    # on so coarse a grid the law of the cells is not that of the energy
    grid = Grid(-2.0, 2.0, 16)
    density = GridDensity(TwoWells(temperature), grid)
    kernel = Gibbs(grid, temperature=temperature)
    drawn = sample(kernel, TwoWells(), uniform_start(-2, 2), 80, generator=seeded())
    assert chi_square(drawn.positions, density, 1) > 1e-4
    # within a cell the points lie evenly
    offset = (drawn.positions - grid.low) / grid.width % 1
    assert stats.kstest(offset.reshape(-1).numpy(), "uniform").pvalue > 1e-4
    centres = grid.points.double()[grid.cells(drawn.positions)]
    torch.testing.assert_close(drawn.energy, TwoWells().energy(centres))


def test_gibbs_on_a_line_is_exact_after_one_step():
    def energy(x: torch.Tensor) -> torch.Tensor:
        return 3 * (x[:, 0] ** 2 - 1) ** 2

    grid = Grid(-2.0, 2.0, 50, dim=1)
    start = torch.zeros(N_CHAINS, 1, dtype=torch.float64)
    drawn = sample(Gibbs(grid), energy, start, 1, generator=seeded())
    prob = torch.softmax(-energy(grid.points), 0).double()
    observed, expected = grid.count(drawn.positions), prob * N_CHAINS
    keep = expected > 5
    statistic = ((observed - expected) ** 2 / expected)[keep].sum()
    assert stats.chi2.sf(float(statistic), int(keep.sum()) - 1) > 1e-4


def test_the_chi_square_test_can_fail():
    density = GridDensity(TwoWells(), WIDE)
    drawn = sample(
        Langevin(0.25), TwoWells(), uniform_start(-1, 1), 200, generator=seeded()
    )
    assert chi_square(drawn.positions, density, 10) < 1e-12


@pytest.mark.parametrize("boundary", ["reflect", "reject"])
@pytest.mark.parametrize(
    "kernel", [RandomWalkMetropolis, MALA, HMC], ids=lambda k: k.__name__
)
def test_the_cut_density_is_invariant(kernel, boundary):
    # the box cuts the left well through its centre and leaves little of the right one
    step = {RandomWalkMetropolis: 0.8, MALA: 0.45, HMC: 0.15}[kernel]
    density = GridDensity(TwoWells(), Grid(*CUT, 240))
    drawn = sample(
        kernel(step, bounds=CUT, boundary=boundary),
        TwoWells(),
        uniform_start(*CUT),
        120,
        generator=seeded(1),
    )
    assert drawn.positions.min() >= CUT[0]
    assert drawn.positions.max() <= CUT[1]
    assert_moments(drawn.positions, density)
    assert chi_square(drawn.positions, density, 20) > 1e-4


@pytest.mark.parametrize("boundary", ["reflect", "reject"])
def test_langevin_in_a_box_is_exact_where_the_energy_is_flat(boundary):
    def flat(x: torch.Tensor) -> torch.Tensor:
        return 0 * x.sum(1)

    kernel = Langevin(0.5, bounds=CUT, boundary=boundary)
    start = uniform_start(-1.0, -0.5)
    drawn = sample(kernel, flat, start, 100, generator=seeded())
    scaled = (drawn.positions - CUT[0]) / (CUT[1] - CUT[0])
    for axis in range(2):
        assert stats.kstest(scaled[:, axis].numpy(), "uniform").pvalue > 1e-4
    refused = boundary == "reject"
    assert (drawn.acceptance.mean() < 0.9) == refused


@pytest.mark.parametrize("step", [0.2, 0.8, 1.4])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_langevin_settles_at_the_variance_that_its_step_implies(step, temperature):
    # x' = (1 - h) x + sqrt(2 h T) xi with h = step**2 / 2 has variance 2 T / (2 - h)
    h, n = step**2 / 2, 4 * N_CHAINS
    n_steps = math.ceil(math.log(1e-6) / math.log((1 - h) ** 2)) if h != 1 else 1
    drawn = sample(
        Langevin(step, temperature=temperature),
        normal,
        torch.zeros(n, 1, dtype=torch.float64),
        n_steps,
        generator=seeded(),
    )
    exact = 2 * temperature / (2 - h)
    # the law is normal, and so the variance of n values has this standard error
    error = exact * math.sqrt(2 / (n - 1))
    assert abs(float(drawn.positions.var()) - exact) < 4 * error


def test_mala_is_its_textbook_formula():
    kernel, model = MALA(0.6, temperature=0.7), TwoWells()
    x = uniform_start(-1.5, 1.5, 500)
    state = kernel.init(x, model)
    new = kernel.step(state, model, generator=seeded(3))
    # the same random numbers, and the proposal's densities written out
    generator = seeded(3)
    noise = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    u = torch.rand(len(x), dtype=x.dtype, generator=generator)
    spread = math.sqrt(0.7) * 0.6

    def mean(at: torch.Tensor) -> torch.Tensor:
        return at + 0.6**2 / 2 * model.score(at)

    y = mean(x) + spread * noise
    forward = -((y - mean(x)) ** 2).sum(1) / (2 * spread**2)
    back = -((x - mean(y)) ** 2).sum(1) / (2 * spread**2)
    log_ratio = (model.energy(x) - model.energy(y)) / 0.7 + back - forward
    accepted = u.log() < log_ratio
    assert 0.3 < accepted.double().mean() < 0.95
    assert torch.equal(new.accepted, accepted)
    torch.testing.assert_close(new.positions, torch.where(accepted[:, None], y, x))


def test_langevin_is_one_leapfrog_step_without_the_coin():
    x, model = uniform_start(-1, 1, 50), TwoWells()
    kernel = Langevin(0.3, temperature=2.0)
    state = kernel.init(x, model)
    velocity = math.sqrt(2) * torch.randn(x.shape, dtype=x.dtype, generator=seeded(5))
    end, _ = leapfrog(state, velocity, model, step_size=0.3, n_leapfrog=1)
    new = kernel.step(state, model, generator=seeded(5))
    torch.testing.assert_close(new.positions, end.positions)


@pytest.mark.parametrize("bounds", [None, CUT])
def test_leapfrog_is_reversible(bounds):
    x, model = uniform_start(*CUT, 200), TwoWells()
    state = HMC(0.1).init(x, model)
    velocity = torch.randn(x.shape, dtype=x.dtype, generator=seeded())
    options = {"step_size": 0.1, "n_leapfrog": 25, "bounds": bounds}
    end, last = leapfrog(state, velocity, model, **options)
    assert (end.positions - x).abs().mean() > 0.3  # it went somewhere
    back, first = leapfrog(end, -last, model, **options)
    assert (back.positions - x).abs().max() < 1e-10
    assert (first + velocity).abs().max() < 1e-10


@pytest.mark.parametrize("bounds", [None, CUT])
def test_leapfrog_keeps_volume(bounds):
    model, epsilon = TwoWells(), 1e-6
    # nine copies of one point in the space of positions and velocities, moved a little
    point = torch.tensor([0.4, -0.2, 1.1, -0.7], dtype=torch.float64)
    moved = point + epsilon * torch.cat([torch.eye(4), -torch.eye(4)]).double()
    state = HMC(0.1).init(moved[:, :2].contiguous(), model)
    end, last = leapfrog(
        state, moved[:, 2:], model, step_size=0.1, n_leapfrog=15, bounds=bounds
    )
    image = torch.cat([end.positions, last], 1)
    if bounds is not None:
        free, _ = leapfrog(state, moved[:, 2:], model, step_size=0.1, n_leapfrog=15)
        assert (free.positions - end.positions).abs().min() > 0.01  # a wall was hit
    jacobian = (image[:4] - image[4:]) / (2 * epsilon)
    assert abs(abs(float(torch.linalg.det(jacobian))) - 1) < 1e-6


def test_the_energy_error_of_leapfrog_falls_as_the_step_squared():
    x, model = uniform_start(-1, 1, 500), TwoWells()
    velocity = torch.randn(x.shape, dtype=x.dtype, generator=seeded())
    steps, errors = [], []
    for n_leapfrog in (16, 32, 64, 128):
        step = 0.8 / n_leapfrog
        state = HMC(step).init(x, model)
        end, last = leapfrog(
            state, velocity, model, step_size=step, n_leapfrog=n_leapfrog
        )
        before = state.energy + velocity.square().sum(1) / 2
        after = end.energy + last.square().sum(1) / 2
        steps.append(math.log(step))
        errors.append(math.log(float((after - before).abs().mean())))
    order = stats.linregress(steps, errors).slope
    assert 1.95 < order < 2.05


def test_exchange_leaves_the_product_of_the_laws_invariant():
    ladder = (0.5, 1.0, 2.5)
    kernel = ParallelTempering(MALA(0.1), ladder)
    densities = [GridDensity(TwoWells(t), WIDE) for t in ladder]
    generator = seeded(7)
    replicas = []
    for density in densities:
        x = density.sample(N_CHAINS, generator=generator).double()
        replicas.append(MALA(0.1).init(x, TwoWells()))
    state = kernel.exchange(replicas, generator=generator)
    assert 0.2 < state.swapped.double().mean() < 0.9
    for density, before, after in zip(densities, replicas, state.replicas, strict=True):
        assert not torch.equal(before.positions, after.positions)
        assert chi_square(after.positions, density, 10) > 1e-4
        torch.testing.assert_close(after.energy, TwoWells().energy(after.positions))
        torch.testing.assert_close(after.gradient, -TwoWells().score(after.positions))
    # neighbours stay independent: ranks of their energies do not know of each other
    for cold, hot in zip(state.replicas, state.replicas[1:], strict=False):
        assert stats.spearmanr(cold.energy, hot.energy).pvalue > 1e-4


def test_exchange_has_the_probability_that_is_written():
    kernel = ParallelTempering(RandomWalkMetropolis(1.0), (1.0, 2.0))

    def at(energy: float) -> State:
        x = torch.full((N_CHAINS, 1), energy, dtype=torch.float64)
        return State(x, x[:, 0], None, torch.ones(N_CHAINS, dtype=torch.bool))

    # better places in the hot chain always come down
    assert kernel.exchange([at(3.0), at(1.0)], generator=seeded()).swapped.all()
    rate = kernel.exchange([at(1.0), at(3.0)], generator=seeded()).swapped.double()
    exact = math.exp((1 - 1 / 2) * (1 - 3))
    error = math.sqrt(exact * (1 - exact) / N_CHAINS)
    assert abs(float(rate.mean()) - exact) < 4 * error


def test_tempering_crosses_where_the_kernel_alone_does_not():
    def far_wells(x: torch.Tensor) -> torch.Tensor:
        return 12 * (x[:, 0] ** 2 - 1) ** 2 + x[:, 1] ** 2

    start = torch.tensor([[-1.0, 0.0]]).repeat(500, 1)
    alone = sample(MALA(0.2), far_wells, start, 400, generator=seeded())
    ladder = ParallelTempering(MALA(0.2), (1.0, 2.0, 4.0, 8.0))
    tempered = sample(ladder, far_wells, start, 400, generator=seeded())
    assert (alone.positions[:, 0] > 0).double().mean() < 0.01
    share = (tempered.positions[:, 0] > 0).double().mean()
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 500)
    assert tempered.swap_rates.shape == (3,)
    assert (tempered.swap_rates > 0.3).all()
    assert alone.swap_rates is None


@pytest.mark.parametrize(
    "kernel",
    [RandomWalkMetropolis(0.6), MALA(0.4), HMC(0.2, n_leapfrog=4)],
    ids=lambda k: type(k).__name__,
)
def test_infinite_energy_means_no_mass(kernel):
    def disc(x: torch.Tensor) -> torch.Tensor:
        radius = x.square().sum(1)
        return torch.where(radius < 1, 0 * radius, math.inf)

    start = torch.zeros(N_CHAINS, 2, dtype=torch.float64)
    drawn = sample(kernel, disc, start, 80, generator=seeded())
    squared = drawn.positions.square().sum(1)
    # uniform on the disc: the squared radius is uniform
    assert stats.kstest(squared.numpy(), "uniform").pvalue > 1e-4
