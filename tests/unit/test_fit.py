"""The one training loop: its gradient, its optimum, and what it does in trouble."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn
from torch.distributions import Independent, Uniform

from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.fit import SCHEDULES, TrainingDiverged, fit, fit_coarse_to_fine
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives, Negatives, PolygonNegatives

GRID = Grid(bins=12)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n=50, seed=0, dtype=torch.float64):
    return (torch.rand(n, 2, generator=seeded(seed), dtype=dtype) * 1.8 - 0.9) ** 3


def small(seed=0, dtype=torch.float64, prior=None, activation="tanh"):
    network = mlp([2, 6, 1], activation, init="torch", generator=seeded(seed))
    return TiltedEnergy(network.to(dtype), prior or gaussian())


def parameters(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def but_the_constant(model):
    """All parameters but the last bias, a constant that Z absorbs.

    Its gradient is rounding around 0, and Adam divides by the root mean square of that:
    the last bias walks at random, and the density does not notice.
    """
    return parameters(model)[:-1]


def gradient(model):
    return torch.cat([p.grad.ravel() for p in model.parameters()])


def negative_log_likelihood(model, data, grid):
    """Written out: mean energy plus the logarithm of the quadrature of exp(-E)."""
    total = torch.logsumexp(-model.energy(grid.points_as(data.dtype)), 0)
    return model.energy(data).mean() + total + math.log(grid.cell_volume)


# What is followed: the exact gradient, and the exact likelihood beside it


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.5)])
def test_one_step_sees_the_gradient_of_the_exact_likelihood(prior):
    data, model = points(), small()
    model.prior = prior
    exact = negative_log_likelihood(model, data, GRID)
    exact.backward()
    by_autograd, start = gradient(model).clone(), copy.deepcopy(model)
    history = fit(model, data, GridNegatives(GRID), 1)
    torch.testing.assert_close(gradient(model), by_autograd, atol=1e-10, rtol=0)
    assert history.loss[0] == pytest.approx(float(exact.detach()), abs=1e-12)
    assert history.grad_norm[0] == pytest.approx(float(by_autograd.norm()), rel=1e-12)
    # and central differences of the exact density: h**2 and eps / h below 1e-8
    weight, h = start.network[0].weight, 1e-5
    for row in range(3):
        values = []
        for sign in (1, -1):
            moved = copy.deepcopy(start)
            with torch.no_grad():
                moved.network[0].weight[row, 0] += sign * h
            values.append(-GridDensity(moved, GRID).log_likelihood(data))
        slope = (values[0] - values[1]) / (2 * h)
        theirs = float(by_autograd[: weight.numel()].reshape(weight.shape)[row, 0])
        assert slope == pytest.approx(theirs, abs=1e-8)


def test_the_loss_is_the_negative_log_likelihood_all_along():
    data, model = points(), small()
    exact = []

    def measure(model, step):
        exact.append(-GridDensity(model, GRID).log_likelihood(data))

    options = {"callbacks": {"nll": measure}, "record_every": 1}
    history = fit(model, data, GridNegatives(GRID), 20, **options)
    np.testing.assert_allclose(history.loss, exact[:-1], atol=1e-12)
    assert history.loss[-1] < history.loss[0]


def features(x):
    return torch.cat([x, x.square(), x[:, :1] * x[:, 1:]], dim=1)


class Features(nn.Module):
    def forward(self, x):
        return features(x)


def test_an_exponential_family_ends_where_its_moments_match():
    """Linear in its features, the likelihood is concave: one optimum, found by SciPy.

    There the expected features are the mean features of the data.
    """
    data, grid = points(), Grid(bins=16)
    linear = nn.Linear(5, 1, dtype=torch.float64)
    nn.init.zeros_(linear.weight), nn.init.zeros_(linear.bias)
    model = TiltedEnergy(nn.Sequential(Features(), linear))
    fit(model, data, GridNegatives(grid), 2500, lr=0.1)
    matched = GridDensity(model, grid).expectation(features)
    wanted = features(data).mean(0)
    torch.testing.assert_close(matched, wanted, atol=1e-6, rtol=0)

    table, mean = features(grid.points_as(torch.float64)).numpy(), wanted.numpy()

    def loss(w):
        values = table @ w
        top = values.max()
        mass = np.exp(values - top)
        slope = mass @ table / mass.sum() - mean
        return top + np.log(mass.sum()) - w @ mean, slope

    best = optimize.minimize(loss, np.zeros(5), jac=True, options={"gtol": 1e-9})
    assert linear.weight.detach().numpy()[0] == pytest.approx(best.x, abs=1e-3)
    # the loss is quadratic about its optimum: the parameters' error enters squared
    ours = loss(linear.weight.detach().numpy()[0])[0]
    assert ours == pytest.approx(best.fun, abs=1e-9)


# The data term


def test_cells_differ_from_points_by_no_more_than_the_stated_bound():
    data, model = points(200), small(activation="relu")
    model.prior = None
    first, last = (layer.weight for layer in (model.network[0], model.network[2]))
    lipschitz = (torch.linalg.matrix_norm(first, 2) * last.norm()).item()
    losses = {
        term: fit(copy.deepcopy(model), data, GridNegatives(GRID), 1, data_term=term)
        for term in ("points", "cells")
    }
    gap = abs(losses["cells"].loss[0] - losses["points"].loss[0])
    assert 0 < gap <= lipschitz * GRID.width * math.sqrt(2) / 2


def test_cells_and_points_agree_for_data_at_cell_centres():
    rows = torch.randint(144, (60,), generator=seeded())
    data, models, losses = GRID.points_as(torch.float64)[rows], [], []
    for term in ("points", "cells"):
        models.append(small())
        history = fit(models[-1], data, GridNegatives(GRID), 20, data_term=term)
        losses.append(history.loss)
    torch.testing.assert_close(*map(but_the_constant, models), atol=1e-10, rtol=0)
    np.testing.assert_allclose(*losses, atol=1e-11, rtol=0)


def test_minibatches_are_unbiased():
    """Mean over 400 batches within 4 of its standard errors, for every parameter."""
    data, start = points(30), small()
    full = copy.deepcopy(start)
    fit(full, data, GridNegatives(GRID), 1)
    drawn, generator, phase = [], seeded(1), GridNegatives(GRID)
    for _ in range(400):
        model = copy.deepcopy(start)
        fit(model, data, phase, 1, batch_size=4, generator=generator)
        drawn.append(gradient(model))
    drawn = torch.stack(drawn)
    error = drawn.std(0) / math.sqrt(400)
    assert bool(((drawn.mean(0) - gradient(full)).abs() <= 4 * error + 1e-12).all())


# Negative phases


def test_a_phase_that_gives_only_points_trains_the_same_model():
    """Up to rounding: only the reported loss lacks log Z."""

    def by_hand(model, *, generator=None):
        x = GRID.points_as(torch.float64)
        return Negatives(x, torch.softmax(-model.energy(x).detach(), 0))

    data, ours, theirs = points(), small(), small()
    exact = fit(ours, data, GridNegatives(GRID), 30)
    plain = fit(theirs, data, by_hand, 30)
    torch.testing.assert_close(
        but_the_constant(ours), but_the_constant(theirs), atol=1e-10, rtol=0
    )
    np.testing.assert_allclose(plain.grad_norm, exact.grad_norm, atol=1e-9)
    start = small()
    weights = GridDensity(start, GRID).prob
    energies = start.energy(GRID.points_as(torch.float64))
    difference = start.energy(data).mean() - weights @ energies
    assert plain.loss[0] == pytest.approx(difference.item(), abs=1e-12)


def test_the_generator_reaches_the_negative_phase_and_spares_the_global_one():
    seen = []

    def noisy(model, *, generator=None):
        seen.append(generator)
        x = torch.rand(20, 2, generator=generator, dtype=torch.float64)
        return Negatives(x, torch.full((20,), 0.05, dtype=torch.float64))

    before, runs = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        model = small()
        fit(model, points(), noisy, 5, batch_size=3, generator=seeded(seed))
        runs.append(parameters(model))
    fit(small(), points(), GridNegatives(GRID), 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(isinstance(g, torch.Generator) for g in seen)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


# Schedules, resuming, callbacks


def test_schedules():
    assert SCHEDULES["cosine"](0) == 1
    assert SCHEDULES["cosine"](0.5) == pytest.approx(0.5)
    assert SCHEDULES["cosine"](1) == pytest.approx(0)
    assert SCHEDULES["cosine"](2) == pytest.approx(0)
    data, model = points(), small()
    # Adam's first step has the length of the learning rate in every coordinate
    before = parameters(model)
    fit(model, data, GridNegatives(GRID), 1, lr=0.003, schedule="constant")
    moved = (parameters(model) - before).abs()
    assert moved.max().item() == pytest.approx(0.003, rel=1e-4)
    # at its horizon the cosine has come to rest
    rested = parameters(model)
    history = fit(small(), data, GridNegatives(GRID), 3)
    fit(model, data, GridNegatives(GRID), 2, horizon=3, resume=history)
    assert torch.equal(parameters(model), rested)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_a_run_cut_in_two_is_the_whole_run_bit_for_bit(dtype, batch_size):
    data = points(dtype=dtype)
    options = {"horizon": 100, "batch_size": batch_size, "betas": (0.8, 0.95)}
    whole, cut = small(dtype=dtype), small(dtype=dtype)
    one = fit(whole, data, GridNegatives(GRID), 100, generator=seeded(), **options)
    generator = seeded()
    two = fit(cut, data, GridNegatives(GRID), 50, generator=generator, **options)
    again = fit(
        cut, data, GridNegatives(GRID), 50, generator=generator, resume=two, **options
    )
    assert again is two
    assert torch.equal(parameters(whole), parameters(cut))
    assert one.loss == two.loss
    assert one.grad_norm == two.grad_norm
    assert two.n_steps == 100


def test_an_interrupted_run_goes_on_where_it_stopped():
    data, whole, cut = points(), small(), small()
    options = {"horizon": 30, "record_every": 10}
    wanted = fit(whole, data, GridNegatives(GRID), 30, **options)

    def interrupt(model, step):
        if step == 10:
            raise KeyboardInterrupt
        return step

    # a history of one's own is not lost with the call that was interrupted
    kept = fit(cut, data, GridNegatives(GRID), 5, **options)
    callbacks = {"stop": interrupt}
    with pytest.raises(KeyboardInterrupt):
        fit(
            cut, data, GridNegatives(GRID), 25,
            resume=kept, callbacks=callbacks, **options,
        )  # fmt: skip
    assert kept.n_steps == 10
    assert kept.recorded_steps == []
    fit(cut, data, GridNegatives(GRID), 20, resume=kept, **options)
    assert torch.equal(parameters(whole), parameters(cut))
    assert kept.loss == wanted.loss


def test_other_betas_take_effect_when_a_run_goes_on():
    data, models = points(), [small(), small()]
    for model, betas in zip(models, ((0.9, 0.99), (0.0, 0.99)), strict=True):
        history = fit(model, data, GridNegatives(GRID), 3)
        fit(model, data, GridNegatives(GRID), 2, resume=history, horizon=9, betas=betas)
    assert not torch.equal(*map(parameters, models))


def test_callbacks_run_before_the_first_step_at_every_tenth_and_after_the_last():
    data, model = points(), small()
    options = {"callbacks": {"step": lambda model, step: step, "one": lambda *_: 1}}
    history = fit(model, data, GridNegatives(GRID), 25, **options)
    assert history.recorded_steps == [0, 10, 20, 25]
    assert history.records == {"step": [0, 10, 20, 25], "one": [1, 1, 1, 1]}
    fit(model, data, GridNegatives(GRID), 6, resume=history, **options)
    assert history.records["step"] == [0, 10, 20, 25, 30, 31]
    assert history.seconds > 0
    fit(model, data, GridNegatives(GRID), 1, resume=history)
    assert history.recorded_steps[-1] == 31


def test_progress_is_shown_only_when_asked_for(capsys):
    fit(small(), points(), GridNegatives(GRID), 2)
    assert capsys.readouterr() == ("", "")
    fit(small(), points(), GridNegatives(GRID), 2, progress=True)
    assert "fit: 100%" in capsys.readouterr().err


def test_coarse_to_fine_is_two_fits_under_one_schedule():
    data, ours, theirs = points(), small(), small()
    grids = [Grid(bins=5), Grid(bins=9)]
    history = fit_coarse_to_fine(ours, data, grids, [7, 3], lr=0.02)
    options = {"data_term": "cells", "horizon": 10, "lr": 0.02}
    first = fit(theirs, data, GridNegatives(grids[0]), 7, **options)
    fit(theirs, data, GridNegatives(grids[1]), 3, resume=first, **options)
    assert torch.equal(parameters(ours), parameters(theirs))
    assert history.n_steps == 10
    before = parameters(ours)
    fit_coarse_to_fine(ours, data, grids, [2, 2], resume=history)
    assert history.n_steps == 14
    assert not torch.equal(parameters(ours), before)  # the schedule goes on to 14


def test_data_of_any_memory_layout_will_do():
    data = points()
    strided = torch.stack([data, data], dim=2)[:, :, 0]
    assert not strided.is_contiguous()
    models = [small(), small()]
    for model, x in zip(models, (data, strided), strict=True):
        fit(model, x, GridNegatives(GRID), 5)
    assert torch.equal(*map(parameters, models))
    assert not strided.requires_grad


def test_frozen_parameters_stay():
    model = small()
    model.network[0].requires_grad_(False)
    first, last = model.network[0].weight.clone(), model.network[2].weight.clone()
    fit(model, points(), GridNegatives(GRID), 3)
    assert torch.equal(model.network[0].weight, first)
    assert not torch.equal(model.network[2].weight, last)


# Trouble


class Flaky(TiltedEnergy):
    """Becomes NaN at one evaluation."""

    evaluations, fails_at = 0, 4

    def energy(self, x):
        self.evaluations += 1
        energy = super().energy(x)
        return energy * math.nan if self.evaluations == self.fails_at else energy


def test_divergence_keeps_the_last_good_state_and_the_run_can_go_on():
    data, model = points(), Flaky(small().network, gaussian())
    seen = []
    options = {
        "data_term": "cells",
        "callbacks": {"p": lambda model, step: seen.append(parameters(model))},
        "record_every": 1,
    }
    message = "loss is nan and its gradient norm nan at step 3; .* smaller lr"
    with pytest.raises(TrainingDiverged, match=message) as caught:
        fit(model, data, GridNegatives(GRID), 10, **options)
    history = caught.value.history
    assert isinstance(caught.value, FloatingPointError)
    assert history.n_steps == 3
    assert history.recorded_steps == [0, 1, 2, 3]
    # steps 0, 1, 2 were good; what the third update led to was not
    assert torch.equal(parameters(model), seen[2])
    assert np.isfinite(history.loss).all()
    fit(model, data, GridNegatives(GRID), 5, resume=history, **options)
    assert history.n_steps == 8
    assert history.loss[-1] < history.loss[0]


def test_too_large_a_step_is_caught_in_float32():
    data = points(dtype=torch.float32)
    model = small(dtype=torch.float32, activation="relu")
    start = parameters(model)
    with pytest.raises(TrainingDiverged) as caught:
        fit(model, data, GridNegatives(GRID), 10, lr=1e30)
    assert torch.equal(parameters(model), start)
    assert caught.value.history.n_steps == 1
    assert caught.value.history.optimizer_state == {}


def test_infinite_data_energy_is_caught_too():
    class Wall(EnergyModel):
        def __init__(self):
            super().__init__()
            self.height = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

        def energy(self, x):  # infinite at 0, which is no point of the grid
            return self.height / x.norm(dim=1)

    data = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(TrainingDiverged, match=r"loss is inf .* at step 0"):
        fit(Wall(), data, GridNegatives(GRID), 1)


HALF = Independent(Uniform(-torch.ones(2) / 2, torch.ones(2) / 2, False), 1, False)


def attempt(model=None, data=None, negatives=None, n_steps=1, **options):
    model = small() if model is None else model
    data = points() if data is None else data
    fit(model, data, negatives or GridNegatives(GRID), n_steps, **options)


def recorded(model=None):
    options = {"callbacks": {"kl": lambda *_: 0}}
    return fit(model or small(), points(), GridNegatives(GRID), 1, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
        ({"n_steps": 2.5}, TypeError, "n_steps must be an integer"),
        ({"record_every": 0}, ValueError, "record_every must be at least 1"),
        ({"lr": -1.0}, ValueError, "lr must be positive, got -1.0"),
        ({"horizon": 0}, ValueError, "horizon must be at least 1"),
        ({"schedule": "cosin"}, ValueError, "unknown schedule.*Did you mean 'cosine'"),
        ({"data_term": "cell"}, ValueError, "unknown data_term.*Did you mean 'cells'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"generator": 1}, TypeError, "generator must be a torch.Generator"),
        (
            {"batch_size": 5, "data_term": "cells"},
            ValueError,
            "batch_size must be None with data_term='cells', got 5",
        ),
        (
            {"data_term": "cells", "negatives": lambda model, generator: None},
            ValueError,
            "data_term='cells' needs the grid of GridNegatives, got .* function",
        ),
        ({"negatives": GRID}, TypeError, "negatives must be callable.*got Grid"),
        (
            {"model": nn.Linear(2, 1)},
            TypeError,
            "model must be an EnergyModel, got Lin",
        ),
        (
            {"model": TiltedEnergy(nn.Flatten())},
            ValueError,
            "model must have a parameter that requires a gradient",
        ),
        ({"betas": (0.9,)}, ValueError, "betas must be a pair of decay rates"),
        ({"callbacks": [print]}, TypeError, "callbacks must map names .* got list"),
        ({"resume": {}}, TypeError, "resume must be the History .* got dict"),
        (
            {"negatives": lambda model, generator: torch.zeros(3, 2).double()},
            TypeError,
            "negatives must return .*Negatives.* got Tensor",
        ),
        (
            {"negatives": lambda model, generator: Negatives(points(4), torch.ones(3))},
            ValueError,
            r"one weight a point: 4 points, weights of shape \(3,\)",
        ),
        ({"data": torch.zeros(0, 2)}, ValueError, "data is empty"),
        ({"data": torch.zeros(3)}, ValueError, r"data must have shape \(n, d\)"),
        ({"data": [[0.0, 0.0]]}, TypeError, "data must be a torch.Tensor, got list"),
        ({"data": torch.zeros(3, 2) / 0}, ValueError, "data must be finite"),
        ({"data": torch.ones(3, 2, dtype=int)}, TypeError, "data must have a floating"),
        (
            {"data": torch.zeros(3, 2)},
            TypeError,
            r"data must have the dtype and device of the model, torch.float64 on cpu, "
            r"got torch.float32 on cpu; convert with data.to\('cpu', torch.float64\)",
        ),
        ({"data": points() + 1}, ValueError, "data must lie in the box"),
        (
            {"data": points() + 1, "negatives": PolygonNegatives()},
            ValueError,
            r"data must lie in the box from \[-1.0, -1.0\] to \[1.0, 1.0\], got",
        ),
        (
            {"data": points(5) + 1, "data_term": "cells"},
            ValueError,
            "must lie in the b",
        ),
        ({"data": points()[:, :1]}, ValueError, r"must have shape \(n, 2\)"),
        (
            {"model": small(prior=HALF), "data": points() * 0},
            ValueError,
            "prior must be positive and finite at every point of training",
        ),
        (
            {"resume": recorded(), "callbacks": {"entropy": lambda *_: 0}},
            ValueError,
            r"callbacks must be none or those of the history to resume, \['kl'\], got",
        ),
    ],
)
def test_errors_name_the_argument(options, error, message):
    with pytest.raises(error, match=message):
        attempt(**options)


@pytest.mark.parametrize(("grids", "n_steps"), [([GRID], [1, 2]), ([], [])])
def test_coarse_to_fine_wants_steps_for_every_grid(grids, n_steps):
    with pytest.raises(
        ValueError, match="grids and n_steps must have one entry a stage"
    ):
        fit_coarse_to_fine(small(), points(), grids, n_steps)


@pytest.mark.parametrize("widths", [[2, 2, 1], [2, 64, 1], [2, 6, 6, 1], [2, 1]])
def test_the_history_of_another_network_is_refused(widths):
    """The fused optimiser trusts its state: another shape would corrupt memory."""
    history = fit(small(), points(), GridNegatives(GRID), 2)
    other = TiltedEnergy(mlp(widths, generator=seeded()).double(), gaussian())
    with pytest.raises(ValueError, match="resume must be the history of this model"):
        fit(other, points(), GridNegatives(GRID), 2, resume=history)


def test_stages_must_be_lists():
    with pytest.raises(TypeError, match="sequences with one entry a stage, got"):
        fit_coarse_to_fine(small(), points(), n_steps=100)


def test_the_bar_is_for_live_notebooks(monkeypatch):
    from ebmlib._progress import wants_bar

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    assert wants_bar(True)
    assert not wants_bar(False)
    assert not wants_bar(None)  # no notebook here

    class ZMQInteractiveShell:
        pass

    monkeypatch.setattr("IPython.get_ipython", ZMQInteractiveShell)
    assert wants_bar(None)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert not wants_bar(None)
