"""Trained energies on disk: safetensors files that say how to rebuild the network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.distributions import Independent, Normal

from ebmlib._files import open_tensors, save_tensors
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.energy._models import ACTIVATIONS


def save_models(
    path: str | os.PathLike[str], models: Mapping[str, TiltedEnergy]
) -> None:
    """Write tilted energies to one file, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors`` by convention.
    models : mapping of str to TiltedEnergy
        Networks made by :func:`ebmlib.energy.mlp`, with a flat prior or
        :func:`ebmlib.energy.gaussian`.

    Raises
    ------
    ValueError
        If a network or a prior is of another kind, or there is no model.
    FileNotFoundError
        If there is no such folder.
    """
    if not models:
        raise ValueError("models must hold at least one model, got none")
    specs = {name: _describe(name, model) for name, model in models.items()}
    tensors = {
        f"{name}/{key}": value
        for name, model in models.items()
        for key, value in model.network.state_dict().items()
    }
    save_tensors(path, tensors, models=specs)


def load_models(path: str | os.PathLike[str]) -> dict[str, TiltedEnergy]:
    """Read the tilted energies that :func:`save_models` wrote.

    Returns
    -------
    dict of str to TiltedEnergy
        In the order in which they were saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was not written by :func:`save_models`.
    """
    with open_tensors(path, "save_models") as file:
        specs = json.loads((file.metadata() or {}).get("models", "{}"))
        if not specs:
            raise ValueError(f"{path} does not say how to rebuild its models")
        return {name: _rebuild(file, spec) for name, spec in specs.items()}


def _rebuild(file: Any, spec: Mapping[str, Any]) -> TiltedEnergy:
    widths = spec["widths"]
    # its initial weights are overwritten: they must not cost the global generator
    network = mlp(widths, spec["activation"], generator=torch.Generator())
    state = {
        key: file.get_tensor(f"{spec['name']}/{key}") for key in network.state_dict()
    }
    dtype = next(iter(state.values())).dtype
    network.to(dtype).load_state_dict(state)
    sd = spec["prior_sd"]
    # a prior rounded more coarsely than the weights would show in the energies
    prior = None if sd is None else gaussian(widths[0], sd=sd, dtype=dtype)
    return TiltedEnergy(network, prior)


def _describe(name: str, model: TiltedEnergy) -> dict[str, object]:
    """What :func:`load_models` needs beside the weights."""
    widths, activation = architecture(model.network)
    return {
        "name": name,
        "widths": widths,
        "activation": activation,
        "prior_sd": prior_sd(model),
    }


def architecture(network: nn.Module) -> tuple[list[int], str]:
    """Widths and activation of a network that :func:`ebmlib.energy.mlp` made.

    Raises
    ------
    ValueError
        If it is anything but affine layers and one known activation in turn.
    """
    layers = list(network) if isinstance(network, nn.Sequential) else []
    linears, others = layers[::2], layers[1::2]
    # by their representation, which shows parameters such as a slope
    known = {repr(make()): name for name, make in ACTIVATIONS.items()}
    kinds = {repr(layer) for layer in others}
    if (
        len(layers) % 2 == 0
        or not all(
            isinstance(layer, nn.Linear) and layer.bias is not None for layer in linears
        )
        or len(kinds) > 1
        or not kinds <= known.keys()
    ):
        raise ValueError(
            "network must be affine layers and one activation in turn, as "
            f"ebmlib.energy.mlp makes them, got {network}"
        )
    widths = [linears[0].in_features, *(layer.out_features for layer in linears)]
    return widths, known[kinds.pop()] if kinds else "relu"


def prior_sd(model: TiltedEnergy) -> float | None:
    """Standard deviation of an isotropic Gaussian prior at 0; None for the flat one.

    Raises
    ------
    ValueError
        If the prior is of another kind.
    """
    if model.prior is None:
        return None
    base = getattr(model.prior, "base_dist", None)
    if isinstance(model.prior, Independent) and isinstance(base, Normal):
        scale = base.scale.unique()
        if len(scale) == 1 and not torch.any(base.loc):
            return float(scale)
    raise ValueError(
        f"prior must be None or ebmlib.energy.gaussian(dim, sd=...), got {model.prior}"
    )
