"""Machines on disk: safetensors files, whose shapes say how to rebuild them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from ebmlib._files import open_tensors, save_tensors
from ebmlib.dbm._model import DBM


def save_dbms(path: str | os.PathLike[str], models: Mapping[str, DBM]) -> None:
    """Write deep Boltzmann machines to one file, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors`` by convention.
    models : mapping of str to DBM
        By name; without a slash in it.  A machine in half precision is stored so.

    Raises
    ------
    ValueError
        If there is no model, one is of another kind, or a name holds a slash.
    FileNotFoundError
        If there is no such folder.
    """
    if not models:
        raise ValueError("models must hold at least one machine, got none")
    tensors = {}
    for name, model in models.items():
        if not isinstance(model, DBM) or "/" in name:
            raise ValueError(
                "models must map names without a slash to DBMs, got "
                f"{name!r}: {type(model).__name__}"
            )
        for key, value in model.state_dict().items():
            tensors[f"{name}/{key}"] = value
    save_tensors(path, tensors)


def load_dbms(path: str | os.PathLike[str]) -> dict[str, DBM]:
    """Read the machines that :func:`save_dbms` wrote, in float32 at least, by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was not written by :func:`save_dbms`.
    """
    with open_tensors(path, "save_dbms") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    try:
        states: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            name, parameter = key.split("/")
            wide = torch.promote_types(value.dtype, torch.float32)
            states.setdefault(name, {})[parameter] = value.to(wide)
        return {name: _rebuild(states[name]) for name in sorted(states)}
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} was not written by save_dbms: {error}") from error


def _rebuild(state: dict[str, torch.Tensor]) -> DBM:
    n_hidden2, n_hidden1 = state["weight2"].shape
    # its initial weights are overwritten: they must not cost the global generator
    blank = torch.Generator()
    model = DBM(state["weight1"].shape[1], n_hidden1, n_hidden2, generator=blank)
    model.to(state["weight1"].dtype).load_state_dict(state)
    return model
