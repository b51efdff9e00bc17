"""Figures in one style, and the words that stand in for them.

Every function draws on an Axes and returns it. Figures are opaque and light, so that
they can be read on a dark page as well; densities have a perceptually uniform map,
signed quantities a diverging one with zero in the middle, categories the colours of
Okabe and Ito together with a line style and a marker each. Titles stay outside: a
caption has that role. `with_alt` gives a figure its alternative text.
"""

from ebmlib.plotting.alt import (
    AltFigure,
    describe_curves,
    describe_density,
    with_alt,
)
from ebmlib.plotting.lines import plot_curves, plot_partition_lines
from ebmlib.plotting.maps import plot_density, plot_points, plot_signed
from ebmlib.plotting.regions import plot_edges, plot_regions
from ebmlib.plotting.style import (
    COLOURS,
    LINES,
    MARKERS,
    STYLE,
    panels,
    style,
    use_style,
)

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "STYLE",
    "AltFigure",
    "describe_curves",
    "describe_density",
    "panels",
    "plot_curves",
    "plot_density",
    "plot_edges",
    "plot_partition_lines",
    "plot_points",
    "plot_regions",
    "plot_signed",
    "style",
    "use_style",
    "with_alt",
]
