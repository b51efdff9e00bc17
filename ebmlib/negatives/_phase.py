"""What a negative phase returns, and what the training loop asks of one."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ebmlib.energy import EnergyModel


class Negatives(NamedTuple):
    """Points that stand for the model's own density, and what they weigh.

    Attributes
    ----------
    points : Tensor, shape (m, d)
    weights : Tensor, shape (m,)
        Non-negative, summing to 1, detached from the graph.
    energy : Tensor, shape (m,), optional
        Energies of the points with their graph, when the phase had to compute them
        anyway; ``None`` lets the training loop compute them.
    log_partition : Tensor, shape (), optional
        Exact or estimated ``log Z``, when the phase knows it: then the loss that the
        loop reports is the negative log-likelihood itself.
    """

    points: Tensor
    weights: Tensor
    energy: Tensor | None = None
    log_partition: Tensor | None = None


class NegativePhase(Protocol):
    """What :func:`ebmlib.fit.fit` asks of a source of negative points.

    Two things beside the call are optional.  ``check_data(data)`` raises if the phase
    cannot be used with these data; it is called once, before training.  With the class
    attribute ``uses_data = True`` the phase is called with ``data=``, the points (n, d)
    of this step's data term: the minibatch, or all the data.
    """

    def __call__(
        self, model: EnergyModel, *, generator: torch.Generator | None = None
    ) -> Negatives: ...
