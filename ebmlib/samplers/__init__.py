"""Drawing samples from an energy: kernels and chains, direct samplers, annealing.

A *kernel* is a small object that holds its parameters; :func:`sample` runs any of them
over many chains at once.  An energy is an :class:`~ebmlib.energy.EnergyModel` or any
function from points (n, d) to energies (n,), low where points are likely.
"""

from ebmlib.samplers._annealing import AnnealedEstimate, annealed_importance_sampling
from ebmlib.samplers._chain import Samples, sample
from ebmlib.samplers._direct import (
    Rejection,
    inverse_cdf,
    inverse_cdf_sample,
    rejection_sample,
)
from ebmlib.samplers._finite import (
    langevin_matrix,
    law_after,
    metropolis_matrix,
    stationary,
)
from ebmlib.samplers._gibbs import Gibbs
from ebmlib.samplers._importance import (
    ImportanceSample,
    Resampled,
    importance_sample,
    pareto_k,
    resample,
    sampling_importance_resampling,
)
from ebmlib.samplers._kernels import (
    HMC,
    MALA,
    Kernel,
    Langevin,
    RandomWalkMetropolis,
    State,
    leapfrog,
)
from ebmlib.samplers._tempering import ParallelTempering, TemperedState

__all__ = [
    "HMC",
    "MALA",
    "AnnealedEstimate",
    "Gibbs",
    "ImportanceSample",
    "Kernel",
    "Langevin",
    "ParallelTempering",
    "RandomWalkMetropolis",
    "Rejection",
    "Resampled",
    "Samples",
    "State",
    "TemperedState",
    "annealed_importance_sampling",
    "importance_sample",
    "inverse_cdf",
    "inverse_cdf_sample",
    "langevin_matrix",
    "law_after",
    "leapfrog",
    "metropolis_matrix",
    "pareto_k",
    "rejection_sample",
    "resample",
    "sample",
    "sampling_importance_resampling",
    "stationary",
]
