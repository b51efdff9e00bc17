"""What groups of regions, and the layers of the network, look like in a partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ebmlib._checks import check_tensor
from ebmlib.partition._lookup import depths

if TYPE_CHECKING:
    from ebmlib.partition._partition import ReLUPartition


class RegionGroup(NamedTuple):
    """Regions taken together, and the neurons that bound them from outside.

    Attributes
    ----------
    regions : Tensor of int64, shape (k,)
    boundary_neurons : Tensor of int64
        Neurons with a line between a region of the group and one outside it,
        ascending, counted through the layers.
    segments : Tensor, shape (s, 2, 2)
        The outer boundary: start and end of each piece, the group on its left.  The
        border of the box is not part of it.
    segment_neurons : Tensor of int64, shape (s,)
        The neuron on whose line each piece lies.
    """

    regions: Tensor
    boundary_neurons: Tensor
    segments: Tensor
    segment_neurons: Tensor


class LayerActivity(NamedTuple):
    """How much of a hidden layer is active, as shares of a weight on the regions.

    Attributes
    ----------
    mean : float
        Mean share of the layer's neurons that are active, between 0 and 1.
    histogram : Tensor, shape (width + 1,)
        Share of the weight on which exactly 0, 1, ..., width neurons are active.
    neurons : Tensor, shape (width,)
        Share of the weight on which each neuron is active.
    dead, always : Tensor of int64
        Neurons (of this layer, from 0) that are active on no region, and on every one.
    """

    mean: float
    histogram: Tensor
    neurons: Tensor
    dead: Tensor
    always: Tensor


def mask(partition: ReLUPartition, regions: Tensor | Sequence[int] | int) -> Tensor:
    """Regions given by index or by mask, as a mask of shape (R,)."""
    n = partition.n_regions
    chosen = torch.as_tensor(regions).detach().cpu()
    if chosen.dtype == torch.bool and chosen.shape == (n,):
        return chosen
    if chosen.numel() and (chosen.is_floating_point() or chosen.dtype == torch.bool):
        raise TypeError(
            f"regions must be indices or a mask of shape ({n},), got {chosen.dtype} "
            f"of shape {tuple(chosen.shape)}"
        )
    if chosen.numel() and not 0 <= chosen.min() <= chosen.max() < n:
        raise ValueError(
            f"regions must be between 0 and {n - 1}, got values from "
            f"{int(chosen.min())} to {int(chosen.max())}"
        )
    inside = torch.zeros(n, dtype=torch.bool)
    inside[chosen.reshape(-1).long()] = True
    return inside


def highest(partition: ReLUPartition) -> Tensor:
    """Largest value of ``f`` on each region, shape (R,): a vertex has it."""
    row = partition.corner_regions
    value = (partition.gradients[row] * partition.vertices).sum(1)
    value += partition.offsets[row]
    highest = value.new_full((partition.n_regions,), -torch.inf)
    return highest.scatter_reduce_(0, row, value, "amax")


def group(partition: ReLUPartition, inside: Tensor) -> RegionGroup:
    """The group of regions given by a mask."""
    edges = partition.shared_edges
    here = inside[partition.neighbours]
    outer = edges[here[:, 0] != here[:, 1]]
    outer = outer[inside[partition.corner_regions[outer]]]  # the side of the group
    neurons = partition.edge_neurons[outer]
    ends = torch.stack([outer, partition.following[outer]], 1)
    return RegionGroup(
        inside.nonzero()[:, 0], neurons.unique(), partition.vertices[ends], neurons
    )


def meets_ball(partition: ReLUPartition, centre: Tensor, radius: float) -> Tensor:
    """Mask of the regions that have a point within ``radius`` of ``centre``."""
    begin = partition.vertices
    side = begin[partition.following] - begin
    along = ((centre - begin) * side).sum(1) / side.square().sum(1)
    foot = begin + along.clamp(0, 1)[:, None] * side
    near = (foot - centre).norm(dim=1) <= radius
    parts = (partition.vertices, partition.following, partition.starts)
    depth = depths(centre[None].numpy(), *(part.numpy() for part in parts))
    inside = torch.from_numpy(depth[0] >= 0)
    inside[partition.corner_regions[near]] = True
    return inside


def components(partition: ReLUPartition, inside: Tensor) -> tuple[Tensor, ...]:
    """The connected pieces of a set of regions, given by a mask."""
    pairs = partition.neighbours[inside[partition.neighbours].all(1)].T.numpy()
    n = partition.n_regions
    links = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(n, n))
    _, label = connected_components(links, directed=False)
    regions = inside.nonzero()[:, 0]
    piece = torch.from_numpy(label)[regions]
    _, sizes = piece.unique(return_counts=True)
    return regions[piece.argsort(stable=True)].split(sizes.tolist())


def activity(
    partition: ReLUPartition, weights: Tensor | None
) -> tuple[LayerActivity, ...]:
    """Activity of each hidden layer, weighted by area or by given weights."""
    if weights is None:
        weights = partition.areas
    check_tensor("weights", weights)
    weights = weights.detach().double().cpu()
    total = weights.sum()
    if weights.shape != (partition.n_regions,):
        raise ValueError(
            f"weights must have shape ({partition.n_regions},), one a region, got "
            f"{tuple(weights.shape)}"
        )
    if not (weights >= 0).all() or not 0 < total < torch.inf:
        raise ValueError(
            "weights must be finite, not negative and not all zero, got values from "
            f"{float(weights.min())} to {float(weights.max())}"
        )
    return tuple(_layer(pattern, weights / total) for pattern in partition.patterns)


def _layer(pattern: Tensor, weights: Tensor) -> LayerActivity:
    width = pattern.shape[1]
    count = pattern.sum(1)
    histogram = torch.zeros(width + 1, dtype=torch.float64)
    histogram.index_add_(0, count, weights)
    return LayerActivity(
        mean=float(weights @ count.double()) / width,
        histogram=histogram,
        neurons=torch.cat([weights @ part.double() for part in pattern.split(64, 1)]),
        dead=(~pattern.any(0)).nonzero()[:, 0],
        always=pattern.all(0).nonzero()[:, 0],
    )
