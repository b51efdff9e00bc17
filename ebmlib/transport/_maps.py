"""Maps of all of space from a plan between samples, and of the colours of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ebmlib._checks import (
    check_choice,
    check_generator,
    check_int,
    check_points,
    check_tensor,
)
from ebmlib.transport._plan import check_pair, plan, to_numpy

METHODS = ("exact", "entropic", "gaussian")


@dataclass(frozen=True, eq=False)
class PointMap:
    """A plan as a map: every point moves as the nearest sample does.

    A sample goes to the mean of where its mass goes (barycentric projection), and a new
    point is displaced like the sample nearest to it (Ferradans et al. 2014).

    Attributes
    ----------
    samples, images : Tensor, shape (n, d), float64
        The samples and where they go.
    cost : float
        Cost of the plan: the mean squared distance that mass moves.
    """

    samples: Tensor
    images: Tensor
    cost: float

    def __call__(self, x: Tensor) -> Tensor:
        """Where points x of shape (k, d) go; dtype and device follow x."""
        check_points("x", x, self.samples.shape[1])
        nearest = cKDTree(self.samples.numpy()).query(to_numpy(x))[1]
        return x + (self.images - self.samples)[nearest].to(x)


@dataclass(frozen=True, eq=False)
class AffineMap:
    """The optimal map between two Gaussians: ``x -> x @ matrix + offset``.

    ``matrix = S**-1/2 (S**1/2 T S**1/2)**1/2 S**-1/2``, symmetric, for covariances S
    and T (Peyré and Cuturi 2019, chapter 2).

    Attributes
    ----------
    matrix : Tensor, shape (d, d), float64
    offset : Tensor, shape (d,), float64
    cost : float
        Mean squared displacement: the squared W2 distance of the two Gaussians.
    """

    matrix: Tensor
    offset: Tensor
    cost: float

    def __call__(self, x: Tensor) -> Tensor:
        """Where points x of shape (k, d) go; dtype and device follow x."""
        check_points("x", x, len(self.offset))
        return x @ self.matrix.to(x) + self.offset.to(x)


def transport_map(
    x: Tensor,
    y: Tensor,
    method: str = "exact",
    *,
    regularisation: float | None = None,
    **options: Any,
) -> PointMap | AffineMap:
    """Map of all of space that moves the points x towards y at least squared distance.

    Parameters
    ----------
    x, y : Tensor, shapes (n, d) and (m, d)
    method : {"exact", "entropic", "gaussian"}
        From the exact plan, from the entropic one (blurred: each image is a mean of
        many points), or from the means and covariances alone.
    regularisation : float, optional
        As for :func:`plan`; it belongs to ``"entropic"``.
    **options
        ``max_steps`` and ``tolerance`` of :func:`plan`.

    Raises
    ------
    ValueError
        If a regularisation is missing or comes with another method, or x does not
        span the space and the method is ``"gaussian"``.
    RuntimeError
        As :func:`plan`.
    """
    check_choice("method", method, METHODS)
    if (regularisation is None) == (method == "entropic"):
        raise ValueError(
            'regularisation belongs to method "entropic", and to it alone: got '
            f"regularisation={regularisation} with {method!r}"
        )
    if method == "gaussian":
        if options:
            raise TypeError(f'method "gaussian" takes no {", ".join(options)}')
        return _gaussian_map(x, y)
    best = plan(x, y, cost="squared", regularisation=regularisation, **options)
    shares = best.matrix / best.matrix.sum(1, keepdim=True)
    images = shares @ y.detach().double().cpu()
    return PointMap(x.detach().double().cpu(), images, best.cost)


def colour_map(
    image: Tensor,
    like: Tensor,
    method: str = "exact",
    *,
    n_samples: int = 500,
    generator: torch.Generator | None = None,
    **options: Any,
) -> PointMap | AffineMap:
    """Map of colours from one photograph to those of another.

    Parameters
    ----------
    image, like : Tensor, shapes (c, h, w)
        Their sizes may differ.
    method : {"exact", "entropic", "gaussian"}
        As for :func:`transport_map`; ``"gaussian"`` takes the moments of all pixels.
    n_samples : int
        Pixels drawn from each image for a plan, without replacement.
    generator : torch.Generator, optional
        For the draws.
    **options
        ``regularisation``, ``max_steps`` and ``tolerance`` of :func:`transport_map`.
    """
    check_choice("method", method, METHODS)
    check_int("n_samples", n_samples, 2)
    check_generator(generator)
    pixels = {"x": _pixels("image", image), "y": _pixels("like", like)}
    if method != "gaussian":
        least = min(map(len, pixels.values()))
        if least < n_samples:
            raise ValueError(f"n_samples must be at most {least}, the number of pixels")
        for name, each in pixels.items():
            drawn = torch.randperm(len(each), generator=generator)[:n_samples]
            pixels[name] = each[drawn.to(each.device)]
    return transport_map(**pixels, method=method, **options)


def recolour(image: Tensor, mapping: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a map of colours to every pixel of an image of shape (c, h, w).

    Colours may leave [0, 1]: nothing is clipped.
    """
    return mapping(_pixels("image", image)).T.reshape(image.shape)


def _gaussian_map(x: Tensor, y: Tensor) -> AffineMap:
    check_pair(x, y)
    m, n = to_numpy(x).mean(0), to_numpy(y).mean(0)
    s = np.cov(to_numpy(x).T, bias=True).reshape(len(m), len(m))
    t = np.cov(to_numpy(y).T, bias=True).reshape(len(m), len(m))
    rank = int(np.linalg.matrix_rank(s, hermitian=True))
    if rank < len(s):
        raise ValueError(
            f'x spans {rank} of {len(s)} dimensions: method "gaussian" must invert its '
            "covariance; take more points, or fewer coordinates"
        )
    root = _root(s)
    inverse = np.linalg.inv(root)
    matrix = inverse @ _root(root @ t @ root) @ inverse
    # mean of |T(x) - x|**2 from the moments alone: no square root loses digits
    change = matrix - np.eye(len(s))
    cost = float((m - n) @ (m - n) + np.trace(change @ s @ change))
    return AffineMap(torch.from_numpy(matrix), torch.from_numpy(n - m @ matrix), cost)


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a covariance; eigenvalues that rounding made negative are zero.

    POT's own gives NaN for them: the colours of a grey photograph have two.
    """
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


def _pixels(name: str, image: Tensor) -> Tensor:
    """Colours of an image of shape (c, h, w), one a row."""
    check_tensor(name, image)
    if image.ndim != 3:
        raise ValueError(f"{name} must have shape (c, h, w), got {tuple(image.shape)}")
    return image.flatten(1).T
