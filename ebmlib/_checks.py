"""Argument checks shared by every module: one wording for every mistake.

Each function returns None when all is well and raises otherwise. A message names the
argument, says what came and what is allowed. A wrong *kind* of thing is a `TypeError`,
a wrong *value* a `ValueError`, and a quantity that was computed and is not finite a
`FloatingPointError`.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class NonFiniteArgumentError(ValueError, FloatingPointError):
    """An argument holds NaN or infinity.

    It is a bad argument (`ValueError`) and a floating-point failure that often comes
    from an earlier step (`FloatingPointError`), so that either can be caught.
    """


def check_tensor(name: str, value: Any) -> None:
    """Require a tensor of a real floating-point dtype.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : object
        What came.

    Raises
    ------
    TypeError
        If `value` is not a `torch.Tensor` or its dtype is not floating point.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; "
            f"torch.as_tensor converts arrays and lists"
        )
    if not value.is_floating_point():
        raise TypeError(
            f"{name} must have a floating-point dtype (float32 or float64), "
            f"got {value.dtype}; convert it with {name}.float() or {name}.double()"
        )


def check_points(
    name: str, x: Any, dim: int | None = None, *, allow_empty: bool = True
) -> None:
    """Require points: a finite floating-point tensor of shape (n, d).

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    x : object
        What came.
    dim : int, optional
        Required number of coordinates d; any when None.
    allow_empty : bool
        Whether n = 0 is fine.

    Raises
    ------
    TypeError
        If `x` is not a floating-point tensor.
    ValueError
        If the shape is wrong, or there are no points and `allow_empty` is false.
    NonFiniteArgumentError
        If a coordinate is NaN or infinite (a `ValueError` and a
        `FloatingPointError`).
    """
    check_tensor(name, x)
    wanted = f"(n, {'d' if dim is None else dim})"
    if x.ndim != 2 or (dim is not None and x.shape[1] != dim):
        hint = ""
        if x.ndim == 1 and (dim is None or x.shape[0] == dim or dim == 1):
            one_each = dim == 1 and x.shape[0] != 1
            hint = f"; use {name}[:, None]" if one_each else f"; use {name}[None, :]"
            if dim is None:
                hint = f"; use {name}[:, None] for points on a line"
        raise ValueError(
            f"{name} must have shape {wanted}, one point a row, "
            f"got {tuple(x.shape)}{hint}"
        )
    if not allow_empty and x.shape[0] == 0:
        raise ValueError(f"{name} is empty: it must hold at least one point")
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        bad = ~finite.all(dim=1)
        first = int(bad.nonzero()[0, 0])
        raise NonFiniteArgumentError(
            f"{name} must be finite, got NaN or infinity in {int(bad.sum())} of "
            f"{x.shape[0]} points, first in row {first}: {x[first].tolist()}"
        )


def check_inside(name: str, x: Tensor, low: Any, high: Any) -> None:
    """Require points in the box from `low` to `high`, its border included.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    x : Tensor, shape (n, d)
        Points, checked by :func:`check_points` already.
    low, high : float or Tensor of shape (d,)
        Corners of the box.

    Raises
    ------
    ValueError
        If a point lies outside; nothing is clipped.
    """
    outside = ((x < low) | (x > high)).any(1)
    if bool(outside.any()):
        first = int(outside.nonzero()[0, 0])
        ends = [v.tolist() if isinstance(v, Tensor) else v for v in (low, high)]
        raise ValueError(
            f"{name} must lie in the box from {ends[0]} to {ends[1]}, got "
            f"{int(outside.sum())} of {len(x)} points outside it, the first in row "
            f"{first}: {x[first].tolist()}"
        )


def check_number(name: str, value: Any) -> None:
    """Require a finite real number (Python, NumPy or a tensor of one element).

    Raises
    ------
    TypeError
        If `value` is not a real number; bool is refused.
    ValueError
        If it is NaN or infinite.
    """
    if isinstance(value, Tensor) and value.numel() == 1 and value.dtype != torch.bool:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def check_positive(name: str, value: Any, *, allow_zero: bool = False) -> None:
    """Require a finite number above zero (or at least zero).

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : object
        What came.
    allow_zero : bool
        Whether zero itself is fine.

    Raises
    ------
    TypeError
        If `value` is not a real number.
    ValueError
        If it is negative, NaN or infinite, or zero where that is not allowed.
    """
    check_number(name, value)
    if value < 0 or (value == 0 and not allow_zero):
        wanted = "zero or positive" if allow_zero else "positive"
        raise ValueError(f"{name} must be {wanted}, got {value}")


def check_int(name: str, value: Any, minimum: int | None = None) -> None:
    """Require an integer, at least `minimum` when that is given.

    Raises
    ------
    TypeError
        If `value` is not an integer; bool and floats such as 2.0 are refused.
    ValueError
        If it is below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"{name} must be an integer, got {value!r} ({type(value).__name__})"
        )
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


def check_between(name: str, value: Any, low: float, high: float) -> None:
    """Require a number in the closed interval [low, high].

    Raises
    ------
    TypeError
        If `value` is not a real number.
    ValueError
        If it lies outside, or is NaN.
    """
    check_number(name, value)
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")


def check_interval(
    low: Any, high: Any, *, names: tuple[str, str] = ("low", "high")
) -> None:
    """Require two finite numbers with low < high.

    Raises
    ------
    TypeError
        If either is not a real number.
    ValueError
        If either is not finite, or low >= high.
    """
    check_number(names[0], low)
    check_number(names[1], high)
    if not low < high:
        raise ValueError(
            f"{names[0]} must be below {names[1]}, "
            f"got {names[0]}={low} and {names[1]}={high}"
        )


def nearest(value: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that `value` most resembles, ignoring case, or None."""
    table = {str(a).lower(): str(a) for a in allowed}
    found = difflib.get_close_matches(str(value).lower(), table, n=1, cutoff=0.5)
    return table[found[0]] if found else None


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Require one of some names; an unknown one gets the nearest as a suggestion.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : object
        What came.
    allowed : iterable of str
        The names that are fine.

    Raises
    ------
    TypeError
        If `value` is not a string.
    ValueError
        If it is not among `allowed`.
    """
    allowed = list(allowed)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be a string, one of {', '.join(map(repr, allowed))}; "
            f"got {type(value).__name__}"
        )
    if value not in allowed:
        close = nearest(value, allowed)
        suggestion = f" Did you mean {close!r}?" if close is not None else ""
        raise ValueError(
            f"unknown {name} {value!r}.{suggestion} "
            f"Allowed: {', '.join(map(repr, allowed))}"
        )


def check_finite(name: str, tensor: Tensor, hint: str = "") -> None:
    """Require a computed quantity to be finite.

    Parameters
    ----------
    name : str
        What the quantity is and where it came up, e.g. "energy at step 12".
    tensor : Tensor
        The quantity, any shape.
    hint : str
        What to try; ends the message.

    Raises
    ------
    FloatingPointError
        If any element is NaN or infinite.
    """
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return
    n_nan = int(torch.isnan(tensor).sum())
    n_inf = int(torch.isinf(tensor).sum())
    raise FloatingPointError(
        f"{name} is not finite: {n_nan} NaN and {n_inf} infinite of {tensor.numel()}"
        + (f"; {hint}" if hint else "")
    )


def check_generator(generator: Any) -> None:
    """Require None or a `torch.Generator`.

    Raises
    ------
    TypeError
        If anything else came (an integer seed, say).
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator or None, "
            f"got {type(generator).__name__}; "
            f"torch.Generator().manual_seed(seed) makes one"
        )
