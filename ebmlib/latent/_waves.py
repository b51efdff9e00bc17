"""A critic that can be sharp: its first layer is waves of many lengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebmlib._checks import check_generator, check_int, check_positive
from ebmlib.energy import mlp


class Waves(nn.Module):
    """Sines and cosines of random frequencies: ``(sin x w_i, cos x w_i)``.

    Parameters
    ----------
    frequencies : Tensor, shape (d, k)
        ``w_i``, one a column, radians per unit of ``x``; not trained.
    """

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies)

    def forward(self, x: Tensor) -> Tensor:
        """Points (n, d) to features (n, 2 k)."""
        phase = x @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], 1)


def wave_critic(
    hidden: Sequence[int] = (128, 128),
    *,
    dim: int = 2,
    n_waves: int = 64,
    frequency: float = 15.0,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """A ReLU critic behind random waves (Rahimi and Recht 2007; Tancik et al. 2020).

    A plain network learns what varies slowly first, and a log-ratio that jumps within
    a fiftieth of the data's extent very late.  Waves of that length make it easy.

    Parameters
    ----------
    hidden : sequence of int
        Widths behind the waves.
    dim : int
        Dimension of the points.
    n_waves : int
        How many frequencies.
    frequency : float
        Their standard deviation along each axis, radians per unit of x: about the
        inverse of the finest length that matters.
    generator : torch.Generator, optional

    Returns
    -------
    nn.Sequential
        Maps (n, dim) to (n, 1).
    """
    check_int("dim", dim, 1)
    check_int("n_waves", n_waves, 1)
    check_positive("frequency", frequency)
    check_generator(generator)
    frequencies = frequency * torch.randn(dim, n_waves, generator=generator)
    widths = [2 * n_waves, *hidden, 1]
    return nn.Sequential(
        Waves(frequencies), *mlp(widths, init="torch", generator=generator)
    )
