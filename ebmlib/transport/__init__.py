"""Optimal transport between weighted points, on POT (Flamary et al. 2021).

:func:`plan` moves one set of points onto another at least cost, exactly or with an
entropic penalty; :func:`wasserstein` is that cost as a distance;
:class:`OptimalCritic` is the 1-Lipschitz function that attains it from the other side
(Kantorovich-Rubinstein).  :func:`transport_map` turns a plan into a map of all of
space, and :func:`colour_map` and :func:`recolour` apply one to the colours of a
photograph.
"""

from ebmlib.transport._maps import (
    AffineMap,
    PointMap,
    colour_map,
    recolour,
    transport_map,
)
from ebmlib.transport._plan import OptimalCritic, Plan, plan, wasserstein

__all__ = [
    "AffineMap",
    "OptimalCritic",
    "Plan",
    "PointMap",
    "colour_map",
    "plan",
    "recolour",
    "transport_map",
    "wasserstein",
]
