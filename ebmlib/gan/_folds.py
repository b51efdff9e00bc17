"""Convex polygons beside their images under piecewise affine maps: cutting, finding.

Polygons are kept in flat arrays, one after the other. Each is cut where its *image*
crosses a grid line, but its area is taken where it came from: that stays accurate
however thin the image is, and whichever way round it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ebmlib.partition._geometry import Bools, Floats, Ints

_CHUNK = 1 << 18  # pieces, or pairs of a point and a polygon, handled at once
_PAD = 1e-9  # share of the image's extent by which bins overlap: they only preselect


class Pieces(NamedTuple):
    """Convex polygons and their images.

    Attributes
    ----------
    table : array, shape (v, 4)
        Corners around each polygon: two coordinates, then two of the image.
    lengths : array of int, shape (p,)
        Corners of each polygon, at least 1.
    """

    table: Floats
    lengths: Ints

    @property
    def starts(self) -> Ints:
        """Row of each polygon's first corner, shape (p,)."""
        return self.lengths.cumsum() - self.lengths

    def take(self, index: Ints | Bools) -> Pieces:
        """Some of the polygons, in the order given."""
        starts, lengths = self.starts[index], self.lengths[index]
        return Pieces(self.table[ragged(starts, lengths)], lengths)

    def areas(self) -> Floats:
        """Area of each polygon (not of its image), shape (p,)."""
        corner = self.table[:, :2] - self.table[self.starts, :2].repeat(self.lengths, 0)
        after = corner[following(self.lengths)]
        double = corner[:, 0] * after[:, 1] - corner[:, 1] * after[:, 0]
        return np.add.reduceat(double, self.starts) / 2 if len(double) else double

    def extent(self, axis: int) -> tuple[Floats, Floats]:
        """Least and largest coordinate of each image along an axis."""
        if not len(self.lengths):
            return np.empty(0), np.empty(0)
        value = self.table[:, 2 + axis]
        return (
            np.minimum.reduceat(value, self.starts),
            np.maximum.reduceat(value, self.starts),
        )


def ragged(starts: Ints, lengths: Ints) -> Ints:
    """The rows ``start, start + 1, ...`` of each stretch, one after the other."""
    shift = starts - (lengths.cumsum() - lengths)
    return shift.repeat(lengths) + np.arange(lengths.sum())


def following(lengths: Ints) -> Ints:
    """Position of each corner's successor around its polygon."""
    after = np.arange(1, lengths.sum() + 1)
    ends = lengths.cumsum()
    after[ends - 1] = ends - lengths
    return after


def slots(
    low: Floats, high: Floats, borders: Floats, pad: float = 0.0
) -> tuple[Ints, Ints]:
    """First and last of the slots between borders that intervals meet.

    Slot ``k`` lies below ``borders[k]`` and not below ``borders[k - 1]``. An interval
    that ends on a border does not meet the slot above it, unless padded.
    """
    first = np.searchsorted(borders, low - pad, side="right")
    last = np.searchsorted(borders, high + pad, side="right" if pad else "left")
    return first, np.maximum(first, last)


def slice_along(
    pieces: Pieces, axis: int, borders: Floats, pad: float = 0.0
) -> tuple[Pieces, Ints, Ints]:
    """Cut polygons where a coordinate of their image crosses the borders.

    Returns
    -------
    Pieces
        The parts. Those of one polygon have areas that sum to its own.
    slot : array of int
        The slot in which each part's image lies.
    parent : array of int
        The polygon that it is a part of.
    """
    first, last = slots(*pieces.extent(axis), borders, pad)
    copies = last - first + 1
    parent = np.arange(len(copies)).repeat(copies)
    slot = ragged(first, copies)
    cut = copies[parent] > 1
    whole, parts = pieces.take(parent[~cut]), pieces.take(parent[cut])
    walls = np.concatenate([[-np.inf], borders, [np.inf]])
    below, above = walls[slot[cut]] - pad, walls[slot[cut] + 1] + pad
    parts, kept = _clip(parts, axis, below, 1.0)
    parts, kept_again = _clip(parts, axis, above[kept], -1.0)
    order = np.concatenate([(~cut).nonzero()[0], cut.nonzero()[0][kept][kept_again]])
    joined = Pieces(*(np.concatenate(pair) for pair in zip(whole, parts, strict=True)))
    return joined, slot[order], parent[order]


def _clip(pieces: Pieces, axis: int, bound: Floats, sign: float) -> tuple[Pieces, Ints]:
    """Keep what lies above (sign 1) or below (-1) each polygon's own bound.

    Returns the parts that are not empty, and which polygons they come from.
    """
    table, lengths = pieces
    if not len(lengths):
        return pieces, np.arange(0)
    value = sign * (table[:, 2 + axis] - bound.repeat(lengths))
    inside = value >= 0
    after = following(lengths)
    crosses = inside != inside[after]
    copies = inside.astype(np.int64) + crosses
    place = copies.cumsum() - copies
    parts = np.empty((int(copies.sum()), 4))
    parts[place[inside]] = table[inside]
    begin = crosses.nonzero()[0]
    end = after[begin]
    share = value[begin] / (value[begin] - value[end])
    parts[place[begin] + inside[begin]] = table[begin] + share[:, None] * (
        table[end] - table[begin]
    )
    lengths = np.add.reduceat(copies, pieces.starts)
    kept = lengths.nonzero()[0]
    return Pieces(parts, lengths[kept]), kept


def batches(work: Ints) -> Iterator[slice]:
    """Stretches of items whose work sums to about a chunk, or single larger ones."""
    total = work.cumsum()
    begin = 0
    while begin < len(work):
        done = total[begin] - work[begin]
        end = int(np.searchsorted(total, done + _CHUNK, side="right"))
        end = max(end, begin + 1)
        yield slice(begin, end)
        begin = end


def cells_of(pieces: Pieces, borders: Floats) -> Iterator[tuple[Pieces, Ints, Ints]]:
    """Cut polygons along a square grid in their image, in portions.

    Yields
    ------
    Pieces
    column, row : arrays of int
        Slots between the borders. Parts left or right of all borders are not cut into
        rows; their row is 0.
    """
    n = len(borders)
    spans = [slots(*pieces.extent(axis), borders) for axis in (0, 1)]
    work = np.prod([last - first + 1 for first, last in spans], axis=0)
    for part in batches(work):
        index = np.arange(part.start, part.stop)
        columns, column, _ = slice_along(pieces.take(index), 0, borders)
        within = (column > 0) & (column < n)
        off = columns.take(~within)
        yield off, column[~within], np.zeros(len(off.lengths), np.int64)
        parts, row, parent = slice_along(columns.take(within), 1, borders)
        yield parts, column[within][parent], row


@dataclass
class PolygonIndex:
    """Finds the polygons whose image holds a point.

    Parameters
    ----------
    points : array, shape (u, 2)
        Images of all corner points, each once: polygons with a common edge share them,
        so that a point near the edge is on the same side of it for both.
    corners : array of int, shape (v,)
        Points of the polygons, one polygon after the other.
    lengths : array of int, shape (p,)
    upright : array of bool, shape (p,)
        Whether the corners of the image run counter-clockwise.
    """

    points: Floats
    corners: Ints
    lengths: Ints
    upright: Bools

    def __post_init__(self) -> None:
        image = self.points[self.corners]
        self._starts = self.lengths.cumsum() - self.lengths
        self._after = self.corners[following(self.lengths)]
        pieces = Pieces(np.hstack([image, image]), self.lengths)
        spans = [pieces.extent(axis) for axis in (0, 1)]
        self._box = [end for span in spans for end in span]
        n_bins = int(np.clip(2 * len(self.lengths) ** 0.5, 1, 512))
        self._borders = [_borders(image[:, axis], n_bins) for axis in (0, 1)]
        pad = _PAD * max(float(np.ptp(borders)) for borders in self._borders)
        self._stride = max(len(borders) for borders in self._borders) + 1
        cells, polygons = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        first, last = slots(*spans[0], self._borders[0], pad)
        for part in batches(last - first + 1):
            index = np.arange(part.start, part.stop)
            columns, column, parent = slice_along(
                pieces.take(index), 0, self._borders[0], pad
            )
            low, high = slots(*columns.extent(1), self._borders[1], pad)
            copies = high - low + 1
            cells.append(column.repeat(copies) * self._stride + ragged(low, copies))
            polygons.append(index[parent].repeat(copies))
        cell = np.concatenate(cells)
        order = cell.argsort(kind="stable")
        self._polygon = np.concatenate(polygons)[order]
        self._first = np.searchsorted(cell[order], np.arange(self._stride**2 + 1))

    def find(self, x: Floats) -> tuple[Ints, Ints]:
        """All pairs of a point and a polygon whose image holds it, by point.

        Parameters
        ----------
        x : array, shape (n, 2)
        """
        column, row = (
            np.searchsorted(borders, x[:, axis], side="right")
            for axis, borders in enumerate(self._borders)
        )
        cell = column * self._stride + row
        begin, count = self._first[cell], np.diff(self._first)[cell]
        found = [(np.empty(0, np.int64),) * 2]
        for part in batches(count):
            point = np.arange(part.start, part.stop).repeat(count[part])
            polygon = self._polygon[ragged(begin[part], count[part])]
            (x0, x1, y0, y1), at = self._box, x[point]
            near = (x0[polygon] <= at[:, 0]) & (at[:, 0] <= x1[polygon])
            near &= (y0[polygon] <= at[:, 1]) & (at[:, 1] <= y1[polygon])
            point, polygon = point[near], polygon[near]
            inside = self._holds(polygon, x[point])
            found.append((point[inside], polygon[inside]))
        point, polygon = (np.concatenate(each) for each in zip(*found, strict=True))
        return point, polygon

    def _holds(self, polygon: Ints, x: Floats) -> Bools:
        """Whether the image of each polygon holds the point beside it.

        A point on an edge counts for what lies just to its right (above, where the
        edge runs level): for one of the polygons that meet there.
        """
        if not len(polygon):
            return np.empty(0, bool)
        lengths = self.lengths[polygon]
        edge = ragged(self._starts[polygon], lengths)
        one, two = self.corners[edge], self._after[edge]
        swapped = one > two
        p = self.points[np.minimum(one, two)]
        q = self.points[np.maximum(one, two)]
        x, (dx, dy) = x.repeat(lengths, 0), (q - p).T
        rise, run = dx * (x[:, 1] - p[:, 1]), dy * (x[:, 0] - p[:, 0])
        left = (rise > run) | ((rise == run) & ((dy < 0) | ((dy == 0) & (dx > 0))))
        good = left == (self.upright[polygon].repeat(lengths) ^ swapped)
        return np.logical_and.reduceat(good, lengths.cumsum() - lengths)


def _borders(values: Floats, n_bins: int) -> Floats:
    """Borders of bins: half of them evenly spaced, half with equally many corners."""
    if not len(values):
        return np.zeros(1)
    even = np.linspace(values.min(), values.max(), n_bins // 2 + 1)
    crowd = np.quantile(values, np.linspace(0, 1, n_bins - n_bins // 2 + 1))
    return np.unique(np.concatenate([even, crowd]))
