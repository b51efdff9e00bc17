"""The exact geometry of a ReLU energy in the plane.

A network with ReLU activations is affine on each of finitely many convex polygons.
:class:`ReLUPartition` finds them all, and with them whatever can be said exactly about
the density that the network defines.
"""

from ebmlib.partition._density import Moments, PolygonDensity
from ebmlib.partition._exact import ExactQuantities
from ebmlib.partition._groups import LayerActivity, RegionGroup
from ebmlib.partition._modes import Modes
from ebmlib.partition._partition import ReLUPartition

__all__ = [
    "ExactQuantities",
    "LayerActivity",
    "Modes",
    "Moments",
    "PolygonDensity",
    "ReLUPartition",
    "RegionGroup",
]
