"""Cutting a box into the convex polygons on which a ReLU network is affine.

The polygons share their corner points, and a neuron's sign is decided once for each
point.  So the polygons on both sides of an edge always agree where it is cut: nothing
is lost or counted twice, no corner lies inside a neighbour's edge, and the areas sum
to the box whatever the rounding.

A pre-activation counts as zero at a point where it is smaller than ``SLACK`` times a
bound on its rounding error, about ``1e-12`` of its scale.  A line that passes a corner
that closely passes *through* it, and polygons thinner than that are not split off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Layer = tuple[Floats, Floats]  # weight (out, in), bias (out,)

EPS = float(np.finfo(np.float64).eps)
SLACK = 4096.0
BORDER = (-1, -2, -3, -4)  # labels of the box's sides: bottom, right, top, left
_ACTIVE, _INACTIVE, _CUT = 1, 2, 3  # signs as bits, so that "or" gathers them


@dataclass
class Cells:
    """Convex polygons that tile a box; each lists its corners counter-clockwise.

    Attributes
    ----------
    points : array, shape (u, 2)
        All corner points, each once.
    corners : array of int, shape (v,)
        Points of the polygons, one polygon after the other.
    edges : array of int, shape (v,)
        Whose zero line the edge from a corner to the next one lies on: the neuron's
        number, counted through the layers, or one of ``BORDER``.
    lengths : array of int, shape (r,)
        Corners of each polygon.
    patterns : list of bool arrays, each of shape (r, width)
        Which neurons of each layer are active on each polygon.
    """

    points: Floats
    corners: Ints
    edges: Ints
    lengths: Ints
    patterns: list[Bools] = field(default_factory=list)


def split_box(
    layers: Sequence[Layer], slopes: Sequence[float], low: Floats, high: Floats
) -> Cells:
    """Split the box layer by layer, neuron by neuron.

    Parameters
    ----------
    layers : sequence of (weight, bias)
        The hidden layers.
    slopes : sequence of float
        Slope of each layer's activation below zero; 0 for ReLU.
    low, high : array, shape (2,)
        Corners of the box.

    Raises
    ------
    FloatingPointError
        If a pre-activation overflows.
    """
    (x0, y0), (x1, y1) = low, high
    cells = Cells(
        points=np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),
        corners=np.arange(4),
        edges=np.array(BORDER),
        lengths=np.array([4]),
    )
    inputs, error, first = cells.points.T, np.zeros(2), 0
    for (weight, bias), slope in zip(layers, slopes, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            scale = np.abs(weight) @ np.abs(inputs).max(1) + np.abs(bias)
            error = np.abs(weight) @ error + EPS * scale
        if not np.isfinite(error).all():
            raise FloatingPointError(
                f"pre-activation of neuron {first + int(np.argmin(np.isfinite(error)))}"
                " overflows float64 within the box; scale the weights down"
            )
        table = cells.points.T
        if first:  # the first layer's are cheap to compute, and may be many to keep
            table = np.vstack([table, weight @ inputs + bias[:, None]])
        table = _split_layer(cells, table, (weight, bias), SLACK * error, first)
        first += len(bias)
        if len(cells.patterns) == len(layers):
            break
        inputs = table[2:] if len(table) > 2 else weight @ table + bias[:, None]
        # where a ReLU is never active, its error is lost with its value
        steepest = np.where(inputs.max(1) > 0, max(1.0, abs(slope)), abs(slope))
        error *= steepest
        inputs = np.where(inputs > 0, inputs, slope * inputs)
    np.clip(cells.points, low, high, out=cells.points)
    return cells


def _split_layer(
    cells: Cells, table: Floats, layer: Layer, tolerance: Floats, first: int
) -> Floats:
    """Split the cells by every neuron of one layer; return the table of all points.

    Columns of the table are points: their coordinates and then, but in the first layer,
    their pre-activations.  Both are affine on an edge, so that the column of a new
    point comes by interpolation.
    """
    n_points, n_regions, width = len(table.T), len(cells.lengths), len(layer[1])
    names = np.arange(n_regions)  # where the polygons' patterns are kept, in order
    parents = np.arange(n_regions)
    active = np.zeros((width, n_regions), bool)
    for j, (weight, bias) in enumerate(zip(*layer, strict=True)):
        if len(table) > 2:
            value = table[2 + j, :n_points]
        else:
            value = weight @ table[:, :n_points] + bias
        if np.maximum.reduce(value) <= tolerance[j]:
            continue
        side = (value < -tolerance[j]).view(np.uint8)
        side += side
        side += value > tolerance[j]
        side_at = side[cells.corners]
        starts = cells.lengths.cumsum() - cells.lengths
        sides = np.bitwise_or.reduceat(side_at, starts)
        active[j, names] = (sides & _ACTIVE) != 0
        cut = sides == _CUT
        n_cut = int(np.count_nonzero(cut))
        if not n_cut:
            continue
        if n_points + 2 * n_cut > len(table.T):
            room = np.empty((len(table), len(table.T) + 2 * n_cut))
            table = np.hstack([table, room])
        new, sign = _cut(cells, cut, side_at, value, table, first + j)
        old = names[cut]
        fresh = np.arange(n_regions, n_regions + n_cut)
        n_points, n_regions = n_points + new, n_regions + n_cut
        names = np.concatenate([names[~cut], old, fresh])
        parents = np.concatenate([parents, parents[old]])
        if n_regions > active.shape[1]:
            active = np.hstack([active, np.zeros((width, n_regions), bool)])
        active[:j, fresh] = active[:j, old]
        active[j, old], active[j, fresh] = sign, ~sign
    kept = parents[names]
    cells.patterns = [pattern[kept] for pattern in cells.patterns]
    cells.patterns.append(np.ascontiguousarray(active[:, names].T))
    table = table[:, :n_points]
    cells.points = table[:2].T.copy()
    return table


def _cut(
    cells: Cells, cut: Bools, side_at: NDArray, value: Floats, table: Floats, label: int
) -> tuple[int, Bools]:
    """Cut the chosen polygons by one line; the two halves go to the end of the list.

    Returns
    -------
    int
        Number of new points, written to ``table`` after the points with a ``value``.
    array of bool, shape (number cut,)
        Whether the neuron is active on the first half.
    """
    chosen = cut.repeat(cells.lengths)
    corner, edge, side = cells.corners[chosen], cells.edges[chosen], side_at[chosen]
    length = cells.lengths[cut]
    following = _following(length)

    # a new point on every edge whose ends lie on different sides, the same for the
    # two polygons that share the edge
    crossed = (side ^ side[following]) == _CUT
    at = crossed.nonzero()[0]
    begin, end = corner[at], corner[following[at]]
    once, which = _distinct(
        np.minimum(begin, end) * len(value) + np.maximum(begin, end)
    )
    begin, end, new = begin[once], end[once], len(once)
    share = value[begin] / (value[begin] - value[end])
    start = table[:, begin]
    table[:, len(value) : len(value) + new] = start + share * (table[:, end] - start)

    # the polygons with these points put in
    copies = 1 + crossed
    place = copies.cumsum() - 1
    edge = edge.repeat(copies)
    corner, side = corner.repeat(copies), side.repeat(copies)
    corner[place[at]] = len(value) + which
    side[place[at]] = 0
    length = length + np.add.reduceat(crossed, length.cumsum() - length, dtype=int)

    # each is cut between the two of its corners that lie on the line
    zeros = (side == 0).nonzero()[0]
    if len(zeros) > 2 * len(length):
        side = _without_spare_zeros(side, length)
        zeros = (side == 0).nonzero()[0]
    here, there = zeros[0::2], zeros[1::2]
    begin, end = here.repeat(length), there.repeat(length)
    index = np.arange(len(corner))
    one = (index >= begin) & (index <= end)
    two = (index <= begin) | (index >= end)
    edge_one, edge_two = edge.copy(), edge
    edge_one[there] = edge_two[here] = label
    between = there - here + 1
    rest = ~chosen
    cells.corners = np.concatenate([cells.corners[rest], corner[one], corner[two]])
    cells.edges = np.concatenate([cells.edges[rest], edge_one[one], edge_two[two]])
    cells.lengths = np.concatenate([cells.lengths[~cut], between, length - between + 2])
    return new, side[here + 1] == _ACTIVE


def _distinct(keys: Ints) -> tuple[Ints, Ints]:
    """Position of each distinct key, and which of them each key is."""
    order = keys.argsort()
    ordered = keys[order]
    fresh = np.ones(len(keys), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    which = np.empty(len(keys), np.int64)
    which[order] = fresh.cumsum() - 1
    return order[fresh], which


def _without_spare_zeros(side: NDArray, length: Ints) -> NDArray:
    """Keep one zero at each of the two places where a polygon changes sides.

    Rounding can put several neighbouring corners on the line, and a corner between two
    others that lie on the same side.
    """
    side, after = side.copy(), _following(length)
    before = np.empty_like(after)
    before[after] = np.arange(len(after))
    while (spare := (side == 0) & (side[before] == 0)).any():
        side[spare] = side[after][spare]
    spare = (side == 0) & (side[before] == side[after])
    side[spare] = side[before][spare]
    return side


def _following(lengths: Ints) -> Ints:
    """Position of each corner's successor around its polygon."""
    ends = lengths.cumsum()
    following = np.arange(1, ends[-1] + 1)
    following[ends - 1] = ends - lengths
    return following
