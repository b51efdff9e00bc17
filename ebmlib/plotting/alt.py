"""Alternative text for computed figures: the words that stand in for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebmlib.grid import GridDensity
from ebmlib.plotting.style import STYLE, to_array


class AltFigure:
    """A finished figure with its alternative text; a notebook shows it as an image.

    Its ``text/html`` is an image element that carries the text, for pages and
    notebooks alike; ``image/png`` (with the text in its metadata) and ``text/plain``
    (the text) are for whatever shows no HTML.

    Parameters
    ----------
    png : bytes
        The picture.
    alt : str
        What it shows.
    width : int
        Width at which it is shown, CSS pixels; it shrinks on narrow screens.
    """

    def __init__(self, png: bytes, alt: str, width: int) -> None:
        self.png, self.alt, self.width = png, alt, width

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        data = base64.b64encode(self.png).decode("ascii")
        html = (
            f'<img class="ebm-figure" src="data:image/png;base64,{data}" '
            f'alt="{escape(self.alt, quote=True)}" width="{self.width}" '
            f'style="max-width: 100%; height: auto;">'
        )
        bundle = {"text/html": html, "image/png": data, "text/plain": self.alt}
        return bundle, {"image/png": {"alt": self.alt, "width": self.width}}

    def __repr__(self) -> str:
        return f"AltFigure({self.alt!r})"


def with_alt(figure: Figure | Axes, alt: str) -> AltFigure:
    """Finish a figure: render it, close it, and give it its alternative text.

    Put the result last in a cell. The text can be computed: say in it what was found.

    Parameters
    ----------
    figure : Figure or Axes
        The figure, or any of its Axes.
    alt : str
        What the figure shows, for a person who does not see it.

    Returns
    -------
    AltFigure

    Raises
    ------
    TypeError
        If `figure` is neither a Figure nor an Axes, or `alt` is not a string.
    ValueError
        If `alt` is empty.
    """
    if isinstance(figure, Axes):
        figure = figure.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise TypeError(
            f"figure must be a Matplotlib Figure or Axes, got {type(figure).__name__}"
        )
    if not isinstance(alt, str):
        raise TypeError(f"alt must be a string, got {type(alt).__name__}")
    alt = " ".join(alt.split())
    if not alt:
        raise ValueError("alt must say what the figure shows, got an empty text")
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=STYLE["savefig.dpi"],
        facecolor=STYLE["savefig.facecolor"],
        transparent=False,
        pil_kwargs={"optimize": True},
    )
    width = round(figure.get_size_inches()[0] * STYLE["figure.dpi"])
    plt.close(figure)
    return AltFigure(buffer.getvalue(), alt, width)


def describe_density(density: GridDensity) -> str:
    """Say in words where a density lies, for an alternative text.

    Parameters
    ----------
    density : GridDensity
        On the line or the plane.

    Returns
    -------
    str
        Its highest value and where that is, and the smallest share of the box that
        holds half of the mass: "highest 4.41 at (0.10, 0.78); half of the mass on
        2.6 % of the box".
    """
    if not isinstance(density, GridDensity):
        raise TypeError(f"density must be a GridDensity, got {type(density).__name__}")
    top = int(density.prob.argmax())
    place = ", ".join(f"{v:.2f}" for v in density.grid.points[top].tolist())
    mass = torch.cumsum(density.prob.sort(descending=True).values, dim=0)
    share = (int((mass < 0.5).sum()) + 1) / mass.numel()
    return (
        f"highest {float(density.log_prob[top].exp()):.3g} at ({place}); "
        f"half of the mass on {100 * share:.2g} % of the box"
    )


def describe_curves(x: Any, curves: Mapping[str, Any]) -> str:
    """Say in words where curves begin and end, for an alternative text.

    Parameters
    ----------
    x, curves
        As in `plot_curves`; medians over the seeds are told.

    Returns
    -------
    str
        "ring: from 1.2 at 0 to 0.004 at 600; star: ..."
    """
    x = to_array(x)
    parts = []
    for name, values in curves.items():
        y = np.median(np.atleast_2d(to_array(values)), axis=0)
        parts.append(f"{name}: from {y[0]:.3g} at {x[0]:g} to {y[-1]:.3g} at {x[-1]:g}")
    return "; ".join(parts)
