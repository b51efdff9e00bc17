"""Gibbs sampling on the cells of a grid: one coordinate at a time, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebmlib._checks import check_points, check_positive
from ebmlib.grid import Grid
from ebmlib.samplers._energies import Energy, energy_at
from ebmlib.samplers._kernels import State, started


@dataclass(frozen=True)
class Gibbs:
    """Systematic-scan Gibbs sampling, by inverse CDF (Geman and Geman 1984).

    Each coordinate in turn is drawn from its conditional density given the others, from
    energies at all cell centres on its line; then a place in the cell is drawn evenly.
    Only the energies at the centres enter, and the density that they give, constant on
    each cell, is *exactly* invariant: it is the one that
    :meth:`GridDensity.sample <ebmlib.grid.GridDensity.sample>` draws from.  How far it
    is from the density itself is a matter of the grid, and falls with its cells.

    Parameters
    ----------
    grid : Grid
        Cells of the box that the chains live in.
    temperature : float
        T: the chain aims at the density proportional to ``exp(-E / T)``.
    """

    grid: Grid
    temperature: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.grid, Grid):
            raise TypeError(f"grid must be a Grid, got {type(self.grid).__name__}")
        check_positive("temperature", self.temperature)

    def init(self, positions: Tensor, energy: Energy) -> State:
        """The state of chains that start at ``positions``, shape (n, d).

        Its energies are those at the centres of the cells, which is what the chain
        knows of the energy.
        """
        check_points("positions", positions, dim=self.grid.dim, allow_empty=False)
        centres = self.grid.points.to(positions)[self.grid.cells(positions)]
        return started(positions, energy_at(energy, centres), None)

    def step(
        self,
        state: State,
        energy: Energy,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """Draw every coordinate once, in order; at most ``bins`` energies each."""
        x, bins = state.positions, self.grid.bins
        centres, cells = self.grid.points.to(x), self.grid.cells(x)
        along = torch.arange(bins, device=x.device)
        for axis in range(self.grid.dim):
            stride = bins ** (self.grid.dim - 1 - axis)
            first = cells - cells // stride % bins * stride
            # chains whose other coordinates share a cell share a line
            lines, line_of = first.unique(return_inverse=True)
            on_line = lines[:, None] + along * stride
            values = energy_at(energy, centres[on_line.reshape(-1)])
            values = values.reshape(on_line.shape)
            index = _draw(values.double() / self.temperature, line_of, generator)
            cells, value = first + index * stride, values[line_of, index]
        jitter = torch.rand(x.shape, dtype=torch.float64, generator=generator) - 0.5
        x = (centres[cells].double() + jitter.to(x.device) * self.grid.width).to(x)
        return State(x, value, None, torch.ones_like(state.accepted))


def _draw(energy: Tensor, line_of: Tensor, generator: torch.Generator | None) -> Tensor:
    """Index of a cell for each chain, from the row of energies that is its line."""
    prob = torch.softmax(-energy, 1)
    cumulative = prob.cumsum(1)
    last = prob.shape[1] - 1 - (prob.flip(1) > 0).int().argmax(1)
    u = torch.rand(len(line_of), dtype=torch.float64, generator=generator)
    u = u.to(energy.device)[:, None] * cumulative[line_of, -1:]
    index = torch.searchsorted(cumulative[line_of], u, right=True)[:, 0]
    return torch.minimum(index, last[line_of])  # rounding can pass the last cell
