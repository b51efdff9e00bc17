"""Figures that move, in a live notebook and on a built page without a kernel.

Each widget is one ES module with two hosts. In a notebook it is an
`anywidget.AnyWidget`: its traits can be set, observed and linked. On a built page the
same module is handed a small model object by a loader, so that every control works
with no kernel and no network; without JavaScript a picture and a caption remain.
"""

from ebmlib.widgets.density import DensityExplorer
from ebmlib.widgets.frames import FrameExplorer

__all__ = ["DensityExplorer", "FrameExplorer"]
