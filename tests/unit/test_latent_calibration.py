"""Calibrated logits against scikit-learn, closed forms and exact densities."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.isotonic import IsotonicRegression
from torch import nn

from ebmlib.latent import calibrate, calibration_z

DOUBLE = torch.float64


def normal(n, mean, seed):
    generator = torch.Generator().manual_seed(seed)
    return mean + torch.randn(n, dtype=DOUBLE, generator=generator)


def test_the_isotonic_curve_is_scikit_learn_s():
    real, fake = normal(300, 1, 0), normal(300, -1, 1)
    curve = calibrate(real, fake)
    x, y = torch.cat([real, fake]).numpy(), np.repeat([1.0, 0.0], 300)
    least = 1 / 602
    peer = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    at = torch.linspace(-6, 6, 500, dtype=DOUBLE)
    expected = torch.as_tensor(peer.fit(x, y).predict(at.numpy()))
    torch.testing.assert_close(torch.sigmoid(curve(at)), expected)


@pytest.mark.parametrize("n_fake", [20_000, 5_000])
def test_the_line_finds_the_log_ratio(n_fake):
    # N(1, 1) against N(-1, 1) has log-ratio 2 x; it is shown as 3 x + 1
    real, fake = normal(20_000, 1, 0), normal(n_fake, -1, 1)
    line = calibrate(3 * real + 1, 3 * fake + 1, "logistic")
    # Fisher information of a slope here is about 0.1 a point: 4 errors of 25,000
    assert abs(line.slope * 3 - 2) < 0.1
    assert abs(line.offset + line.slope) < 0.1
    d = torch.tensor([[1.0], [0.0]], requires_grad=True)
    line(d).sum().backward()
    torch.testing.assert_close(d.grad, torch.full((2, 1), line.slope))


@pytest.mark.parametrize("method", ["isotonic", "logistic"])
def test_overconfidence_is_undone(method):
    # D = sigmoid(6 x) is three times too sure; on new points the truth comes back
    curve = calibrate(6 * normal(20_000, 1, 0), 6 * normal(20_000, -1, 1), method)
    x = torch.linspace(-1, 1, 21, dtype=DOUBLE)
    assert float((curve(6 * x) - 2 * x).abs().max()) < 0.5
    real, fake = normal(20_000, 1, 2), normal(20_000, -1, 3)
    assert abs(calibration_z(curve(6 * real), curve(6 * fake))) < 4
    # a bias of one nat, which Z is made to see
    assert calibration_z(2 * real - 1, 2 * fake - 1) > 20
    assert abs(calibration_z(2 * real, 2 * fake)) < 4
    # and Z is blind to overconfidence that is the same on both sides
    assert abs(calibration_z(6 * real, 6 * fake)) < 4


def test_z_allows_for_unequal_classes():
    real, fake = normal(20_000, 1, 2), normal(5_000, -1, 3)
    assert abs(calibration_z(2 * real, 2 * fake)) < 4
    assert calibration_z(torch.zeros(30), torch.zeros(10)) == pytest.approx(0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=30),
    st.lists(st.floats(-20, 20), min_size=1, max_size=30),
)
def test_an_isotonic_curve_rises_and_is_finite(real, fake):
    curve = calibrate(torch.tensor(real), torch.tensor(fake))
    d = curve(torch.linspace(-25, 25, 200, dtype=DOUBLE))
    assert bool(d.isfinite().all())
    assert bool((d.diff() >= -1e-9).all())
    most = math.log(len(real) + len(fake) + 1)
    assert float(d.abs().max()) <= most + 1e-6


def test_a_calibrated_critic_is_a_critic():
    critic = nn.Linear(2, 1)
    curve = calibrate(normal(50, 1, 0).float(), normal(50, -1, 1).float())
    values = nn.Sequential(critic, curve)(torch.randn(7, 2))
    assert values.shape == (7, 1)
    assert values.dtype == torch.float32


def test_bad_arguments_are_named():
    one = torch.ones(3)
    with pytest.raises(ValueError, match="isotonic"):
        calibrate(one, one, "isotone")
    with pytest.raises(ValueError, match="real_logits"):
        calibrate(one[:, None], one)
    with pytest.raises(ValueError, match="fake_logits"):
        calibrate(one, one[:0])
    with pytest.raises(FloatingPointError, match="real_logits"):
        calibrate(one / 0, one)
    with pytest.raises(ValueError, match="do not overlap"):
        calibrate(one, -one, "logistic")
    with pytest.raises(FloatingPointError, match="calibration Z"):
        calibration_z(1e4 * one, -1e4 * one)
