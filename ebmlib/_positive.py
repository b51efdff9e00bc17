"""The positive phase of the training loop: which points, and what is minimised."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ebmlib._checks import check_int
from ebmlib.energy import EnergyModel, energy_of
from ebmlib.negatives import FixedPoints, NegativePhase, Negatives

Draw = Callable[[torch.Generator | None], Tensor]
Loss = tuple[Tensor, Tensor]  # what is differentiated, and what is reported
LossOf = Callable[[Tensor, Negatives], Loss]


def positive_phase(
    model: EnergyModel,
    data: Tensor,
    negatives: NegativePhase,
    data_term: str,
    batch_size: int | None,
) -> tuple[Draw, LossOf]:
    """Where a step's points come from, and its loss from these and the negatives."""
    grid = getattr(negatives, "grid", None)
    if data_term == "cells":
        if grid is None:
            raise ValueError(
                "data_term='cells' needs the grid of GridNegatives, got negatives of "
                f"type {type(negatives).__name__}; use data_term='points'"
            )
        if batch_size is not None:
            raise ValueError(
                f"batch_size must be None with data_term='cells', got {batch_size}: "
                "all the data are counted once"
            )
        like = next(model.parameters(), data)
        return lambda _: data, _cell_loss(grid.count(data).to(like) / len(data))
    if hasattr(negatives, "check_data"):
        negatives.check_data(data)  # raises for points outside its box
    if batch_size is None:
        fixed = FixedPoints(model, data)
        return lambda _: data, lambda _, negative: _difference(
            model, fixed.energy(model), negative
        )
    check_int("batch_size", batch_size, 1)

    def draw(generator: torch.Generator | None) -> Tensor:
        """A fresh minibatch, drawn with replacement."""
        return data[torch.randint(len(data), (batch_size,), generator=generator)]

    return draw, lambda points, negative: _difference(
        model, energy_of(model, points), negative
    )


def _cell_loss(share: Tensor) -> LossOf:
    """The data are shares of the grid's cells: one energy serves both phases."""

    def loss(_: Tensor, negative: Negatives) -> Loss:
        return (
            torch.dot(share - negative.weights, negative.energy),
            torch.dot(share, negative.energy.detach()) + negative.log_partition,
        )

    return loss


def _difference(model: EnergyModel, data_energy: Tensor, negative: Negatives) -> Loss:
    """Mean energy of some data (n,) less that of the negatives."""
    data_energy, energy = data_energy.mean(), negative.energy
    if energy is None:
        energy = energy_of(model, negative.points)
    loss = data_energy - torch.dot(negative.weights, energy)
    log_z = negative.log_partition
    return loss, (loss if log_z is None else data_energy + log_z).detach()
