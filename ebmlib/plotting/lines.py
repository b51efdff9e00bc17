"""Lines: curves over seeds, and where the units of a network switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import Tensor, nn

from ebmlib._checks import check_choice, check_int, check_interval
from ebmlib.plotting.style import (
    COLOURS,
    LINES,
    MAP_SIZE,
    MARKERS,
    axes_or_new,
    square,
    to_array,
)

# Orange-red, pink, sky blue, orange: they stand out on white and on a density's map.
_LAYER_COLOURS = (1, 3, 5, 4)


def plot_curves(
    x: Sequence[float] | np.ndarray | Tensor,
    curves: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    spread: str = "range",
    marks: int = 6,
) -> Axes:
    """Curves over seeds: the median as a line, the spread as a band.

    Each curve has a colour, a line style and a marker of its own, in the mapping's
    order, and its name in a legend.

    Parameters
    ----------
    x : array_like (m,)
        The common abscissa, steps for example.
    curves : mapping of str to array_like (m,) or (seeds, m)
        The values; NaN where a curve is not known.
    ax : Axes, optional
        Where to draw; a new figure when None.
    spread : {"range", "quartiles"}
        What the band holds: all seeds, or the middle half of them.
    marks : int
        About how many markers stand on a curve.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If a curve's length is not that of `x`, or `spread` is unknown.
    """
    check_choice("spread", spread, ("range", "quartiles"))
    check_int("marks", marks, 1)
    ax = axes_or_new(ax)
    x = to_array(x)
    ends = (0, 100) if spread == "range" else (25, 75)
    for i, (name, values) in enumerate(curves.items()):
        y = np.atleast_2d(to_array(values))
        if x.ndim != 1 or y.ndim != 2 or y.shape[1] != x.size:
            raise ValueError(
                f"curve {name!r} must have shape ({x.size},) or (seeds, {x.size}), "
                f"like x, got {y.shape}"
            )
        colour = COLOURS[i % len(COLOURS)]
        step = max(1, x.size // marks)
        ax.plot(
            x,
            np.median(y, axis=0),
            color=colour,
            linestyle=LINES[i % len(LINES)],
            marker=MARKERS[i % len(MARKERS)],
            markevery=((i * step // max(1, len(curves))) % step, step),
            label=name,
        )
        if y.shape[0] > 1:
            low, high = np.percentile(y, ends, axis=0)
            ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.legend()
    return ax


def plot_partition_lines(
    network: nn.Sequential,
    ax: Axes | None = None,
    *,
    low: float = -1.0,
    high: float = 1.0,
    resolution: int = 400,
    linewidth: float = 0.8,
) -> Axes:
    """Where the units of a network switch: the zero lines of their inputs.

    Those of the first layer are straight and drawn exactly. Those of later layers are
    drawn as contours of the pre-activations on a grid, so a piece smaller than a
    cell of that grid can be missed. Each layer has its colour and line style.

    Parameters
    ----------
    network : nn.Sequential
        Affine layers and activations in turn, two inputs; the last layer has no
        zero line.
    ax : Axes, optional
        Where to draw, over a density for example; a new figure when None.
    low, high : float
        The square.
    resolution : int
        Points a side of the grid for the later layers.
    linewidth : float
        Width of the lines, points.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        If `network` is not an ``nn.Sequential``.
    ValueError
        If it does not begin with a layer of two inputs.
    """
    if not isinstance(network, nn.Sequential):
        raise TypeError(
            f"network must be an nn.Sequential of affine layers and activations, "
            f"got {type(network).__name__}"
        )
    if not len(network) or getattr(network[0], "in_features", None) != 2:
        raise ValueError("network must begin with an affine layer of two inputs")
    check_interval(low, high)
    check_int("resolution", resolution, 2)
    ax = square(axes_or_new(ax, MAP_SIZE), low, high)
    first = network[0]
    side = torch.linspace(low, high, resolution, dtype=first.weight.dtype)
    x = torch.cartesian_prod(side, side).to(first.weight.device)
    depth = 0
    with torch.no_grad():
        for module in list(network)[:-1]:
            x = module(x)
            if not isinstance(module, nn.Linear):
                continue
            look = {
                "colors": COLOURS[_LAYER_COLOURS[depth % len(_LAYER_COLOURS)]],
                "linestyles": LINES[depth % len(LINES)],
                "linewidths": linewidth,
            }
            if depth == 0:
                ax.add_collection(LineCollection(_segments(first, low, high), **look))
            else:
                maps = x.T.reshape(-1, resolution, resolution).cpu().numpy()
                for z in maps[(maps.min((1, 2)) < 0) & (maps.max((1, 2)) > 0)]:
                    ax.contour(side.numpy(), side.numpy(), z.T, levels=[0.0], **look)
            depth += 1
    return ax


def _segments(layer: nn.Linear, low: float, high: float) -> np.ndarray:
    """The parts of the lines w.x + b = 0 that lie in a square, (k, 2, 2)."""
    w = to_array(layer.weight)
    b = np.zeros(len(w)) if layer.bias is None else to_array(layer.bias)
    some = np.any(w != 0, axis=1)
    w, b = w[some], b[some]
    norm = np.linalg.norm(w, axis=1, keepdims=True)
    normal = w / norm
    foot = -b[:, None] / norm * normal
    along = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = (np.array([low, high])[:, None, None] - foot) / along
    parallel = along == 0
    inside = (foot >= low) & (foot <= high)
    enter = np.where(parallel, np.where(inside, -np.inf, np.inf), ends.min(axis=0))
    leave = np.where(parallel, np.where(inside, np.inf, -np.inf), ends.max(axis=0))
    start, stop = enter.max(axis=1), leave.min(axis=1)
    hit = start < stop
    t = np.stack([start[hit], stop[hit]], axis=1)[:, :, None]
    return foot[hit, None, :] + t * along[hit, None, :]
