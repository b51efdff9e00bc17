"""ReLU filters of the plane: half-planes with a ramp, and pools to choose them from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ebmlib._checks import check_finite, check_int, check_points, check_positive
from ebmlib.energy import mlp


@dataclass(frozen=True, eq=False)
class Filters:
    """ReLU filters ``relu(x . w - b)`` with unit directions ``w`` and offsets ``b``.

    A filter measures how far a point lies beyond the line ``x . w = b``, and is zero on
    the near side.

    Parameters
    ----------
    angles : Tensor, shape (m,)
        Directions ``w = (cos, sin)``, in radians.
    offsets : Tensor, shape (m,)
        Signed distances of the lines from the origin.

    Raises
    ------
    ValueError
        If the two are not vectors of one length.
    FloatingPointError
        If one of them is not finite.
    """

    angles: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        for name in ("angles", "offsets"):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            object.__setattr__(self, name, value.detach().cpu())
            check_finite(f"{name} of the filters", value)
        if self.angles.ndim != 1 or self.angles.shape != self.offsets.shape:
            raise ValueError(
                "angles and offsets must be vectors of one length, got shapes "
                f"{tuple(self.angles.shape)} and {tuple(self.offsets.shape)}"
            )

    def __len__(self) -> int:
        return len(self.angles)

    def __getitem__(self, index: slice | Tensor) -> Filters:
        """Some of the filters, by a slice or a tensor of indices."""
        if isinstance(index, int):
            raise TypeError("index must be a slice or a tensor; filters[i : i + 1]")
        return Filters(self.angles[index], self.offsets[index])

    @property
    def directions(self) -> Tensor:
        """Unit vectors ``w``, shape (m, 2), float64."""
        return torch.stack([self.angles.cos(), self.angles.sin()], 1)

    def values(self, x: Tensor) -> Tensor:
        """``relu(x . w - b)`` at each point.

        Parameters
        ----------
        x : Tensor, shape (n, 2)

        Returns
        -------
        Tensor, shape (n, m), float64
        """
        check_points("x", x, dim=2)
        projected = x.detach().double().cpu() @ self.directions.T
        return projected.sub_(self.offsets).relu_()

    def joined(self, other: Filters) -> Filters:
        """These filters and then the others."""
        return Filters(
            torch.cat([self.angles, other.angles]),
            torch.cat([self.offsets, other.offsets]),
        )

    def network(self, coefficients: Tensor) -> nn.Sequential:
        """The one-hidden-layer network ``f(x) = sum_k c_k relu(x . w_k - b_k)``.

        Parameters
        ----------
        coefficients : Tensor, shape (m,)

        Returns
        -------
        nn.Sequential
            As :func:`ebmlib.energy.mlp` makes them, in float64.
        """
        if coefficients.shape != self.offsets.shape:
            raise ValueError(
                f"coefficients must have shape ({len(self)},), one a filter, got "
                f"{tuple(coefficients.shape)}"
            )
        network = mlp([2, len(self), 1], generator=torch.Generator()).double()
        with torch.no_grad():
            network[0].weight.copy_(self.directions)
            network[0].bias.copy_(-self.offsets)
            network[2].weight.copy_(coefficients[None])
            network[2].bias.zero_()
        return network

    @classmethod
    def of(cls, network: nn.Sequential) -> Filters:
        """The filters of a network's first layer, each scaled to a unit direction.

        Raises
        ------
        ValueError
            If a unit has no direction: its weights are zero.
        """
        weight = network[0].weight.detach().double().cpu()
        norm = weight.norm(dim=1)
        if weight.shape[1] != 2 or not bool((norm > 0).all()):
            raise ValueError(
                "network must begin with an affine layer on the plane whose units all "
                f"have a direction, got weights {weight.tolist()}"
            )
        bias = network[0].bias.detach().double().cpu()
        return cls(torch.atan2(weight[:, 1], weight[:, 0]), -bias / norm)


def filter_pool(
    n_angles: int = 72,
    n_offsets: int = 41,
    *,
    reach: float = math.sqrt(2),
) -> Filters:
    """All combinations of evenly spaced directions and offsets.

    Parameters
    ----------
    n_angles : int
        Directions over the whole turn, from angle 0; 72 are 5 degrees apart.
    n_offsets : int
        Offsets evenly between ``-reach`` and ``reach``, the ends left out. 41 are 0.067
        apart: as far as 5 degrees move a line that is 0.765 from the origin, which is
        the mean distance of the points of the square.
    reach : float
        Half the diagonal of the square [-1, 1]**2 by default.

    Returns
    -------
    Filters
        ``n_angles * n_offsets`` of them, the angle varying slowest.
    """
    check_int("n_angles", n_angles, 1)
    check_int("n_offsets", n_offsets, 1)
    check_positive("reach", reach)
    angles = torch.arange(n_angles, dtype=torch.float64) * (2 * math.pi / n_angles)
    place = torch.arange(n_offsets, dtype=torch.float64) - (n_offsets - 1) / 2
    offsets = place * (2 * reach / (n_offsets + 1))
    return Filters(angles.repeat_interleave(n_offsets), offsets.repeat(n_angles))


def batches(filters: Filters, n_points: int) -> Iterator[slice]:
    """Slices of a pool small enough for their values at the points to fit a cache."""
    size = max(1, (1 << 18) // max(n_points, 1))
    for start in range(0, len(filters), size):
        yield slice(start, start + size)
