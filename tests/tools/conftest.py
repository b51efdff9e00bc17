"""Small throw-away books, with the settings and the extensions of the real one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOC = """\
format: jb-book
root: book/index
parts:
  - caption: Chapters
    numbered: true
    chapters:
      - file: book/chapter
"""


def code(source: str, name: str, **fields: object) -> dict:
    """Return a code cell; `fields` may hold metadata, outputs, execution_count."""
    return {
        "cell_type": "code",
        "execution_count": fields.get("execution_count"),
        "id": name,
        "metadata": fields.get("metadata", {}),
        "outputs": fields.get("outputs", []),
        "source": source.splitlines(keepends=True),
    }


def prose(source: str, name: str) -> dict:
    """Return a Markdown cell."""
    return {
        "cell_type": "markdown",
        "id": name,
        "metadata": {},
        "source": source.splitlines(keepends=True),
    }


def notebook(*cells: dict) -> dict:
    """Return a notebook in its normal form."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": list(cells),
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def save(path: Path, content: dict) -> Path:
    """Write a notebook as the project's tool would."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def make_book(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a book of one page and one chapter."""

    def make(*cells: dict, index: str = "A page.") -> Path:
        (tmp_path / "book").mkdir()
        (tmp_path / "ebmlib").mkdir()
        (tmp_path / "ebmlib" / "model.py").write_text("VALUE = 1\n", "utf-8")
        shutil.copy(ROOT / "_config.yml", tmp_path)
        for name in ("_ext", "_static"):
            shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
        (tmp_path / "book" / "references.bib").write_text("", "utf-8")
        (tmp_path / "_toc.yml").write_text(TOC, "utf-8")
        (tmp_path / "book" / "index.md").write_text(f"# Title\n\n{index}\n", "utf-8")
        title = prose("# A chapter", "title")
        save(tmp_path / "book" / "chapter.ipynb", notebook(title, *cells))
        return tmp_path

    return make
