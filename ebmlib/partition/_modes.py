"""All local maxima of a tilted density on a partition.

Within a region the log-density ``f + log p0`` is affine (flat prior) or strictly
concave (normal prior). So a point is a local maximum exactly if it is the maximum of
every region that it belongs to: one comparison of maxima replaces any search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.distributions import Distribution

from ebmlib.partition._priors import GaussianPrior, read_prior

if TYPE_CHECKING:
    from ebmlib.partition._partition import ReLUPartition

KINDS = ("vertex", "edge", "interior", "border")
_SLACK = 1e-11  # of the box: corners may be off by so much
_EPS = float(np.finfo(np.float64).eps)


class Modes(NamedTuple):
    """Local maxima of a density on the box, the highest first.

    Attributes
    ----------
    points : Tensor, shape (k, 2), float64
    values : Tensor, shape (k,)
        ``f + log p0``, not normalised.
    log_prob : Tensor, shape (k,)
        The same less ``log Z``.
    kinds : tuple of str
        Where each lies: ``"vertex"`` (a corner of regions), ``"edge"`` (between two
        regions), ``"interior"`` (of one region) or ``"border"`` (on the box's border,
        corner or not).
    flat : Tensor of bool, shape (k,)
        Whether the maximum is a plateau: an edge, a region or several of them on which
        the density is constant, with nothing higher around. The point then stands for
        the plateau: it is the middle of its largest region (kind ``"interior"``), or
        else of an edge (kind ``"edge"``).
    regions : tuple of tuple of int
        The regions that meet at each point.
    neurons : tuple of tuple of int
        The neurons whose zero lines meet there, numbered through the layers.
    """

    points: Tensor
    values: Tensor
    log_prob: Tensor
    kinds: tuple[str, ...]
    flat: Tensor
    regions: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]


class _Mesh:
    """Corners and sides of a partition's polygons, each known by a number."""

    def __init__(self, partition: ReLUPartition) -> None:
        self.starts = partition.starts.numpy()
        self.points = partition.vertices.numpy()
        self.owner = partition.corner_regions.numpy()
        self.following = partition.following.numpy()
        self.vertex = partition.corners.numpy()
        self.n_vertices = len(partition.points)
        pair = np.sort(np.stack([self.vertex, self.vertex[self.following]]), axis=0)
        sides = pair[0] * self.n_vertices + pair[1]
        self.side = np.unique(sides, return_inverse=True)[1].reshape(-1)
        self.gradients = partition.gradients.numpy()
        self.offsets = partition.offsets.numpy()
        self.areas = partition.areas.numpy()
        self.neurons = partition.edge_neurons.numpy()
        self.low, self.high = partition.low.numpy(), partition.high.numpy()

    def highest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest value at the corners of each region."""
        return np.maximum.reduceat(values, self.starts[:-1])

    def meeting(self, corners: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
        """Regions and neurons of some corners with the sides that start there."""
        neurons = np.unique(self.neurons[corners])
        regions = np.unique(self.owner[corners])
        return tuple(regions.tolist()), tuple(neurons[neurons >= 0].tolist())


class _Tops(NamedTuple):
    """Where regions take their maximum: ties give several rows a region."""

    region: NDArray[np.int64]
    node: NDArray[np.int64]  # vertices, then sides, then regions, numbered through
    corner: NDArray[np.int64]  # of the region: the vertex, or the start of the side
    kind: NDArray[np.int64]  # index in KINDS
    point: NDArray[np.float64]
    value: NDArray[np.float64]


def find_modes(
    partition: ReLUPartition,
    prior: Distribution | None = None,
    log_partition: float = 0.0,
) -> Modes:
    """All local maxima of ``f + log p0`` on the box.

    Parameters
    ----------
    partition : ReLUPartition
    prior : torch.distributions.Distribution, optional
        Flat unless given; otherwise a normal one.
    log_partition : float
        ``log Z``, to normalise their heights.

    Raises
    ------
    TypeError
        If the prior is neither flat nor normal.
    """
    prior = read_prior(prior)
    if not (prior is None or isinstance(prior, GaussianPrior)):
        raise TypeError(
            "modes needs a flat or a normal prior, within whose regions the density "
            f"has one maximum, got {type(prior).__name__}"
        )
    mesh = _Mesh(partition)
    tops, n_nodes, shared = _tops(mesh, prior)
    # a node is a maximum if all regions that share it agree; a plateau if all nodes do
    agreed = np.bincount(tops.node, minlength=n_nodes) == shared
    hub = n_nodes + tops.region
    size = n_nodes + len(mesh.areas)
    links = coo_matrix((np.ones(len(hub)), (tops.node, hub)), shape=(size, size))
    label = connected_components(links, directed=False)[1][tops.node]
    refuted = np.zeros(size, dtype=bool)
    refuted[label[~agreed[tops.node]]] = True
    rows = np.flatnonzero(~refuted[label])
    rows = rows[np.argsort(label[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(label[rows])) + 1)
    found = [_describe(mesh, tops, g, prior is None) for g in groups if len(g)]
    found.sort(key=lambda mode: -mode[1])
    points, values, kinds, flat, meeting = zip(*found, strict=True)
    values = torch.tensor(values, dtype=torch.float64)
    return Modes(
        torch.from_numpy(np.stack(points)),
        values,
        values - log_partition,
        tuple(kinds),
        torch.tensor(flat),
        tuple(regions for regions, _ in meeting),
        tuple(neurons for _, neurons in meeting),
    )


def _tops(
    mesh: _Mesh, prior: GaussianPrior | None
) -> tuple[_Tops, int, NDArray[np.int64]]:
    """Maximum of each region, the number of nodes, and how many regions share each."""
    n_regions, owner, points = len(mesh.areas), mesh.owner, mesh.points
    values = (mesh.gradients[owner] * points).sum(1) + mesh.offsets[owner]
    slope = np.linalg.norm(mesh.gradients, axis=1)
    size = np.abs(mesh.offsets) + slope * np.abs(points).max()
    if prior is not None:
        x = torch.from_numpy(points)
        log_prior = prior.log_prob(x).numpy()
        values = values + log_prior
        slope = slope + float(prior.gradient(x).norm(dim=1).max())
        size = size + np.abs(log_prior).max()
    slack = _SLACK * slope * (mesh.high - mesh.low).max() + 64 * _EPS * size
    best = mesh.highest(values)
    corner = np.arange(len(points))
    kinds = [(corner, mesh.vertex, np.zeros_like(corner), points, values)]
    first_side = mesh.n_vertices
    first_region = first_side + int(mesh.side.max()) + 1
    if prior is not None:
        on_sides, at, heights = _side_maxima(mesh, prior, values, slack)
        side_values = np.full(len(points), -np.inf)
        side_values[on_sides] = heights
        best = np.maximum(best, mesh.highest(side_values))
        node = first_side + mesh.side[on_sides]
        kinds.append((on_sides, node, np.full_like(on_sides, 1), at, heights))
        inside, at, heights = _inner_maxima(mesh, prior)
        higher = heights > best[inside] + slack[inside]
        inside, at, heights = inside[higher], at[higher], heights[higher]
        best[inside] = heights
        start, node = mesh.starts[inside], first_region + inside
        kinds.append((start, node, np.full_like(start, 2), at, heights))
    corner, node, kind, point, value = map(np.concatenate, zip(*kinds, strict=True))
    region = owner[corner]
    kept = value >= best[region] - slack[region]
    columns = (region, node, corner, kind, point, value)
    shared = np.bincount(mesh.vertex, minlength=first_region + n_regions)
    shared += np.bincount(first_side + mesh.side, minlength=len(shared))
    shared[first_region:] = 1
    return _Tops(*(column[kept] for column in columns)), len(shared), shared


def _side_maxima(
    mesh: _Mesh,
    prior: GaussianPrior,
    values: NDArray[np.float64],
    slack: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Sides with a maximum between their ends: the corner before, place, value."""
    precision = prior.precision.numpy()
    step = mesh.points[mesh.following] - mesh.points
    pull = prior.gradient(torch.from_numpy(mesh.points)).numpy()
    rise = ((mesh.gradients[mesh.owner] + pull) * step).sum(1)
    bend = ((step @ precision) * step).sum(1)
    t = rise / bend
    gain = rise * t / 2  # over the corner where the side starts
    height = values + gain
    ends = np.maximum(values, values[mesh.following])
    found = (t > 0) & (t < 1) & (height > ends + slack[mesh.owner])
    corner = np.flatnonzero(found)
    at = mesh.points[corner] + t[corner, None] * step[corner]
    return corner, at, height[corner]


def _inner_maxima(
    mesh: _Mesh, prior: GaussianPrior
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Regions that hold the maximum of their own Gaussian: region, place, value.

    The maximum of ``gradient . x + log p0(x)`` is at ``mean + covariance gradient``.
    """
    covariance = np.linalg.inv(prior.precision.numpy())
    at = prior.mean.numpy() + mesh.gradients @ covariance
    side = mesh.points[mesh.following] - mesh.points
    offset = at[mesh.owner] - mesh.points
    left = side[:, 0] * offset[:, 1] - side[:, 1] * offset[:, 0] > 0
    inside = np.flatnonzero(np.logical_and.reduceat(left, mesh.starts[:-1]))
    at = at[inside]
    height = (mesh.gradients[inside] * at).sum(1) + mesh.offsets[inside]
    return inside, at, height + prior.log_prob(torch.from_numpy(at)).numpy()


def _describe(
    mesh: _Mesh, tops: _Tops, rows: NDArray[np.int64], may_be_flat: bool
) -> tuple[NDArray[np.float64], float, str, bool, tuple[tuple[int, ...], ...]]:
    """Place, height, kind, flatness and surroundings of one maximum."""
    if may_be_flat:  # keep the region with most corners at the top, then the largest
        regions, inverse, count = np.unique(
            tops.region[rows], return_inverse=True, return_counts=True
        )
        widest = np.lexsort((-mesh.areas[regions], -count))[0]
        rows = rows[inverse.reshape(-1) == widest]
    else:
        rows = rows[[np.argmax(tops.value[rows])]]
    point, value = tops.point[rows].mean(0), float(tops.value[rows].mean())
    first, flat = rows[0], len(rows) > 1
    kind = min(len(rows) - 1, 2) if flat else int(tops.kind[first])
    if kind == 0:
        corners = np.flatnonzero(mesh.vertex == mesh.vertex[tops.corner[first]])
    elif kind == 1:
        corners = tops.corner[rows]
        if flat and mesh.following[corners[0]] != corners[1]:
            corners = corners[::-1]
        corners = np.flatnonzero(mesh.side == mesh.side[corners[0]])
    regions, neurons = mesh.meeting(corners) if kind < 2 else ((), ())
    if kind == 2:
        regions = (int(tops.region[first]),)
    margin = 1e-12 * (mesh.high - mesh.low)
    border = (np.abs(point - mesh.low) < margin) | (np.abs(point - mesh.high) < margin)
    return point, value, KINDS[3 if border.any() else kind], flat, (regions, neurons)
