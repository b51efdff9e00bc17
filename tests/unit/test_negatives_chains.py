"""Negative phases made of chains: what they start from, and what they learn."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy import optimize
from torch import nn
from torch.distributions import Independent, Normal, Uniform

from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.fit import TrainingDiverged, fit
from ebmlib.grid import Grid
from ebmlib.negatives import (
    ContrastiveNegatives,
    GridNegatives,
    PersistentNegatives,
    ShortRunNegatives,
)
from ebmlib.samplers import (
    MALA,
    Langevin,
    ParallelTempering,
    RandomWalkMetropolis,
    sample,
)
from ebmlib.samplers._energies import _by_autograd, energy_and_gradient
from ebmlib.samplers._relu import affine_layers

BOX = (-1.0, 1.0)
KERNEL = Langevin(0.05, bounds=BOX)
SQUARE = Independent(Uniform(-torch.ones(2), torch.ones(2)), 1)


class Spring(EnergyModel):
    """``E(x) = theta |x|**2 / 2``: every chain on it is an autoregression."""

    def __init__(self, stiffness: float = 1.0) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self.stiffness * x.square().sum(1) / 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bent(seed: int = 0, scale: float = 1.0, dim: int = 2) -> TiltedEnergy:
    network = mlp([dim, 8, 6, 1], generator=seeded(seed))
    nn.init.normal_(network[-1].weight, 0, scale, generator=seeded(seed))
    return TiltedEnergy(network)


# The gradient that the chains follow


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("widths", [[1, 5, 1], [2, 32, 16, 1], [3, 8, 6, 4, 1]])
def test_written_out_gradient_is_that_of_autograd_to_the_last_bit(widths, dtype):
    network = mlp(widths, init="torch", generator=seeded()).to(dtype)
    model, x = TiltedEnergy(network), torch.randn(300, widths[0], dtype=dtype)
    x[0] = 0  # and where a unit is exactly zero
    network[0].bias.data[0] = 0
    assert affine_layers(model) is not None
    for ours, theirs in zip(
        energy_and_gradient(model, x), _by_autograd(model, x), strict=True
    ):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad


def test_other_energies_go_through_autograd():
    class Own(TiltedEnergy):
        pass

    hooked, deep = mlp([2, 3, 1]), mlp([2, 3, 1])
    hooked[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    deep.register_forward_hook(lambda module, inputs, output: 2 * output)
    biasless = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))
    for model in (
        Own(mlp([2, 3, 1])),
        TiltedEnergy(mlp([2, 3, 1]), gaussian()),
        TiltedEnergy(mlp([2, 3, 1], "tanh")),
        TiltedEnergy(mlp([2, 1])),
        TiltedEnergy(nn.Sequential(*mlp([2, 3, 1]), nn.Flatten(0))),
        TiltedEnergy(hooked),
        TiltedEnergy(deep),
        TiltedEnergy(biasless),
        Spring(),
    ):
        assert affine_layers(model) is None


# Where the chains start, and that they are those of `sample`


def test_short_runs_are_samples_from_the_initial_distribution():
    model, start = bent(), torch.rand(40, 2, generator=seeded(1)) - 0.5
    phase = ShortRunNegatives(KERNEL, 7, start)
    negative = phase(model, generator=seeded(3))
    chain = sample(KERNEL, model, start, 7, generator=seeded(3))
    assert torch.equal(negative.points, chain.positions)
    assert torch.equal(negative.weights, torch.full((40,), 1 / 40))
    assert negative.energy is None
    assert not negative.points.requires_grad
    assert all(p.requires_grad for p in model.parameters())
    # from a distribution: the seed decides, and no call repeats the last
    phase, generator = ShortRunNegatives(KERNEL, 1, SQUARE, n_chains=60), seeded()
    first, second = phase(model, generator=generator), phase(model, generator=generator)
    assert first.points.shape == (60, 2)
    assert torch.equal(first.points, phase(model, generator=seeded()).points)
    assert not torch.equal(first.points, second.points)


def test_points_take_the_dtype_of_the_model():
    model = TiltedEnergy(bent().network.double())
    for start in (SQUARE, torch.zeros(3, 2)):
        points = ShortRunNegatives(KERNEL, 1, start)(model).points
        assert points.dtype == torch.float64


def test_a_schedule_is_asked_for_the_fraction_of_the_steps_made():
    seen = []

    def schedule(fraction):
        seen.append(fraction)
        return Langevin(0.1 * (1 - fraction), bounds=BOX)

    model, start = bent(), torch.zeros(5, 2)
    phase = ShortRunNegatives(schedule, 4, start)
    points = phase(model, generator=seeded()).points
    assert seen == [0.0, 0.25, 0.5, 0.75]
    generator = seeded()
    for fraction in (0.0, 0.25, 0.5, 0.75):
        kernel = Langevin(0.1 * (1 - fraction), bounds=BOX)
        start = sample(kernel, model, start, 1, generator=generator).positions
    assert torch.equal(points, start)


@pytest.mark.parametrize("kernel", [KERNEL, MALA(0.05), RandomWalkMetropolis(0.1)])
def test_persistent_chains_go_on(kernel):
    model, start = bent(), torch.rand(30, 2, generator=seeded(1)) - 0.5
    phase, generator = PersistentNegatives(kernel, 3, start), seeded(2)
    phase(model, generator=generator)
    twice = phase(model, generator=generator).points
    once = sample(kernel, model, start, 6, generator=seeded(2)).positions
    assert torch.equal(twice, once)
    # after an update of the model the energies are those of the new one
    other = bent(5)
    moved = phase(other, generator=seeded(4)).points
    assert torch.equal(
        moved, sample(kernel, other, twice, 3, generator=seeded(4)).positions
    )
    torch.testing.assert_close(phase.state.energy, other.energy(moved).detach())
    phase.state = None
    again = phase(model, generator=seeded(2)).points
    assert torch.equal(again, sample(kernel, model, start, 3, generator=seeded(2))[0])


def test_the_stated_share_of_the_chains_begins_again():
    """A kernel that hardly moves shows which: a binomial count, within 4.5 sd."""
    n, share = 4000, 0.05
    kernel = RandomWalkMetropolis(1e-9, bounds=BOX)
    phase = PersistentNegatives(kernel, 1, SQUARE, n_chains=n, restart=share)
    model, generator = bent(), seeded()
    before = phase(model, generator=generator).points
    after = phase(model, generator=generator).points
    moved = int(((after - before).abs() > 1e-6).any(1).sum())
    assert abs(moved - n * share) < 4.5 * math.sqrt(n * share * (1 - share))
    assert after.abs().max() <= 1
    phase.restart = 1.0
    assert ((phase(model).points - after).abs() > 1e-6).any(1).all()


def test_tempered_chains_keep_all_their_replicas():
    kernel = ParallelTempering(MALA(0.2, bounds=BOX), (1.0, 3.0, 9.0))
    phase = PersistentNegatives(kernel, 2, SQUARE, n_chains=50, restart=0.1)
    phase.check_data(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="data must lie in the kernel's box"):
        phase.check_data(2 * torch.ones(3, 2))
    model, generator = bent(scale=5.0), seeded()
    phase(model, generator=generator)
    hot = phase.state.replicas[2].positions
    cold = phase(model, generator=generator).points
    assert torch.equal(cold, phase.state.replicas[0].positions)
    assert not torch.equal(hot, cold)


# Against closed forms and exact gradients


def gradient(model: EnergyModel) -> torch.Tensor:
    return torch.cat([p.grad.ravel() for p in model.parameters()])


def test_contrastive_gradient_by_hand():
    """One step of CD-1 on a spring, with the same random numbers written out."""
    data = torch.randn(30, 2, dtype=torch.float64, generator=seeded(1)) / 4
    step, stiffness = 0.1, 2.0
    kernel = Langevin(step)
    for batch in (None, 8):
        model, generator = Spring(stiffness), seeded(7)
        phase = ContrastiveNegatives(kernel, 1)
        fit(model, data, phase, 1, batch_size=batch, generator=generator)
        generator = seeded(7)
        start = data
        if batch is not None:
            start = data[torch.randint(30, (batch,), generator=generator)]
        noise = torch.randn(start.shape, dtype=torch.float64, generator=generator)
        end = start * (1 - step**2 / 2 * stiffness) + step * noise
        wanted = (start.square().sum(1).mean() - end.square().sum(1).mean()) / 2
        assert float(model.stiffness.grad) == pytest.approx(float(wanted), abs=1e-14)


def test_persistent_chains_reach_the_gradient_of_the_grid():
    """MALA leaves the model's law exact: the mean gradient is the grid's.

    Within 4.5 standard errors, from batches of chains that are independent.
    """
    data = (torch.rand(200, 1, generator=seeded(1)).double() * 1.6 - 0.8) ** 3
    model = TiltedEnergy(bent(scale=0.5, dim=1).network.double())
    exact = copy.deepcopy(model)
    fit(exact, data, GridNegatives(Grid(bins=2000, dim=1)), 1)
    line = Independent(Uniform(-torch.ones(1), torch.ones(1)), 1)
    gradients = []
    for seed in range(12):
        phase = PersistentNegatives(MALA(0.4, bounds=BOX), 80, line, n_chains=500)
        some, generator = copy.deepcopy(model), seeded(seed)
        phase(some, generator=generator)
        fit(some, data, phase, 1, generator=generator)
        gradients.append(gradient(some))
    values = torch.stack(gradients)
    error = values.mean(0) - gradient(exact)
    spread = values.std(0) / math.sqrt(len(values))
    assert (error.abs() <= 4.5 * spread + 1e-6).all(), error / spread
    assert (gradient(exact).norm() > 50 * spread.norm()).all()  # it would be seen


def law_variance(stiffness: float, step: float, n_steps: int, start: float) -> float:
    """Variance of an autoregression after some steps: a geometric sum."""
    ratio = (1 - step**2 / 2 * stiffness) ** 2
    return ratio**n_steps * start + step**2 * (1 - ratio**n_steps) / (1 - ratio)


def test_short_run_learning_fits_the_law_of_its_last_step_and_nothing_else():
    """On a spring the end of learning is known: the K-step variance is the data's.

    The stiffness then solves a scalar equation, and is far from 1 / variance.
    """
    step, n_steps, start, wanted = 0.2, 5, 1.0, 0.25
    data = torch.randn(4000, 1, dtype=torch.float64, generator=seeded())
    data = data * math.sqrt(wanted) / data.square().mean().sqrt()
    root = optimize.brentq(
        lambda k: law_variance(k, step, n_steps, start) - wanted, 0.1, 1 / step**2
    )
    assert root > 1.5 / wanted
    line = Independent(Normal(torch.zeros(1), torch.ones(1)), 1)
    phase = ShortRunNegatives(Langevin(step), n_steps, line, n_chains=1000)
    model = Spring(4.0)
    record = {"stiffness": lambda model, _: model.stiffness.item()}
    options = {"schedule": "constant", "callbacks": record, "record_every": 1}
    history = fit(model, data, phase, 700, lr=0.1, generator=seeded(1), **options)
    late = torch.tensor(history.records["stiffness"][-500:])
    late = late.reshape(10, 50).mean(1)  # blocks, nearly independent
    error = float(late.mean()) - root
    assert abs(error) < 4.5 * float(late.std()) / math.sqrt(len(late)), (error, root)


# What cannot be


def test_a_phase_that_fails_leaves_the_last_good_parameters():
    class Wild(Spring):
        def energy(self, x):
            return super().energy(x) * (1 if self.stiffness.item() > -1 else math.nan)

    model = Wild(0.0)
    data = torch.ones(5, 1, dtype=torch.float64)
    phase = ShortRunNegatives(Langevin(0.1), 2, torch.zeros(5, 1))
    with pytest.raises(TrainingDiverged, match=r"negative phase .* step 1 of 2") as e:
        fit(model, data, phase, 50, lr=0.4, schedule="constant")
    assert -1 < float(model.stiffness.detach()) < -0.5
    assert e.value.history.n_steps == 3
    assert e.value.history.optimizer_state == {}


def test_a_penalty_is_minimised_too_and_not_reported():
    data = torch.ones(6, 1, dtype=torch.float64)
    phase = ShortRunNegatives(Langevin(0.1), 1, torch.zeros(4, 1))

    def ridge(model, points, negative):
        assert points.shape == (6, 1)
        assert negative.points.shape == (4, 1)
        return 3 * model.stiffness.square()

    plain, ridged = Spring(2.0), Spring(2.0)
    before = fit(plain, data, phase, 1, generator=seeded())
    after = fit(ridged, data, phase, 1, generator=seeded(), penalty=ridge)
    assert before.loss == after.loss
    gap = float(ridged.stiffness.grad - plain.stiffness.grad)
    assert gap == pytest.approx(12, abs=1e-12)
    with pytest.raises(ValueError, match="penalty needs points, got data_term='cells'"):
        fit(
            bent(), torch.zeros(3, 2), GridNegatives(Grid(bins=4)), 1,
            data_term="cells", penalty=ridge,
        )  # fmt: skip


def test_errors():
    model, start = bent(), torch.zeros(3, 2)
    with pytest.raises(TypeError, match="kernel must be a kernel, such as"):
        ShortRunNegatives("langevin", 5, start)
    with pytest.raises(ValueError, match="n_steps must be"):
        ContrastiveNegatives(KERNEL, 0)
    with pytest.raises(ValueError, match="n_chains must be"):
        ShortRunNegatives(KERNEL, 5, SQUARE, n_chains=0)
    with pytest.raises(ValueError, match=r"initial must have shape \(n, d\)"):
        PersistentNegatives(KERNEL, 5, torch.zeros(3))
    with pytest.raises(TypeError, match=r"initial must be a torch\.distributions"):
        PersistentNegatives(KERNEL, 5, "uniform")
    with pytest.raises(ValueError, match=r"restart must be between 0\.0 and 1\.0"):
        PersistentNegatives(KERNEL, 5, start, restart=1.5)
    outside = torch.tensor([[0.0, 0.0], [0.0, 1.5]])
    with pytest.raises(ValueError, match="1 points outside it, the first in row 1"):
        fit(model, outside, ContrastiveNegatives(KERNEL, 2), 1)
    with pytest.raises(ValueError, match="use data_term='points'"):
        fit(model, start, ContrastiveNegatives(KERNEL, 2), 1, data_term="cells")
