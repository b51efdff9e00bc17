"""Data with known densities on the line and the plane.

Every class is a `torch.distributions.Distribution` with an exact ``log_prob`` and
exact independent samples, so that whatever a model learns from the samples can be
held against the truth.
"""

from __future__ import annotations

from typing import Any

from ebmlib._checks import check_choice
from ebmlib.distributions._base import Density
from ebmlib.distributions.curves import CrossLines, FourSpin, Ring, TwoSpirals
from ebmlib.distributions.gaussians import GaussianMixture
from ebmlib.distributions.images import Galaxy, ImageDensity, Texture
from ebmlib.distributions.mixtures import (
    Clusters,
    Dots,
    Star,
    TextonTexture,
    ThreeGaussians1D,
    TwoGaussians,
)

__all__ = [
    "Clusters",
    "CrossLines",
    "Density",
    "Dots",
    "FourSpin",
    "Galaxy",
    "GaussianMixture",
    "ImageDensity",
    "Ring",
    "Star",
    "TextonTexture",
    "Texture",
    "ThreeGaussians1D",
    "TwoGaussians",
    "TwoSpirals",
    "available",
    "get",
]

_NAMED: dict[str, type[Density]] = {
    "clusters": Clusters,
    "cross_lines": CrossLines,
    "dots": Dots,
    "four_spin": FourSpin,
    "galaxy": Galaxy,
    "ring": Ring,
    "star": Star,
    "texton_texture": TextonTexture,
    "texture": Texture,
    "three_gaussians_1d": ThreeGaussians1D,
    "two_gaussians": TwoGaussians,
    "two_spirals": TwoSpirals,
}


def available() -> list[str]:
    """Names that `get` knows, in alphabetical order."""
    return sorted(_NAMED)


def get(name: str, **kwargs: Any) -> Density:
    """Make a density by its name.

    Parameters
    ----------
    name : str
        One of `available()`. The class's own name works too, as do capitals,
        spaces and hyphens: "TwoSpirals", "two spirals", "two-spirals".
    **kwargs
        Passed to the class.

    Returns
    -------
    Density

    Raises
    ------
    TypeError
        If `name` is not a string.
    ValueError
        If it is unknown; the message suggests the nearest.

    Examples
    --------
    >>> get("ring", radius=0.5)
    Ring(radius=0.5, sd=0.05)
    """
    if isinstance(name, str):
        squeezed = {key.replace("_", ""): key for key in _NAMED}
        plain = "".join(c for c in name.lower() if c not in " -_")
        name = squeezed.get(plain, name)
    check_choice("name", name, available())
    return _NAMED[name](**kwargs)
