"""What a discriminator knows, put to use: a generator corrected by a critic.

A generator B pushes latent points ``z ~ p_0`` into the plane; its density there is
``p_g``.  A *logit* d, high on data, that estimates ``log q(x) - log p_g(x)`` tilts it:
``p(x)`` proportional to ``p_g(x) exp(d(x))``.  With the exact log-ratio that is the
data's density, and everything here is a way to draw from it.

A base is an `ebmlib.gan.Generator`, or any callable from latent points to points that
has ``latent``, a `torch.distributions.Distribution`, and ``sample_latent(n,
generator=)``.  A logit is a critic or a function from points (n, d) to (n,) or (n, 1).
"""

from ebmlib.latent._calibration import (
    IsotonicCalibration,
    LogisticCalibration,
    calibrate,
    calibration_z,
)
from ebmlib.latent._correct import (
    DiscriminatorRejection,
    discriminator_rejection,
    mh_acceptance,
    mh_gan,
    reweight,
)
from ebmlib.latent._energy import LatentEnergy
from ebmlib.latent._kale import kale_bound
from ebmlib.latent._waves import Waves, wave_critic

__all__ = [
    "DiscriminatorRejection",
    "IsotonicCalibration",
    "LatentEnergy",
    "LogisticCalibration",
    "Waves",
    "calibrate",
    "calibration_z",
    "discriminator_rejection",
    "kale_bound",
    "mh_acceptance",
    "mh_gan",
    "reweight",
    "wave_critic",
]
