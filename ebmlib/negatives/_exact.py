"""Negative phases that integrate: over a grid, over the polygons of a ReLU energy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ebmlib._checks import check_between, check_inside, check_points
from ebmlib.energy import EnergyModel, TiltedEnergy, energy_of
from ebmlib.grid import Grid
from ebmlib.negatives._phase import Negatives
from ebmlib.partition import ReLUPartition
from ebmlib.partition._network import read_box


class GridNegatives:
    """All points of a grid with their exact weights: the exact gradient.

    The weights are ``softmax(-E)`` over the grid, so that the negative phase is the
    expectation under the model itself, by quadrature (Zhu 2019, section 2.1).

    Parameters
    ----------
    grid : Grid
    """

    def __init__(self, grid: Grid) -> None:
        if not isinstance(grid, Grid):
            raise TypeError(f"grid must be a Grid, got {type(grid).__name__}")
        self.grid = grid
        self._fixed: FixedPoints | None = None

    def check_data(self, data: Tensor) -> None:
        """Require data in the grid's box, outside which the density is zero.

        Raises
        ------
        ValueError
            If a point of ``data`` (n, d) lies outside.
        """
        check_points("data", data, dim=self.grid.dim)
        check_inside("data", data, self.grid.low, self.grid.high)

    def __call__(
        self, model: EnergyModel, *, generator: torch.Generator | None = None
    ) -> Negatives:
        """Energies, exact weights and exact ``log Z`` at the grid points."""
        if self._fixed is None or not self._fixed.fits(model):
            like = next(model.parameters(), self.grid.points)
            points = self.grid.points_as(like.dtype, like.device)
            self._fixed = FixedPoints(model, points)
        energy = self._fixed.energy(model)
        values = -energy.detach().double()
        prob = torch.softmax(values, 0)
        # the sum of exp(values), from its largest term: no second pass of exponentials
        log_sum = values.max() - prob.max().log()
        log_partition = log_sum + math.log(self.grid.cell_volume)
        return Negatives(
            self._fixed.points, prob.to(energy.dtype), energy, log_partition
        )


class PolygonNegatives:
    """One point a region of a ReLU energy: the exact gradient, without a grid.

    On a region the negative energy is affine in ``x``, and so is its derivative in each
    parameter. Its mean over the region is therefore its value at one point, the mean of
    ``x`` there: with the regions' masses as weights, ``sum_i w_i dE(x_i)/dtheta`` is
    ``-d log Z/dtheta`` itself, to rounding (flat prior) or to a tolerance.

    The partition is found anew at each call, in float64. A model in float32 rounds the
    points, which can then leave regions that are thinner than that.

    Parameters
    ----------
    low, high : float or pair of floats
        The box. The data must lie in it: the density is normalised there.
    tolerance : float
        Relative error of quadrature under a prior that is not flat.
    """

    def __init__(
        self,
        low: float | Sequence[float] = -1.0,
        high: float | Sequence[float] = 1.0,
        *,
        tolerance: float = 1e-10,
    ) -> None:
        check_between("tolerance", tolerance, 1e-13, 1e-2)
        self._box = [torch.from_numpy(end) for end in read_box(low, high)]
        self.low, self.high, self.tolerance = low, high, tolerance

    def check_data(self, data: Tensor) -> None:
        """Require data in the box, outside which the density is zero.

        Raises
        ------
        ValueError
            If a point of ``data`` (n, 2) lies outside.
        """
        check_points("data", data, dim=2)
        check_inside("data", data.detach().double().cpu(), *self._box)

    def __call__(
        self, model: EnergyModel, *, generator: torch.Generator | None = None
    ) -> Negatives:
        """Mean of ``x`` in each region, the regions' masses, and exact ``log Z``.

        Raises
        ------
        TypeError
            If the model is no :class:`~ebmlib.energy.TiltedEnergy`.
        ValueError
            If its network is not made of affine layers and (leaky) ReLUs.
        """
        if getattr(type(model), "energy", None) is not TiltedEnergy.energy:
            raise TypeError(
                "model must be a TiltedEnergy, with the energy of that class, "
                f"got {type(model).__name__}"
            )
        partition = ReLUPartition.from_network(model.network, self.low, self.high)
        density = partition.density(model.prior, tolerance=self.tolerance)
        some = density.prob > 0
        like = next(model.parameters())
        return Negatives(
            density.region_means()[some].to(like),
            density.prob[some].to(like),
            log_partition=torch.tensor(density.log_partition, dtype=torch.float64),
        )


class FixedPoints:
    """Points at which one model's energy is asked for again and again.

    The log-density of a tilted energy's prior does not change while the network is
    trained, so it is evaluated once.

    Raises
    ------
    ValueError
        If the prior is zero at a point: no tilt can give it any mass.
    """

    def __init__(self, model: EnergyModel, points: Tensor) -> None:
        self.model, self.points = model, points
        self._known: dict[str, Tensor] = {}
        self._prior = getattr(model, "prior", None)
        self._like = next(model.parameters(), points)
        if type(model).energy is TiltedEnergy.energy:  # a subclass may have its own
            log_prior = model.log_prior(points).detach()
            impossible = ~torch.isfinite(log_prior)
            if impossible.any():
                first = int(impossible.nonzero()[0])
                raise ValueError(
                    "prior must be positive and finite at every point of training, got "
                    f"log p0 = {float(log_prior[first])} at {points[first].tolist()} "
                    f"and {int(impossible.sum()) - 1} more of {len(points)} points"
                )
            self._known["log_prior"] = log_prior

    def fits(self, model: EnergyModel) -> bool:
        """Whether what was computed once still holds for ``model``."""
        return (
            model is self.model
            and getattr(model, "prior", None) is self._prior
            and self._like.dtype == self.points.dtype
            and self._like.device == self.points.device
        )

    def energy(self, model: EnergyModel) -> Tensor:
        """Energy of the points, shape (m,), with its graph."""
        return energy_of(model, self.points, **self._known)
