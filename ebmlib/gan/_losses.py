"""What critic and generator minimise; each a few symbols of one paper.

A critic gives each point a value ``d``, high where it holds data to be likelier than
the generator's samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebmlib._checks import check_choice, check_generator


class Objective(NamedTuple):
    """Two losses, both minimised.

    Attributes
    ----------
    critic : callable
        From the critic's values on data (n,) and on samples (m,) to a scalar.
    base : callable
        From the critic's values on samples (m,) to the generator's loss.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    base: Callable[[Tensor], Tensor]


def _classify(real: Tensor, fake: Tensor) -> Tensor:
    """Cross-entropy: ``-log D(x)`` on data, ``-log(1 - D(x))`` on samples."""
    return softplus(-real).mean() + softplus(fake).mean()


def _kale(real: Tensor, fake: Tensor) -> Tensor:
    """Minus the bound ``mean d(x) - mean exp d(B(z)) + 1``."""
    return fake.exp().mean() - real.mean() - 1


LOSSES: dict[str, Objective] = {
    # log(1 - D) = -softplus(d)
    "minimax": Objective(_classify, lambda fake: -softplus(fake).mean()),
    "non_saturating": Objective(_classify, lambda fake: softplus(-fake).mean()),
    "wasserstein": Objective(
        lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()
    ),
    "kale": Objective(_kale, lambda fake: -fake.exp().mean()),
}


def objective(loss: str) -> Objective:
    """The losses of critic and generator by name.

    ``d`` is the critic's value, ``D = 1 / (1 + exp(-d))``.

    ==================  ==========================================  ==================
    name                the critic minimises                        the generator
    ==================  ==========================================  ==================
    ``minimax``         ``-mean log D(x) - mean log(1 - D(B(z)))``  ``mean log(1 - D)``
    ``non_saturating``  the same                                    ``-mean log D``
    ``wasserstein``     ``mean d(B(z)) - mean d(x)``                ``-mean d``
    ``kale``            ``mean exp d(B(z)) - mean d(x) - 1``        ``-mean exp d``
    ==================  ==========================================  ==================

    The first two are of Goodfellow et al. (2014, equation 1 and section 3), the third
    of Arjovsky et al. (2017, equation 2), the last of Arbel et al. (2021, equation 8)
    with ``d = -(E + c)``: the constant ``c`` is the bias of the critic's last layer.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    check_choice("loss", loss, tuple(LOSSES))
    return LOSSES[loss]


def critic_values(critic: nn.Module, x: Tensor) -> Tensor:
    """The critic's value at each point, shape (n,), from a critic of (n,) or (n, 1).

    Raises
    ------
    ValueError
        If the values have another shape.
    """
    values = critic(x)
    if values.shape == (len(x), 1):
        return values.squeeze(1)
    if values.shape != (len(x),):
        raise ValueError(
            f"critic must map {tuple(x.shape)} to ({len(x)},) or ({len(x)}, 1), "
            f"got {tuple(values.shape)}"
        )
    return values


def critic_gradients(
    critic: nn.Module, x: Tensor, *, create_graph: bool = False
) -> Tensor:
    """Gradient of the critic's value in each point, in the shape of ``x``.

    Parameters
    ----------
    critic : nn.Module
    x : Tensor, shape (n, d) or (n, c, h, w)
    create_graph : bool
        Keep what is needed to differentiate the result.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        total = critic_values(critic, x).sum()
        (gradients,) = torch.autograd.grad(total, x, create_graph=create_graph)
    return gradients


def gradient_penalty(
    critic: nn.Module,
    real: Tensor,
    fake: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of ``(|grad d| - 1)**2`` between data and samples.

    The gradient is taken at one random point of the segment between each row of
    ``real`` and the row of ``fake`` (Gulrajani et al. 2017, equation 3, without its
    factor lambda).

    Parameters
    ----------
    critic : nn.Module
    real, fake : Tensor, shapes (n, ...)
    generator : torch.Generator, optional
        For the points.

    Returns
    -------
    Tensor
        A scalar that can be differentiated in the critic's parameters.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"real and fake must have one shape, got {tuple(real.shape)} and "
            f"{tuple(fake.shape)}"
        )
    check_generator(generator)
    share = torch.rand(
        len(real), generator=generator, dtype=real.dtype, device=real.device
    ).view(-1, *[1] * (real.ndim - 1))
    between = torch.lerp(fake, real, share)
    gradients = critic_gradients(critic, between, create_graph=True)
    return (gradients.flatten(1).norm(dim=1) - 1).square().mean()
