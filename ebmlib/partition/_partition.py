"""The partition of a box into the regions of a ReLU network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ebmlib._checks import (
    check_inside,
    check_number,
    check_points,
    check_positive,
)
from ebmlib.partition import _groups
from ebmlib.partition._exact import ExactQuantities
from ebmlib.partition._geometry import Floats, Layer, split_box
from ebmlib.partition._groups import LayerActivity, RegionGroup
from ebmlib.partition._lookup import PatternTable, deepest
from ebmlib.partition._network import affine_maps, read_box, read_network


class ReLUPartition(ExactQuantities):
    """Convex polygons on each of which a ReLU network is affine.

    Every hidden neuron with a ReLU (or leaky ReLU) draws the line on which its
    pre-activation is zero, straight in the first layer and bent at the lines of the
    earlier layers in the others.  The lines cut the box into convex polygons; on
    polygon ``r`` the network's value is ``f(x) = gradients[r] @ x + offsets[r]`` (Zhu
    2019, sections 2.2 and 3.1).

    Made by :meth:`from_network`.  All tensors are on the CPU, and real numbers are
    float64.

    Attributes
    ----------
    low, high : Tensor, shape (2,)
        Corners of the box.
    n_regions : int
        Number of regions R.
    points : Tensor, shape (U, 2)
        Corner points of the polygons, each once.
    corners : Tensor of int64, shape (V,)
        Which points are the corners of the polygons: counter-clockwise, one polygon
        after the other.
    starts : Tensor of int64, shape (R + 1,)
        Region ``r`` has the corners ``starts[r]:starts[r + 1]``.
    edge_neurons : Tensor of int64, shape (V,)
        The neuron whose line the edge from a corner to the next one lies on, counted
        through the layers from 0; where lines coincide, the first of them.  On the
        border of the box -1 (bottom), -2 (right), -3 (top), -4 (left).
    patterns : tuple of bool Tensors, each of shape (R, width)
        Which neurons of each hidden layer are active on each region.
    gradients : Tensor, shape (R, 2)
    offsets : Tensor, shape (R,)
        The affine map of the network on each region.
    widths : tuple of int
        Widths of the hidden layers.

    Notes
    -----
    A pre-activation is taken as zero at a corner point where it is below 4096 times a
    bound on its rounding error (some 1e-12 of its scale): lines that pass a corner that
    closely pass through it, and no polygon thinner than that is split off.  So
    duplicated neurons, parallel and concurrent lines, and lines through the corners of
    the box need no care.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        slopes: Sequence[float],
        low: Floats,
        high: Floats,
    ) -> None:
        cells = split_box(layers[:-1], slopes, low, high)
        gradients, offsets = affine_maps(layers, slopes, cells.patterns)
        self._layers, self._slopes = tuple(layers), tuple(slopes)
        self.low, self.high = torch.from_numpy(low), torch.from_numpy(high)
        self.n_regions = len(cells.lengths)
        self.points = torch.from_numpy(cells.points)
        self.corners = torch.from_numpy(cells.corners)
        self.edge_neurons = torch.from_numpy(cells.edges)
        self.starts = torch.from_numpy(np.append(0, np.cumsum(cells.lengths)))
        self.patterns = tuple(map(torch.from_numpy, cells.patterns))
        self.gradients = torch.from_numpy(gradients)
        self.offsets = torch.from_numpy(offsets)
        self.widths = tuple(len(bias) for _, bias in layers[:-1])

    @classmethod
    def from_network(
        cls,
        network: nn.Sequential,
        low: float | Sequence[float] = -1.0,
        high: float | Sequence[float] = 1.0,
    ) -> ReLUPartition:
        """Find the regions of a network within a box.

        Parameters
        ----------
        network : nn.Sequential
            Affine layers with ReLU or leaky ReLU between them, as
            :func:`ebmlib.energy.mlp` makes them: 2 inputs, 1 output, any depth.
            Parameters of any dtype are taken as they are, as float64.
        low, high : float or pair of floats
            Sides of the box, the same along both axes or one each.

        Raises
        ------
        TypeError
            If ``network`` is not an ``nn.Sequential``.
        ValueError
            If a layer is of another kind (then ``f`` would not be piecewise affine),
            the network does not map the plane to numbers, or the box is empty.
        FloatingPointError
            If a parameter, or a pre-activation within the box, is not finite.
        """
        layers, slopes = read_network(network)
        return cls(layers, slopes, *read_box(low, high))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_regions={self.n_regions}, widths={self.widths}, "
            f"low={self.low.tolist()}, high={self.high.tolist()})"
        )

    @cached_property
    def vertices(self) -> Tensor:
        """Vertices of the polygons, counter-clockwise, one after the other: (V, 2)."""
        return self.points[self.corners]

    @cached_property
    def lengths(self) -> Tensor:
        """Number of vertices of each region, shape (R,), int64."""
        return self.starts.diff()

    @property
    def polygons(self) -> tuple[Tensor, ...]:
        """The vertices of each region, a tuple of tensors of shape (k, 2)."""
        return self.vertices.split(self.lengths.tolist())

    @cached_property
    def corner_regions(self) -> Tensor:
        """The region to which each row of :attr:`vertices` belongs: (V,), int64."""
        return torch.repeat_interleave(self.lengths)

    @cached_property
    def following(self) -> Tensor:
        """Row of the next vertex around the same polygon, shape (V,), int64."""
        following = torch.arange(1, len(self.corners) + 1)
        following[self.starts[1:] - 1] = self.starts[:-1]
        return following

    @cached_property
    def triangles(self) -> tuple[Tensor, Tensor]:
        """Each polygon as a fan of triangles around its first vertex.

        Returns
        -------
        points : Tensor, shape (T, 3, 2)
            Counter-clockwise.
        regions : Tensor, shape (T,), int64
            In ascending order.
        """
        first = self.starts[self.corner_regions]
        row = torch.arange(len(self.corners))
        inner = (row != first) & (self.following != first)
        index = torch.stack([first[inner], row[inner], self.following[inner]], 1)
        return self.vertices[index], self.corner_regions[inner]

    @cached_property
    def areas(self) -> Tensor:
        """Area of each region, shape (R,), in the square of the units of ``x``."""
        points, regions = self.triangles
        (ux, uy), (vx, vy) = (points[:, 1:] - points[:, :1]).permute(1, 2, 0)
        areas = torch.zeros(self.n_regions, dtype=torch.float64)
        return areas.index_add_(0, regions, (ux * vy - uy * vx) / 2)

    @cached_property
    def centroids(self) -> Tensor:
        """Mean of each region's vertices, a point inside it: (R, 2)."""
        total = torch.zeros(self.n_regions, 2, dtype=torch.float64)
        total.index_add_(0, self.corner_regions, self.vertices)
        return total / self.lengths[:, None]

    @cached_property
    def shared_edges(self) -> Tensor:
        """Every edge between two regions, as a row of :attr:`vertices` in either.

        Shape (P, 2), int64: the edge from that vertex to its :attr:`following` one, as
        each of the two regions sees it.
        """
        ends = torch.stack([self.corners, self.corners[self.following]])
        key = ends.amin(0) * len(self.points) + ends.amax(0)
        key, order = key.sort(stable=True)
        twice = (key[1:] == key[:-1]).nonzero()[:, 0]
        return torch.stack([order[twice], order[twice + 1]], 1)

    @cached_property
    def neighbours(self) -> Tensor:
        """Pairs of regions with an edge in common, the smaller first: (P, 2), int64.

        Rows go with those of :attr:`shared_edges`.
        """
        return self.corner_regions[self.shared_edges]

    def locate(self, x: Tensor) -> Tensor:
        """Find the region that holds each point.

        Where a pre-activation is zero, its neuron counts as inactive; a point that
        rounding gives the pattern of no region goes to the one it lies deepest in.

        Parameters
        ----------
        x : Tensor, shape (n, 2)
            Points in the box.

        Returns
        -------
        Tensor, shape (n,), int64

        Raises
        ------
        ValueError
            If a point lies outside the box.
        """
        check_points("x", x, dim=2)
        x = x.detach().double().cpu()
        check_inside("x", x, self.low, self.high)
        region = self._table.find(x.numpy())
        lost = np.flatnonzero(region < 0)
        if len(lost):
            parts = (self.vertices, self.following, self.starts)
            region[lost] = deepest(x.numpy()[lost], *(part.numpy() for part in parts))
        return torch.from_numpy(region)

    @cached_property
    def _table(self) -> PatternTable:
        patterns = [pattern.numpy() for pattern in self.patterns]
        return PatternTable(self._layers[:-1], self._slopes, patterns)

    def layer_of(self, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """Layer, and place in it, of neurons counted through the layers; both from 0.

        Raises
        ------
        ValueError
            If there is no such neuron; the border of the box has none.
        """
        ends = torch.tensor(self.widths, dtype=torch.int64).cumsum(0)
        total = sum(self.widths)
        if len(neurons) and not 0 <= neurons.min() <= neurons.max() < total:
            raise ValueError(
                f"neurons must be between 0 and {total - 1}, got values from "
                f"{int(neurons.min())} to {int(neurons.max())}"
            )
        layer = torch.searchsorted(ends, neurons, right=True)
        return layer, neurons - torch.cat([ends.new_zeros(1), ends])[layer]

    def boundary_neurons(self, region: int) -> Tensor:
        """Neurons whose lines bound a region, ascending, counted through the layers.

        Lines that coincide count once, for the first neuron.  The border of the box
        counts for none (Zhu 2019, section 3.4).
        """
        inside = _groups.mask(self, region)
        neurons = self.edge_neurons[inside[self.corner_regions]].unique()
        return neurons[neurons >= 0]

    def boundary_counts(self) -> Tensor:
        """Number of :meth:`boundary_neurons` of every region, shape (R,), int64."""
        inner = self.edge_neurons >= 0
        pairs = self.corner_regions[inner] * sum(self.widths) + self.edge_neurons[inner]
        regions = pairs.unique() // max(1, sum(self.widths))
        return torch.bincount(regions, minlength=self.n_regions)

    def region_group(
        self,
        regions: Tensor | Sequence[int] | int | None = None,
        *,
        ball: tuple[Sequence[float], float] | None = None,
        level: float | None = None,
    ) -> RegionGroup:
        """Take regions together and find what bounds them from outside.

        Say which in exactly one way (Zhu 2019, section 3.4, looks so at textons).

        Parameters
        ----------
        regions : Tensor, sequence of int, or int, optional
            Indices, or a mask of shape (R,).
        ball : pair of centre and radius, optional
            All regions that meet the closed ball.
        level : float, optional
            All regions on which ``f`` reaches this value somewhere.

        Returns
        -------
        RegionGroup
        """
        if sum(way is not None for way in (regions, ball, level)) != 1:
            raise ValueError(
                "give exactly one of regions, ball and level, got "
                f"regions={regions}, ball={ball}, level={level}"
            )
        if ball is not None:
            centre, radius = ball
            check_positive("radius of the ball", radius, allow_zero=True)
            centre = torch.as_tensor(centre, dtype=torch.float64)
            check_points("centre of the ball", centre[None], dim=2)
            return _groups.group(self, _groups.meets_ball(self, centre, radius))
        if level is not None:
            check_number("level", level)
            return _groups.group(self, _groups.highest(self) >= level)
        return _groups.group(self, _groups.mask(self, regions))

    def components(self, regions: Tensor | Sequence[int]) -> tuple[Tensor, ...]:
        """Sort regions into connected pieces; regions connect through edges.

        Parameters
        ----------
        regions : Tensor or sequence of int
            Indices, or a mask of shape (R,).

        Returns
        -------
        tuple of Tensors of int64
            The regions of each piece, ascending.
        """
        return _groups.components(self, _groups.mask(self, regions))

    def activity(self, weights: Tensor | None = None) -> tuple[LayerActivity, ...]:
        """How much of each hidden layer is active (Zhu 2019, figure 3.5).

        Parameters
        ----------
        weights : Tensor, shape (R,), optional
            Weight of each region, such as its probability; its area by default.
            They are divided by their sum.

        Returns
        -------
        tuple of LayerActivity, one a layer
        """
        return _groups.activity(self, weights)
