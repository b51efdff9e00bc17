"""Reading the weights of a ReLU network, and its affine map on each region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from ebmlib._checks import check_finite, check_interval
from ebmlib.partition._geometry import Floats, Layer


def affine_maps(
    layers: Sequence[Layer],
    slopes: Sequence[float],
    patterns: Sequence[np.ndarray],
    chunk: int = 4096,
) -> tuple[Floats, Floats]:
    """Gradient and offset of the network on each region, from the output backwards."""
    n = len(patterns[0]) if patterns else 1
    gradients, offsets = np.empty((n, 2)), np.empty(n)
    weight, bias = layers[-1]
    for begin in range(0, n, chunk):
        part = slice(begin, begin + chunk)
        gradient, offset = weight, bias
        hidden = zip(layers[:-1], slopes, patterns, strict=True)
        for (inner, shift), slope, pattern in reversed(list(hidden)):
            gradient = gradient * np.where(pattern[part], 1.0, slope)
            offset = offset + gradient @ shift
            gradient = gradient @ inner
        gradients[part], offsets[part] = gradient, offset
    return gradients, offsets


def read_network(
    network: nn.Sequential, n_outputs: int = 1
) -> tuple[list[Layer], list[float]]:
    """Weights and biases in float64, and the activations' slopes below zero."""
    if not isinstance(network, nn.Sequential):
        hint = "; pass model.network" if hasattr(network, "network") else ""
        raise TypeError(
            "network must be an nn.Sequential of affine layers and ReLUs, "
            f"got {type(network).__name__}{hint}"
        )
    modules = list(network)
    linears, activations = modules[::2], modules[1::2]
    for module in activations:
        if not isinstance(module, nn.ReLU | nn.LeakyReLU):
            raise ValueError(
                "network must have ReLU or LeakyReLU between its affine layers, got "
                f"{type(module).__name__}: f would not be affine on polygons"
            )
    if len(modules) % 2 == 0 or not all(isinstance(m, nn.Linear) for m in linears):
        raise ValueError(
            "network must be affine layers (nn.Linear) and activations in turn, "
            f"affine at both ends, got {network}"
        )
    if linears[0].in_features != 2 or linears[-1].out_features != n_outputs:
        target = "numbers, 2 inputs and 1 output"
        if n_outputs != 1:
            target = f"points, 2 inputs and {n_outputs} outputs"
        raise ValueError(
            f"network must map the plane to {target}, got "
            f"{linears[0].in_features} and {linears[-1].out_features}"
        )
    for name, parameter in network.named_parameters():
        check_finite(f"parameter {name} of the network", parameter, "training diverged")
    layers = [(_array(m.weight), _array(m.bias, m.out_features)) for m in linears]
    return layers, [float(getattr(m, "negative_slope", 0.0)) for m in activations]


def _array(parameter: Tensor | None, width: int = 0) -> Floats:
    if parameter is None:  # a layer without bias
        return np.zeros(width)
    return parameter.detach().double().cpu().numpy()


def read_box(
    low: float | Sequence[float], high: float | Sequence[float]
) -> list[Floats]:
    """Corners of the box, of shape (2,) each."""
    ends = []
    for name, value in (("low", low), ("high", high)):
        pair = value.tolist() if isinstance(value, Tensor) else value
        pair = list(pair) if isinstance(pair, Sequence) else [pair, pair]
        if len(pair) != 2:
            raise ValueError(f"{name} must be a number or a pair, got {value}")
        ends.append(pair)
    for names, *side in zip(("low", "low[1]"), *ends, strict=True):
        check_interval(*side, names=(names, names.replace("low", "high")))
    return [np.array(end, dtype=np.float64) for end in ends]
