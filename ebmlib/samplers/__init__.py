"""Drawing samples from an energy: kernels and chains, direct samplers, annealing.

A *kernel* is a small object that holds its parameters; :func:`sample` runs any of them
over many chains at once.  An energy is an :class:`~ebmlib.energy.EnergyModel` or any
function from points (n, d) to energies (n,), low where points are likely.
"""

from ebmlib.samplers._chain import Samples, sample
from ebmlib.samplers._kernels import (
    HMC,
    MALA,
    Kernel,
    Langevin,
    RandomWalkMetropolis,
    State,
)

__all__ = [
    "HMC",
    "MALA",
    "Kernel",
    "Langevin",
    "RandomWalkMetropolis",
    "Samples",
    "State",
    "sample",
]
