"""Training restricted Boltzmann machines: the gradient, its bounds, what is shipped."""

import itertools
import json
import math
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM as SklearnRBM
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import ebmlib
from ebmlib import images
from ebmlib.rbm import (
    BernoulliRBM,
    GaussianRBM,
    RBMHistory,
    RBMTransformer,
    fit,
    load_rbms,
    save_rbms,
)
from ebmlib.rbm import _chains as chains

DOUBLE = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bars_and_stripes(n):
    """n x n images of bars, then of stripes: (2**(n + 1), n * n); two occur twice."""
    lines = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))
    bars = lines[:, None].expand(-1, n, -1).flatten(1)
    return torch.cat([bars, lines[:, :, None].expand(-1, -1, n).flatten(1)])


def machine(n_visible=6, n_hidden=4, seed=0, **options):
    return BernoulliRBM(
        n_visible, n_hidden, weight_sd=0.5, generator=seeded(seed), **options
    )


def some_data(n=40, d=6):
    return (torch.rand(n, d, generator=seeded(9)) < 0.4).float()


# --- the gradient ---------------------------------------------------------------------


def gradient(model, data):
    """Gradient of the mean log-likelihood, by enumeration and autograd."""
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    log_z = torch.logsumexp(-model.free_energy(states), 0)
    model.zero_grad()
    (-model.free_energy(data).mean() - log_z).backward()
    return [p.grad.clone() for p in model.parameters()]


def test_an_exact_update_follows_the_gradient_of_the_likelihood():
    model, data = machine(), some_data()
    before = [p.detach().clone() for p in model.parameters()]
    wanted = gradient(model, data)
    fit(model, data, 1, method="exact", centred=False, lr=0.1, base_rates=False)
    for old, new, grad in zip(before, model.parameters(), wanted, strict=True):
        # the mini-batch is the data: batch_size 100 is more than there are
        torch.testing.assert_close(new - old, 0.1 * grad, atol=1e-6, rtol=1e-4)


def test_a_centred_update_is_the_gradient_in_centred_parameters():
    """By autograd, from E = -(v - m).b - (h - l).c - (h - l).W (v - m)."""
    model, data = machine(), some_data()
    start = [p.detach().clone() for p in model.parameters()]
    moments = model.moments()
    hidden = model.hidden_mean(data).detach().mean(0)
    m = (data.mean(0) + moments.visible.float()) / 2
    l = (hidden + moments.hidden.float()) / 2  # noqa: E741
    w, b, c = start
    centred = [w.clone(), b + l @ w, c + w @ m]
    for p in centred:
        p.requires_grad_(True)
    plain = machine()

    def back(w, b, c):
        """Plain parameters of centred ones."""
        return {"weight": w, "visible_bias": b - l @ w, "hidden_bias": c - w @ m}

    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))

    def minus_free_energy(v):
        parameters = back(*centred)
        return -torch.func.functional_call(plain, parameters, (v,))

    log_z = torch.logsumexp(minus_free_energy(states), 0)
    (minus_free_energy(data).mean() - log_z).backward()
    with torch.no_grad():
        wanted = back(*(p + 0.1 * p.grad for p in centred))
    fit(model, data, 1, method="exact", lr=0.1, base_rates=False)
    # one step of the biases uses the old weights in place of the new: order lr**2
    torch.testing.assert_close(model.weight, wanted["weight"], atol=1e-6, rtol=1e-4)
    for name in ("visible_bias", "hidden_bias"):
        torch.testing.assert_close(
            getattr(model, name), wanted[name], atol=1e-6, rtol=1e-4
        )


@pytest.mark.parametrize("method", ["cd", "pcd", "pt"])
def test_sampled_statistics_converge_to_the_exact_ones(method):
    # many chains, long: the bias of CD-20 is far below the noise of 20,000 chains
    model, n = machine(), 20_000
    data = some_data().repeat(n // 40, 1)
    source = chains.make_chains(model, method, n, 20, 4, seeded(1))
    with torch.no_grad():
        found = source(model, data, seeded(2))
        exact = chains.ExactMoments()(model, data, None)
    for one, other in zip(found, exact, strict=True):
        # means of numbers in [0, 1]: a standard deviation of at most a half each
        assert float((one - other).abs().max()) < 4.5 * 0.5 / math.sqrt(n)


def test_persistent_chains_go_on_and_contrastive_ones_start_afresh():
    model, data = machine(), some_data()
    source = chains.make_chains(model, "pcd", 30, 1, 0, seeded())
    assert source.visible.shape == (30, 6)
    with torch.no_grad():
        first = source.hidden.clone()
        source(model, data, seeded())
    assert source.visible.shape == (30, 6)
    assert source.hidden.shape == first.shape
    assert not torch.equal(source.hidden, first)
    cd = chains.make_chains(model, "cd", 30, 1, 0, seeded())
    with torch.no_grad():
        cd(model, data, seeded())
    assert cd.visible.shape == data.shape


def test_tempered_chains_cross_between_modes_where_plain_ones_stay():
    # two modes, all on and all off, of equal weight: units of one mind
    n, m = 8, 500
    model = BernoulliRBM(n, n, weight_sd=0, generator=seeded())
    with torch.no_grad():
        model.weight.fill_(1.5)
        model.visible_bias.fill_(-1.5 * n / 2)
        model.hidden_bias.fill_(-1.5 * n / 2)
    start = torch.zeros(m, n)
    crossed = {}
    for method in ("pcd", "pt"):
        source = chains.make_chains(model, method, m, 1, 12, seeded())
        source.hidden.zero_()
        with torch.no_grad():
            for _ in range(30):
                source(model, start, seeded(3) if _ == 0 else seeded(4 + _))
        crossed[method] = float((source.visible.mean(1) > 0.5).float().mean())
    exact = model.moments().visible.mean()
    assert float(exact) == pytest.approx(0.5, abs=0.01)
    assert crossed["pcd"] < 0.05
    assert crossed["pt"] > 0.25
    assert 0.1 < source.swapped < 1


# --- how well -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, n_hidden, n_epochs, lr, sd, bound, margin",
    [
        (2, 6, 600, 1.0, 0.5, -11.090, 0.1),
        (3, 10, 600, 0.5, 0.3, -37.430, 0.5),
        (4, 12, 600, 0.3, 0.2, -102.586, 4.0),
    ],
)
def test_bars_and_stripes_come_near_the_best_possible(
    n, n_hidden, n_epochs, lr, sd, bound, margin
):
    """Total log-likelihood over the patterns (Fischer and Igel 2012, section 4)."""
    data = bars_and_stripes(n)
    patterns, counts = data.unique(dim=0, return_counts=True)
    share = counts.double() / len(data)
    assert float(share.log().sum()) == pytest.approx(bound, abs=1e-3)
    model = BernoulliRBM(n * n, n_hidden, weight_sd=sd, generator=seeded())
    options = {"momentum": 0.9, "schedule": "linear"}
    fit(model, data, n_epochs, method="exact", lr=lr, **options)
    found = model.log_likelihood(patterns)
    # no machine exceeds minus the entropy of the data; this one has their probabilities
    assert float(share @ found.detach()) < float(share @ share.log())
    assert abs(float(found.sum()) - bound) < margin


def test_chains_learn_the_bars_and_stripes_too():
    data = bars_and_stripes(3)
    best = (-12 * math.log(16) - 4 * math.log(8)) / 16
    for seed in range(3):
        model = BernoulliRBM(9, 9, weight_sd=0.1, generator=seeded(seed))
        options = {"lr": 0.2, "momentum": 0.5, "schedule": "linear"}
        model.fit(data, 1500, n_chains=100, generator=seeded(seed), **options)
        assert float(model.log_likelihood(data).mean()) > best - 0.4


def test_digits_are_learnt_beyond_scikit_learns_machine():
    train, test = (images.load("digits", split).rows() for split in images.SPLITS)
    model = BernoulliRBM(64, 16, generator=seeded())
    independent = []

    def base_rate(model, epoch):
        if epoch == 0:
            independent.append(float(model.log_likelihood(test).mean()))

    model.fit(
        train,
        120,
        lr=0.1,
        batch_size=20,
        schedule="linear",
        generator=seeded(1),
        callbacks={"base": base_rate},
    )
    # weights of 0.01 do not matter: the start is the model of independent pixels
    assert independent[0] == pytest.approx(-25.26, abs=0.02)
    # scikit-learn's, with 16 hidden units at lr 0.01 for 500 epochs, has -18.8
    assert float(model.log_likelihood(test).mean()) > -18.8


def test_gaussian_units_learn_where_the_data_are():
    g = seeded()
    centre = torch.tensor([[1.0, 0.5], [-1.0, 0.5]])
    data = centre[torch.randint(2, (2000,), generator=g)]
    data = data + 0.2 * torch.randn(2000, 2, generator=g)
    model = GaussianRBM(2, 4, sd=0.2, generator=g)
    model.fit(data, 40, lr=0.05, method="cd", n_steps=3, generator=g)
    truth = torch.distributions.Normal(centre[:, None], 0.2)
    log_q = torch.logsumexp(truth.log_prob(data).sum(-1), 0).mean() - math.log(2)
    found = float(model.log_likelihood(data).mean())
    assert found > float(log_q) - 0.3
    assert found < float(log_q) + 0.02  # not above the truth, but for overfitting


# --- the bookkeeping ------------------------------------------------------------------


def test_a_new_machine_starts_at_the_base_rates_and_a_trained_one_goes_on():
    model, data = machine(), some_data()
    model.fit(data, 1, lr=1e-12, generator=seeded())
    lit = data.sum(0)
    log_odds = ((lit + 0.5) / (len(data) - lit + 0.5)).log()
    torch.testing.assert_close(model.base_bias, log_odds)
    torch.testing.assert_close(model.visible_bias.detach(), log_odds)
    model.fit(1 - data, 1, lr=1e-12, generator=seeded())
    torch.testing.assert_close(model.visible_bias.detach(), log_odds)
    other = machine()
    other.fit(data, 1, lr=1e-12, base_rates=False, generator=seeded())
    assert float(other.visible_bias.detach().abs().max()) < 1e-6


@pytest.mark.parametrize("method", ["pcd", "cd", "pt"])
def test_a_run_cut_in_two_is_the_whole_run(method):
    data, options = some_data(), {"method": method, "batch_size": 16, "momentum": 0.5}
    options |= {"schedule": "linear", "temperatures": 3}
    whole, halves = machine(), machine()
    fit(whole, data, 6, generator=seeded(1), **options)
    g = seeded(1)
    history = fit(halves, data, 2, horizon=6, generator=g, **options)
    again = fit(halves, data, 4, resume=history, generator=g, **options)
    assert again is history
    assert history.n_epochs == 6
    for one, other in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(one, other)


def test_callbacks_are_recorded_and_take_no_part():
    seen = []
    data, model, quiet = some_data(), machine(), machine()
    history = model.fit(
        data,
        5,
        callbacks={"epoch": lambda m, e: seen.append(m is model) or e * 10},
        record_every=2,
        generator=seeded(),
    )
    quiet.fit(data, 5, generator=seeded())
    assert history.recorded_steps == [0, 2, 4, 5]
    assert history.records == {"epoch": [0, 20, 40, 50]}
    assert all(seen)
    assert history.seconds > 0
    assert torch.equal(model.weight, quiet.weight)


def test_momentum_and_weight_decay_do_what_they_say():
    data = some_data()
    options = {"method": "exact", "lr": 0.1, "centred": False, "base_rates": False}
    plain, pushed, decayed = machine(), machine(), machine()
    start = plain.weight.detach().clone()
    plain.fit(data, 1, **options)
    pushed.fit(data, 1, momentum=0.9, **options)
    torch.testing.assert_close(plain.weight, pushed.weight)  # no velocity yet
    first = plain.weight.detach() - start
    before = plain.weight.detach().clone()
    plain.fit(data, 1, **options)
    second = plain.weight.detach() - before
    pushed = machine()
    pushed.fit(data, 2, momentum=0.9, **options)
    torch.testing.assert_close(
        pushed.weight.detach(),
        start + first + second + 0.9 * first,
        atol=1e-6,
        rtol=1e-4,
    )
    decayed.fit(data, 1, weight_decay=0.5, **options)
    torch.testing.assert_close(
        decayed.weight.detach(), start + first - 0.1 * 0.5 * start, atol=1e-6, rtol=1e-4
    )


def test_a_learning_rate_that_explodes_is_reported():
    model = GaussianRBM(6, 4, generator=seeded())
    with pytest.raises(FloatingPointError, match=r"weight after epoch .* smaller lr"):
        model.fit(some_data(), 200, method="cd", lr=100.0, generator=seeded())


@pytest.mark.parametrize(
    "options, wrong",
    [
        ({"method": "cd-1"}, "unknown method 'cd-1'. Did you mean 'cd'"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"n_chains": 0}, "n_chains must be at least 1"),
        ({"method": "pt", "temperatures": 1}, "temperatures must be at least 2"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"schedule": "cosine"}, "unknown schedule"),
        ({"momentum": 1.0}, "momentum must be below 1"),
        ({"weight_decay": -1.0}, "weight_decay must be zero or positive"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"record_every": 0}, "record_every must be at least 1"),
        ({"n_epochs": 0}, "n_epochs must be at least 1"),
    ],
)
def test_mistakes_are_named(options, wrong):
    with pytest.raises(ValueError, match=wrong):
        machine().fit(some_data(), **options)


def test_data_and_history_must_fit():
    with pytest.raises(ValueError, match="data is empty"):
        machine().fit(torch.zeros(0, 6))
    with pytest.raises(ValueError, match=r"data must have shape \(n, 6\)"):
        machine().fit(some_data(4, 5))
    with pytest.raises(ValueError, match="data must lie between 0 and 1"):
        machine().fit(some_data() * 255)
    with pytest.raises(TypeError, match="data must have the dtype"):
        machine().fit(some_data().double())
    with pytest.raises(TypeError, match="resume must be an RBMHistory"):
        machine().fit(some_data(), resume=5)
    history = machine().fit(some_data(), 1, momentum=0.5, generator=seeded())
    assert isinstance(history, RBMHistory)
    with pytest.raises(ValueError, match="resume must be the history of this machine"):
        machine(n_hidden=9).fit(some_data(), resume=history)


# --- on the disk ----------------------------------------------------------------------


def test_machines_survive_the_disk(tmp_path):
    model, other = machine(), GaussianRBM(3, 2, sd=0.5, generator=seeded())
    model.fit(some_data(), 2, generator=seeded())
    save_rbms(tmp_path / "some.safetensors", {"a": model, "b": other})
    found = load_rbms(tmp_path / "some.safetensors")
    assert list(found) == ["a", "b"]
    for one, again in ((model, found["a"]), (other, found["b"])):
        assert type(one) is type(again)
        for key, value in one.state_dict().items():
            assert torch.equal(value, again.state_dict()[key])
    save_rbms(tmp_path / "half.safetensors", {"a": model}, dtype=torch.float16)
    half = load_rbms(tmp_path / "half.safetensors", dtype=DOUBLE)["a"]
    assert half.weight.dtype == DOUBLE
    torch.testing.assert_close(half.weight.float(), model.weight, rtol=1e-3, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="at least one machine"):
        save_rbms(path, {})
    with pytest.raises(TypeError, match="model 'a' must be one of"):
        save_rbms(path, {"a": torch.nn.Linear(2, 2)})
    with pytest.raises(FileNotFoundError, match="no folder"):
        save_rbms(tmp_path / "no" / "x.safetensors", {"a": machine()})
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_rbms(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not written by save_rbms"):
        load_rbms(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="does not say how"):
        load_rbms(path)


# --- the scikit-learn face ------------------------------------------------------------


@parametrize_with_checks([RBMTransformer(n_components=4, n_iter=2)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


def test_the_transformer_is_the_machine():
    x = some_data().numpy()
    found = RBMTransformer(4, n_iter=3, random_state=0).fit(x)
    again = RBMTransformer(4, n_iter=3, random_state=0).fit(x)
    assert np.array_equal(found.components_, again.components_)
    model, rows = found.rbm_, torch.from_numpy(x)
    assert np.array_equal(found.transform(x), model.hidden_mean(rows).detach().numpy())
    wanted = model.pseudo_log_likelihood(rows).numpy()
    assert np.array_equal(found.score_samples(x), wanted)
    assert found.get_feature_names_out().tolist() == [
        f"rbmtransformer{i}" for i in range(4)
    ]
    shapes = [found.intercept_hidden_.shape, found.intercept_visible_.shape]
    assert shapes == [(4,), (6,)]
    with pytest.raises(ValueError, match="between 0 and 1"):
        RBMTransformer(4, binarize=None).fit(x * 7)


def test_scikit_learns_score_is_a_noisy_version_of_ours():
    """One random pixel a row times the number of pixels: unbiased for the sum."""
    x = some_data(400).numpy().astype(np.float64)
    random = np.random.RandomState(0)
    theirs = SklearnRBM(4, n_iter=5, random_state=random).fit(x)
    ours = BernoulliRBM(6, 4, dtype=DOUBLE, generator=seeded())
    values = theirs.components_, theirs.intercept_visible_, theirs.intercept_hidden_
    with torch.no_grad():
        for parameter, value in zip(ours.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    scores = np.stack([theirs.score_samples(x) for _ in range(200)]).mean(1)
    wanted = float(ours.pseudo_log_likelihood(torch.from_numpy(x)).mean())
    error = scores.std() / math.sqrt(len(scores))
    assert abs(scores.mean() - wanted) < 4.5 * error
    assert np.allclose(
        theirs.transform(x), ours.hidden_mean(torch.from_numpy(x)).detach().numpy()
    )


def test_features_feed_a_pipeline():
    digits = load_digits()
    x, y = digits.data[:600] / 16, digits.target[:600]
    features = RBMTransformer(60, n_iter=30, learning_rate=0.1, random_state=0)
    pipeline = make_pipeline(features, LogisticRegression(max_iter=500, C=10))
    pipeline.fit(x, y)
    score = pipeline.score(digits.data[600:900] / 16, digits.target[600:900])
    assert score > 0.6  # one in ten by chance


# --- what is shipped ------------------------------------------------------------------


def test_shipped_machines_have_the_likelihood_that_is_recorded():
    folder = ebmlib.data_path("rbm")
    models = load_rbms(folder / "models.safetensors")
    rows = {r["name"]: r for r in json.loads((folder / "curves.json").read_text())}
    model = models["digits16/0"]
    test = images.load("digits", "test").rows()
    exact = float(model.log_likelihood(test).mean())
    assert exact == pytest.approx(rows["digits16/0"]["exact"][-1], abs=1e-4)
    assert exact > -18.2
    assert set(models) <= set(rows)


def test_annealing_up_and_down_agrees_for_the_large_machine():
    path = ebmlib.data_path("rbm/quality.json")
    rows = {(r["n_rungs"], r["direction"]): r for r in json.loads(path.read_text())}
    up, down = rows[10_000, "up"], rows[10_000, "down"]
    assert up["test"] > -86.3
    assert abs(up["test"] - down["test"]) < 2
    # on average up is too high and down too low: these bracket the truth
    assert up["mean_log_weight"] > max(up["test"], down["test"])
    assert down["mean_log_weight"] < min(up["test"], down["test"])


@pytest.mark.skipif(not os.environ.get("EBM_MNIST"), reason="EBM_MNIST is not set")
@pytest.mark.parametrize("name, goal", [("mnist20/0", -138), ("mnist16/0", -142.6)])
def test_shipped_machines_know_mnist(name, goal):
    folder = ebmlib.data_path("rbm")
    model = load_rbms(folder / "models.safetensors")[name]
    rows = {r["name"]: r for r in json.loads((folder / "curves.json").read_text())}
    exact = float(model.log_likelihood(images.load("mnist", "test").rows()).mean())
    assert exact == pytest.approx(rows[name]["exact"][-1], abs=1e-3)
    assert exact > goal
