"""Grey images as piecewise constant densities, and two that are shipped."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ebmlib import _data
from ebmlib._checks import NonFiniteArgumentError
from ebmlib.distributions._base import Bounds, Density, _Random

CHECKSUMS = {
    "images/galaxy.png": (
        "5c79b7f64441be30381f927f9b77fcd6fbfac9c486edd5820201662d2df35b23"
    ),
    "images/texture.png": (
        "4ee239a8b993b414166508ce21b2b538fa9562683c21ad37f96bd04741b4ac53"
    ),
}


class ImageDensity(Density):
    """Piecewise constant density of a grey image: brighter is likelier.

    Every pixel is a rectangle of the box with constant density; its mass is its grey
    value over the sum of all. The image lies as one sees it: **row 0 is the top**
    (largest y), column 0 the left (smallest x). Normalised on the box, and zero
    (log density minus infinity) outside it and in black pixels. A point on the
    border of two pixels belongs to the upper or right one, except at the top and
    right ends of the box, which belong to it. (Rounding a sample to float32 can move
    it across such a border.)

    Parameters
    ----------
    image : array_like (h, w)
        Grey values: not negative, not all zero. Integer or floating point.
    bounds : (low, high)
        Corners of the box that the image fills, each a number or (x, y).
    validate_args : bool, optional
        See `Density`.

    Raises
    ------
    TypeError
        If `image` is not an array of real numbers.
    ValueError
        If it is not (h, w), is empty or black, or holds negative values; or
        `bounds` are not a box. NaN and infinity are refused too.
    """

    def __init__(
        self,
        image: Any,
        bounds: Bounds = (-1.0, 1.0),
        *,
        validate_args: bool | None = None,
    ) -> None:
        grey = _grey_values(image)
        super().__init__(2, (-1.0, 1.0) if bounds is None else bounds, validate_args)
        self.image = grey
        # (w, h): x first and upwards, as the points are
        self._mass = (grey / grey.sum()).flip(0).T.contiguous()
        self._shown = {"image": tuple(grey.shape), "bounds": bounds}

    @property
    def pixel_mass(self) -> Tensor:
        """Probability of every pixel, (h, w) float64, row 0 at the top; sums to 1."""
        return self._mass.T.flip(0)

    @property
    def _pixel(self) -> Tensor:
        """Width and height of a pixel, (2,)."""
        return (self._box[1] - self._box[0]) / torch.tensor(self._mass.shape)

    def _log_density(self, x: Tensor) -> Tensor:
        size = torch.tensor(self._mass.shape, device=x.device)
        low, high = self._box.to(x.device)
        place = torch.floor((x - low) / (high - low) * size).long()
        column, row = torch.minimum(place.clamp_min(0), size - 1).unbind(-1)
        log_density = (self._mass / self._pixel.prod()).log().to(x.device)
        # the zero term gives autograd its (zero) gradient
        return log_density[column, row] + 0.0 * x.sum(dim=-1)

    def _draw(self, n: int, random: _Random) -> Tensor:
        index = random.categories(self._mass.reshape(-1), n)
        height = self._mass.shape[1]
        corner = torch.stack([index // height, index % height], dim=1)
        low, pixel = self._box[0].to(random.device), self._pixel.to(random.device)
        return low + (corner + random.uniform(n, 2)) * pixel

    def _centres(self) -> tuple[Tensor, Tensor]:
        """Pixel centres along x, (w,), and y, (h,)."""
        x, y = (
            self._box[0, j] + (torch.arange(m, dtype=torch.float64) + 0.5) * step
            for j, (m, step) in enumerate(
                zip(self._mass.shape, self._pixel, strict=True)
            )
        )
        return x, y

    @property
    def mean(self) -> Tensor:
        """Mean, (2,), in closed form."""
        x, y = self._centres()
        return torch.stack([self._mass.sum(1) @ x, self._mass.sum(0) @ y])

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, (2,), in closed form."""
        x, y = self._centres()
        square = torch.stack(
            [self._mass.sum(1) @ x.square(), self._mass.sum(0) @ y.square()]
        )
        return square - self.mean.square() + self._pixel.square() / 12

    def entropy(self) -> Tensor:
        """Entropy in nats, in closed form; Tensor () float64."""
        return torch.special.entr(self._mass).sum() + self._pixel.prod().log()


class Galaxy(ImageDensity):
    """A galaxy: bulge, two spiral arms, a disc and stars, from a 200 x 200 image.

    Lives on its box, [-1, 1]^2 unless told, and is normalised on it. The image is
    computed, not observed; its script and licence are in the data folder.

    Parameters
    ----------
    bounds : (low, high)
        Box that the image fills.
    """

    def __init__(
        self, bounds: Bounds = (-1.0, 1.0), *, validate_args: bool | None = None
    ) -> None:
        super().__init__(_shipped("galaxy"), bounds, validate_args=validate_args)
        self._shown = {"bounds": bounds}


class Texture(ImageDensity):
    """An irregular texture: a ragged blotch with holes, from a 200 x 200 image.

    Lives on its box, [-1, 1]^2 unless told, and is normalised on it. It stands for
    the texture of the thesis, Figure 4.6, which is not published as data. The image
    is computed; its script and licence are in the data folder.

    Parameters
    ----------
    bounds : (low, high)
        Box that the image fills.
    """

    def __init__(
        self, bounds: Bounds = (-1.0, 1.0), *, validate_args: bool | None = None
    ) -> None:
        super().__init__(_shipped("texture"), bounds, validate_args=validate_args)
        self._shown = {"bounds": bounds}


@functools.cache
def _shipped(name: str) -> np.ndarray:
    """Read a shipped image after checking its SHA-256, (h, w) uint8, read-only."""
    file = f"images/{name}.png"
    with Image.open(_data.path(file, sha256=CHECKSUMS[file])) as picture:
        image = np.asarray(picture.convert("L"))
    image.setflags(write=False)
    return image


def _grey_values(image: Any) -> Tensor:
    """Check an image and return it as (h, w) float64 on the CPU."""
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"image must be an array of real numbers, got "
            f"{type(image).__name__} of dtype {array.dtype}"
        )
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"image must be grey, of shape (h, w), got shape {array.shape}; "
            f"average the channels of a colour image first"
        )
    grey = torch.from_numpy(array.astype(np.float64))
    if not bool(torch.isfinite(grey).all()):
        raise NonFiniteArgumentError("image must be finite, got NaN or infinity")
    if bool((grey < 0).any()):
        raise ValueError(
            f"image must not hold negative values, got a least of {float(grey.min())}"
        )
    if not 0 < float(grey.sum()) < float("inf"):
        raise ValueError(
            f"image must hold some light: its grey values sum to {float(grey.sum())}"
        )
    return grey
