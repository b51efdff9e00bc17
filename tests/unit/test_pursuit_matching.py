"""Newton's matching and the exact gains, against closed forms and SciPy."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from ebmlib.pursuit import StatisticsNotMatched, exact_gains, match_statistics


def random_problem(seed, n=40, k=3):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, k, generator=generator, dtype=torch.float64)
    log_base = torch.randn(n, generator=generator, dtype=torch.float64)
    q = torch.softmax(torch.randn(n, generator=generator, dtype=torch.float64), 0)
    return features, q @ features, log_base


def test_a_coin_has_the_log_odds():
    features = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    for t in (0.5, 0.9, 1e-3):
        match = match_statistics(
            features, torch.tensor([t]).double(), torch.zeros(2), tolerance=1e-14
        )
        exact = math.log(t / (1 - t))
        assert float(match.coefficients) == pytest.approx(exact, rel=1e-6, abs=1e-7)


def test_mean_and_square_give_a_gaussian():
    """exp(a x + b x**2) with a = m / s**2 and b = -1 / (2 s**2).

    The trapezoid sum of a Gaussian on step 0.05 = s / 6 is exact to exp(-2 pi**2 36).
    """
    x = torch.arange(-400, 401, dtype=torch.float64) / 20
    m, s = 0.7, 0.3
    target = torch.tensor([m, m**2 + s**2], dtype=torch.float64)
    match = match_statistics(
        torch.stack([x, x**2], 1), target, torch.zeros(801), tolerance=1e-12
    )
    exact = torch.tensor([m / s**2, -1 / (2 * s**2)], dtype=torch.float64)
    torch.testing.assert_close(match.coefficients, exact, rtol=1e-8, atol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_matching_is_maximum_likelihood(seed):
    """SciPy's minimiser of the negative log-likelihood, which knows no Newton."""
    features, target, log_base = random_problem(seed)
    match = match_statistics(features, target, log_base, tolerance=1e-10)

    def loss(c):
        c = torch.from_numpy(c)
        log_weight = features @ c + log_base
        value = torch.logsumexp(log_weight, 0) - c @ target
        gradient = torch.softmax(log_weight, 0) @ features - target
        return float(value), gradient.numpy()

    found = minimize(loss, [0.0] * 3, jac=True, method="BFGS", options={"gtol": 1e-9})
    ours, _ = loss(match.coefficients.numpy())
    assert ours <= found.fun + 1e-12
    # BFGS ends with a gradient of about 1e-9; its error is that over the curvature
    curvature = float(torch.linalg.eigvalsh(match.covariance)[0])
    apart = (match.coefficients - torch.from_numpy(found.x)).abs().max()
    assert float(apart) <= 1e-6 / curvature
    torch.testing.assert_close(match.mean, match.prob @ features)
    assert match.residual <= 1e-10


def test_the_order_of_the_features_and_their_scale_do_not_matter():
    features, target, log_base = random_problem(1)
    scale = torch.tensor([1e-5, 1.0, 1e4], dtype=torch.float64)
    plain = match_statistics(features, target, log_base, tolerance=1e-13)
    scaled = match_statistics(
        features * scale, target * scale, log_base, tolerance=1e-16 * 1e4
    )
    torch.testing.assert_close(
        scaled.coefficients * scale, plain.coefficients, rtol=1e-5, atol=1e-6
    )
    order = [2, 0, 1]
    turned = match_statistics(
        features[:, order], target[order], log_base, tolerance=1e-13
    )
    torch.testing.assert_close(turned.coefficients, plain.coefficients[order])


def test_what_cannot_be_matched_says_why():
    features, target, log_base = random_problem(2)
    beyond = target.clone()
    beyond[1] = features[:, 1].max()
    with pytest.raises(StatisticsNotMatched, match="target 1 is") as caught:
        match_statistics(features, beyond, log_base)
    assert caught.value.residual == math.inf
    # each by itself possible, together outside: a corner of the square, on a circle
    angle = torch.arange(12, dtype=torch.float64) * math.pi / 6
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    with pytest.raises(StatisticsNotMatched, match="not matched") as caught:
        match_statistics(circle, torch.tensor([0.9, 0.9]).double(), torch.zeros(12))
    assert caught.value.residual > 0.1
    with pytest.raises(StatisticsNotMatched, match="after 1 Newton"):
        match_statistics(features, target, log_base, tolerance=1e-12, max_newton=1)


def test_collinear_features_are_named():
    features, target, log_base = random_problem(3)
    both = torch.cat([features, 2 * features[:, :1] - features[:, 2:] + 1], 1)
    target = torch.cat([target, 2 * target[:1] - target[2:] + 1])
    with pytest.raises(StatisticsNotMatched, match=r"index \[0, 2, 3\] are collinear"):
        match_statistics(both, target, log_base)
    # a feature that varies only where the base measure is zero
    flat = torch.zeros(40, 1, dtype=torch.float64)
    flat[0], log_base[0] = 1.0, -math.inf
    with pytest.raises(StatisticsNotMatched, match="lies between"):
        match_statistics(flat, torch.tensor([0.5]).double(), log_base)


def test_no_features_leave_the_base():
    match = match_statistics(
        torch.zeros(4, 0, dtype=torch.float64),
        torch.zeros(0, dtype=torch.float64),
        torch.zeros(4, dtype=torch.float64),
    )
    assert match.log_partition == pytest.approx(math.log(4))
    assert match.n_newton == 0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"features": torch.zeros(3)}, ValueError, "features must be"),
        ({"features": [1.0]}, TypeError, "features"),
        ({"target": torch.zeros(2)}, ValueError, "target"),
        ({"log_base": torch.zeros(3)}, ValueError, "log_base"),
        ({"log_base": torch.full((40,), -math.inf)}, ValueError, "finite somewhere"),
        ({"start": torch.zeros(2)}, ValueError, "start"),
        ({"tolerance": -1.0}, ValueError, "tolerance"),
        ({"max_newton": 0}, ValueError, "max_newton"),
        ({"target": torch.full((3,), math.nan)}, FloatingPointError, "target"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    features, target, log_base = random_problem(0)
    arguments = {"features": features, "target": target, "log_base": log_base} | change
    with pytest.raises(error, match=words):
        match_statistics(**arguments)


def test_exact_gains_against_a_minimiser_of_one_variable():
    features, target, log_base = random_problem(5, k=8)
    prob = torch.softmax(log_base, 0)
    gains = exact_gains(features, target, prob, tolerance=1e-12)
    for gain, value, t in zip(gains, features.T, target, strict=True):

        def loss(c, value=value, t=t):
            return float(torch.logsumexp(c * value + prob.log(), 0) - c * t)

        found = minimize_scalar(loss, bounds=(-50, 50), method="bounded")
        assert float(gain) == pytest.approx(-found.fun, abs=1e-8)
        assert gain >= 0


def test_the_gain_of_an_empty_half_plane_is_that_of_cutting_it_off():
    """Target 0 of a non-negative feature: the supremum is -log P(feature = 0)."""
    feature = torch.tensor([[0.0], [0.0], [1.0], [3.0]], dtype=torch.float64)
    prob = torch.tensor([0.3, 0.3, 0.2, 0.2], dtype=torch.float64)
    gain = exact_gains(feature, torch.zeros(1, dtype=torch.float64), prob)
    assert float(gain) == pytest.approx(-math.log(0.6), abs=1e-5)
    constant = torch.ones(4, 1, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    assert float(exact_gains(constant, one, prob)) == 0
