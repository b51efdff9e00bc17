"""The one style of all figures, and the Axes that carry it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ebmlib._checks import check_int

#: Okabe and Ito's colours, black last; yellow is left out: too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Size of a figure with one map of the plane, inches.
MAP_SIZE = (4.0, 3.6)
#: One line style and one marker for each colour.
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: The style sheet. 4.6 inches wide with 11-point letters: on a phone of 360 pixels,
#: where the figure shrinks to about two thirds, the letters are still 11 pixels high.
STYLE: dict[str, Any] = {
    "figure.figsize": (4.6, 3.2),
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "savefig.dpi": 160,
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS, linestyle=LINES),
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "font.size": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "svg.fonttype": "none",
}


def use_style() -> None:
    """Put the style into force for every figure made from now on."""
    mpl.rcParams.update(STYLE)


@contextmanager
def style() -> Iterator[None]:
    """Context manager: the style inside a ``with`` block only.

    Unlike `matplotlib.rc_context` it leaves other settings alone, so that a notebook's
    display, which switches itself on at the first figure, stays on.
    """
    before = {name: mpl.rcParams[name] for name in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def panels(n: int, columns: int = 2, *, size: float = 2.3) -> tuple[Figure, list[Axes]]:
    """A figure with n square panels, row by row.

    Parameters
    ----------
    n : int
        Number of panels; unused places of the last row stay empty.
    columns : int
        Panels beside each other. Two can be read on a phone; more are small there.
    size : float
        Width of a panel, inches.

    Returns
    -------
    figure, axes : Figure, list of n Axes
    """
    check_int("n", n, 1)
    check_int("columns", columns, 1)
    columns = min(n, columns)
    rows = -(-n // columns)
    with style():
        figure, grid = plt.subplots(
            rows, columns, figsize=(size * columns, size * rows), squeeze=False
        )
    for ax in grid.flat[n:]:
        ax.set_axis_off()
    return figure, list(grid.flat[:n])


def axes_or_new(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The Axes given, or one on a new figure in the style (of that size, inches)."""
    if ax is None:
        with style():
            return plt.subplots(figsize=size)[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be a Matplotlib Axes, got {type(ax).__name__}")
    return ax


def square(ax: Axes, low: float, high: float) -> Axes:
    """Equal axes over a square, with three ticks a side."""
    ticks = [low, (low + high) / 2, high]
    ax.set(xlim=(low, high), ylim=(low, high), xticks=ticks, yticks=ticks)
    ax.set_aspect("equal")
    return ax


def to_array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
