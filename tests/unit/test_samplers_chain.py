"""The loop over kernels: bookkeeping, reproducibility and every error."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.grid import Grid
from ebmlib.samplers import (
    HMC,
    MALA,
    Gibbs,
    Langevin,
    ParallelTempering,
    RandomWalkMetropolis,
    leapfrog,
    sample,
)

KERNELS = [
    RandomWalkMetropolis(0.5),
    Gibbs(Grid(bins=20)),
    Langevin(0.2, bounds=(-1.0, 1.0)),
    MALA(0.3),
    HMC(0.2, n_leapfrog=3),
    ParallelTempering(RandomWalkMetropolis(0.5), (1.0, 2.0, 3.0)),
]


def normal(x: torch.Tensor) -> torch.Tensor:
    return 4 * x.square().sum(1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def start(n: int = 30) -> torch.Tensor:
    return torch.rand(n, 2, generator=seeded(42)) - 0.5


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_reproducible_and_deaf_to_the_global_seed(kernel):
    torch.manual_seed(0)
    first = sample(kernel, normal, start(), 20, generator=seeded(1))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = sample(kernel, normal, start(), 20, generator=seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
    other = sample(kernel, normal, start(), 20, generator=seeded(2))
    assert torch.equal(first.positions, second.positions)
    assert not torch.equal(first.positions, other.positions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_shapes_dtypes_and_cached_values(kernel, dtype):
    initial = start().to(dtype)
    kept = initial.clone()
    drawn = sample(kernel, normal, initial, 7, trajectory=True, generator=seeded())
    assert torch.equal(initial, kept)  # the start is not written to
    assert drawn.positions.shape == (30, 2)
    assert drawn.positions.dtype == drawn.trajectory.dtype == dtype
    assert drawn.trajectory.shape == (7, 30, 2)
    assert drawn.energies.shape == (7, 30)
    assert drawn.acceptance.shape == (30,)
    assert torch.equal(drawn.trajectory[-1], drawn.positions)
    assert torch.equal(drawn.energies[-1], drawn.energy)
    assert not drawn.positions.requires_grad
    if not isinstance(kernel, Gibbs):  # which knows the energy at the centres only
        at_trajectory = normal(drawn.trajectory.reshape(-1, 2)).reshape(7, 30)
        torch.testing.assert_close(drawn.energies, at_trajectory)


@pytest.mark.parametrize("kernel", [Langevin(0.3), MALA(0.3), HMC(0.2)])
def test_the_cached_gradient_is_that_of_the_positions(kernel):
    state = kernel.init(start(), normal)
    for _ in range(5):
        state = kernel.step(state, normal, generator=seeded())
        torch.testing.assert_close(state.gradient, 8 * state.positions)


def test_burn_in_and_thinning_are_slices_of_the_whole_way():
    kernel = RandomWalkMetropolis(0.5)
    whole = sample(kernel, normal, start(), 30, trajectory=True, generator=seeded())
    late = sample(
        kernel,
        normal,
        start(),
        20,
        burn_in=10,
        thin=6,
        trajectory=True,
        generator=seeded(),
    )
    assert torch.equal(late.trajectory, whole.trajectory[[15, 21, 27]])
    assert torch.equal(late.energies, whole.energies[[15, 21, 27]])
    assert torch.equal(late.positions, whole.positions)
    moved = (whole.trajectory[10:] != whole.trajectory[9:-1]).any(2).double().mean(0)
    torch.testing.assert_close(late.acceptance, moved)


def test_without_a_trajectory_there_is_none():
    drawn = sample(MALA(0.3), normal, start(), 4)
    assert drawn.trajectory is None
    assert drawn.energies is None
    assert drawn.swap_rates is None
    rare = sample(MALA(0.3), normal, start(), 4, thin=5, trajectory=True)
    assert rare.trajectory.shape == (0, 30, 2)


def test_steps_by_hand_are_the_steps_of_sample():
    kernel, generator = MALA(0.4), seeded(3)
    state = kernel.init(start(), normal)
    for _ in range(5):
        state = kernel.step(state, normal, generator=generator)
    drawn = sample(kernel, normal, start(), 5, generator=seeded(3))
    assert torch.equal(state.positions, drawn.positions)


def test_a_model_keeps_its_parameters_and_learns_on():
    model = TiltedEnergy(mlp([2, 8, 1], init="torch", generator=seeded()))
    model.network[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    drawn = sample(Langevin(0.1), model, start(), 3, generator=seeded())
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
    broken = copy.deepcopy(model)
    torch.nn.init.constant_(broken.network[-1].weight, math.nan)
    with pytest.raises(FloatingPointError, match="last finite parameters"):
        sample(Langevin(0.1), broken, start(), 3)
    assert [p.requires_grad for p in broken.parameters()] == before
    # inside no_grad, as in an evaluation loop, the answer is the same
    with torch.no_grad():
        again = sample(Langevin(0.1), model, start(), 3, generator=seeded())
    assert torch.equal(drawn.positions, again.positions)


def test_a_progress_bar_only_when_asked(capfd):
    sample(MALA(0.3), normal, start(), 3)
    assert capfd.readouterr().err == ""
    sample(MALA(0.3), normal, start(), 3, progress=True)
    assert "sample" in capfd.readouterr().err


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_nan_energies_name_the_step(kernel):
    calls = 0

    def fails_later(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return normal(x) + (math.nan if calls > 20 else 0.0)

    with pytest.raises(FloatingPointError, match=r"step \d+ of 100: energy is NaN at"):
        sample(kernel, fails_later, start(), 60, burn_in=40, generator=seeded())


def test_a_diverging_chain_says_what_to_try():
    def quartic(x: torch.Tensor) -> torch.Tensor:
        return 50 * x.pow(4).sum(1)

    with pytest.raises(FloatingPointError, match=r"step \d+ of 200: .*smaller step"):
        sample(Langevin(1.0), quartic, start() + 2, 200, generator=seeded())
    # the kernels that can reject stay finite
    assert sample(MALA(1.0), quartic, start() + 2, 200).positions.isfinite().all()


def test_a_gradient_that_is_not_finite():
    def cusp(x: torch.Tensor) -> torch.Tensor:
        return x.square().sum(1).sqrt()

    with pytest.raises(
        FloatingPointError, match=r"gradient .* at 1 of 2 .*\[0.0, 0.0\]"
    ):
        MALA(0.1).init(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), cusp)


@pytest.mark.parametrize("kind", [RandomWalkMetropolis, Langevin, MALA, HMC])
def test_bad_parameters(kind):
    for value in (0, -0.1):
        with pytest.raises(ValueError, match="step_size must be positive"):
            kind(value)
        with pytest.raises(ValueError, match="temperature must be positive"):
            kind(0.1, temperature=value)
    with pytest.raises(TypeError, match="step_size must be a real number"):
        kind("0.1")
    with pytest.raises(TypeError, match="bounds must be None or a pair"):
        kind(0.1, bounds=1.0)
    with pytest.raises(ValueError, match="must be below"):
        kind(0.1, bounds=(1.0, -1.0))
    with pytest.raises(ValueError, match="Did you mean 'reflect'"):
        kind(0.1, bounds=(-1.0, 1.0), boundary="reflekt")
    with pytest.raises(ValueError, match=r"box \[-1.0, 1.0\].*1 points.*row 1"):
        kind(0.1, bounds=(-1.0, 1.0)).init(torch.tensor([[0.0], [2.0]]), normal)


def test_bad_parameters_of_single_kernels():
    with pytest.raises(ValueError, match="n_leapfrog must be at least 1"):
        HMC(0.1, n_leapfrog=0)
    with pytest.raises(TypeError, match="grid must be a Grid"):
        Gibbs(200)
    with pytest.raises(ValueError, match="temperature must be positive"):
        Gibbs(Grid(bins=5), temperature=-1.0)
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        Gibbs(Grid(bins=5)).init(torch.zeros(3, 1), normal)
    with pytest.raises(ValueError, match="two rising numbers"):
        ParallelTempering(MALA(0.1), (1.0,))
    with pytest.raises(ValueError, match="two rising numbers"):
        ParallelTempering(MALA(0.1), (2.0, 1.0))
    with pytest.raises(ValueError, match="temperatures must be positive"):
        ParallelTempering(MALA(0.1), (0.0, 1.0))
    with pytest.raises(TypeError, match="kernel with a temperature"):
        ParallelTempering("mala", (1.0, 2.0))


def test_bad_arguments_of_sample():
    kernel = MALA(0.1)
    for name, value in (("n_steps", 0), ("n_steps", -3), ("burn_in", -1), ("thin", 0)):
        arguments = {"n_steps": 5, name: value}
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            sample(kernel, normal, start(), **arguments)
    with pytest.raises(TypeError, match="n_steps must be an integer"):
        sample(kernel, normal, start(), 2.5)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        sample(kernel, normal, start(), 2, generator=0)
    with pytest.raises(TypeError, match="kernel must have init and step"):
        sample("mala", normal, start(), 2)
    with pytest.raises(ValueError, match=r"positions must have shape \(n, d\)"):
        sample(kernel, normal, torch.zeros(3), 2)
    with pytest.raises(ValueError, match="positions is empty"):
        sample(kernel, normal, torch.zeros(0, 2), 2)
    with pytest.raises(FloatingPointError, match="positions must be finite"):
        sample(kernel, normal, torch.full((2, 2), math.nan), 2)


def test_bad_energies():
    kernel = MALA(0.1)
    with pytest.raises(ValueError, match=r"shape \(30,\).*got \(30, 1\); squeeze"):
        sample(kernel, lambda x: normal(x)[:, None], start(), 2)
    with pytest.raises(TypeError, match=r"energy\(x\) must be a torch.Tensor"):
        sample(kernel, lambda x: 1.0, start(), 2)
    with pytest.raises(ValueError, match="differentiable in x"):
        sample(kernel, lambda x: normal(x.detach()), start(), 2)
    with pytest.raises(ValueError, match=r"finite energy, got \+inf at 30 of 30"):
        sample(RandomWalkMetropolis(0.1), lambda x: normal(x) + math.inf, start(), 2)
    with pytest.raises(FloatingPointError, match="-inf at 30"):
        sample(RandomWalkMetropolis(0.1), lambda x: normal(x) - math.inf, start(), 2)


def test_a_state_without_gradient_is_refused():
    state = RandomWalkMetropolis(0.1).init(start(), normal)
    with pytest.raises(ValueError, match="state must hold a gradient"):
        Langevin(0.1).step(state, normal)
    with pytest.raises(ValueError, match="state must hold a gradient"):
        leapfrog(state, start(), normal, step_size=0.1, n_leapfrog=2)
