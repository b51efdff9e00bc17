"""The linear regions of a ReLU network: their borders, and a value for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from torch import Tensor

from ebmlib.partition import ReLUPartition
from ebmlib.plotting.lines import _LAYER_COLOURS
from ebmlib.plotting.style import COLOURS, MAP_SIZE, axes_or_new, square, to_array


def plot_edges(
    partition: ReLUPartition,
    ax: Axes | None = None,
    *,
    neurons: Iterable[int] | Tensor | None = None,
    regions: Iterable[int] | Tensor | None = None,
    colour: str | None = None,
    linewidth: float = 0.6,
    **kwargs: Any,
) -> Axes:
    """Draw the borders of linear regions, exactly; each layer's in its colour.

    Parameters
    ----------
    partition : ReLUPartition
        On a square.
    ax : Axes, optional
        Where to draw, over a density for example; a new figure when None.
    neurons : iterable of int, optional
        Draw only what lies on the lines of these neurons, counted through the layers.
    regions : iterable of int, optional
        Draw only the borders of these regions, the sides of the square included.
    colour : str, optional
        One colour for all, in place of the layers' colours.
    linewidth : float
        Points.
    **kwargs
        Passed to `matplotlib.collections.LineCollection`.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        If `partition` is no `ReLUPartition`.
    ValueError
        If a neuron or a region does not exist.
    """
    _check_partition(partition)
    ax = square(axes_or_new(ax, MAP_SIZE), *_sides(partition))
    owner = partition.edge_neurons
    shown = owner >= 0
    if neurons is not None:
        shown &= torch.isin(owner, _numbers("neurons", neurons, sum(partition.widths)))
    if regions is not None:
        chosen = _numbers("regions", regions, partition.n_regions)
        shown = shown | (owner < 0) if neurons is None else shown
        shown &= torch.isin(partition.corner_regions, chosen)
    begin = partition.vertices[shown]
    end = partition.vertices[partition.following[shown]]
    segments, owner = torch.stack([begin, end], 1).numpy(), owner[shown]
    layer = torch.bucketize(owner, torch.tensor(partition.widths).cumsum(0), right=True)
    for depth in layer.unique().tolist():
        if colour is None:
            kwargs["colors"] = COLOURS[_LAYER_COLOURS[depth % len(_LAYER_COLOURS)]]
        else:
            kwargs["colors"] = colour
        lines = LineCollection(
            segments[layer == depth], linewidths=linewidth, capstyle="round", **kwargs
        )
        ax.add_collection(lines)
    return ax


def plot_regions(
    partition: ReLUPartition,
    values: Tensor | np.ndarray,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
    label: str | None = None,
    cmap: str = "viridis",
) -> Axes:
    """Colour each linear region by a value of its own.

    Parameters
    ----------
    partition : ReLUPartition
        On a square.
    values : array (n_regions,)
    ax : Axes, optional
        Where to draw; a new figure when None.
    limits : pair of float, optional
        Values of the first and the last colour; the smallest and the largest when None.
    label : str, optional
        Name of the scale of colours, which is drawn only with a name.
    cmap : str
        Name of the colour map.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        If `partition` is no `ReLUPartition`.
    ValueError
        If there is not one value a region.
    FloatingPointError
        If a value is NaN or infinite.
    """
    _check_partition(partition)
    values = to_array(values)
    if values.shape != (partition.n_regions,):
        raise ValueError(
            f"values must have shape ({partition.n_regions},), one a region, "
            f"got {values.shape}"
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise FloatingPointError(
            f"values must be finite, got {bad} NaN or infinite of {values.size}"
        )
    ax = square(axes_or_new(ax, MAP_SIZE), *_sides(partition))
    low, high = (values.min(), values.max()) if limits is None else limits
    fills = PolyCollection(
        [polygon.numpy() for polygon in partition.polygons],
        array=values,
        cmap=cmap,
        norm=plt.Normalize(low, high),
        edgecolors="face",
        linewidths=0.3,  # closes the hair between neighbours
    )
    ax.add_collection(fills)
    if label is not None:
        ax.get_figure().colorbar(fills, ax=ax, label=label, shrink=0.8)
    return ax


def _check_partition(partition: Any) -> None:
    if not isinstance(partition, ReLUPartition):
        raise TypeError(
            f"partition must be a ReLUPartition, got {type(partition).__name__}; "
            "ReLUPartition.from_network(network) makes one"
        )


def _sides(partition: ReLUPartition) -> tuple[float, float]:
    low, high = partition.low.tolist(), partition.high.tolist()
    if low[0] != low[1] or high[0] != high[1]:
        raise ValueError(f"partition must be of a square, got {low} to {high}")
    return low[0], high[0]


def _numbers(name: str, values: Iterable[int] | Tensor, end: int) -> Tensor:
    numbers = torch.as_tensor(
        values if isinstance(values, Tensor) else list(values), dtype=torch.int64
    )
    if ((numbers < 0) | (numbers >= end)).any():
        raise ValueError(
            f"{name} must lie in 0 to {end - 1}, got {int(numbers.min())} to "
            f"{int(numbers.max())}"
        )
    return numbers
