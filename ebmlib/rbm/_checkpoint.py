"""Trained machines on disk: one safetensors file for several."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch

from ebmlib._files import open_tensors, save_tensors
from ebmlib.rbm._kinds import BernoulliRBM, GaussianRBM

KINDS = {"BernoulliRBM": BernoulliRBM, "GaussianRBM": GaussianRBM}


def save_rbms(
    path: str | os.PathLike[str],
    models: Mapping[str, BernoulliRBM | GaussianRBM],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write machines to one file, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors`` by convention.
    models : mapping of str to BernoulliRBM or GaussianRBM
    dtype : torch.dtype, optional
        Store the numbers in this type; ``torch.float16`` halves the file, and rounds
        to three digits.

    Raises
    ------
    TypeError
        If something else is to be saved.
    ValueError
        If there is no model.
    FileNotFoundError
        If there is no such folder.
    """
    if not models:
        raise ValueError("models must hold at least one machine, got none")
    kinds = {name: type(model).__name__ for name, model in models.items()}
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise TypeError(f"model {name!r} must be one of {list(KINDS)}, got {kind}")
    tensors = {
        f"{name}/{key}": value.to(dtype=dtype)
        for name, model in models.items()
        for key, value in model.state_dict().items()
    }
    save_tensors(path, tensors, rbms=kinds)


def load_rbms(
    path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32
) -> dict[str, BernoulliRBM | GaussianRBM]:
    """Read the machines that :func:`save_rbms` wrote.

    Parameters
    ----------
    path : path
    dtype : torch.dtype
        Of the machines, whatever the file's.

    Returns
    -------
    dict of str to BernoulliRBM or GaussianRBM
        In the order in which they were saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was not written by :func:`save_rbms`.
    """
    with open_tensors(path, "save_rbms") as file:
        kinds = json.loads((file.metadata() or {}).get("rbms", "{}"))
        if not kinds:
            raise ValueError(f"{path} does not say how to rebuild its machines")
        return {name: _rebuild(file, name, k, dtype) for name, k in kinds.items()}


def _rebuild(file: Any, name: str, kind: str, dtype: torch.dtype) -> Any:
    n_hidden, n_visible = file.get_slice(f"{name}/weight").get_shape()
    # its initial weights are overwritten: they must not cost the global generator
    model = KINDS[kind](n_visible, n_hidden, dtype=dtype, generator=torch.Generator())
    keys = model.state_dict()
    model.load_state_dict({key: file.get_tensor(f"{name}/{key}") for key in keys})
    return model
