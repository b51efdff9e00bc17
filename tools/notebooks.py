"""Normalise and check the chapters: ``.ipynb`` is their only source.

Outputs are stripped, except in cells tagged ``nbval-check-output``: those keep what
they print, and nbval compares it. Keys are sorted and every cell has an id that stays,
so that a difference in git is a difference in the chapter.

``--check`` says what is wrong, ``--fix`` repairs what can be repaired without running
anything, ``--update`` runs the chapters and stores the checked outputs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache

from tools.execute import ROOT, cache_folder, chapters, execute

CHECKED = "nbval-check-output"
COLUMNS = 88
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
NOTEBOOK_METADATA = ("kernelspec", "language_info", "mystnb")
CELL_METADATA = ("mystnb", "name", "tags")
# A cell with one of these tags would pass whatever it does.
REFUSED_TAGS = {
    "nbval-ignore-output",
    "nbval-raises-exception",
    "nbval-skip",
    "raises-exception",
    "skip-execution",
}
REFUSED_CODE = {
    r"^\s*[%!]{1,2}\s*(?:pip|conda|mamba|uv)\b": "installs something",
    r"^\s*(?:!|%sx|%%bash|%%sh)": "calls the shell",
    r"\b(?:ipywidgets|widgets)\.(?:interact\w*|Output)\b": "hangs now and then",
    r"^from ipywidgets import .*\b(?:interact\w*|Output)\b": "hangs now and then",
}

Notebook = dict[str, Any]
Cell = dict[str, Any]


def is_checked(cell: Cell) -> bool:
    """Return whether a cell's output is stored and compared."""
    return CHECKED in cell.get("metadata", {}).get("tags", ())


def text_of(value: str | list[str]) -> str:
    """Return a multi-line field of a notebook as one string."""
    return value if isinstance(value, str) else "".join(value)


def lines_of(value: str | list[str]) -> list[str]:
    """Return a multi-line field of a notebook as a list of lines."""
    return text_of(value).splitlines(keepends=True)


def normal_output(output: dict[str, Any]) -> dict[str, Any]:
    """Return one stored output in its normal form."""
    kept = {key: value for key, value in output.items() if key != "transient"}
    if "text" in kept:
        kept["text"] = lines_of(kept["text"])
    if "data" in kept:
        kept["data"] = {mime: lines_of(v) for mime, v in kept["data"].items()}
        kept["metadata"] = {}
    if "execution_count" in kept:
        kept["execution_count"] = 1
    return kept


def joined(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring pieces of one stream, which a kernel cuts at random."""
    result: list[dict[str, Any]] = []
    for output in outputs:
        last = result[-1] if result else {}
        same = last.get("output_type") == output.get("output_type") == "stream"
        if same and last["name"] == output["name"]:
            last["text"] = lines_of(text_of(last["text"]) + text_of(output["text"]))
        else:
            result.append(dict(output))
    return result


def cell_id(cell: Cell, taken: set[str]) -> str:
    """Return the cell's id, or one made from its text when it has none of its own."""
    given = cell.get("id", "")
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) and given not in taken:
        return given
    for count in range(len(taken) + 1):
        text = f"{cell['cell_type']} {count} {text_of(cell['source'])}"
        made = hashlib.sha256(text.encode()).hexdigest()[:8]
        if made not in taken:
            return made
    raise AssertionError("more ids than cells")


def normal_cell(cell: Cell, taken: set[str]) -> Cell:
    """Return a cell in its normal form; its id is added to `taken`."""
    source = text_of(cell["source"])
    if cell["cell_type"] == "code":
        source = "\n".join(line.rstrip() for line in source.rstrip().split("\n"))
    metadata = {k: v for k, v in cell.get("metadata", {}).items() if k in CELL_METADATA}
    if not metadata.get("tags", True):
        del metadata["tags"]
    normal = {
        "cell_type": cell["cell_type"],
        "id": cell_id(cell, taken),
        "metadata": metadata,
        "source": lines_of(source),
    }
    taken.add(normal["id"])
    if cell.get("attachments"):
        normal["attachments"] = cell["attachments"]
    if cell["cell_type"] == "code":
        kept = joined(cell.get("outputs", [])) if is_checked(cell) else []
        normal["outputs"] = [normal_output(output) for output in kept]
        normal["execution_count"] = 1 if kept else None
    return normal


def normalise(notebook: Notebook) -> Notebook:
    """Return a notebook in its normal form, which ``--check`` asks for.

    Parameters
    ----------
    notebook : dict
        The JSON of a notebook; it is not changed.
    """
    metadata = {
        key: value
        for key, value in notebook.get("metadata", {}).items()
        if key in NOTEBOOK_METADATA
    }
    metadata |= {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    taken: set[str] = set()
    return {
        "cells": [normal_cell(cell, taken) for cell in notebook["cells"]],
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def dump(notebook: Notebook) -> str:
    """Return a notebook's text: sorted keys, one line per source line."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(path: Path, notebook: Notebook) -> None:
    """Write a notebook whole, or leave the file as it was."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(dump(notebook), "utf-8")
    temporary.replace(path)


def code_faults(cell: Cell) -> list[str]:
    """Return what is wrong with the source of a code cell."""
    found = []
    lines = text_of(cell["source"]).splitlines()
    if not any(line.strip() for line in lines):
        found.append("is empty")
    for number, line in enumerate(lines, start=1):
        if len(line) > COLUMNS:
            found.append(
                f"line {number} has {len(line)} columns, {COLUMNS} are allowed"
            )
        for pattern, why in REFUSED_CODE.items():
            if re.search(pattern, line):
                found.append(f"line {number} {why}: {line.strip()}")
    return found


def output_faults(cell: Cell) -> list[str]:
    """Return what is wrong with the stored output of a checked cell."""
    outputs = cell.get("outputs", [])
    if not outputs:
        return [f"is tagged {CHECKED} and stores no output: run `make update-outputs`"]
    found = []
    for output in outputs:
        kind = output.get("output_type")
        mimes = set(output.get("data", {}))
        if kind == "error":
            found.append("stores an error as its checked output")
        elif kind == "stream" and output.get("name") != "stdout":
            found.append("stores what it wrote to stderr")
        elif mimes - {"text/plain"}:
            kinds = ", ".join(sorted(mimes - {"text/plain"}))
            found.append(f"stores {kinds}; a checked output is plain text")
    return found


def faults(notebook: Notebook) -> list[str]:
    """Return what is wrong with a notebook that no normalising can repair.

    Parameters
    ----------
    notebook : dict
        The JSON of a notebook.

    Returns
    -------
    list of str
        One line for each fault; empty when there is none.
    """
    found = []
    if notebook.get("metadata", {}).get("widgets"):
        found.append("the notebook stores the state of widgets: run --fix")
    for number, cell in enumerate(notebook["cells"], start=1):
        here: list[str] = []
        tags = set(cell.get("metadata", {}).get("tags", ()))
        here += [f"has the tag {tag}" for tag in sorted(tags & REFUSED_TAGS)]
        if cell["cell_type"] == "code":
            here += code_faults(cell)
            if is_checked(cell):
                here += output_faults(cell)
        elif tags & {CHECKED}:
            here.append(f"is tagged {CHECKED} and is no code")
        found += [f"cell {number} ({cell.get('id', '?')}) {line}" for line in here]
    return found


def check(path: Path) -> list[str]:
    """Return what is wrong with a chapter's file, its form included."""
    text = path.read_text("utf-8")
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError as error:
        return [f"{path}: is no JSON: {error}"]
    found = faults(notebook)
    if text != dump(normalise(notebook)):
        found.append("is not in its normal form: run `make format`")
    return [f"{path}: {line}" for line in found]


def fix(path: Path) -> bool:
    """Bring a chapter's file to its normal form; return whether it changed."""
    text = path.read_text("utf-8")
    notebook = normalise(json.loads(text))
    if text == dump(notebook):
        return False
    write(path, notebook)
    return True


def update(path: Path, executed: Notebook) -> list[str]:
    """Store the checked outputs of an executed chapter in its file.

    Parameters
    ----------
    path : Path
        The chapter.
    executed : dict
        The same notebook with the outputs of all cells.

    Returns
    -------
    list of str
        The ids of the cells whose stored output changed.
    """
    notebook = normalise(json.loads(path.read_text("utf-8")))
    outputs = {cell["id"]: cell.get("outputs", []) for cell in executed["cells"]}
    changed = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or not is_checked(cell):
            continue
        new = [
            normal_output(output)
            for output in joined(outputs[cell["id"]])
            if output.get("name") != "stderr"
        ]
        if new != cell["outputs"]:
            changed.append(cell["id"])
        cell["outputs"], cell["execution_count"] = new, 1 if new else None
    write(path, notebook)
    return changed


def update_all(root: Path = ROOT) -> bool:
    """Run the chapters and store their checked outputs; return whether all ran."""
    for path in chapters(root):
        fix(path)
    folder = cache_folder(root)
    runs = execute(root)
    if cache_folder(root) != folder:
        print("the library changed while the chapters ran: run again", file=sys.stderr)
        return False
    cache = get_cache(str(folder))
    for run in runs:
        if run.error:
            continue
        source = nbformat.read(run.path, as_version=4)
        _, executed = cache.merge_match_into_notebook(source)
        changed = update(run.path, executed)
        name = run.path.relative_to(root)
        print(f"{name}: new output in {', '.join(changed) or 'no cell'}")
    return not any(run.error for run in runs)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="say what is wrong")
    action.add_argument("--fix", action="store_true", help="normalise in place")
    action.add_argument("--update", action="store_true", help="run and store outputs")
    parser.add_argument("paths", nargs="*", type=Path, help="all chapters by default")
    arguments = parser.parse_args(argv)
    if arguments.update:
        if arguments.paths:
            parser.error("--update takes no paths: it runs every chapter that changed")
        return not update_all()
    paths = arguments.paths or sorted((ROOT / "book").glob("**/*.ipynb"))
    if arguments.fix:
        for path in paths:
            if fix(path):
                print(f"{path}: normalised")
    found = [line for path in paths for line in check(path)]
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{len(paths)} chapters are in order")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
