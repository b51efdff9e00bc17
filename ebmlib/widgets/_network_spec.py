"""Exact descriptions of networks, priors and true densities for the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import distributions as dist
from torch import nn

from ebmlib.grid import Grid
from ebmlib.widgets._host import encode_array

_LINEAR, _ACTIVATIONS = nn.Linear, (nn.ReLU, nn.LeakyReLU, nn.Softplus, nn.Tanh)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a (possibly nested) `nn.Sequential` in order."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _leaves(child)
    else:
        yield module


def _activation_spec(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, nn.LeakyReLU):
        return {"kind": "leaky_relu", "slope": float(layer.negative_slope)}
    if isinstance(layer, nn.Softplus):
        # PyTorch turns linear above the threshold; the browser must do the same.
        limits = {"beta": float(layer.beta), "threshold": float(layer.threshold)}
        return {"kind": "softplus", **limits}
    return {"kind": "relu" if isinstance(layer, nn.ReLU) else "tanh"}


def network_spec(
    network: nn.Module, *, n_outputs: int = 1, name: str = "models"
) -> dict[str, Any]:
    """Describe a plain network exactly.

    Parameters
    ----------
    network : nn.Module
        `nn.Sequential` of Linear, activation, ..., Linear, from two inputs;
        activations ReLU, LeakyReLU, Softplus or Tanh.
    n_outputs : int
        What the network must lead to.
    name : str
        The argument it came as, for messages.

    Returns
    -------
    dict
        ``widths``, ``activations`` (one for each hidden layer) and ``weights``: for
        each layer the weight matrix, row by row, then the bias, without loss.

    Raises
    ------
    ValueError
        If the network has another form, naming the layer.
    FloatingPointError
        If a weight is not finite.
    """
    layers = list(_leaves(network))
    for place, layer in enumerate(layers):
        wanted = _ACTIVATIONS if place % 2 else (_LINEAR,)
        if not isinstance(layer, wanted):
            names = " or ".join(kind.__name__ for kind in wanted)
            raise ValueError(
                f"{name}: layer {place} of the network must be {names}, got "
                f"{type(layer).__name__}"
            )
    linear = layers[0::2]
    if (
        len(layers) % 2 == 0
        or linear[0].in_features != 2
        or linear[-1].out_features != n_outputs
    ):
        target = "one output" if n_outputs == 1 else f"{n_outputs} outputs"
        raise ValueError(
            f"{name}: the network must lead from two inputs, Linear first and last, to "
            f"{target}; got {network}"
        )
    flat = []
    for layer in linear:
        bias = layer.bias if layer.bias is not None else torch.zeros(layer.out_features)
        flat += [layer.weight.detach().double().ravel(), bias.detach().double()]
    weights = torch.cat([part.cpu() for part in flat]).numpy()
    if not np.isfinite(weights).all():
        raise FloatingPointError(f"{name}: the network has weights that are not finite")
    return {
        "widths": [2, *(layer.out_features for layer in linear)],
        "activations": [_activation_spec(layer) for layer in layers[1::2]],
        "weights": encode_array(weights),
    }


def prior_spec(
    prior: dist.Distribution | None, low: float, high: float
) -> dict[str, Any]:
    """Describe the reference density p0 of a model on the square.

    Parameters
    ----------
    prior : Distribution or None
        None (log p0 = 0), a uniform density on a box that holds the square, or a normal
        density on the plane (`MultivariateNormal` or `Independent(Normal(...), 1)`).
    low, high : float
        Sides of the square.

    Returns
    -------
    dict
        ``kind``, ``log_density`` (of a normal density: at its mean), and for a normal
        density ``mean`` and ``precision``, all in float64.

    Raises
    ------
    ValueError
        If the prior is of another kind, or leaves part of the square out.
    """
    if prior is None:
        return {"kind": "uniform", "log_density": 0.0}
    base = prior.base_dist if isinstance(prior, dist.Independent) else prior
    shape = tuple(prior.batch_shape) + tuple(prior.event_shape)
    if shape != (2,) and isinstance(base, (dist.Uniform, dist.Normal)):
        raise ValueError(f"prior must be a density on the plane, got shape {shape}")
    if isinstance(base, dist.Uniform):
        if bool((base.low > low).any() or (base.high < high).any()):
            raise ValueError(
                f"prior: the uniform density must cover [{low}, {high}]^2, got "
                f"{base.low.tolist()} to {base.high.tolist()}"
            )
        volume = (base.high - base.low).double().prod()
        return {"kind": "uniform", "log_density": -float(volume.log())}
    if isinstance(base, dist.Normal):
        covariance = torch.diag(base.scale.double() ** 2)
    elif isinstance(base, dist.MultivariateNormal) and base.event_shape == (2,):
        covariance = base.covariance_matrix.double()
    else:
        raise ValueError(
            "prior must be None, Uniform, Independent(Normal) or MultivariateNormal on "
            f"the plane, got {type(base).__name__}"
        )
    precision = torch.linalg.inv(covariance)
    log_norm = -np.log(2 * np.pi) - 0.5 * torch.linalg.slogdet(covariance)[1].item()
    return {
        "kind": "normal",
        "mean": base.mean.double().tolist(),
        "precision": precision.tolist(),
        "log_density": log_norm,
    }


def truth_spec(truth: Any, low: float, high: float, bins: int) -> dict[str, Any]:
    """Describe a true density by its logarithm at the cell centres.

    Parameters
    ----------
    truth : Distribution or array_like
        Something with ``log_prob``, evaluated on a grid of ``bins`` x ``bins`` cells,
        or the log density itself on a square grid, (m**2,) or (m, m).
    low, high : float
        Sides of the square.
    bins : int
        Cells a side, for a distribution.

    Returns
    -------
    dict
        ``bins`` and ``log_density``, rounded to float32 (1e-7 relative).

    Raises
    ------
    ValueError
        If the values are no square grid, are NaN or +inf, or are -inf everywhere.
    """
    if hasattr(truth, "log_prob") and callable(truth.log_prob):
        points = Grid(low, high, bins).points_as(torch.float64)
        values = truth.log_prob(points).detach().cpu().numpy()
    else:
        values = torch.as_tensor(truth).detach().cpu().numpy()
    side = round(values.size**0.5)
    if side * side != values.size or values.shape not in ((side * side,), (side, side)):
        raise ValueError(
            f"truth must hold log densities of a square grid, got shape {values.shape}"
        )
    if np.isnan(values).any() or np.isposinf(values).any() or np.isneginf(values).all():
        raise ValueError("truth must be log densities: finite, or -inf where p is 0")
    return {"bins": side, "log_density": encode_array(values.astype("<f4"))}
