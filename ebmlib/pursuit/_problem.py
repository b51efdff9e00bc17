"""Data, prior and grid: the sums behind every step of a pursuit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ebmlib._checks import check_inside, check_points
from ebmlib.energy import TiltedEnergy
from ebmlib.grid import Grid, GridDensity
from ebmlib.pursuit._filters import Filters, batches
from ebmlib.pursuit._matching import Match, match_statistics


class Problem:
    """Data, prior and grid: all that a refit needs."""

    def __init__(
        self,
        data: Tensor | Distribution,
        prior: Distribution | None,
        grid: Grid,
        tolerance: float,
    ) -> None:
        self.tolerance = tolerance
        self.axis = grid.axis
        self.points = grid.points_as(torch.float64)
        tilt = TiltedEnergy(nn.Identity(), prior)  # checks the prior, and evaluates it
        self.log_base = tilt.log_prior(self.points) + math.log(grid.cell_volume)
        if isinstance(data, Distribution):
            density = GridDensity(data, grid)
            self.where, self.weight = self.points, density.prob
            self.entropy: float | None = density.entropy()
        else:
            check_points("data", data, dim=2, allow_empty=False)
            check_inside("data", data, grid.low, grid.high)
            self.where = data.detach().double().cpu()
            self.weight = torch.full((len(data),), 1 / len(data), dtype=torch.float64)
            self.entropy = None
        some = self.weight > 0
        self.where, self.weight = self.where[some], self.weight[some]
        log_prior = tilt.log_prior(self.where)
        if not bool(torch.isfinite(log_prior).all()):
            raise ValueError(
                "prior must be positive and finite wherever there are data; at "
                f"{int((~torch.isfinite(log_prior)).sum())} of {len(log_prior)} points "
                "it is not"
            )
        self.mean_log_prior = float(self.weight @ log_prior)

    def features(self, filters: Filters | None) -> Tensor:
        """Values of the filters on the grid, shape (n, k)."""
        if filters is None:
            return torch.zeros(len(self.points), 0, dtype=torch.float64)
        return filters.values(self.points)

    def expect(self, filters: Filters) -> Tensor:
        """Expectations under the data, shape (m,)."""
        parts = batches(filters, len(self.where))
        empty = torch.zeros(0, dtype=torch.float64)
        means = [self.weight @ filters[part].values(self.where) for part in parts]
        return torch.cat([empty, *means])

    def reachable(self, filters: Filters, target: Tensor) -> Tensor:
        """Whether each statistic lies strictly inside its range on the grid."""
        low, high = self.axis[0], self.axis[-1]
        middle = filters.directions.sum(1) * (low + high) / 2 - filters.offsets
        reach = filters.directions.abs().sum(1) * (high - low) / 2
        return (target > (middle - reach).relu()) & (target < (middle + reach).relu())

    def match(self, filters: Filters | None, start: Tensor | None) -> Match:
        """The model whose statistics are those of the data."""
        features = self.features(filters)
        none = torch.zeros(0, dtype=torch.float64)
        target = none if filters is None else self.expect(filters)
        return match_statistics(
            features, target, self.log_base, start=start, tolerance=self.tolerance
        )

    def log_likelihood(self, match: Match) -> float:
        """Mean log-likelihood of the data under a model just matched, nats a point."""
        fitted = float(match.coefficients @ match.target)
        return self.mean_log_prior + fitted - match.log_partition
