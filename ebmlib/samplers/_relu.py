"""The gradient of a ReLU energy written out: what short chains ask for most often."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ebmlib.energy import TiltedEnergy


def affine_layers(energy: object) -> list[nn.Linear] | None:
    """The affine layers of a ReLU network under the flat prior; None for all else.

    A subclass, a hook, a missing bias or another activation means None: then autograd
    does the work.
    """
    if type(energy) is not TiltedEnergy or energy.prior is not None:
        return None
    network = energy.network
    if type(network) is not nn.Sequential or network._forward_hooks:
        return None
    layers = list(network)
    linears, others = layers[::2], layers[1::2]
    plain = (
        len(linears) > len(others) > 0
        and all(type(layer) is nn.Linear for layer in linears)
        and all(type(layer) is nn.ReLU and not layer.inplace for layer in others)
        and linears[-1].out_features == 1
        and all(layer.bias is not None for layer in linears)
        and not any(layer._forward_hooks for layer in layers)
    )
    return linears if plain else None


@torch.no_grad()
def relu_energy_and_gradient(
    layers: list[nn.Linear], x: Tensor
) -> tuple[Tensor, Tensor]:
    """Energy ``-f(x)``, shape (n,), and its gradient (n, d), by the chain rule.

    The operations are autograd's own, in its order, without its graph: the numbers are
    the same to the last bit, in a third of the time for narrow layers.
    """
    hidden = [x]
    for layer in layers[:-1]:
        hidden.append(torch.addmm(layer.bias, hidden[-1], layer.weight.t()).relu_())
    last = layers[-1]
    value = torch.addmm(last.bias, hidden[-1], last.weight.t()).neg_().squeeze(1)
    gradient = -last.weight.expand(len(x), -1)
    for layer, out in zip(reversed(layers[:-1]), reversed(hidden[1:]), strict=True):
        # autograd's own: the gradient where the unit is on, else 0
        gradient = torch.ops.aten.threshold_backward(gradient, out, 0) @ layer.weight
    return value, gradient
