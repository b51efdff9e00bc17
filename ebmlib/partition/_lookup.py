"""Which region a point lies in, by the activation pattern at the point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ebmlib.partition._geometry import Bools, Floats, Ints, Layer

_CHUNK = 1 << 22  # numbers held at once


class PatternTable:
    """Finds the region with a given activation pattern.

    Each neuron has a random number of 64 bits, and the key of a pattern is the sum of
    those of its active neurons (Zobrist 1970).  What the keys find is compared with
    the pattern itself, so that a collision cannot give a wrong answer.

    Parameters
    ----------
    layers, slopes
        The hidden layers and the slopes of their activations below zero.
    patterns : sequence of bool arrays, each of shape (r, width)
    """

    def __init__(
        self, layers: Sequence[Layer], slopes: Sequence[float], patterns: list[Bools]
    ) -> None:
        self.layers, self.slopes, self.patterns = layers, slopes, patterns
        draw = np.random.default_rng(0)
        self.codes = [
            draw.integers(2**64, size=len(bias), dtype=np.uint64) for _, bias in layers
        ]
        n = len(patterns[0]) if patterns else 1
        widest = max([2, *(len(bias) for _, bias in layers)])
        self.step = max(1, _CHUNK // widest)  # points or regions handled at once
        keys = np.empty(n, np.uint64)
        for part in self._parts(n):
            keys[part] = self._keys([pattern[part] for pattern in patterns], keys[part])
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def find(self, x: Floats) -> Ints:
        """Region of each point; -1 where rounding made a pattern that is no region's.

        Parameters
        ----------
        x : array, shape (n, 2)
        """
        region = np.empty(len(x), np.int64)
        for part in self._parts(len(x)):
            met = self._patterns_at(x[part])
            place = np.searchsorted(self.keys, self._keys(met, region[part]))
            found = self.order[np.minimum(place, len(self.keys) - 1)]
            for known, pattern in zip(self.patterns, met, strict=True):
                found = np.where((known[found] == pattern).all(1), found, -1)
            region[part] = found
        return region

    def _patterns_at(self, x: Floats) -> list[Bools]:
        patterns = []
        for (weight, bias), slope in zip(self.layers, self.slopes, strict=True):
            value = x @ weight.T + bias
            patterns.append(value > 0)
            x = np.where(patterns[-1], value, slope * value)
        return patterns

    def _keys(self, patterns: list[Bools], like: Ints) -> Ints:
        keys = np.zeros(len(like), np.uint64)
        for pattern, code in zip(patterns, self.codes, strict=True):
            keys += pattern @ code
        return keys

    def _parts(self, n: int) -> Iterator[slice]:
        return (slice(i, min(i + self.step, n)) for i in range(0, n, self.step))


def depths(x: Floats, vertices: Floats, following: Ints, starts: Ints) -> Floats:
    """How deep points lie in convex polygons: distance to the nearest edge's line.

    Parameters
    ----------
    x : array, shape (n, 2)
    vertices, following, starts
        As in a partition.

    Returns
    -------
    array, shape (n, r)
        Positive inside, negative outside.
    """
    side = vertices[following] - vertices
    normal = np.stack([-side[:, 1], side[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    depth = x @ normal.T - (vertices * normal).sum(1)
    return np.minimum.reduceat(depth, starts[:-1], axis=1)


def deepest(x: Floats, vertices: Floats, following: Ints, starts: Ints) -> Ints:
    """The polygon in which each point lies deepest, found by trying them all."""
    step = max(1, _CHUNK // len(vertices))
    parts = [x[i : i + step] for i in range(0, len(x), step)]
    return np.concatenate(
        [depths(part, vertices, following, starts).argmax(1) for part in parts]
    )
