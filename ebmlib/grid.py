"""Grids, and everything about a density that a grid can answer exactly.

In one and two dimensions a sum over cell centres is a quadrature (the midpoint rule,
whose error falls as the square of the cell size for a smooth density), so the
partition function, the entropy, expectations and divergences are all within reach.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import max_pool1d, max_pool2d

from ebmlib._checks import (
    check_finite,
    check_generator,
    check_inside,
    check_int,
    check_interval,
    check_points,
)
from ebmlib.energy import EnergyModel, energy_of

_CHUNK = 1 << 12  # points evaluated at once: a wide layer on more leaves the cache


@dataclass(frozen=True)
class Grid:
    """Centres of equal cells that tile the box ``[low, high]**dim``.

    Points are listed with the first coordinate slowest, so that values at the points
    reshape to :attr:`shape` with the first coordinate as the first axis.

    Parameters
    ----------
    low, high : float
        Sides of the box, the same along every axis.
    bins : int
        Cells along each axis.
    dim : int
        Dimension; 1 or 2 in this course, though any small number works.
    dtype : torch.dtype, optional
        Of :attr:`points`; the default dtype unless given.

    Raises
    ------
    ValueError
        If ``bins`` or ``dim`` is not a positive integer, or ``low >= high``.
    """

    low: float = -1.0
    high: float = 1.0
    bins: int = 200
    dim: int = 2
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_int("bins", self.bins, 1)
        check_int("dim", self.dim, 1)
        check_interval(self.low, self.high)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis, ``(bins,) * dim``."""
        return (self.bins,) * self.dim

    @property
    def width(self) -> float:
        """Side of a cell."""
        return (self.high - self.low) / self.bins

    @property
    def cell_volume(self) -> float:
        """Volume of a cell (its length in 1-D, its area in 2-D)."""
        return self.width**self.dim

    @cached_property
    def axis(self) -> Tensor:
        """Cell centres along one axis, shape (bins,), float64."""
        steps = torch.arange(self.bins, dtype=torch.float64)
        return self.low + (steps + 0.5) * self.width

    @cached_property
    def points(self) -> Tensor:
        """All cell centres, shape (bins**dim, dim)."""
        return self.points_as(self.dtype or torch.get_default_dtype())

    def points_as(
        self, dtype: torch.dtype, device: torch.device | str | None = None
    ) -> Tensor:
        """All cell centres in another dtype or on another device."""
        axes = torch.meshgrid(*[self.axis] * self.dim, indexing="ij")
        points = torch.stack([axis.reshape(-1) for axis in axes], dim=1)
        return points.to(dtype=dtype, device=device)

    def cells(self, x: Tensor) -> Tensor:
        """Index of the cell that holds each point.

        Parameters
        ----------
        x : Tensor, shape (n, dim)

        Returns
        -------
        Tensor of int64, shape (n,)

        Raises
        ------
        ValueError
            If a point lies outside the box; nothing is clipped.
        """
        check_points("x", x, dim=self.dim)
        check_inside("x", x, self.low, self.high)
        index = ((x.double() - self.low) / self.width).floor().long()
        # a point on the upper edge, or on an edge that its dtype had to round
        index = index.clamp_(0, self.bins - 1)
        strides = self.bins ** torch.arange(self.dim - 1, -1, -1, device=x.device)
        return (index * strides).sum(1)

    def count(self, x: Tensor) -> Tensor:
        """Number of points in each cell, shape (bins**dim,), float64."""
        return torch.bincount(self.cells(x), minlength=self.bins**self.dim).double()


class GridDensity:
    """A density known at the points of a grid, normalised by quadrature.

    Everything is accumulated in float64, whatever the dtype of the model.

    Parameters
    ----------
    model : EnergyModel or torch.distributions.Distribution
        What to evaluate: ``-energy(x)`` of a model, ``log_prob(x)`` of a distribution.
    grid : Grid

    Attributes
    ----------
    log_partition : float
        ``log`` of the integral of ``exp(-energy)`` over the box.  For a normalised
        distribution it is the log of the mass in the box, 0 up to quadrature error.
    log_prob : Tensor, shape (bins**dim,), float64
        Log-density at the grid points, normalised on the box.
    prob : Tensor, shape (bins**dim,), float64
        Mass of each cell; sums to 1.

    Raises
    ------
    FloatingPointError
        If a value is NaN or ``+inf``, or every one is ``-inf``.
    TypeError
        If ``model`` is neither an energy model nor a distribution, or ``grid`` is no
        grid.
    ValueError
        If it gives anything but one number a grid point.
    """

    def __init__(self, model: EnergyModel | Distribution, grid: Grid) -> None:
        if not isinstance(grid, Grid):
            raise TypeError(
                "grid must be a Grid, such as Grid(bins=200), got "
                f"{type(grid).__name__}"
            )
        values = _log_values(model, grid.points_as(torch.float64))
        if torch.isnan(values).any() or (values == math.inf).any():
            bad = int((torch.isnan(values) | (values == math.inf)).sum())
            raise FloatingPointError(
                f"{type(model).__name__} is NaN or infinitely likely at {bad} of "
                f"{len(values)} grid points; lower the learning rate or go back to the "
                "last finite parameters"
            )
        if (values == -math.inf).all():
            raise FloatingPointError(
                f"{type(model).__name__} has no mass on the grid "
                f"[{grid.low}, {grid.high}]**{grid.dim}"
            )
        # a copy: what was normalised here must not change when training goes on
        self.model, self.grid = copy.deepcopy(model), grid
        log_sum = torch.logsumexp(values, 0)
        log_volume = math.log(grid.cell_volume)
        self.log_partition = float(log_sum) + log_volume
        self.log_prob = values - log_sum - log_volume
        self.prob = torch.softmax(values, 0)

    def entropy(self) -> float:
        """Differential entropy in nats, ``-E[log p]``."""
        return -float(_product(self.prob, self.log_prob).sum())

    def expectation(self, g: Callable[[Tensor], Tensor] | Tensor) -> Tensor:
        """Expected value of ``g`` under the density.

        Parameters
        ----------
        g : callable or Tensor
            Maps grid points (bins**dim, dim), float64, to values (bins**dim, ...), or
            these values themselves.

        Returns
        -------
        Tensor, shape (...), float64

        Raises
        ------
        ValueError
            If there is not one value a grid point.
        FloatingPointError
            If the expectation is NaN or infinite.
        """
        if not isinstance(g, Tensor):
            g = g(self.grid.points_as(torch.float64))
        if g.shape[:1] != self.prob.shape:
            raise ValueError(
                f"g must give {len(self.prob)} rows, one a grid point, got shape "
                f"{tuple(g.shape)}"
            )
        mean = torch.tensordot(self.prob, g.double().cpu(), dims=1)
        check_finite("expectation of g", mean, "g must be finite at every grid point")
        return mean

    def log_likelihood(self, x: Tensor) -> float:
        """Mean log-density of points, in nats: theirs exactly, normalised by the grid.

        Parameters
        ----------
        x : Tensor, shape (n, dim)
            Points in the box.
        """
        check_points("x", x, dim=self.grid.dim, allow_empty=False)
        self.grid.cells(x)  # raises for points outside the box
        return float(_log_values(self.model, x).mean()) - self.log_partition

    def kl(self, other: GridDensity | EnergyModel | Distribution) -> float:
        """Kullback-Leibler divergence ``KL(self || other)`` in nats.

        ``other`` is a density on the same grid, or anything that can be put on it.
        It is infinite where ``other`` has no mass and ``self`` has some.
        """
        other = self._same_grid(other)
        gap = self.log_prob - other.log_prob
        return float(_product(self.prob, gap).sum())

    def _same_grid(
        self, other: GridDensity | EnergyModel | Distribution
    ) -> GridDensity:
        if not isinstance(other, GridDensity):
            return GridDensity(other, self.grid)
        if other.grid != self.grid:
            raise ValueError(
                f"other must live on the same grid {self.grid}, got {other.grid}"
            )
        return other

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent exact samples of the piecewise constant density on the cells.

        A cell is drawn by inverting the cumulative sum of the masses, then a point
        uniformly within it.

        Returns
        -------
        Tensor, shape (n, dim), dtype of the grid's points
        """
        check_int("n", n, 1)
        check_generator(generator)
        cumulative = self.prob.cumsum(0)
        u = torch.rand(n, dtype=torch.float64, generator=generator) * cumulative[-1]
        # the minimum guards u == cumulative[-1], which rounding can produce
        cell = torch.searchsorted(cumulative, u, right=True).clamp_(
            max=int(self.prob.nonzero()[-1])
        )
        jitter = torch.rand(n, self.grid.dim, dtype=torch.float64, generator=generator)
        corner = self.grid.points_as(torch.float64)[cell] - self.grid.width / 2
        return (corner + jitter * self.grid.width).to(self.grid.points.dtype)

    def modes(self) -> Tensor:
        """Grid points at least as high as all their neighbours, highest first.

        The neighbours are the 2 (1-D), 8 (2-D), ... cells that touch the cell (Zhu
        2019, section 3.3).  On sloping ridges this rule reports modes that are not
        there, the more the finer the grid.

        Returns
        -------
        Tensor, shape (k, dim)
        """
        if self.grid.dim > 2:
            raise ValueError(f"modes needs a grid of dim 1 or 2, got {self.grid.dim}")
        values = self.log_prob.reshape(1, 1, *self.grid.shape)
        pool = (max_pool1d, max_pool2d)[self.grid.dim - 1]
        highest = pool(values, 3, stride=1, padding=1)
        is_mode = (values >= highest).reshape(-1) & (self.prob > 0)
        index = is_mode.nonzero()[:, 0]
        order = self.log_prob[index].argsort(descending=True)
        return self.grid.points[index[order]]


def _log_values(model: EnergyModel | Distribution, x: Tensor) -> Tensor:
    """Unnormalised log-density at points, evaluated in the dtype of the model.

    Returns
    -------
    Tensor, shape (n,), float64, on the CPU
    """
    if isinstance(model, EnergyModel):
        parameter = next(model.parameters(), x)
        x = x.to(parameter.device, parameter.dtype)

        def evaluate(part: Tensor) -> Tensor:
            return -energy_of(model, part)
    elif isinstance(model, Distribution):
        if model.event_shape != x.shape[1:] or model.batch_shape:
            raise ValueError(
                f"model must have event_shape ({x.shape[1]},) and no batch_shape, got "
                f"{tuple(model.event_shape)} and {tuple(model.batch_shape)}; "
                "torch.distributions.Independent(model, 1) joins coordinates"
            )
        evaluate = model.log_prob
    else:
        raise TypeError(
            "model must be an EnergyModel or a torch Distribution, "
            f"got {type(model).__name__}"
        )
    with torch.no_grad():
        return torch.cat([evaluate(part).double().cpu() for part in x.split(_CHUNK)])


def _product(prob: Tensor, value: Tensor) -> Tensor:
    """``prob * value`` with ``0 * anything = 0``, as in every entropy."""
    return torch.where(prob > 0, prob * value, 0.0)
