"""Learning a deep Boltzmann machine: the step itself, and what it reaches."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from ebmlib import images
from ebmlib.dbm import DBM, Layers, fit, pretrain
from ebmlib.dbm._train import _ascend

PATTERNS = ["0000", "1111", "1100", "0011", "1010", "0101"]
BARS = torch.tensor([[float(c) for c in row] for row in PATTERNS])
INDEPENDENT = -4 * math.log(2)  # each pixel a fair coin, nats a pattern
BEST = -math.log(6)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def states(count: int) -> Tensor:
    rows = list(itertools.product([0.0, 1.0], repeat=count))
    return torch.tensor(rows, dtype=torch.float64)


def random_layers(n: int, sizes: tuple[int, int, int], seed: int) -> Layers:
    generator = seeded(seed)
    return Layers(*(torch.rand(n, k, generator=generator).double() for k in sizes))


@pytest.mark.parametrize("centred", [False, True])
def test_a_step_is_the_gradient_of_the_centred_machine(centred) -> None:
    """The energy with shifted units, its gradient by automatic differentiation.

    The machine after the step and the centred one after the same step must give the
    same energy differences to all joint states.
    """
    sizes = (3, 4, 2)
    model = DBM(*sizes, sd=1.0, generator=seeded()).double()
    offsets = [torch.full((k,), 0.3 * centred).double() for k in sizes]
    positive, negative = random_layers(5, sizes, 1), random_layers(7, sizes, 2)
    w1, w2 = (w.detach().clone() for w in (model.weight1, model.weight2))
    b, c1, c2 = (p.detach() for p in list(model.parameters())[2:])
    at_v, at_1, at_2 = offsets
    # the same density in shifted units
    shifted = [w1, w2, b + at_1 @ w1, c1 + w1 @ at_v + at_2 @ w2, c2 + w2 @ at_1]
    shifted = [p.clone().requires_grad_(True) for p in shifted]

    def energy(parameters: list[Tensor], layers: Layers) -> Tensor:
        w1, w2, b, c1, c2 = parameters
        v, h1, h2 = (x - o for x, o in zip(layers, offsets, strict=True))
        pairs = ((v @ w1.T) * h1).sum(1) + ((h1 @ w2.T) * h2).sum(1)
        return -(v @ b + h1 @ c1 + h2 @ c2 + pairs)

    gain = energy(shifted, negative).mean() - energy(shifted, positive).mean()
    slopes = torch.autograd.grad(gain, shifted)
    after = [p.detach() + 0.1 * g for p, g in zip(shifted, slopes, strict=True)]
    _ascend(model, positive, negative, offsets, 0.1, 0.0)

    every = Layers(*states(9).split(list(sizes), 1))
    difference = model.energy(*every).detach() - energy(after, every)
    assert float(difference.std()) < 1e-12
    before = energy([p.detach() for p in shifted], every) - energy(after, every)
    assert float(before.std()) > 1e-3  # the step did something


@pytest.mark.parametrize("posterior", ["mean_field", "gibbs"])
def test_bars_and_stripes_are_learnt(posterior) -> None:
    """Best possible: log(1/6). Closer to it than to independent pixels."""
    generator = seeded()
    model = DBM(4, 16, 4, data=BARS, sd=0.3, generator=generator)
    kw = {"posterior": posterior, "posterior_steps": 5, "centred": False}
    fit(model, BARS, 800, lr=0.5, batch_size=6, generator=generator, **kw)
    reached = float(model.log_likelihood(BARS).mean().detach())
    assert (INDEPENDENT + BEST) / 2 < reached < BEST


def test_pretraining_beats_independent_pixels() -> None:
    data = images.load("digits").rows()
    before = DBM(64, 8, 6, data=data, sd=0.0)
    model = pretrain(data, 8, 6, 60, lr=0.1, generator=seeded())
    with torch.no_grad():
        gains = model.log_likelihood(data) - before.log_likelihood(data)
    assert float(gains.mean()) > 2
    assert float(model.weight2.detach().norm()) > 1  # the upper layer takes part


def test_weights_decay_without_a_gradient() -> None:
    model = DBM(3, 2, 2, sd=1.0, generator=seeded()).double()
    before = copy.deepcopy(model)
    layers = random_layers(4, (3, 2, 2), 1)
    _ascend(model, layers, layers, [torch.zeros(k).double() for k in (3, 2, 2)], 0.5, 1)
    torch.testing.assert_close(model.weight1, before.weight1 / 2)
    torch.testing.assert_close(model.hidden1_bias, before.hidden1_bias)


def test_runs_repeat_and_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        generator = seeded(3)
        model = pretrain(BARS, 3, 2, 4, batch_size=3, generator=generator)
        seen = fit(
            model,
            BARS,
            5,
            batch_size=4,
            schedule="constant",
            weight_decay=1e-3,
            callbacks={"norm": lambda m, e: (e, float(m.weight1.detach().norm()))},
            record_every=2,
            generator=generator,
        )
        assert seen.recorded_steps == [0, 2, 4, 5]
        results.append((seen.records["norm"], model.weight2.detach().clone()))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert torch.equal(state, torch.get_rng_state())


def test_divergence_is_told() -> None:
    model = DBM(4, 3, 2, data=BARS, generator=seeded())
    with pytest.raises(FloatingPointError, match="not finite"):
        fit(model, BARS, 3, lr=1e40, generator=seeded())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_epochs": 0}, "n_epochs must be at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"n_chains": 0}, "n_chains must be at least 1"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"posterior": "meanfield"}, "Did you mean 'mean_field'"),
        ({"posterior_steps": 0}, "posterior_steps must be at least 1"),
        ({"schedule": "cosine"}, "unknown schedule 'cosine'"),
        ({"weight_decay": -1.0}, "weight_decay must be zero or positive"),
        ({"record_every": 0}, "record_every must be at least 1"),
        ({"data": torch.full((3, 4), 0.5)}, "zeros and ones only"),
        ({"data": torch.zeros(3, 5)}, "data must have shape"),
    ],
)
def test_bad_arguments(options, message) -> None:
    arguments = {"data": BARS, "n_epochs": 1, **options}
    with pytest.raises(ValueError, match=message):
        fit(DBM(4, 2, 2), **arguments)


def test_a_seed_is_no_generator() -> None:
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        pretrain(BARS, 2, 2, 1, generator=3)
