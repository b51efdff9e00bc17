"""Restricted Boltzmann machines: energies and exact quantities, by enumeration."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ebmlib.energy import energy_of
from ebmlib.fit import fit as fit_energy
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import Negatives
from ebmlib.rbm import BernoulliRBM, GaussianRBM
from ebmlib.rbm import _exact as exact
from ebmlib.rbm import _reconstruct as inference

DOUBLE = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def machine(n_visible=6, n_hidden=5, seed=0, sd=1.0, kind=BernoulliRBM, **options):
    """A machine with biases and weights of some size, in float64."""
    g = seeded(seed)
    model = kind(
        n_visible, n_hidden, weight_sd=sd, dtype=DOUBLE, generator=g, **options
    )
    for bias in (model.visible_bias, model.hidden_bias, model.base_bias):
        bias.data.normal_(generator=g)
    return model


def every(n):
    """All states of n units, by another way than the library's."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=DOUBLE)


def joint_energies(model):
    """E(v, h) for every pair, by the definition: (2**n_visible, 2**n_hidden)."""
    v, h = every(model.n_visible), every(model.n_hidden)
    return -(
        (v @ model.visible_bias)[:, None]
        + h @ model.hidden_bias
        + v @ model.weight.T @ h.T
    )


def brute_log_partition(model):
    return torch.logsumexp(-joint_energies(model).flatten(), 0)


# --- energies and conditionals --------------------------------------------------------


def test_energy_of_a_joint_state_is_the_definition():
    model = machine()
    v, h = every(6), every(5)
    wanted = joint_energies(model)
    for i in (0, 17, 63):
        found = model.energy(v[i].expand(len(h), -1), h)
        torch.testing.assert_close(found, wanted[i])


def test_the_free_energy_sums_the_hidden_states_out():
    model = machine()
    wanted = -torch.logsumexp(-joint_energies(model), 1)
    torch.testing.assert_close(model.free_energy(every(6)), wanted)
    torch.testing.assert_close(energy_of(model, every(6)), wanted)


def test_conditionals_are_those_of_the_joint_distribution():
    model = machine()
    v, h = every(6), every(5)
    given_v = torch.softmax(-joint_energies(model), 1) @ h
    given_h = torch.softmax(-joint_energies(model), 0).T @ v
    torch.testing.assert_close(model.hidden_mean(v), given_v)
    torch.testing.assert_close(model.visible_mean(h), given_h)


def test_samples_of_the_conditionals_have_their_means():
    model, n = machine(), 4000
    v, h = every(6)[37], every(5)[11]
    hidden = model.sample_hidden(v.expand(n, -1), generator=seeded())
    visible = model.sample_visible(h.expand(n, -1), generator=seeded())
    for drawn, mean in (
        (hidden, model.hidden_mean(v[None])[0]),
        (visible, model.visible_mean(h[None])[0]),
    ):
        assert set(drawn.unique().tolist()) <= {0.0, 1.0}
        error = (drawn.mean(0) - mean).abs()
        assert bool((error <= 4.5 * (mean * (1 - mean) / n).sqrt()).all())


def test_gibbs_chains_leave_the_distribution_as_it_is():
    # from exact samples, three steps on: state frequencies within chi-squared
    model, n = machine(4, 3), 20_000
    v = model.gibbs(model.sample_exact(n, generator=seeded(1)), 3, generator=seeded(2))
    codes = (v @ torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=DOUBLE)).long()
    counts = codes.bincount(minlength=16).double()
    wanted = n * model.log_likelihood(every(4)).exp()
    chi2 = float(((counts - wanted).square() / wanted).sum())
    assert chi2 < 15 + 4.5 * math.sqrt(30)  # mean 15, variance 30


def test_gibbs_chains_forget_where_they_started():
    model, n = machine(4, 3, sd=0.5), 20_000
    start = torch.ones(n, 4, dtype=DOUBLE)
    mean = model.gibbs(start, 30, generator=seeded()).mean(0)
    wanted = torch.softmax(-model.free_energy(every(4)), 0) @ every(4)
    assert bool(((mean - wanted).abs() < 4.5 * 0.5 / math.sqrt(n)).all())
    assert torch.equal(model.gibbs(start, 0), start)


def test_gibbs_holds_known_units():
    model = machine()
    v = every(6)
    known = torch.tensor([True, False, True, True, False, True])
    moved = model.gibbs(v, 5, known=known, generator=seeded())
    assert torch.equal(moved[:, known], v[:, known])
    assert not torch.equal(moved, v)


# --- exact quantities -----------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 7), st.integers(1, 7), st.integers(0, 99), st.sampled_from([0.1, 2])
)
def test_log_partition_is_the_sum_over_all_pairs(n_visible, n_hidden, seed, sd):
    model = machine(n_visible, n_hidden, seed, sd)
    wanted = float(brute_log_partition(model).detach())
    assert model.log_partition() == pytest.approx(wanted, abs=1e-10)
    # from either side
    for masses in (model._hidden_log_masses(), model._visible_log_masses()):
        assert float(torch.logsumexp(masses, 0)) == pytest.approx(wanted, abs=1e-10)


def test_masses_of_hidden_states_are_in_the_order_of_the_states():
    model = machine(6, 5)
    torch.testing.assert_close(exact.states(5), every(5))
    wanted = torch.logsumexp(-joint_energies(model), 0)
    torch.testing.assert_close(model._hidden_log_masses(), wanted)


def test_weights_whose_exponentials_overflow_are_summed_all_the_same():
    model = machine(5, 4, sd=400.0)
    assert float(model.weight.detach().abs().max()) > 600
    wanted = float(brute_log_partition(model).detach())
    assert model.log_partition() == pytest.approx(wanted, rel=1e-13)


def test_blocks_and_threads_do_not_change_the_sum(monkeypatch):
    model = machine(5, 6)
    monkeypatch.setattr(exact, "BLOCK", 8)
    monkeypatch.setattr(exact, "LOG_MOST", 3.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    torch.testing.assert_close(
        model._hidden_log_masses(), torch.logsumexp(-joint_energies(model), 0)
    )


def test_moments_are_the_gradient_of_log_partition():
    model = machine()
    brute_log_partition(model).backward()
    hidden, visible, product = model.moments()
    torch.testing.assert_close(hidden, model.hidden_bias.grad)
    torch.testing.assert_close(visible, model.visible_bias.grad)
    torch.testing.assert_close(product, model.weight.grad)


def test_likelihoods_add_up_to_one():
    model = machine(6, 5)
    assert float(model.log_likelihood(every(6)).exp().sum()) == pytest.approx(1, 1e-12)
    shifted = model.log_likelihood(every(6), log_partition=0.0)
    torch.testing.assert_close(shifted, -model.free_energy(every(6)))


def test_pseudo_likelihood_is_the_product_of_the_conditionals(monkeypatch):
    model, v = machine(6, 5, sd=2.0), every(6)
    log_p = model.log_likelihood(v)
    wanted = torch.zeros(len(v), dtype=DOUBLE)
    for i in range(6):
        flipped = v.clone()
        flipped[:, i] = 1 - flipped[:, i]
        codes = (flipped @ 2.0 ** torch.arange(5, -1, -1).double()).long()
        wanted += log_p - torch.logaddexp(log_p, log_p[codes])
    torch.testing.assert_close(model.pseudo_log_likelihood(v), wanted)
    monkeypatch.setattr(exact, "BLOCK", 50)
    monkeypatch.setattr(exact, "LOG_MOST", 2.0)
    torch.testing.assert_close(model.pseudo_log_likelihood(v), wanted)


def test_pseudo_likelihood_is_the_likelihood_of_independent_pixels():
    model = machine(6, 5, sd=0.0)
    v = every(6)
    torch.testing.assert_close(model.pseudo_log_likelihood(v), model.log_likelihood(v))


def test_exact_samples_have_the_exact_moments():
    model, n = machine(6, 5), 20_000
    v = model.sample_exact(n, generator=seeded())
    wanted = model.moments().visible
    assert bool(((v.mean(0) - wanted).abs() < 4.5 * 0.5 / math.sqrt(n)).all())
    assert torch.equal(v, model.sample_exact(n, generator=seeded()))


def test_a_million_hidden_states():
    # ten of the twenty units do nothing, so that the answer is known from the others
    model = BernoulliRBM(784, 20, weight_sd=0.3, generator=seeded())
    with torch.no_grad():
        model.weight[10:] = 0
    small = BernoulliRBM(784, 10, generator=seeded())
    small.weight.data = model.weight.data[:10]
    log_z = model.log_partition()
    wanted = small.log_partition() + 10 * math.log(2)
    assert log_z == pytest.approx(wanted, abs=1e-9)


# --- annealed importance sampling -----------------------------------------------------


def test_ais_holds_the_exact_value_as_often_as_it_says():
    # 100 runs at 99 per cent: fewer than 95 hits has a chance of 0.3 per cent
    model = machine(8, 6, sd=0.8).float()
    wanted = model.log_partition()
    hits = 0
    for seed in range(100):
        low, high = model.ais(
            200, 100, confidence=0.99, generator=seeded(seed)
        ).interval
        hits += low <= wanted <= high
    assert hits >= 95


def test_forward_and_reverse_bracket_the_exact_value():
    # few rungs, far apart: forwards low on average, in reverse high
    model = machine(8, 6, sd=1.5)
    wanted = model.log_partition()
    up, down = [], []
    for seed in range(20):
        v = model.sample_exact(100, generator=seeded(seed))
        up.append(model.ais(5, 100, generator=seeded(seed)))
        down.append(model.ais(5, 100, reverse_from=v, generator=seeded(seed)))
    forwards = torch.stack([a.log_weights.mean() for a in up]).mean()
    backwards = torch.stack([a.log_weights.mean() for a in down]).mean()
    assert forwards < wanted < backwards


def test_reverse_ais_holds_the_exact_value():
    model = machine(8, 6, sd=0.5)
    v = model.sample_exact(400, generator=seeded(1))
    found = model.ais(300, 400, reverse_from=v, confidence=0.999, generator=seeded())
    assert found.interval[0] < model.log_partition() < found.interval[1]


def test_two_rungs_are_importance_sampling_from_the_base_rates():
    model = machine(5, 4, sd=0.3)
    found = model.ais(2, 50, generator=seeded(3))
    # v is what the base rates gave; the weight is the ratio of the two densities
    base = BernoulliRBM(5, 4, weight_sd=0, dtype=DOUBLE)
    base.visible_bias.data.copy_(model.base_bias)
    wanted = (
        -model.free_energy(found.samples)
        + base.free_energy(found.samples)
        + base.log_partition()
    )
    torch.testing.assert_close(found.log_weights, wanted.detach())
    assert model.log_partition("ais", betas=2, n_chains=50, generator=seeded(3)) == (
        found.log_partition
    )


# --- the unknown units given the known ones -------------------------------------------


def conditional(model, v, known):
    """Means of all units given the known ones, from the list of all states."""
    states = every(model.n_visible)
    fits = (states[:, None, known] == v[None, :, known]).all(-1).T
    log_p = model.log_likelihood(states).expand(len(v), -1)
    return torch.softmax(log_p.masked_fill(~fits, -math.inf), 1) @ states


KNOWN = torch.tensor([True, False, True, False, False, True])


def test_exact_reconstruction_is_the_conditional_mean():
    model, v = machine(), every(6)
    wanted = conditional(model, v, KNOWN)
    torch.testing.assert_close(model.reconstruct(v, KNOWN, method="exact"), wanted)
    # both ways to enumerate
    unknown = (~KNOWN).nonzero()[:, 0]
    part, inputs = model._subset(unknown), inference._known_input(model, v, KNOWN)
    for way in (inference._by_hidden, inference._by_unknown):
        with torch.no_grad():
            torch.testing.assert_close(way(part, inputs), wanted[:, unknown])


def test_each_row_may_have_a_mask_of_its_own():
    model, v = machine(), every(6)[20:23]
    masks = torch.stack([KNOWN, ~KNOWN, torch.ones(6, dtype=torch.bool)])
    found = model.reconstruct(v, masks, method="exact")
    for i in range(2):
        torch.testing.assert_close(
            found[i : i + 1], conditional(model, v, masks[i])[i : i + 1]
        )
    assert torch.equal(found[2], v[2])


def test_clamped_chains_converge_to_the_conditional_mean():
    model, v = machine(), every(6)[:8]
    found = model.reconstruct(v, KNOWN, n_steps=4000, generator=seeded())
    # correlated draws: the error of 4000 steps is that of some hundreds
    assert float((found - conditional(model, v, KNOWN)).abs().max()) < 0.05
    assert torch.equal(found[:, KNOWN], v[:, KNOWN])


def test_nothing_known_and_everything_known():
    model, v = machine(), every(6)[40:42]
    none, whole = torch.zeros(6, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    marginal = model.reconstruct(v, none, method="exact")
    torch.testing.assert_close(marginal, model.moments().visible.expand(2, -1))
    assert torch.equal(model.reconstruct(v, whole, generator=seeded()), v)


# --- Gaussian visible units -----------------------------------------------------------


def gaussian_machine(seed=0):
    sd = torch.tensor([0.2, 0.3])
    model = machine(2, 3, seed, kind=GaussianRBM, sd=1.5)
    model.noise_sd.copy_(sd)
    model.visible_bias.data.mul_(0.2)
    return model


def test_a_gaussian_machine_is_normalised_on_the_plane():
    # quadrature: the integrand is smooth and 0 at the border, so errors fall fast
    model = gaussian_machine()
    density = GridDensity(model, Grid(-5, 5, bins=500))
    assert float(density.log_partition) == pytest.approx(model.log_partition(), 1e-9)
    v = torch.randn(9, 2, dtype=DOUBLE, generator=seeded())
    torch.testing.assert_close(
        model.log_likelihood(v), -model.energy(v) - model.log_partition()
    )


def test_gaussian_moments_are_the_gradient_of_log_partition():
    model = gaussian_machine()
    h = every(3)
    mean = model.visible_bias + model.noise_sd * (h @ model.weight)
    log_z = torch.logsumexp(
        h @ model.hidden_bias
        + (mean / model.noise_sd).square().sum(1) / 2
        - (model.visible_bias / model.noise_sd).square().sum() / 2,
        0,
    )
    log_z.backward()
    found = model.moments()
    torch.testing.assert_close(found.hidden, model.hidden_bias.grad)
    torch.testing.assert_close(found.product, model.weight.grad)
    wanted = (found.visible - model.visible_bias / model.noise_sd) / model.noise_sd
    torch.testing.assert_close(wanted, model.visible_bias.grad)


def test_gaussian_samples_and_annealing_agree_with_the_exact_answers():
    model, n = gaussian_machine(), 20_000
    v = model.sample_exact(n, generator=seeded())
    moved = model.gibbs(v, 2, generator=seeded(1))
    wanted = model.moments().visible * model.noise_sd
    error = moved.std(0) / math.sqrt(n)
    assert bool(((moved.mean(0) - wanted).abs() < 4.5 * error).all())
    found = model.ais(500, 400, confidence=0.999, generator=seeded())
    assert found.interval[0] < model.log_partition() < found.interval[1]


def test_gaussian_reconstruction_is_the_conditional_mean():
    model = gaussian_machine()
    v = torch.tensor([[0.3, 9.0]], dtype=DOUBLE)
    known = torch.tensor([True, False])
    y = torch.linspace(-5, 5, 4001, dtype=DOUBLE)
    line = torch.stack([torch.full_like(y, 0.3), y], 1)
    wanted = torch.softmax(-model.energy(line).detach(), 0) @ y
    found = model.reconstruct(v, known, method="exact")
    assert float(found[0, 1]) == pytest.approx(float(wanted), abs=1e-9)
    chains = model.reconstruct(
        v.expand(200, -1), known, n_steps=200, generator=seeded()
    )
    assert float(chains[:, 1].mean()) == pytest.approx(float(wanted), abs=0.05)


# --- the one learning rule ------------------------------------------------------------


def test_the_machine_is_an_energy_like_any_other():
    """``fit`` of every chapter trains it too, with all states as negative points."""
    model, states = machine(4, 3), every(4)

    def all_states(model, *, generator=None):
        return Negatives(states, torch.softmax(-model.energy(states).detach(), 0))

    data = states[[0, 3, 12, 15]]
    before = float(model.log_likelihood(data).mean())
    fit_energy(model, data, all_states, 60, generator=seeded())
    after = float(model.log_likelihood(data).mean())
    assert before < after - 0.5
    assert after < -math.log(4) + 1e-12  # the best possible


# --- mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, kind, wrong",
    [
        (lambda m, v: BernoulliRBM(0, 3), ValueError, "n_visible must be at least 1"),
        (lambda m, v: BernoulliRBM(3, 2.0), TypeError, "n_hidden must be an integer"),
        (lambda m, v: GaussianRBM(3, 2, sd=0.0), ValueError, "sd must be positive"),
        (lambda m, v: GaussianRBM(3, 2, sd=math.nan), ValueError, "sd must be finite"),
        (
            lambda m, v: GaussianRBM(3, 2, sd=torch.ones(2)),
            ValueError,
            r"sd must be a number or have shape \(3,\)",
        ),
        (
            lambda m, v: m.free_energy(v[:, :4]),
            ValueError,
            r"v must have shape \(n, 6\)",
        ),
        (lambda m, v: m.free_energy(v.float()), TypeError, "v must have the dtype"),
        (lambda m, v: m.free_energy(v * 255), ValueError, "v must lie between 0 and 1"),
        (lambda m, v: m.free_energy(v * math.nan), ValueError, "v must be finite"),
        (lambda m, v: m.energy(v, v), ValueError, r"h must have shape \(n, 5\)"),
        (
            lambda m, v: m.energy(v, v[:3, :5]),
            ValueError,
            "v and h must have as many rows",
        ),
        (lambda m, v: m.log_partition("gibbs"), ValueError, "unknown method 'gibbs'"),
        (lambda m, v: m.log_partition(betas=3), TypeError, "takes no options"),
        (lambda m, v: m.ais([0, 0.5]), ValueError, "betas must rise from 0 to 1"),
        (lambda m, v: m.ais(9, 1), ValueError, "n_chains must be at least 2"),
        (
            lambda m, v: m.ais(9, 3, reverse_from=v),
            ValueError,
            "reverse_from must hold n_chains=3 rows",
        ),
        (
            lambda m, v: m.pseudo_log_likelihood(v * 0.5),
            ValueError,
            "zeros and ones only",
        ),
        (
            lambda m, v: m.reconstruct(v, torch.ones(6)),
            TypeError,
            "known must be a tensor of bool, got torch.float32",
        ),
        (lambda m, v: m.gibbs(v, known=[True]), TypeError, "of bool, got list"),
        (
            lambda m, v: m.gibbs(v, known=torch.ones(5).bool()),
            ValueError,
            "known must have shape",
        ),
        (lambda m, v: m.gibbs(v, -1), ValueError, "n_steps must be at least 0"),
        (lambda m, v: m.sample_exact(3, generator=1), TypeError, "torch.Generator"),
    ],
)
def test_mistakes_are_named(call, kind, wrong):
    with pytest.raises(kind, match=wrong):
        call(machine(), every(6))


@pytest.mark.parametrize(
    "call, most",
    [
        (lambda m: m.log_partition(), 28),
        (lambda m: m.moments(), 24),
        (lambda m: m.sample_exact(1), 24),
        (
            lambda m: m.reconstruct(
                torch.zeros(1, 40), torch.zeros(40).bool(), method="exact"
            ),
            20,
        ),
    ],
)
def test_what_is_too_large_to_enumerate_is_refused(call, most):
    with pytest.raises(ValueError, match=f"at most {most} .* got"):
        call(BernoulliRBM(40, 30, generator=seeded()))


def test_empty_batches_give_empty_answers():
    model, none = machine(), torch.zeros(0, 6, dtype=DOUBLE)
    assert model.log_likelihood(none).shape == (0,)
    assert model.pseudo_log_likelihood(none).shape == (0,)
    assert model.gibbs(none, 2).shape == (0, 6)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    model = machine(seed=3)
    model.gibbs(every(6), 3, generator=seeded())
    model.ais(10, 10, generator=seeded())
    model.sample_exact(5, generator=seeded())
    assert torch.equal(before, torch.get_rng_state())
