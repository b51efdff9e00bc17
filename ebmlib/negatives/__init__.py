"""Where the negative points come from.

Maximum likelihood has one gradient, for every model of the course::

    d/dtheta  mean_data E(x)  -  sum_i w_i dE(x_i)/dtheta

A *negative phase* supplies the points ``x_i`` and their weights ``w_i``: it is a
callable ``negatives(model, generator=...) -> Negatives`` that :func:`ebmlib.fit.fit`
calls once a step.  The exact ones integrate; those made of chains run a kernel of
:mod:`ebmlib.samplers` for a few steps, and differ only in where the chains start.
"""

from ebmlib.negatives._chains import (
    ContrastiveNegatives,
    PersistentNegatives,
    ShortRunNegatives,
)
from ebmlib.negatives._exact import FixedPoints, GridNegatives, PolygonNegatives
from ebmlib.negatives._phase import NegativePhase, Negatives

__all__ = [
    "ContrastiveNegatives",
    "FixedPoints",
    "GridNegatives",
    "NegativePhase",
    "Negatives",
    "PersistentNegatives",
    "PolygonNegatives",
    "ShortRunNegatives",
]
