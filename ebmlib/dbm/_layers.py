"""States of the three layers, the mean field's result, and log-odds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebmlib._checks import check_points

LAYERS = ("visible", "hidden1", "hidden2")


class Layers(NamedTuple):
    """States, or means, of the three layers, one machine a row.

    Attributes
    ----------
    visible : Tensor, shape (n, n_visible)
    hidden1 : Tensor, shape (n, n_hidden1)
    hidden2 : Tensor, shape (n, n_hidden2)
    """

    visible: Tensor
    hidden1: Tensor
    hidden2: Tensor


class MeanField(NamedTuple):
    """A factorised approximation to the posterior of the hidden units.

    Attributes
    ----------
    hidden1 : Tensor, shape (n, n_hidden1)
        Probability that each unit is on, given the visible units of the row.
    hidden2 : Tensor, shape (n, n_hidden2)
    n_steps : int
        Sweeps over the two layers that were made.
    change : float
        Largest change of a probability in the last sweep.
    """

    hidden1: Tensor
    hidden2: Tensor
    n_steps: int
    change: float


def log_odds(data: Tensor, width: int | None = None) -> Tensor:
    """Log-odds of the means of the columns, with one image of each kind added."""
    check_points("data", data, dim=width, allow_empty=False)
    if not ((data == 0) | (data == 1)).all():
        raise ValueError("data must hold zeros and ones only; threshold them first")
    return torch.logit((data.sum(0) + 1) / (len(data) + 2))
