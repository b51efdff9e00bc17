"""Trained networks on disk: safetensors files that say how to rebuild them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
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
    specs = {
        name: {**_describe(name, model.network), "prior_sd": prior_sd(model)}
        for name, model in models.items()
    }
    networks = {name: model.network for name, model in models.items()}
    save_tensors(path, _tensors(networks), models=specs)


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
        specs = _specs(path, file, "models")
        return {name: _with_prior(file, spec) for name, spec in specs.items()}


def save_networks(
    path: str | os.PathLike[str], networks: Mapping[str, nn.Sequential]
) -> None:
    """Write networks to one file, whole or not at all: generators and critics, say.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors`` by convention.
    networks : mapping of str to nn.Sequential
        Made by :func:`ebmlib.energy.mlp`, with any number of outputs.

    Raises
    ------
    ValueError
        If a network is of another kind, or there is none.
    FileNotFoundError
        If there is no such folder.
    """
    if not networks:
        raise ValueError("networks must hold at least one network, got none")
    specs = {name: _describe(name, network) for name, network in networks.items()}
    save_tensors(path, _tensors(networks), networks=specs)


def load_networks(path: str | os.PathLike[str]) -> dict[str, nn.Sequential]:
    """Read the networks that :func:`save_networks` wrote.

    Returns
    -------
    dict of str to nn.Sequential
        In the order in which they were saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was not written by :func:`save_networks`.
    """
    with open_tensors(path, "save_networks") as file:
        specs = _specs(path, file, "networks")
        return {name: _rebuild(file, spec) for name, spec in specs.items()}


def _tensors(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def _specs(path: str | os.PathLike[str], file: Any, kind: str) -> dict[str, Any]:
    specs = json.loads((file.metadata() or {}).get(kind, "{}"))
    if not specs:
        raise ValueError(f"{path} does not say how to rebuild its {kind}")
    return specs


def _with_prior(file: Any, spec: Mapping[str, Any]) -> TiltedEnergy:
    network, sd = _rebuild(file, spec), spec["prior_sd"]
    # a prior rounded more coarsely than the weights would show in the energies
    dtype = network[0].weight.dtype
    prior = None if sd is None else gaussian(spec["widths"][0], sd=sd, dtype=dtype)
    return TiltedEnergy(network, prior)


def _rebuild(file: Any, spec: Mapping[str, Any]) -> nn.Sequential:
    # its initial weights are overwritten: they must not cost the global generator
    network = mlp(spec["widths"], spec["activation"], generator=torch.Generator())
    state = {
        key: file.get_tensor(f"{spec['name']}/{key}") for key in network.state_dict()
    }
    network.to(next(iter(state.values())).dtype).load_state_dict(state)
    return network


def _describe(name: str, network: nn.Module) -> dict[str, object]:
    """What is needed beside the weights."""
    widths, activation = architecture(network)
    return {"name": name, "widths": widths, "activation": activation}


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
