"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

PathLike = str | os.PathLike[str]


def write_whole(path: PathLike, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a draft beside ``path``, and put it in place when it is done.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to")
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def save_tensors(
    path: PathLike, tensors: Mapping[str, Tensor], **metadata: object
) -> None:
    """Write tensors as safetensors, each keyword as JSON in the file's head."""
    alone = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    head = {name: json.dumps(value) for name, value in metadata.items()}
    write_whole(path, lambda draft: save_file(alone, draft, metadata=head or None))


@contextmanager
def open_tensors(path: PathLike, writer: str) -> Iterator[Any]:
    """Open what ``writer`` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or lacks what is read from it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} was not written by {writer}: {error}") from error


def write_json(
    path: PathLike, entries: Sequence[Mapping[str, Any]] | Mapping[str, Any]
) -> None:
    """Write a list or a mapping as JSON, an entry a line, floats with six digits."""
    if isinstance(entries, Mapping):
        lines = [f"{json.dumps(k)}: {json.dumps(_tidy(v))}" for k, v in entries.items()]
        ends = "{}"
    else:
        lines, ends = [json.dumps(_tidy(row)) for row in entries], "[]"
    text = f"{ends[0]}\n" + ",\n".join(lines) + f"\n{ends[1]}\n"
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def _tidy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tidy(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tidy(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}")
    return value
