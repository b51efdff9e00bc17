"""Pursuit: build an energy from filters, one at a time, by matching their statistics.

:func:`pursue` makes the ReLU networks of the thesis's chapter 4. Everything is exact on
a grid: the scores of the filters, the fit of the coefficients, the gains in likelihood.
:func:`pursue_histograms` is the original, which matches histograms instead.
"""

from ebmlib.pursuit._filters import Filters, filter_pool
from ebmlib.pursuit._histogram import (
    HistogramPotential,
    HistogramPursuit,
    pursue_histograms,
)
from ebmlib.pursuit._matching import Match, StatisticsNotMatched, match_statistics
from ebmlib.pursuit._pursue import pursue
from ebmlib.pursuit._result import Pursuit, Step
from ebmlib.pursuit._scores import (
    CRITERIA,
    exact_gains,
    filter_scores,
    second_order_gain,
)

__all__ = [
    "CRITERIA",
    "Filters",
    "HistogramPotential",
    "HistogramPursuit",
    "Match",
    "Pursuit",
    "StatisticsNotMatched",
    "Step",
    "exact_gains",
    "filter_pool",
    "filter_scores",
    "match_statistics",
    "pursue",
    "pursue_histograms",
    "second_order_gain",
]
