"""Maps on the plane: densities, signed quantities, points."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_int, check_points
from ebmlib.energy import EnergyModel
from ebmlib.grid import Grid, GridDensity
from ebmlib.plotting.style import (
    COLOURS,
    MAP_SIZE,
    MARKERS,
    axes_or_new,
    square,
    to_array,
)


def plot_density(
    density: Distribution | EnergyModel | GridDensity | Tensor | np.ndarray,
    grid: Grid | None = None,
    ax: Axes | None = None,
    *,
    top: float | None = None,
    colorbar: bool = False,
    label: str = "density",
    **kwargs: Any,
) -> Axes:
    """Show a density: as a map on the plane, as a curve on the line.

    Parameters
    ----------
    density : Distribution, EnergyModel, GridDensity, or array (bins**dim,)
        What to show. A distribution's own density is shown as it is; a model's is
        normalised on the grid; an array holds densities at the grid's points.
    grid : Grid, optional
        Where to evaluate; a `GridDensity` brings its own.
    ax : Axes, optional
        Where to draw; a new figure when None.
    top : float, optional
        Density that has the last colour, to give several panels one scale.
    colorbar : bool
        Whether to draw the scale of colours.
    label : str
        Name of the scale, or of the vertical axis of a curve.
    **kwargs
        Passed to ``ax.plot`` when the density is one of a line.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        If `grid` is missing, or `density` is nothing that can be shown.
    ValueError
        If an array does not fit the grid.
    FloatingPointError
        If a value is NaN or infinite.
    """
    if isinstance(density, GridDensity):
        grid = density.grid if grid is None else grid
        density = density.log_prob.exp()
    _check_grid(grid)
    if isinstance(density, EnergyModel):
        density = GridDensity(density, grid).log_prob.exp()
    elif isinstance(density, Distribution):
        with torch.no_grad():
            density = density.log_prob(grid.points_as(torch.float64)).exp()
    values = _on_grid("density", density, grid)
    if grid.dim == 1:
        ax = axes_or_new(ax)
        ax.plot(grid.axis.numpy(), values, **kwargs)
        ax.set(xlim=(grid.low, grid.high), ylabel=label)
        ax.set_ylim(bottom=0)
        return ax
    return _image(values, grid, ax, "viridis", 0.0, top, label if colorbar else None)


def plot_signed(
    values: Tensor | np.ndarray,
    grid: Grid,
    ax: Axes | None = None,
    *,
    limit: float | None = None,
    colorbar: bool = True,
    label: str = "difference",
) -> Axes:
    """Show a signed quantity on the plane: blue below zero, red above, white at zero.

    Parameters
    ----------
    values : array (bins**2,)
        Values at the grid's points.
    grid : Grid
        Of dimension 2.
    ax : Axes, optional
        Where to draw; a new figure when None.
    limit : float, optional
        The colours run from -limit to limit; the largest size of a value when None.
    colorbar, label
        As in `plot_density`.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As in `plot_density`.
    """
    values = _on_grid("values", values, grid, dim=2)
    limit = float(np.abs(values).max()) or 1.0 if limit is None else limit
    name = label if colorbar else None
    return _image(values, grid, ax, "RdBu_r", -limit, limit, name)


def plot_points(
    x: Tensor,
    ax: Axes | None = None,
    *,
    category: int = 0,
    size: float = 4.0,
    alpha: float = 0.4,
    **kwargs: Any,
) -> Axes:
    """Show points of the plane; every point is drawn.

    Parameters
    ----------
    x : Tensor (n, 2)
        The points.
    ax : Axes, optional
        Where to draw; a new figure with the square [-1, 1]^2 when None.
    category : int
        Which colour and marker.
    size, alpha : float
        Area of a marker in square points, and its opacity.
    **kwargs
        Passed to ``ax.scatter``.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If `x` is not (n, 2), not floating point or not finite.
    """
    check_points("x", x, 2)
    check_int("category", category, 0)
    if ax is None:
        ax = square(axes_or_new(None, MAP_SIZE), -1.0, 1.0)
    look = {
        "color": COLOURS[category % len(COLOURS)],
        "marker": MARKERS[category % len(MARKERS)],
        "linewidths": 0,
    }
    points = x.detach().cpu().numpy()
    ax.scatter(points[:, 0], points[:, 1], s=size, alpha=alpha, **(look | kwargs))
    return ax


def _image(
    values: np.ndarray,
    grid: Grid,
    ax: Axes | None,
    cmap: str,
    low: float,
    high: float | None,
    label: str | None,
) -> Axes:
    """Draw values on the cells of a grid, with a scale of colours if it has a name."""
    if grid.dim != 2:
        raise ValueError(f"grid must have dimension 1 or 2, got {grid.dim}")
    ax = axes_or_new(ax, MAP_SIZE)
    extent = (grid.low, grid.high, grid.low, grid.high)
    image = ax.imshow(
        values.T, origin="lower", extent=extent, cmap=cmap, vmin=low, vmax=high
    )
    if label is not None:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.85, label=label)
        bar.outline.set_visible(False)
    return square(ax, grid.low, grid.high)


def _check_grid(grid: Any) -> None:
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be an ebmlib.grid.Grid, got {type(grid).__name__}")


def _on_grid(name: str, values: Any, grid: Any, dim: int | None = None) -> np.ndarray:
    """Check values at the points of a grid and give them the grid's shape."""
    _check_grid(grid)
    if dim is not None and grid.dim != dim:
        raise ValueError(f"grid must have dimension {dim}, got {grid.dim}")
    try:
        array = to_array(values)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be an array of numbers, got {type(values).__name__}"
        ) from error
    if array.size != grid.bins**grid.dim or array.ndim not in (1, grid.dim):
        raise ValueError(
            f"{name} must hold one value for each of the grid's {grid.shape} cells, "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise FloatingPointError(
            f"{name} is not finite at {int((~np.isfinite(array)).sum())} of "
            f"{array.size} grid points"
        )
    return array.reshape(grid.shape)
