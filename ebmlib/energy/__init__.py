"""Energies, the densities they define, and the small networks behind them.

One sign throughout: ``energy(x)`` is low where ``x`` is likely, and
``p(x) = exp(-energy(x)) / Z``.  The negative energy ``f`` of the Deep FRAME model
(Zhu 2019, equation 2.1) is called ``negative_energy``, never ``energy``.
"""

from ebmlib.energy._experts import ProductOfExperts, StudentTExperts
from ebmlib.energy._latent import GaussianRBM, LogisticExperts, free_energy
from ebmlib.energy._models import (
    EnergyModel,
    TiltedEnergy,
    energy_of,
    gaussian,
    mlp,
)

__all__ = [
    "EnergyModel",
    "GaussianRBM",
    "LogisticExperts",
    "ProductOfExperts",
    "StudentTExperts",
    "TiltedEnergy",
    "energy_of",
    "free_energy",
    "gaussian",
    "mlp",
]
