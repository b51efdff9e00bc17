"""The shared argument checks: what passes, what is refused, and in which words."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ebmlib import _checks as C


def test_what_is_right_passes():
    C.check_tensor("x", torch.zeros(3))
    C.check_points("x", torch.zeros(0, 2), 2)
    C.check_points("x", torch.zeros(4, 3))
    C.check_number("a", np.float32(1.5))
    C.check_number("a", torch.tensor(2))
    C.check_positive("a", 0, allow_zero=True)
    C.check_int("n", np.int64(3), 3)
    C.check_between("a", 1, 0, 1)
    C.check_interval(-1, 1.5)
    C.check_choice("name", "a", ("a", "b"))
    C.check_finite("loss", torch.zeros(2))
    C.check_generator(None)
    C.check_generator(torch.Generator())


@pytest.mark.parametrize(
    ("check", "kind", "message"),
    [
        (lambda: C.check_tensor("x", [1]), TypeError, "x must be a torch.Tensor, got "),
        (
            lambda: C.check_tensor("x", torch.zeros(2, dtype=torch.long)),
            TypeError,
            r"got torch\.int64; convert it with x\.float\(\)",
        ),
        (
            lambda: C.check_points("x", torch.zeros(3)),
            ValueError,
            r"shape \(n, d\), one point a row, got \(3,\); use x\[:, None\]",
        ),
        (
            lambda: C.check_points("x", torch.zeros(3), 1),
            ValueError,
            r"shape \(n, 1\), .* use x\[:, None\]",
        ),
        (
            lambda: C.check_points("x", torch.zeros(2), 2),
            ValueError,
            r"shape \(n, 2\), .* use x\[None, :\]",
        ),
        (
            lambda: C.check_points("x", torch.zeros(5, 3), 2),
            ValueError,
            r"got \(5, 3\)$",
        ),
        (
            lambda: C.check_points("x", torch.zeros(0, 2), allow_empty=False),
            ValueError,
            "x is empty",
        ),
        (
            lambda: C.check_points("x", torch.tensor([[0.0], [math.nan]])),
            C.NonFiniteArgumentError,
            r"in 1 of 2 points, first in row 1: \[nan\]",
        ),
        (lambda: C.check_number("a", True), TypeError, "a must be a real number"),
        (lambda: C.check_number("a", 1j), TypeError, "got complex"),
        (lambda: C.check_number("a", math.inf), ValueError, "a must be finite"),
        (lambda: C.check_positive("a", 0), ValueError, "a must be positive, got 0"),
        (
            lambda: C.check_positive("a", -1, allow_zero=True),
            ValueError,
            "a must be zero or positive, got -1",
        ),
        (lambda: C.check_int("n", 2.0), TypeError, r"an integer, got 2\.0 \(float\)"),
        (lambda: C.check_int("n", True), TypeError, "n must be an integer"),
        (lambda: C.check_int("n", 0, 1), ValueError, "n must be at least 1, got 0"),
        (lambda: C.check_between("a", 2, 0, 1), ValueError, "between 0 and 1, got 2"),
        (lambda: C.check_interval(1, 1), ValueError, "low must be below high"),
        (lambda: C.check_choice("kind", 3, "ab"), TypeError, "kind must be a string"),
        (
            lambda: C.check_choice("kind", "Realu", ["relu", "tanh"]),
            ValueError,
            r"unknown kind 'Realu'\. Did you mean 'relu'\? Allowed: 'relu', 'tanh'",
        ),
        (
            lambda: C.check_finite("loss", torch.tensor([math.nan, math.inf, 0]), "x"),
            FloatingPointError,
            "loss is not finite: 1 NaN and 1 infinite of 3; x",
        ),
        (lambda: C.check_generator(0), TypeError, "generator must be a torch.Generato"),
    ],
)
def test_what_is_wrong_is_refused(check, kind, message):
    with pytest.raises(kind, match=message):
        check()


@given(st.floats())
def test_exactly_the_finite_positive_numbers_are_positive(value):
    if value > 0 and math.isfinite(value):
        C.check_positive("a", value)
    else:
        with pytest.raises(ValueError, match="a must be"):
            C.check_positive("a", value)


@given(st.sampled_from(["star", "ring", "galaxy"]), st.integers(0, 5))
def test_a_name_with_one_letter_missing_is_recognised(name, place):
    typed = name[: place % len(name)] + name[place % len(name) + 1 :]
    assert C.nearest(typed, ["star", "ring", "galaxy"]) == name
    assert C.nearest("???", [name]) is None
