"""FRAME's own pursuit: each filter is linear, and its whole histogram is matched."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ebmlib._checks import check_int, check_points, check_positive
from ebmlib.energy import TiltedEnergy
from ebmlib.grid import Grid
from ebmlib.pursuit._matching import StatisticsNotMatched
from ebmlib.pursuit._problem import Problem


class HistogramPotential(nn.Module):
    """``f(x) = sum_k potential_k[bin of x . w_k]``: constant across parallel strips.

    Parameters
    ----------
    angles : Tensor, shape (k,)
        Directions ``w_k = (cos, sin)``.
    potentials : Tensor, shape (k, n_bins)
        Value in each bin; the bins divide the range of ``x . w_k`` on the square
        evenly, and the outer ones go on beyond it.
    low, high : float
        Sides of the square.
    """

    def __init__(
        self, angles: Tensor, potentials: Tensor, low: float = -1.0, high: float = 1.0
    ) -> None:
        super().__init__()
        empty = potentials == -math.inf
        check_points("potentials", potentials.detach().masked_fill(empty, 0.0))
        if angles.shape != potentials.shape[:1]:
            raise ValueError(
                "potentials must have one row an angle, got shapes "
                f"{tuple(angles.shape)} and {tuple(potentials.shape)}"
            )
        self.low, self.high = low, high
        self.register_buffer("angles", angles.double())
        self.potentials = nn.Parameter(potentials.double())

    def forward(self, x: Tensor) -> Tensor:
        """Value at each point of ``x`` (n, 2), shape (n,)."""
        n_bins = self.potentials.shape[1]
        bins = strips(x, self.angles, n_bins, self.low, self.high)
        rows = torch.arange(len(self.angles), device=x.device)
        return self.potentials[rows, bins].sum(1)


def strips(
    x: Tensor, angles: Tensor, n_bins: int, low: float = -1.0, high: float = 1.0
) -> Tensor:
    """Bin of ``x . w`` for each point and direction, shape (n, k), int64.

    The ``n_bins`` equal bins cover the range of ``x . w`` on the square.
    """
    angles = angles.double()
    directions = torch.stack([angles.cos(), angles.sin()], 1)
    half = directions.abs().sum(1) * (high - low) / 2
    middle = directions.sum(1) * (high + low) / 2
    place = (x.double() @ directions.T - middle + half) * n_bins / (2 * half)
    return place.floor().long().clamp(0, n_bins - 1)


@dataclass(frozen=True)
class HistogramPursuit:
    """What :func:`pursue_histograms` hands back.

    Attributes
    ----------
    angles : Tensor, shape (k,)
        Directions of the filters, in the order chosen.
    potentials : list of Tensor
        After each step, the potentials of all filters so far, shape (step, n_bins).
    prior : Distribution or None
    grid : Grid
    log_likelihood : Tensor, shape (k + 1,)
        Of the data, nats a point, with 0, 1, ... filters.
    data_entropy : float or None
        Of the data on the grid when they are a distribution.
    scores : list of float
        L1 distance of the histograms of the filter that each step chose, before it.
    residuals : list of float
        Largest gap between a bin's mass and the data's, after each step.
    """

    angles: Tensor
    potentials: list[Tensor]
    prior: Distribution | None
    grid: Grid
    log_likelihood: Tensor
    data_entropy: float | None
    scores: list[float]
    residuals: list[float]

    @property
    def kl(self) -> Tensor:
        """``KL(data || model)`` on the grid, shape (k + 1,)."""
        if self.data_entropy is None:
            raise ValueError("kl needs data with a density, and these were points")
        return -self.data_entropy - self.log_likelihood

    @property
    def model(self) -> TiltedEnergy:
        """The model after the last step."""
        return self.after(len(self.potentials))

    def after(self, n_filters: int) -> TiltedEnergy:
        """The model when it had that many filters, at least 1."""
        check_int("n_filters", n_filters, 1)
        if n_filters > len(self.potentials):
            raise ValueError(
                f"n_filters must be at most {len(self.potentials)}, got {n_filters}"
            )
        network = HistogramPotential(
            self.angles[:n_filters],
            self.potentials[n_filters - 1],
            self.grid.low,
            self.grid.high,
        )
        return TiltedEnergy(network, self.prior)


def pursue_histograms(
    data: Tensor | Distribution,
    prior: Distribution | None,
    n_filters: int,
    *,
    n_bins: int = 13,
    n_angles: int = 36,
    grid: Grid | None = None,
    tolerance: float = 1e-8,
    max_sweeps: int = 20_000,
) -> HistogramPursuit:
    """Choose directions one by one; match the histogram of the data along each.

    The FRAME pursuit of Zhu, Wu and Mumford (1997) in the plane: a filter is a
    direction, its statistic the histogram of ``x . w``, and the next one has the
    largest L1 distance between the histograms of the data and of the model. All
    potentials are then fitted by iterative proportional fitting: one filter at a time
    has its histogram made right, in turn, until all are.

    Parameters
    ----------
    data, prior, grid
        As in :func:`pursue`.
    n_filters : int
    n_bins : int
        Bins of a histogram: as many numbers are matched for each filter (one of them
        follows from the others).
    n_angles : int
        Directions over half a turn to choose from; 36 are 5 degrees apart.
    tolerance : float
        Largest gap allowed between the mass of a bin and the data's.
    max_sweeps : int

    Returns
    -------
    HistogramPursuit

    Raises
    ------
    StatisticsNotMatched
        If the sweeps run out, or the model has no mass in a bin where there are data.

    Notes
    -----
    A bin without data gets the potential ``-inf``: no finite one is best.
    """
    check_int("n_filters", n_filters, 1)
    check_int("n_bins", n_bins, 2)
    check_int("n_angles", n_angles, n_filters)
    check_positive("tolerance", tolerance)
    check_int("max_sweeps", max_sweeps, 1)
    grid = Grid(bins=100) if grid is None else grid
    problem = Problem(data, prior, grid, tolerance)
    start = problem.match(None, None)
    angles = torch.arange(n_angles, dtype=torch.float64) * (math.pi / n_angles)
    bins = strips(problem.points, angles, n_bins, grid.low, grid.high)
    own = strips(problem.where, angles, n_bins, grid.low, grid.high)
    target = _histograms(own, problem.weight, n_bins)
    pursuit = HistogramPursuit(
        angles[:0],
        [],
        prior,
        grid,
        torch.tensor([problem.log_likelihood(start)], dtype=torch.float64),
        problem.entropy,
        [],
        [],
    )
    chosen: list[int] = []
    potentials = torch.zeros(0, n_bins, dtype=torch.float64)
    prob = start.prob
    for _ in range(n_filters):
        scores = (_histograms(bins, prob, n_bins) - target).abs().sum(1)
        scores[chosen] = -1.0
        chosen.append(int(scores.argmax()))
        potentials = torch.cat([potentials, potentials.new_zeros(1, n_bins)])
        potentials, prob, log_z, gap = _fit(
            potentials,
            bins[:, chosen],
            target[chosen],
            problem.log_base,
            tolerance,
            max_sweeps,
        )
        fitted = torch.where(target[chosen] > 0, target[chosen] * potentials, 0.0)
        value = problem.mean_log_prior + float(fitted.sum()) - log_z
        pursuit = replace(
            pursuit,
            angles=angles[chosen],
            potentials=[*pursuit.potentials, potentials],
            log_likelihood=torch.cat(
                [pursuit.log_likelihood, torch.tensor([value], dtype=torch.float64)]
            ),
            scores=[*pursuit.scores, float(scores[chosen[-1]])],
            residuals=[*pursuit.residuals, gap],
        )
    return pursuit


def _histograms(bins: Tensor, weight: Tensor, n_bins: int) -> Tensor:
    """Mass of each bin along each direction, shape (k, n_bins)."""
    k = bins.shape[1]
    flat = (bins + torch.arange(k) * n_bins).reshape(-1)
    repeated = weight[:, None].expand(-1, k).reshape(-1)
    return torch.bincount(flat, repeated, minlength=k * n_bins).reshape(k, n_bins)


def _fit(
    potentials: Tensor,
    bins: Tensor,
    target: Tensor,
    log_base: Tensor,
    tolerance: float,
    max_sweeps: int,
) -> tuple[Tensor, Tensor, float, float]:
    """Iterative proportional fitting: potentials, masses, ``log Z``, largest gap."""
    potentials, n_bins = potentials.clone(), potentials.shape[1]
    rows = torch.arange(len(potentials))
    for _ in range(max_sweeps):
        log_weight = log_base + potentials[rows, bins].sum(1)
        log_z = float(torch.logsumexp(log_weight, 0))
        prob = (log_weight - log_z).exp()
        gap = float((_histograms(bins, prob, n_bins) - target).abs().max())
        if gap <= tolerance:
            return potentials, prob, log_z, gap
        for k, own in enumerate(bins.T):
            mass = torch.bincount(own, prob, minlength=n_bins)
            if bool(((mass == 0) & (target[k] > 0)).any()):
                raise StatisticsNotMatched(
                    f"the histogram of filter {k} has data in a bin where the model "
                    "has no mass; use a finer grid, or a prior that covers the data"
                )
            change = torch.where(mass > 0, target[k] / mass, 1.0)
            potentials[k] += change.log()
            prob = prob * change[own]
    raise StatisticsNotMatched(
        f"the histograms are not matched: the largest gap is {gap:.2g} after "
        f"{max_sweeps} sweeps; use fewer filters or bins",
        gap,
    )
