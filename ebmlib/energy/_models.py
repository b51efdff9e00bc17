"""Energy models, tilted references and multilayer perceptrons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from ebmlib._checks import (
    check_choice,
    check_finite,
    check_generator,
    check_int,
    check_points,
    check_positive,
)

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
INITIALISATIONS = ("lines", "torch")


class EnergyModel(nn.Module):
    """A density known up to a constant: ``p(x) = exp(-energy(x)) / Z``.

    Subclasses implement :meth:`energy`; everything else in the library (grids,
    training, samplers) asks for nothing more.
    """

    def energy(self, x: Tensor) -> Tensor:
        """Energy of each point.

        Parameters
        ----------
        x : Tensor, shape (n, d)

        Returns
        -------
        Tensor, shape (n,)
        """
        raise NotImplementedError(f"{type(self).__name__} must define energy(x)")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``energy(x)``, so that the model can be called as a function."""
        return self.energy(x)

    def score(self, x: Tensor) -> Tensor:
        """Gradient of the log-density, ``-dE/dx``; it does not involve ``Z``.

        Parameters
        ----------
        x : Tensor, shape (n, d)

        Returns
        -------
        Tensor, shape (n, d)

        Raises
        ------
        FloatingPointError
            If a component is NaN or infinite.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy_of(self, x).sum(), x)
        hint = "points far outside the data or diverged parameters do this"
        check_finite(f"score of {type(self).__name__}", gradient, hint)
        return -gradient


class TiltedEnergy(EnergyModel):
    """A reference density tilted by a network: ``E(x) = -f(x) - log p0(x)``.

    This is the Deep FRAME model (Zhu 2019, equation 2.1): ``p = exp(f) p0 / Z``.

    Parameters
    ----------
    network : nn.Module
        The negative energy ``f``: takes ``(n, d)``, returns ``(n, 1)`` or ``(n,)``.
    prior : torch.distributions.Distribution, optional
        The reference ``p0``, with ``event_shape`` ``(d,)``.  ``None`` is the flat
        reference ``p0 = 1``: the uniform prior, up to a constant that ``Z`` absorbs.

    Raises
    ------
    TypeError
        If ``network`` is no module or ``prior`` is no distribution.
    ValueError
        If ``prior`` gives one number a coordinate instead of one a point.
    """

    def __init__(self, network: nn.Module, prior: Distribution | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"network must be a torch.nn.Module, got {type(network).__name__}"
            )
        if prior is not None and not isinstance(prior, Distribution):
            raise TypeError(
                "prior must be a torch.distributions.Distribution or None, "
                f"got {type(prior).__name__}"
            )
        if prior is not None and (len(prior.event_shape) != 1 or prior.batch_shape):
            raise ValueError(
                "prior must give one log-probability a point: event_shape (d,) and no "
                f"batch_shape, got event_shape {tuple(prior.event_shape)} and "
                f"batch_shape {tuple(prior.batch_shape)}; wrap it in "
                "torch.distributions.Independent(prior, 1)"
            )
        self.network = network
        self.prior = prior

    def negative_energy(self, x: Tensor) -> Tensor:
        """The network's value ``f(x)``, shape (n,): high where ``x`` is likely."""
        n, f = x.shape[0], self.network(x)
        if f.shape == (n, 1):
            return f.squeeze(1)
        if f.shape != (n,):
            raise ValueError(
                f"network must map {tuple(x.shape)} to ({n}, 1) or ({n},), "
                f"got {tuple(f.shape)}"
            )
        return f

    def log_prior(self, x: Tensor) -> Tensor:
        """Log-density of the reference, shape (n,); zero for the flat reference."""
        if self.prior is None:
            return x.new_zeros(len(x))
        if x.shape[1:] != self.prior.event_shape:  # they would broadcast in silence
            raise ValueError(
                f"x must have shape (n, {self.prior.event_shape[0]}) for this prior, "
                f"got {tuple(x.shape)}"
            )
        return self.prior.log_prob(x).to(x.dtype)

    def energy(self, x: Tensor, *, log_prior: Tensor | None = None) -> Tensor:
        """Energy ``-f(x) - log p0(x)`` of each point.

        Parameters
        ----------
        x : Tensor, shape (n, d)
        log_prior : Tensor, shape (n,), optional
            ``log p0`` at ``x``, when it is known already.  It does not depend on the
            parameters, so a loop over fixed points computes it once.

        Returns
        -------
        Tensor, shape (n,)
        """
        if x.ndim != 2 or not x.is_floating_point():
            check_points("x", x)
        f = self.negative_energy(x)
        if log_prior is None:
            if self.prior is None:
                return -f
            log_prior = self.log_prior(x)
        return -(f + log_prior)


def energy_of(model: EnergyModel, x: Tensor, **known: Tensor) -> Tensor:
    """``model.energy(x)`` with its shape checked: (n,), never (n, 1).

    Raises
    ------
    ValueError
        If the energies do not have shape (n,).
    """
    energy = model.energy(x, **known)
    if energy.shape != x.shape[:1]:
        raise ValueError(
            f"{type(model).__name__}.energy(x) must have shape ({len(x)},) for x of "
            f"shape {tuple(x.shape)}, got {tuple(energy.shape)}; "
            "squeeze the last dimension"
        )
    return energy


def gaussian(
    dim: int = 2, *, sd: float = 1.0, dtype: torch.dtype = torch.float32
) -> Independent:
    """Isotropic Gaussian prior ``N(0, sd**2 I)`` on ``R**dim``.

    Parameters
    ----------
    dim : int
    sd : float
        Standard deviation (not the variance), in the units of ``x``.
    dtype : torch.dtype
        In which mean and standard deviation are kept.
    """
    check_int("dim", dim, 1)
    check_positive("sd", sd)
    scale = torch.full((dim,), float(sd), dtype=dtype)
    return Independent(Normal(torch.zeros_like(scale), scale), 1)


def mlp(
    widths: Sequence[int],
    activation: str = "relu",
    *,
    init: str = "lines",
    through: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Fully connected network, for example ``mlp([2, 32, 16, 1])``.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden widths, outputs.
    activation : {"relu", "leaky_relu", "softplus", "tanh"}
        Between the layers; the last layer is affine.
    init : {"lines", "torch"}
        ``"lines"``: the zero line of every first-layer unit passes through a random
        point in a random direction; later layers are normal with twice the standard
        deviation of He et al. (2015), which makes them bend at once; the output starts
        at 0, so that a tilted energy starts at its prior.  ``"torch"``: PyTorch's
        default, uniform in ``+-1/sqrt(fan in)``.
    through : Tensor, shape (n, d), optional
        The points through which ``init="lines"`` draws its lines (a random row for
        each unit): pass the data.  By default, points uniform on the box [-1, 1]**d.
    generator : torch.Generator, optional

    Returns
    -------
    nn.Sequential
        Affine layers and activations in turn; maps (n, widths[0]) to (n, widths[-1]).

    Raises
    ------
    ValueError
        For fewer than two widths, a width below 1, an unknown name, or points
        ``through`` that are none or of another dimension.
    """
    if not isinstance(widths, Sequence):
        raise TypeError(
            f"widths must list sizes, such as [2, 32, 1], got {type(widths).__name__}"
        )
    if len(widths) < 2:
        raise ValueError(f"widths must list at least 2 sizes, got {list(widths)}")
    for width in widths:
        check_int("widths", width, 1)
    check_choice("activation", activation, tuple(ACTIVATIONS))
    check_choice("init", init, INITIALISATIONS)
    check_generator(generator)
    if through is not None:
        check_points("through", through, dim=widths[0], allow_empty=False)
        if init != "lines":
            raise ValueError(f"through needs init='lines', got init={init!r}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        # skip_init: with a generator given, the global one must stay untouched
        layers += [nn.utils.skip_init(nn.Linear, fan_in, fan_out)]
        layers += [ACTIVATIONS[activation]()]
    network = nn.Sequential(*layers[:-1])
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for depth, layer in enumerate(linears):
            if init == "torch":
                bound = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
            elif layer is linears[-1]:
                layer.weight.zero_()
                layer.bias.zero_()
            else:
                gain = 1 if depth == 0 else 2
                sd = gain * math.sqrt(2 / layer.in_features)
                layer.weight.normal_(0, sd, generator=generator)
                layer.bias.zero_()
        if init == "lines" and len(linears) > 1:
            _draw_lines(linears[0], through, generator)
    return network


def _draw_lines(
    layer: nn.Linear, through: Tensor | None, generator: torch.Generator | None
) -> None:
    """Shift each unit's zero line so that it passes through a random point."""
    n, dim = layer.out_features, layer.in_features
    if through is None:
        points = torch.rand(n, dim, generator=generator) * 2 - 1
    else:
        rows = torch.randint(len(through), (n,), generator=generator)
        points = through[rows].to(layer.weight)
    layer.bias.copy_(-(layer.weight * points).sum(1))
