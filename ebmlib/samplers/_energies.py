"""Energies and their gradients at many points, and the box that a chain may not leave.

What every kernel needs, and nothing that depends on a kernel.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ebmlib._checks import check_choice, check_interval, check_points
from ebmlib.energy import EnergyModel
from ebmlib.samplers._relu import affine_layers, relu_energy_and_gradient

Energy = EnergyModel | Callable[[Tensor], Tensor]
BOUNDARIES = ("reflect", "reject")


def energy_at(energy: Energy, x: Tensor) -> Tensor:
    """Energies of points without a graph, shape (n,); ``+inf`` means no mass.

    Raises
    ------
    ValueError
        If the energies do not have shape (n,).
    FloatingPointError
        If one is NaN or ``-inf``.
    """
    with torch.no_grad():
        return _checked(_call(energy, x))


def energy_and_gradient(
    energy: Energy, x: Tensor, *, allow_infinite: bool = True
) -> tuple[Tensor, Tensor]:
    """Energies (n,) and their gradients dE/dx (n, d), both without a graph.

    Where the energy is ``+inf`` there is no mass, and the gradient is set to zero.
    Without `allow_infinite` such an energy raises.

    Raises
    ------
    ValueError
        If the energies do not have shape (n,), or do not come from ``x`` by
        operations that PyTorch can differentiate.
    FloatingPointError
        If an energy is NaN or ``-inf``, or a gradient at a finite energy is not finite.
    """
    if (layers := affine_layers(energy)) is not None:
        value, gradient = relu_energy_and_gradient(layers, x)
    else:
        value, gradient = _by_autograd(energy, x)
    value = _checked(value, allow_infinite)
    if not math.isfinite(float(gradient.sum())):
        gradient = torch.where((value == math.inf)[:, None], 0.0, gradient)
        bad = ~gradient.isfinite().all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            raise FloatingPointError(
                f"gradient of the energy is not finite at {int(bad.sum())} of {len(x)} "
                f"points, the first at {x[first].tolist()}; a kink or a division by "
                "zero in the energy does this"
            )
    return value, gradient


def _by_autograd(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = _call(energy, x)
        if not value.requires_grad:
            raise ValueError(
                "energy must be differentiable in x for this kernel; "
                "RandomWalkMetropolis and Gibbs need no gradient"
            )
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def _call(energy: Energy, x: Tensor) -> Tensor:
    """Evaluate the energy and check its shape: (n,), never (n, 1)."""
    value = energy.energy(x) if isinstance(energy, EnergyModel) else energy(x)
    if not isinstance(value, Tensor):
        raise TypeError(f"energy(x) must be a torch.Tensor, got {type(value).__name__}")
    if value.shape != x.shape[:1]:
        raise ValueError(
            f"energy(x) must have shape ({len(x)},) for x of shape {tuple(x.shape)}, "
            f"got {tuple(value.shape)}; squeeze the last dimension"
        )
    return value


def _checked(value: Tensor, allow_infinite: bool = True) -> Tensor:
    """Pass energies on; NaN, ``-inf``, and ``+inf`` where not allowed, raise."""
    if math.isfinite(float(value.sum())):
        return value  # one look at the sum: the common case costs next to nothing
    n_nan, n_low = int(value.isnan().sum()), int((value == -math.inf).sum())
    if n_nan or n_low:
        raise FloatingPointError(
            f"energy is NaN at {n_nan} and -inf at {n_low} of {len(value)} points; "
            "use a smaller step, give bounds, or go back to the model's last finite "
            "parameters"
        )
    n_high = int((value == math.inf).sum())
    if n_high and not allow_infinite:
        raise FloatingPointError(
            f"energy is +inf at {n_high} of {len(value)} points: the chain left the "
            "support of the density; use a smaller step, give bounds, or use a kernel "
            "that can reject (MALA, HMC)"
        )
    return value


@contextlib.contextmanager
def frozen(energy: Energy) -> Iterator[None]:
    """Switch off the gradients of a module's parameters, and restore them after."""
    parameters = energy.parameters() if isinstance(energy, nn.Module) else ()
    learning = [p for p in parameters if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def check_box(bounds: tuple[float, float] | None, boundary: str) -> None:
    """Require None or (low, high), and a known way to treat what leaves the box."""
    check_choice("boundary", boundary, BOUNDARIES)
    if bounds is None:
        return
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise TypeError(f"bounds must be None or a pair (low, high), got {bounds!r}")
    check_interval(*bounds, names=("bounds[0]", "bounds[1]"))


def outside(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Whether each point lies outside the box, shape (n,)."""
    return ((x < bounds[0]) | (x > bounds[1])).any(1)


def reflect(x: Tensor, bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Fold points into the box as light is folded between mirrors.

    Returns
    -------
    points : Tensor, shape (n, d)
    flipped : Tensor of bool, shape (n, d)
        Whether a coordinate was reflected an odd number of times, which turns a
        velocity round.
    """
    low, high = bounds
    least, most = x.aminmax()
    if low <= float(least) and float(most) <= high:  # the common case of short steps
        return x, torch.zeros_like(x, dtype=torch.bool)
    inside = (x >= low) & (x <= high)
    phase = torch.remainder(x - low, 2 * (high - low))
    flipped = phase > high - low
    folded = low + torch.where(flipped, 2 * (high - low) - phase, phase)
    # a point within stays what it was to the last bit
    return torch.where(inside, x, folded.clamp(low, high)), flipped & ~inside


def check_start(positions: Tensor, bounds: tuple[float, float] | None) -> None:
    """Require at least one point, and every point in the box."""
    check_points("positions", positions, allow_empty=False)
    if bounds is not None and (out := outside(positions, bounds)).any():
        first = int(out.nonzero()[0])
        raise ValueError(
            f"positions must lie in the box [{bounds[0]}, {bounds[1]}], got "
            f"{int(out.sum())} points outside it, the first in row {first}: "
            f"{positions[first].tolist()}"
        )
