"""The density of a ReLU generator of the plane, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Uniform

from ebmlib._checks import check_finite, check_int, check_points
from ebmlib.gan._folds import Pieces, PolygonIndex, cells_of
from ebmlib.grid import Grid
from ebmlib.partition._geometry import EPS, Bools, Floats, Layer, split_box
from ebmlib.partition._network import affine_maps, read_box, read_network

_CHUNK = 1 << 12  # latent points mapped at once: a wide layer on more leaves the cache


class CellMasses(NamedTuple):
    """Mass of each cell of a grid.

    Attributes
    ----------
    prob : Tensor, shape (bins**2,), float64
        In the order of the grid's points.
    outside : float
        Mass off the grid. With ``prob`` it sums to 1.
    error : float
        Of ``prob``, in total variation: an estimate from above where the masses were
        counted, and rounding alone (taken as 0) where they are areas.
    """

    prob: Tensor
    outside: float
    error: float


class Preimages(NamedTuple):
    """Latent points that a generator maps to given points.

    Attributes
    ----------
    point : Tensor, shape (k,), int64
        Which of the given points; ascending.
    region : Tensor, shape (k,), int64
        The polygon in which the latent point lies.
    z : Tensor, shape (k, 2), float64
        The latent point.
    """

    point: Tensor
    region: Tensor
    z: Tensor


class GeneratorDensity:
    """Exact density of ``B(z)`` for ``z`` uniform on a box and ``B`` a ReLU network.

    The network is affine on each polygon ``P`` of its partition, ``B(z) = A z + b``,
    and spreads the polygon's mass evenly over its image. So the change of variables
    holds piece by piece: ``p_g(x)`` is the sum, over the polygons whose image holds
    ``x``, of ``1 / (area of the box * |det A|)``.

    Where ``det A = 0`` the image is a line or a point, and the mass on it has no
    density. A determinant counts as zero where it is at most a bound on its rounding
    error: with ``n`` the sum of the layers' inputs, plus one each, and ``M`` the
    product of the absolute values of the weights along the active neurons, entries of
    ``A`` err by at most ``n eps M`` (Higham 2002, section 3.5), and the determinant
    errs in proportion. These polygons are left out of ``log_prob``, and their mass is
    :attr:`singular_mass`; the masses of cells count it.

    Made by :meth:`from_network` or :meth:`from_generator`. Tensors are on the CPU, and
    real numbers are float64.

    Attributes
    ----------
    low, high : Tensor, shape (2,)
        Corners of the latent box.
    n_regions : int
        Number of polygons R.
    jacobians : Tensor, shape (R, 2, 2)
        ``A``; rows are outputs.
    offsets : Tensor, shape (R, 2)
        ``b``.
    dets : Tensor, shape (R,)
        ``det A``; negative where the image is mirrored.
    areas : Tensor, shape (R,)
        Latent areas; they sum to that of the box.
    singular : Tensor of bool, shape (R,)
        Whether ``det A`` cannot be told from zero.
    singular_mass : float
        Mass without a density, between 0 and 1.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        slopes: Sequence[float],
        low: Floats,
        high: Floats,
    ) -> None:
        cells = split_box(layers[:-1], slopes, low, high)
        self.low, self.high = torch.from_numpy(low), torch.from_numpy(high)
        self.n_regions = len(cells.lengths)
        a, b, self._singular = _maps(layers, slopes, cells.patterns)
        self.jacobians, self.offsets = torch.from_numpy(a), torch.from_numpy(b)
        self.dets = torch.from_numpy(_det(a))
        self._corners, self._lengths = cells.corners, cells.lengths
        self._images = _forward(layers, slopes, cells.points)
        table = np.hstack([cells.points, self._images])[cells.corners]
        self._pieces = Pieces(table, cells.lengths)
        self._area = float(np.prod(high - low))
        self.areas = torch.from_numpy(self._pieces.areas())
        self.singular = torch.from_numpy(self._singular)
        self.singular_mass = float(self.areas[self.singular].sum()) / self._area

    @classmethod
    def from_network(
        cls,
        network: nn.Sequential,
        low: float | Sequence[float] = -1.0,
        high: float | Sequence[float] = 1.0,
    ) -> GeneratorDensity:
        """The density of a network's output for inputs uniform on a box.

        Parameters
        ----------
        network : nn.Sequential
            Affine layers with ReLU or leaky ReLU between them, as
            :func:`ebmlib.energy.mlp` makes them: 2 inputs, 2 outputs, any depth.
            Parameters of any dtype are taken as they are, as float64.
        low, high : float or pair of floats
            Sides of the latent box, the same along both axes or one each.

        Raises
        ------
        TypeError
            If ``network`` is not an ``nn.Sequential``.
        ValueError
            If a layer is of another kind, the network does not map the plane to
            itself, or the box is empty.
        FloatingPointError
            If a parameter, or a value within the box, is not finite.
        """
        return cls(*read_network(network, n_outputs=2), *read_box(low, high))

    @classmethod
    def from_generator(cls, base: nn.Module) -> GeneratorDensity:
        """The density of a :class:`ebmlib.gan.Generator` with a uniform latent box.

        Raises
        ------
        TypeError
            If ``base`` has no ``network`` and ``latent``, or its latent distribution
            is not uniform on a box.
        ValueError, FloatingPointError
            As :meth:`from_network`.
        """
        latent = _latent_of(base).base_dist
        if not isinstance(latent, Uniform):
            raise TypeError(
                "base must have a uniform latent box for an exact density, got "
                f"{type(latent).__name__}; push_forward(base, grid) serves any latent"
            )
        return cls.from_network(base.network, latent.low, latent.high)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_regions={self.n_regions}, "
            f"low={self.low.tolist()}, high={self.high.tolist()}, "
            f"singular_mass={self.singular_mass:.3g})"
        )

    @property
    def polygons(self) -> tuple[Tensor, ...]:
        """Latent corners of each polygon, counter-clockwise, shape (k, 2) each."""
        latent = torch.from_numpy(self._pieces.table[:, :2])
        return latent.split(self._lengths.tolist())

    @property
    def images(self) -> tuple[Tensor, ...]:
        """Corners of each polygon's image, in the order of :attr:`polygons`."""
        images = torch.from_numpy(self._pieces.table[:, 2:])
        return images.split(self._lengths.tolist())

    def preimages(self, x: Tensor) -> Preimages:
        """All latent points that are mapped to given points.

        Those in singular polygons, where there are none or infinitely many, are left
        out. A point on a border between polygons counts for what lies just to its
        right, then above: once where polygons lie side by side.

        Parameters
        ----------
        x : Tensor, shape (n, 2)
        """
        check_points("x", x, dim=2)
        x = x.detach().double().cpu()
        point, known = self._index.find(x.numpy())
        region = np.flatnonzero(~self._singular)[known]
        (a, b), (c, d) = self.jacobians.numpy()[region].transpose(1, 2, 0)
        start = self._pieces.table[self._pieces.starts[region]]
        u, v = (x.numpy()[point] - start[:, 2:]).T
        det = self.dets.numpy()[region]
        z = start[:, :2] + np.stack([d * u - b * v, a * v - c * u], 1) / det[:, None]
        return Preimages(*map(torch.from_numpy, (point, region, z)))

    def count(self, x: Tensor) -> Tensor:
        """Number of :meth:`preimages` of each point (n, 2), shape (n,), int64."""
        check_points("x", x, dim=2)
        point, _ = self._index.find(x.detach().double().cpu().numpy())
        return torch.from_numpy(np.bincount(point, minlength=len(x)))

    def log_prob(self, x: Tensor) -> Tensor:
        """Logarithm of the density at points (n, 2), shape (n,), float64.

        It is ``-inf`` outside the image. Mass on lines and points is not in it, so
        that it integrates to ``1 - singular_mass``.
        """
        check_points("x", x, dim=2)
        point, known = self._index.find(x.detach().double().cpu().numpy())
        density = 1 / (self._area * self.dets.abs().numpy()[~self._singular])
        total = np.bincount(point, weights=density[known], minlength=len(x))
        return torch.from_numpy(total).log()

    def cell_probabilities(self, grid: Grid) -> CellMasses:
        """Mass of each cell of a grid, exactly: areas of polygons cut by its lines.

        Each latent polygon is cut along the lines ``B_1(z) = border of a column`` and
        ``B_2(z) = border of a row``, so folds and collapsed polygons need no care.
        Mass on the border between two cells belongs to the upper one, as in
        :meth:`ebmlib.grid.Grid.cells`.

        Parameters
        ----------
        grid : Grid
            Of dim 2.

        Returns
        -------
        CellMasses
            ``prob`` and ``outside`` are computed apart, and sum to 1 up to rounding.
        """
        _check_grid(grid)
        borders = grid.low + np.arange(grid.bins + 1) * grid.width
        borders[-1] = np.nextafter(grid.high, np.inf)  # the upper side is in the box
        mass, outside = np.zeros(grid.bins**2), 0.0
        for parts, column, row in cells_of(self._pieces, borders):
            inside = (column > 0) & (column <= grid.bins)
            inside &= (row > 0) & (row <= grid.bins)
            area = parts.areas() / self._area
            cell = (column - 1) * grid.bins + row - 1
            mass += np.bincount(cell[inside], area[inside], minlength=grid.bins**2)
            outside += float(area[~inside].sum())
        return CellMasses(torch.from_numpy(mass), outside, 0.0)

    @cached_property
    def _index(self) -> PolygonIndex:
        good = np.flatnonzero(~self._singular)
        corners = self._corners[(~self._singular).repeat(self._lengths)]
        upright = self.dets.numpy()[good] > 0
        return PolygonIndex(self._images, corners, self._lengths[good], upright)


def push_forward(base: nn.Module, grid: Grid, n_side: int = 2000) -> CellMasses:
    """Masses of a grid's cells under any generator, by a fine grid of latent points.

    The latent space is cut in ``n_side**d`` parts of equal probability (the quantiles
    of each coordinate), the middle of each is mapped, and images are counted. That is
    deterministic; its error is the mass of the parts that the preimages of the grid's
    lines pass, and falls as ``1 / n_side`` at worst.

    Parameters
    ----------
    base : ebmlib.gan.Generator
        To the plane, from a latent space of dimension 1 or 2 with independent
        coordinates; any activation.
    grid : Grid
        Of dim 2.
    n_side : int
        Latent points along each axis; even.

    Returns
    -------
    CellMasses
        ``error`` is the total variation between these masses and those at half the
        resolution: about the error of the latter, so more than that of the former.

    Raises
    ------
    FloatingPointError
        If an image is not finite.
    TypeError
        If ``base`` is no generator with independent latent coordinates.
    ValueError
        If the latent space has more than two dimensions, or ``n_side`` is odd.
    """
    _check_grid(grid)
    check_int("n_side", n_side, 2)
    if n_side % 2:
        raise ValueError(f"n_side must be even, to be halved, got {n_side}")
    latent = _latent_of(base)
    if latent.event_shape[0] > 2:
        raise ValueError(
            "base must have a latent space of dimension 1 or 2, got "
            f"{latent.event_shape[0]}: {n_side} points a side would be too many"
        )
    fine, coarse = (_counted(base, latent, grid, n) for n in (n_side, n_side // 2))
    error = 0.5 * float((fine - coarse).abs().sum())
    return CellMasses(fine[:-1], float(fine[-1]), error)


def _counted(base: nn.Module, latent: Independent, grid: Grid, n: int) -> Tensor:
    """Shares of images in each cell and, last, off the grid."""
    dim = latent.event_shape[0]
    like = next(base.network.parameters(), torch.zeros(()))
    middles = ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    # one column a coordinate: each has its own quantiles
    levels = latent.base_dist.icdf(middles.expand(n, dim).to(like.device))
    count = torch.zeros(grid.bins**2 + 1, dtype=torch.float64)
    rows = max(1, _CHUNK // n)
    for first in levels[:, 0].split(rows if dim == 2 else n):
        axes = [first] if dim == 1 else [first, levels[:, 1]]
        z = torch.cartesian_prod(*axes).reshape(-1, dim).to(like.dtype)
        with torch.no_grad():
            x = base.network(z).double().cpu()
        check_finite("image of the latent grid", x, "the generator diverged")
        inside = ((x >= grid.low) & (x <= grid.high)).all(1)
        count[:-1] += grid.count(x[inside])
        count[-1] += float((~inside).sum())
    return count / n**dim


def _maps(
    layers: Sequence[Layer], slopes: Sequence[float], patterns: Sequence[Bools]
) -> tuple[Floats, Floats, Bools]:
    """Jacobian and offset on each polygon, and where the determinant may be zero."""
    absolute = [(np.abs(weight), np.abs(bias)) for weight, bias in layers]
    rows, shifts, sizes = [], [], []
    for k in (0, 1):
        last = tuple(part[k : k + 1] for part in layers[-1])
        row, shift = affine_maps([*layers[:-1], last], slopes, patterns)
        last = tuple(part[k : k + 1] for part in absolute[-1])
        size, _ = affine_maps([*absolute[:-1], last], np.abs(slopes), patterns)
        rows, shifts, sizes = [*rows, row], [*shifts, shift], [*sizes, size]
    a, size = np.stack(rows, 1), np.stack(sizes, 1)
    n_terms = sum(weight.shape[1] + 1 for weight, _ in layers)
    error, mixed = n_terms * EPS * size, np.abs(a)
    bound = _permanent(mixed, error) + _permanent(error, mixed + error)
    bound += 2 * EPS * _permanent(mixed, mixed)
    return a, np.stack(shifts, 1), np.abs(_det(a)) <= bound


def _det(a: Floats) -> Floats:
    return a[:, 0, 0] * a[:, 1, 1] - a[:, 0, 1] * a[:, 1, 0]


def _permanent(a: Floats, b: Floats) -> Floats:
    """What a determinant becomes with all signs positive, rows from two matrices."""
    return a[:, 0, 0] * b[:, 1, 1] + a[:, 0, 1] * b[:, 1, 0]


def _forward(layers: Sequence[Layer], slopes: Sequence[float], x: Floats) -> Floats:
    for (weight, bias), slope in zip(layers[:-1], slopes, strict=True):
        x = x @ weight.T + bias
        x = np.where(x > 0, x, slope * x)
    weight, bias = layers[-1]
    return x @ weight.T + bias


def _latent_of(base: nn.Module) -> Independent:
    """The generator's latent distribution, with independent coordinates."""
    latent = getattr(base, "latent", None)
    if not isinstance(getattr(base, "network", None), nn.Module) or not isinstance(
        latent, Distribution
    ):
        raise TypeError(
            "base must be a Generator, with a network and a latent distribution, got "
            f"{type(base).__name__}"
        )
    if not isinstance(latent, Independent) or len(latent.event_shape) != 1:
        raise TypeError(
            "base must have independent latent coordinates, "
            f"torch.distributions.Independent, got {type(latent).__name__}"
        )
    return latent


def _check_grid(grid: Grid) -> None:
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a Grid, got {type(grid).__name__}")
    if grid.dim != 2:
        raise ValueError(f"grid must be one of the plane, dim 2, got dim {grid.dim}")
