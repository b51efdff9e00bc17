"""FRAME's pursuit of histograms: closed forms for one filter, identities for many."""

import math

import pytest
import torch

from ebmlib.distributions import CrossLines, TwoGaussians
from ebmlib.energy import gaussian
from ebmlib.grid import Grid, GridDensity
from ebmlib.pursuit import (
    HistogramPotential,
    StatisticsNotMatched,
    pursue_histograms,
)
from ebmlib.pursuit._histogram import strips

GRID = Grid(bins=60)


def histogram(density, angle, n_bins=13):
    bins = strips(
        GRID.points_as(torch.float64), torch.tensor([angle]).double(), n_bins
    )[:, 0]
    return torch.bincount(bins, density.prob, minlength=n_bins)


def test_every_histogram_is_matched_and_the_kl_is_that_of_the_model():
    pursuit = pursue_histograms(CrossLines(), gaussian(), 3, grid=GRID)
    truth, model = GridDensity(CrossLines(), GRID), GridDensity(pursuit.model, GRID)
    for angle in pursuit.angles.tolist():
        gap = histogram(truth, angle) - histogram(model, angle)
        assert float(gap.abs().max()) <= 1e-8 + 1e-13
    kl = [truth.kl(pursuit.after(k)) for k in (1, 2, 3)]
    torch.testing.assert_close(pursuit.kl[1:], torch.tensor(kl, dtype=torch.float64))
    assert bool((pursuit.kl.diff() < 0).all())


def test_one_filter_gains_the_divergence_of_the_histograms():
    """p = p0 * q_hist / p0_hist, so that KL falls by KL(q_hist || p0_hist)."""
    pursuit = pursue_histograms(TwoGaussians(), gaussian(), 1, grid=GRID)
    angle = float(pursuit.angles[0])
    q = histogram(GridDensity(TwoGaussians(), GRID), angle)
    p = histogram(GridDensity(gaussian(), GRID), angle)
    exact = float((q * (q / p).log()).sum())
    assert float(-pursuit.kl.diff()) == pytest.approx(exact, abs=1e-10)
    assert pursuit.scores[0] == pytest.approx(float((q - p).abs().sum()))
    scores = [
        float(
            (
                histogram(GridDensity(TwoGaussians(), GRID), a)
                - histogram(GridDensity(gaussian(), GRID), a)
            )
            .abs()
            .sum()
        )
        for a in (torch.arange(36, dtype=torch.float64) * math.pi / 36).tolist()
    ]
    assert pursuit.scores[0] == pytest.approx(max(scores))


def test_bins_without_points_get_no_mass():
    x = TwoGaussians().sample((2000,), generator=torch.Generator().manual_seed(0))
    pursuit = pursue_histograms(x, gaussian(), 2, grid=GRID)
    empty = torch.bincount(strips(x, pursuit.angles[:1], 13)[:, 0], minlength=13) == 0
    assert bool(empty.any())
    potentials = pursuit.potentials[0][0]
    assert bool((potentials[empty] == -math.inf).all())
    assert bool(torch.isfinite(potentials[~empty]).all())
    model = GridDensity(pursuit.model, GRID)
    value = float(pursuit.log_likelihood[-1])
    assert value == pytest.approx(model.log_likelihood(x), abs=1e-5)
    with pytest.raises(ValueError, match="points"):
        _ = pursuit.kl


def test_potentials_are_constant_across_strips():
    angles = torch.tensor([0.0, math.pi / 2])
    potentials = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    f = HistogramPotential(angles, potentials)
    x = torch.tensor([[-0.9, 0.0], [0.9, 0.9], [0.0, -5.0]])
    assert f(x).tolist() == [4.0, 7.0, 4.0]
    with pytest.raises(ValueError, match="one row an angle"):
        HistogramPotential(angles[:1], potentials)
    with pytest.raises(ValueError, match="finite"):
        HistogramPotential(angles, potentials / 0)


def test_what_cannot_be_matched_says_so():
    with pytest.raises(StatisticsNotMatched, match="after 1 sweeps"):
        pursue_histograms(CrossLines(), gaussian(), 2, grid=GRID, max_sweeps=1)
    with pytest.raises(ValueError, match="n_angles"):
        pursue_histograms(CrossLines(), gaussian(), 3, n_angles=2)
    pursuit = pursue_histograms(CrossLines(), gaussian(), 1, grid=GRID)
    with pytest.raises(ValueError, match="at most 1"):
        pursuit.after(2)
    # strips finer than the grid: some hold data and no centre of a cell
    x = CrossLines().sample((500,), generator=torch.Generator().manual_seed(0))
    with pytest.raises(StatisticsNotMatched, match="finer grid"):
        pursue_histograms(x, None, 1, n_bins=100, n_angles=1, grid=Grid(bins=20))
