"""What all densities share: argument checks, dtypes, boxes and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from ebmlib._checks import (
    NonFiniteArgumentError,
    check_generator,
    check_interval,
    check_tensor,
)

Bounds = tuple[float | Sequence[float], float | Sequence[float]]


class Density(Distribution):
    """A distribution on the line or the plane with an exact log density and sampler.

    Subclasses give `_log_density` and `_draw`, both in float64. This class checks
    the points, follows their dtype and device, and puts minus infinity outside the
    box of a truncated density.

    Parameters
    ----------
    dim : int
        Number of coordinates d.
    bounds : (low, high), optional
        Corners of the box on which the density lives and is normalised; each a
        number or d numbers. None: the whole line or plane.
    validate_args : bool, optional
        With True, a point outside the box is a `ValueError`, as elsewhere in
        `torch.distributions`. The default gives it the log density minus infinity.

    Raises
    ------
    TypeError, ValueError
        If `bounds` is not a pair of finite corners, low below high.
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the name and type torch prescribes)
    has_rsample = False

    def __init__(
        self,
        dim: int,
        bounds: Bounds | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._box = None if bounds is None else _corners(bounds, dim)
        super().__init__(event_shape=torch.Size([dim]), validate_args=False)
        self._strict = bool(validate_args)
        self._shown: dict[str, Any] = {}

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return self.event_shape[0]

    @property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Corners (low, high) of the box, (d,) each, or None for the whole space."""
        return None if self._box is None else (self._box[0], self._box[1])

    @property
    def support(self) -> constraints.Constraint:
        """The closed box, or the whole space."""
        if self._box is None:
            return constraints.real_vector
        box = constraints.interval(self._box[0], self._box[1])
        return constraints.independent(box, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact log density.

        Parameters
        ----------
        value : Tensor (..., d)
            Finite points, usually (n, d). Their dtype and device are followed; the
            arithmetic is done in float64.

        Returns
        -------
        Tensor (...)
            Nats per unit of length or area; minus infinity where the density is
            zero, outside the box of a truncated one for example.

        Raises
        ------
        TypeError
            If `value` is not a floating-point tensor.
        ValueError
            If the last dimension is not d, or (with ``validate_args=True``) a point
            lies outside the box.
        NonFiniteArgumentError
            If a coordinate is NaN or infinite.
        """
        check_tensor("value", value)
        if value.ndim == 0 or value.shape[-1] != self.dim:
            raise ValueError(
                f"value must have shape (n, {self.dim}), one point a row, "
                f"got {tuple(value.shape)}"
            )
        if not bool(torch.isfinite(value).all()):
            raise NonFiniteArgumentError(
                f"value must be finite: {type(self).__name__}.log_prob got NaN or "
                f"infinity in its points"
            )
        x = value.to(torch.float64)
        if self._box is None:
            return self._log_density(x).to(value.dtype)
        low, high = self._box.to(device=value.device, dtype=value.dtype)
        inside = ((value >= low) & (value <= high)).all(dim=-1)
        if self._strict and not bool(inside.all()):
            raise ValueError(
                f"value must lie in the box of {self!r}: "
                f"{int((~inside).sum())} of {inside.numel()} points lie outside"
            )
        inner = self._log_density(torch.where(inside[..., None], x, self._anchor(x)))
        return torch.where(inside, inner, -torch.inf).to(value.dtype)

    @torch.no_grad()
    def sample(
        self,
        sample_shape: Sequence[int] | torch.Size = torch.Size(),  # noqa: B008
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Exact, independent samples.

        Parameters
        ----------
        sample_shape : sequence of int
            As in `torch.distributions`: ``(n,)`` for n points.
        generator : torch.Generator, optional
            Source of randomness; the samples are made on its device. None: the
            global one, on the CPU.
        dtype : torch.dtype, optional
            Floating-point type of the samples; None: PyTorch's default.

        Returns
        -------
        Tensor (..., d)
            Of shape `sample_shape` followed by d.

        Raises
        ------
        TypeError
            If `sample_shape` is not a sequence of integers, `generator` is not a
            generator, or `dtype` is not a floating-point type.
        ValueError
            If a size is negative.
        """
        shape, dtype = _sample_arguments(sample_shape, generator, dtype)
        points = self._draw(math.prod(shape), _Random(generator))
        return points.to(dtype).reshape(*shape, self.dim)

    def _anchor(self, x: Tensor) -> Tensor:
        """A point of the box, to evaluate instead of points outside it."""
        assert self._box is not None
        return self._box.mean(dim=0).to(x.device)

    def _log_density(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _draw(self, n: int, random: _Random) -> Tensor:
        raise NotImplementedError

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self._shown.items())
        return f"{type(self).__name__}({inner})"


class _Random:
    """Float64 random numbers from one generator, on its device."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator
        self.device = torch.device("cpu") if generator is None else generator.device

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(
            shape, generator=self.generator, device=self.device, dtype=torch.float64
        )

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(
            shape, generator=self.generator, device=self.device, dtype=torch.float64
        )

    def categories(self, mass: Tensor, n: int) -> Tensor:
        """Indices drawn in proportion to `mass`; never one of zero mass."""
        steps = torch.cumsum(mass.to(self.device), dim=0)
        return torch.searchsorted(steps / steps[-1], self.uniform(n), right=True)


def rejection(
    n: int, dim: int, propose: Callable[[int], tuple[Tensor, Tensor]], device: Any
) -> Tensor:
    """Draw until n proposals have been accepted.

    Parameters
    ----------
    n, dim : int
        Size (n, dim) of the result.
    propose : callable
        ``propose(m)`` returns m proposals (m, dim) and which to keep (m,) bool.
    device : torch.device
        Where the proposals are.

    Returns
    -------
    Tensor (n, dim)
    """
    out = torch.empty(n, dim, dtype=torch.float64, device=device)
    done = 0
    while done < n:
        points, keep = propose(max(32, n - done + (n - done) // 8))
        points = points[keep][: n - done]
        out[done : done + points.shape[0]] = points
        done += points.shape[0]
    return out


def _corners(bounds: Any, dim: int) -> Tensor:
    """Check bounds and return the corners, (2, d) float64."""
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(f"bounds must be a pair (low, high), got {bounds!r}")
    corners = []
    for corner in bounds:
        if isinstance(corner, Tensor | np.ndarray):
            corner = corner.tolist()
        values = list(corner) if isinstance(corner, tuple | list) else [corner] * dim
        if len(values) != dim:
            raise ValueError(
                f"each corner in bounds must be a number or {dim} numbers, "
                f"got {corner!r}"
            )
        corners.append(values)
    for low, high in zip(*corners, strict=True):
        check_interval(low, high, names=("bounds[0]", "bounds[1]"))
    return torch.tensor(corners, dtype=torch.float64)


def _sample_arguments(
    sample_shape: Any, generator: Any, dtype: Any
) -> tuple[tuple[int, ...], torch.dtype]:
    check_generator(generator)
    if not isinstance(sample_shape, torch.Size | tuple | list) or any(
        isinstance(size, bool) or not isinstance(size, int) for size in sample_shape
    ):
        raise TypeError(
            f"sample_shape must be a sequence of integers such as (n,), "
            f"got {sample_shape!r}"
        )
    if any(size < 0 for size in sample_shape):
        raise ValueError(f"sample_shape must not be negative, got {sample_shape!r}")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {dtype!r}")
    return tuple(sample_shape), dtype


def gauss_legendre(
    low: float, high: float, panel: float, order: int = 12
) -> tuple[Tensor, Tensor]:
    """Composite Gauss-Legendre rule.

    Parameters
    ----------
    low, high : float
        Ends of the interval.
    panel : float
        Largest width of a panel; about the width of the narrowest feature.
    order : int
        Nodes in a panel.

    Returns
    -------
    nodes, weights : Tensor (m,), Tensor (m,)
        Float64.
    """
    n_panels = max(1, math.ceil((high - low) / panel))
    edges = np.linspace(low, high, n_panels + 1)
    node, weight = np.polynomial.legendre.leggauss(order)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half) + half * node
    return torch.from_numpy(nodes.ravel()), torch.from_numpy((half * weight).ravel())


def entropy_on_box(
    log_density: Callable[[Tensor], Tensor],
    low: Sequence[float],
    high: Sequence[float],
    panel: float,
) -> Tensor:
    """Entropy of a smooth density on a box of the plane, by quadrature.

    Parameters
    ----------
    log_density : callable
        Maps (m, 2) float64 points to (m,) log densities.
    low, high : sequence of 2 floats
        Corners of the box; it must hold all but a negligible part of the mass.
    panel : float
        Width of the panels of the rule; see `gauss_legendre`.

    Returns
    -------
    Tensor ()
        Minus the integral of p log p, nats, float64.
    """
    xs, wx = gauss_legendre(low[0], high[0], panel)
    ys, wy = gauss_legendre(low[1], high[1], panel)
    total = torch.zeros((), dtype=torch.float64)
    rows = max(1, 200_000 // ys.numel())
    for x, w in zip(xs.split(rows), wx.split(rows), strict=True):
        points = torch.cartesian_prod(x, ys)
        log_p = log_density(points)
        p_log_p = torch.where(log_p == -torch.inf, 0.0, log_p.exp() * log_p)
        total -= (w[:, None] * wy * p_log_p.view(x.numel(), -1)).sum()
    return total
