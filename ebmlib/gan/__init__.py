"""Generators and critics: generative adversarial networks, with every loss in one loop.

The network that makes samples is the *base* here, as in generalised energy-based
models: the name ``generator`` is everywhere that of the random number generator.
"""

from ebmlib.gan._density import (
    CellMasses,
    GeneratorDensity,
    Preimages,
    push_forward,
)
from ebmlib.gan._images import dcgan_critic, dcgan_generator, load_dcgan, save_dcgan
from ebmlib.gan._losses import (
    Objective,
    critic_gradients,
    critic_values,
    gradient_penalty,
    objective,
)
from ebmlib.gan._networks import Generator
from ebmlib.gan._train import GANHistory, train_gan

__all__ = [
    "CellMasses",
    "GANHistory",
    "Generator",
    "GeneratorDensity",
    "Objective",
    "Preimages",
    "critic_gradients",
    "critic_values",
    "dcgan_critic",
    "dcgan_generator",
    "gradient_penalty",
    "load_dcgan",
    "objective",
    "push_forward",
    "save_dcgan",
    "train_gan",
]
