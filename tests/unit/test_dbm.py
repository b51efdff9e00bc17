"""Deep Boltzmann machines: exact quantities against plain enumeration, the bound."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from ebmlib.dbm import DBM, Layers, load_dbms, save_dbms
from ebmlib.dbm._train import Twins

EXACT = {"rtol": 0, "atol": 1e-10}
SIZES = [(3, 5, 2), (3, 2, 6), (2, 8, 1), (1, 1, 1)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def machine(sizes: tuple[int, int, int], seed: int = 0, sd: float = 1.0) -> DBM:
    """Random weights and biases, float64."""
    generator = seeded(seed)
    model = DBM(*sizes, sd=sd, generator=generator).double()
    with torch.no_grad():
        for bias in (model.visible_bias, model.hidden1_bias, model.hidden2_bias):
            bias.normal_(0, 1, generator=generator)
    return model


def states(count: int) -> Tensor:
    rows = list(itertools.product([0.0, 1.0], repeat=count))
    return torch.tensor(rows, dtype=torch.float64)


def all_layers(model: DBM) -> Layers:
    """Every joint state, 2 ** (all units) rows."""
    return Layers(*states(sum(model.sizes)).split(list(model.sizes), 1))


def brute_log_partition(model: DBM) -> Tensor:
    return torch.logsumexp(-model.energy(*all_layers(model)), 0)


def brute_log_prob(model: DBM, visible: Tensor) -> Tensor:
    """log p(v), from the energies of all hidden states, one visible row at a time."""
    hidden = states(sum(model.sizes[1:])).split(list(model.sizes[1:]), 1)
    sums = [
        torch.logsumexp(-model.energy(v.expand(len(hidden[0]), -1), *hidden), 0)
        for v in visible
    ]
    return torch.stack(sums) - brute_log_partition(model)


def bars_and_stripes() -> Tensor:
    rows = ["0000", "1111", "1100", "0011", "1010", "0101"]
    return torch.tensor([[float(c) for c in row] for row in rows])


def test_energy_by_hand() -> None:
    model = DBM(2, 1, 2, sd=0.0)
    with torch.no_grad():
        model.weight1.copy_(torch.tensor([[2.0, -1.0]]))
        model.weight2.copy_(torch.tensor([[0.5], [4.0]]))
        model.visible_bias.copy_(torch.tensor([1.0, 10.0]))
        model.hidden1_bias.fill_(100.0)
        model.hidden2_bias.copy_(torch.tensor([1000.0, 0.0]))
    one = torch.ones(1, 1)
    energy = model.energy(torch.tensor([[1.0, 0.0]]), one, torch.tensor([[1.0, 0.0]]))
    assert energy.item() == -(1 + 100 + 1000 + 2 + 0.5)
    assert model.n_parameters == 2 + 2 + 2 + 1 + 2


@pytest.mark.parametrize("sizes", SIZES)
def test_exact_quantities_are_those_of_plain_enumeration(sizes) -> None:
    model = machine(sizes)
    with torch.no_grad():
        log_z = brute_log_partition(model)
        assert model.log_partition() == pytest.approx(float(log_z), abs=1e-10)
        visible = states(sizes[0])
        expected = brute_log_prob(model, visible)
        torch.testing.assert_close(model.log_likelihood(visible), expected, **EXACT)
        total = model.log_likelihood(visible).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-12)


def test_4_16_4_from_either_side() -> None:
    """The first hidden layer listed, the two others summed, and the other way round."""
    model = machine((4, 16, 4))
    with torch.no_grad():
        v, h2 = states(8).split([4, 4], 1)
        drive = model.hidden1_bias + v @ model.weight1.T + h2 @ model.weight2
        mass = v @ model.visible_bias + h2 @ model.hidden2_bias
        mass = mass + torch.log1p(drive.exp()).sum(1)
        other_side = float(torch.logsumexp(mass, 0))
        h1 = states(16)
        below = torch.log1p((model.visible_bias + h1 @ model.weight1).exp()).sum(1)
        above = torch.log1p((model.hidden2_bias + h1 @ model.weight2.T).exp()).sum(1)
        mass = h1 @ model.hidden1_bias + below + above
        assert model.log_partition() == pytest.approx(other_side, abs=1e-10)
        assert float(torch.logsumexp(mass, 0)) == pytest.approx(other_side, abs=1e-10)
        patterns = bars_and_stripes().double()
        total = model.log_likelihood(states(4)).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-12)
        assert model.log_likelihood(patterns).max() < 0


def test_a_machine_too_large_is_refused_in_words() -> None:
    model = DBM(30, 25, 30, generator=seeded())
    with pytest.raises(ValueError, match=r"at most 22 units.*has 25.*ais"):
        model.log_partition()


@pytest.mark.parametrize("sizes", [(3, 4, 2), (2, 3, 4)])
def test_the_gradient_is_data_minus_model(sizes) -> None:
    """Automatic differentiation against expectations over all joint states."""
    model = machine(sizes, seed=1)
    data = states(sizes[0])[:3]
    model.log_likelihood(data).mean().backward()
    layers = all_layers(model)
    with torch.no_grad():
        minus = -model.energy(*layers)
        under_model = torch.softmax(minus, 0)
        rows = (layers.visible[:, None] == data).all(2)
        per_row = torch.softmax(
            torch.where(rows, minus[:, None], torch.tensor(-math.inf).double()), 0
        )
        weight = per_row.mean(1) - under_model
        v, h1, h2 = layers
        expected = {
            "weight1": (h1 * weight[:, None]).T @ v,
            "weight2": (h2 * weight[:, None]).T @ h1,
            "visible_bias": weight @ v,
            "hidden1_bias": weight @ h1,
            "hidden2_bias": weight @ h2,
        }
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], **EXACT)


def test_posterior_means_and_conditionals() -> None:
    model, visible = machine((3, 4, 2), seed=2), states(3)
    h1, h2 = states(6).split([4, 2], 1)
    with torch.no_grad():
        for v, m1, m2 in zip(visible, *model.posterior_means(visible), strict=True):
            prob = torch.softmax(-model.energy(v.expand(64, -1), h1, h2), 0)
            torch.testing.assert_close(m1, prob @ h1, **EXACT)
            torch.testing.assert_close(m2, prob @ h2, **EXACT)
        # each conditional mean from a difference of energies: log-odds are linear
        layers = [x[:5] for x in all_layers(model)]
        means = (
            model.visible_mean(layers[1]),
            model.hidden1_mean(layers[0], layers[2]),
            model.hidden2_mean(layers[1]),
        )
        for which, mean in enumerate(means):
            for unit in range(mean.shape[1]):
                on, off = ([x.clone() for x in layers] for _ in range(2))
                on[which][:, unit], off[which][:, unit] = 1, 0
                odds = model.energy(*off) - model.energy(*on)
                torch.testing.assert_close(mean[:, unit], odds.sigmoid(), **EXACT)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sd=st.floats(0, 4),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)
def test_the_bound_is_below_by_the_divergence_of_the_mean_field(sd, seed, sizes):
    model, visible = machine(sizes, seed, sd), states(sizes[0])
    found = model.mean_field(visible, strict=False)
    h1, h2 = states(sum(sizes[1:])).split(list(sizes[1:]), 1)
    with torch.no_grad():
        gap = model.log_likelihood(visible) - model.bound(visible, mean_field=found)
        assert float(gap.min()) > -1e-10
        for v, m1, m2, size in zip(
            visible, found.hidden1, found.hidden2, gap, strict=True
        ):
            log_q = torch.xlogy(h1, m1) + torch.xlogy(1 - h1, 1 - m1)
            upper = torch.xlogy(h2, m2) + torch.xlogy(1 - h2, 1 - m2)
            log_q = log_q.sum(1) + upper.sum(1)
            minus = -model.energy(v.expand(len(h1), -1), h1, h2)
            log_posterior = torch.log_softmax(minus, 0)
            kl = (log_q.exp() * (log_q - log_posterior)).nan_to_num(0).sum()
            torch.testing.assert_close(size, kl, rtol=1e-9, atol=1e-9)


def test_the_mean_field_is_stationary_and_no_sweep_lowers_the_bound() -> None:
    model, visible = machine((4, 5, 3), seed=3, sd=1.5), states(4)

    def free(logits: Tensor) -> Tensor:
        """The bound without log Z, from its definition, as a function of logits."""
        m1, m2 = torch.sigmoid(logits).split([5, 3], 1)
        terms = -torch.special.entr(m1).sum() - torch.special.entr(1 - m1).sum()
        terms = terms - torch.special.entr(m2).sum() - torch.special.entr(1 - m2).sum()
        return -model.energy(visible, m1, m2).sum() - terms

    found = model.mean_field(visible, tolerance=1e-12)
    assert found.change <= 1e-12
    logits = torch.logit(torch.cat([found.hidden1, found.hidden2], 1))
    (slope,) = torch.autograd.grad(free(logits.requires_grad_(True)), logits)
    assert float(slope.abs().max()) < 1e-9
    moved = logits.detach() + 0.1
    (slope,) = torch.autograd.grad(free(moved.requires_grad_(True)), moved)
    assert float(slope.abs().max()) > 1e-3  # the check can fail

    start, bounds = torch.full((16, 3), 0.5).double(), []
    for sweeps in (1, 2, 4, 8, 16, 32):
        part = model.mean_field(visible, start=start, max_steps=sweeps, strict=False)
        bounds.append(model.bound(visible, mean_field=part))
    assert float(torch.stack(bounds).diff(dim=0).min()) > -1e-12


def test_a_mean_field_that_has_not_converged_is_refused() -> None:
    model = machine((4, 5, 3), seed=3, sd=1.5)
    with pytest.raises(FloatingPointError, match="not converged after 1 sweeps"):
        model.mean_field(states(4), max_steps=1)


def test_without_upper_weights_the_bound_is_the_likelihood() -> None:
    model, visible = machine((3, 4, 2)), states(3)
    with torch.no_grad():
        model.weight2.zero_()
        gap = model.log_likelihood(visible) - model.bound(visible)
        torch.testing.assert_close(gap, torch.zeros_like(gap), **EXACT)


def test_ais_holds_the_exact_value_within_its_interval() -> None:
    """100 runs at 95 %: fewer than 86 inside has probability 2e-4 at that level."""
    model = machine((4, 16, 4), sd=0.7)
    exact, generator = model.log_partition(), seeded()
    runs = [model.ais(50, 100, generator=generator) for _ in range(100)]
    inside = sum(low <= exact <= high for *_, (low, high) in [r[:3] for r in runs])
    assert binom.cdf(85, 100, 0.95) < 3e-4
    assert inside >= 86
    errors = torch.tensor([run.log_partition - exact for run in runs])
    assert errors.abs().max() < 0.5


def test_ais_in_both_directions_brackets() -> None:
    """Short ladders: mean log-weights below log Z upwards, above it downwards."""
    model, generator = machine((4, 10, 4), sd=1.5), seeded()
    exact = model.log_partition()
    up = model.ais(20, 2000, generator=generator)
    samples = model.sample_exact(2000, generator=generator).hidden1
    down = model.ais(20, 2000, reverse_from=samples, generator=generator)
    for run, sign in ((up, 1), (down, -1)):
        error = run.log_weights.std() / math.sqrt(2000)
        assert sign * float(exact - run.log_weights.mean()) > 5 * float(error)
        assert run.log_partition == pytest.approx(
            exact, abs=max(0.05, 4 * run.standard_error)
        )


def test_ais_takes_another_base() -> None:
    model = machine((3, 4, 2))
    base = torch.tensor([2.0, -1.0, 0.0]).double()
    exact = model.log_partition()
    value = model.log_partition(
        "ais", base=base, betas=200, n_chains=500, generator=seeded()
    )
    assert value == pytest.approx(exact, abs=0.1)
    with pytest.raises(ValueError, match=r"base must have shape \(3,\)"):
        model.ais(base=base[:2])


def test_gibbs_leaves_exact_samples_exact() -> None:
    """Frequencies of all 8 visible states, before and after; 5 standard errors."""
    model, generator, n = machine((3, 4, 2), seed=4), seeded(), 40_000
    prob = model.log_likelihood(states(3)).exp().detach()
    layers = model.sample_exact(n, generator=generator)
    error = 5 * (prob * (1 - prob) / n).sqrt()
    for steps in (0, 1, 3):
        moved = model.gibbs(layers, steps, generator=generator)
        code = (moved.visible @ torch.tensor([4.0, 2.0, 1.0]).double()).long()
        share = torch.bincount(code, minlength=8) / n
        assert ((share - prob).abs() < error).all()


def test_gibbs_with_a_clamped_layer_finds_the_posterior() -> None:
    model, generator, n = machine((3, 4, 2), seed=5), seeded(), 20_000
    visible = torch.tensor([[1.0, 0.0, 1.0]]).double()
    exact = model.posterior_means(visible)
    layers = model.random_states(n, generator=generator)
    layers = layers._replace(visible=visible.expand(n, -1))
    layers = model.gibbs(layers, 50, clamp=["visible"], generator=generator)
    assert (layers.visible == visible).all()
    for rows, mean in zip(layers[1:], exact, strict=True):
        assert float((rows.mean(0) - mean).abs().max()) < 5 * 0.5 / math.sqrt(n)


def twins(model: DBM) -> tuple[Twins, Twins]:
    """The two RBMs with doubled layers whose middle bias is the machine's."""
    parts = (p.detach() for p in model.parameters())
    weight1, weight2, b, c1, c2 = parts
    shift = torch.linspace(-1, 1, len(c1)).double()
    return Twins(weight1.T, b, c1 + shift), Twins(weight2, c2, c1 - shift)


def centre_log_prob(twin: Twins) -> Tensor:
    """log p(z) of the doubled layer's neighbour, from all joint states."""
    n_outer, n_centre = twin.weight.shape
    y1, y2, z = states(2 * n_outer + n_centre).split([n_outer, n_outer, n_centre], 1)
    mass = z @ twin.centre_bias
    for y in (y1, y2):
        mass = mass + y @ twin.outer_bias + ((y @ twin.weight) * z).sum(1)
    total = torch.logsumexp(mass.reshape(-1, 1 << n_centre), 0)
    return total - torch.logsumexp(total, 0)


def test_pretraining_composes_the_geometric_mean() -> None:
    """p(h1) of the machine is proportional to the root of p1(h1) p2(h1)."""
    model = machine((3, 4, 2), seed=6)
    first, second = twins(model)
    both = (centre_log_prob(first) + centre_log_prob(second)) / 2
    layers = all_layers(model)
    code = (layers.hidden1 @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long()
    mass = -model.energy(*layers).detach()
    exact = torch.stack([torch.logsumexp(mass[code == i], 0) for i in range(16)])
    torch.testing.assert_close(
        torch.log_softmax(exact, 0), torch.log_softmax(both, 0), **EXACT
    )


def test_an_upper_layer_that_mirrors_the_data_changes_nothing() -> None:
    """With W2 = W1', the visible law is that of one copy of the first twin RBM."""
    model = machine((3, 4, 3), seed=7)
    with torch.no_grad():
        model.weight2.copy_(model.weight1.T)
        model.hidden2_bias.copy_(model.visible_bias)
    first = Twins(model.weight1.detach().T, model.visible_bias, model.hidden1_bias)
    y1, y2, z = states(10).split([3, 3, 4], 1)
    mass = z @ first.centre_bias
    for y in (y1, y2):
        mass = mass + y @ first.outer_bias + ((y @ first.weight) * z).sum(1)
    log_p = torch.logsumexp(mass.detach().reshape(8, -1), 1)
    log_p = log_p - torch.logsumexp(log_p, 0)
    found = model.log_likelihood(states(3)).detach()
    torch.testing.assert_close(found, log_p, **EXACT)


def test_files_keep_the_machine(tmp_path) -> None:
    models = {"b": machine((3, 4, 2)), "a": DBM(2, 3, 1, generator=seeded())}
    save_dbms(tmp_path / "m.safetensors", models)
    before = torch.get_rng_state()
    again = load_dbms(tmp_path / "m.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert list(again) == ["a", "b"]
    for name, model in models.items():
        for old, new in zip(model.parameters(), again[name].parameters(), strict=True):
            assert old.dtype == new.dtype
            assert torch.equal(old, new)
    half = DBM(2, 3, 1, generator=seeded()).half()
    save_dbms(tmp_path / "h.safetensors", {"h": half})
    wide = load_dbms(tmp_path / "h.safetensors")["h"]
    assert torch.equal(wide.weight1, half.weight1.float())


def test_files_that_cannot_be(tmp_path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        save_dbms(tmp_path / "m", {})
    with pytest.raises(ValueError, match="without a slash"):
        save_dbms(tmp_path / "m", {"a/b": machine((1, 1, 1))})
    with pytest.raises(FileNotFoundError, match="no folder"):
        save_dbms(tmp_path / "none" / "m", {"a": machine((1, 1, 1))})
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_dbms(tmp_path / "m")
    (tmp_path / "bad").write_bytes(b"12345678901234567890")
    with pytest.raises(ValueError, match="not written by save_dbms"):
        load_dbms(tmp_path / "bad")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DBM(0, 1, 1), "n_visible must be at least 1"),
        (lambda: DBM(2, 1, 1, sd=-1.0), "sd must be zero or positive"),
        (lambda: DBM(2, 1, 1, data=torch.zeros(4, 3)), "data must have shape"),
        (lambda: DBM(2, 1, 1, data=torch.full((4, 2), 0.5)), "zeros and ones only"),
        (
            lambda: DBM(2, 1, 1).log_partition("exat"),
            "Did you mean 'exact'",
        ),
        (
            lambda: DBM(2, 1, 1).gibbs(DBM(2, 1, 1).random_states(3), clamp=["h1"]),
            "unknown clamp 'h1'",
        ),
        (lambda: DBM(2, 1, 1).mean_field(torch.zeros(3, 3)), "visible must have"),
        (
            lambda: DBM(2, 1, 1).ais(reverse_from=torch.zeros(3, 1)),
            "n_chains=100 rows, got 3",
        ),
    ],
)
def test_bad_arguments(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_exact_log_partition_takes_no_options() -> None:
    with pytest.raises(TypeError, match="takes no options"):
        DBM(2, 1, 1).log_partition(betas=3)
