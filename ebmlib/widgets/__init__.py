"""Figures that move, in a live notebook and on a built page without a kernel.

Each widget is one ES module with two hosts. In a notebook it is an
`anywidget.AnyWidget`: its traits can be set, observed and linked. On a built page the
same module is handed a small model object by a loader, so that every control works
with no kernel and no network; without JavaScript a picture and a caption remain.
"""

from ebmlib.widgets.dbm import DBMExplorer
from ebmlib.widgets.density import DensityExplorer
from ebmlib.widgets.dimension import DimensionExplorer
from ebmlib.widgets.ebm_lab import EBMLab
from ebmlib.widgets.experts import ExpertsExplorer
from ebmlib.widgets.frames import FrameExplorer
from ebmlib.widgets.latent_explorer import LatentExplorer
from ebmlib.widgets.particle import ParticleExplorer
from ebmlib.widgets.partition import PartitionExplorer
from ebmlib.widgets.pursuit import PursuitExplorer
from ebmlib.widgets.rbm import RBMPad
from ebmlib.widgets.two_phases import TwoPhases

__all__ = [
    "DBMExplorer",
    "DensityExplorer",
    "DimensionExplorer",
    "EBMLab",
    "ExpertsExplorer",
    "FrameExplorer",
    "LatentExplorer",
    "ParticleExplorer",
    "PartitionExplorer",
    "PursuitExplorer",
    "RBMPad",
    "TwoPhases",
]
