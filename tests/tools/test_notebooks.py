"""The notebook tool: one normal form, and faults that nbval would let pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import notebooks

from .conftest import code, notebook, prose, save

CHECKED = {"tags": [notebooks.CHECKED]}


def stdout(text: str) -> dict:
    """Return a stored output that was printed."""
    lines = text.splitlines(keepends=True)
    return {"name": "stdout", "output_type": "stream", "text": lines}


def checked(source: str, printed: str) -> dict:
    """Return a checked cell with its stored output."""
    outputs = [stdout(printed)]
    return code(source, "result", metadata=CHECKED, outputs=outputs, execution_count=1)


def run_nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval on one notebook as `make test` does."""
    options = ["--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    return subprocess.run(
        command, cwd=path.parent, capture_output=True, text=True, check=False
    )


def test_a_changed_checked_output_makes_nbval_red(tmp_path: Path) -> None:
    cells = [code("total = 1 + 1", "sum"), checked("print(f'{total:.3f}')", "2.000\n")]
    good = save(tmp_path / "good.ipynb", notebook(*cells))
    assert notebooks.check(good) == []
    done = run_nbval(good)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout

    cells[1] = checked("print(f'{total:.3f}')", "2.001\n")
    bad = save(tmp_path / "bad.ipynb", notebook(*cells))
    assert notebooks.check(bad) == [], "the form is good, only the number is wrong"
    done = run_nbval(bad)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout


def test_a_checked_cell_without_output_is_refused(tmp_path: Path) -> None:
    cell = code("print(1 / 3)", "result", metadata=CHECKED)
    path = save(tmp_path / "silent.ipynb", notebook(cell))
    assert "1 passed" in run_nbval(path).stdout, "nbval alone lets it pass"
    (fault,) = notebooks.check(path)
    assert "cell 1 (result) is tagged nbval-check-output and stores no output" in fault


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (code("%pip install torch", "c"), "installs something"),
        (code("!pip install torch", "c"), "installs something"),
        (code("  %conda install torch", "c"), "installs something"),
        (code("!ls", "c"), "calls the shell"),
        (code("%%bash\nls", "c"), "calls the shell"),
        (code("x = 1  # " + "x" * 80, "c"), "line 1 has 89 columns, 88 are allowed"),
        (code("", "c"), "is empty"),
        (code("from ipywidgets import interact", "c"), "hangs now and then"),
        (code("out = widgets.Output()", "c"), "hangs now and then"),
        (code("1 / 0", "c", metadata={"tags": ["raises-exception"]}), "has the tag"),
        (code("1", "c", metadata={"tags": ["nbval-skip"]}), "has the tag nbval-skip"),
        (prose("Text.", "c") | {"metadata": CHECKED}, "is no code"),
    ],
)
def test_faults_are_named(tmp_path: Path, cell: dict, message: str) -> None:
    found = notebooks.check(save(tmp_path / "a.ipynb", notebook(cell)))
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (stdout("x\n") | {"name": "stderr"}, "stores what it wrote to stderr"),
        (
            {"output_type": "error", "ename": "E", "evalue": "e", "traceback": []},
            "stores an error",
        ),
        (
            {"output_type": "display_data", "data": {"image/png": ["A"]}},
            "stores image/png; a checked output is plain text",
        ),
    ],
)
def test_checked_outputs_are_printed_text(output: dict, message: str) -> None:
    cell = code("f()", "c", metadata=CHECKED, outputs=[output], execution_count=1)
    assert any(message in line for line in notebooks.faults(notebook(cell)))


def test_the_state_of_widgets_is_refused_and_stripped(tmp_path: Path) -> None:
    content = notebook(code("1", "one"))
    content["metadata"]["widgets"] = {"state": {}}
    path = save(tmp_path / "a.ipynb", content)
    assert any("stores the state of widgets" in f for f in notebooks.check(path))
    assert notebooks.fix(path)
    assert notebooks.check(path) == []


def test_fixing_normalises_once(tmp_path: Path) -> None:
    printed = {"name": "stdout", "output_type": "stream", "text": "a"}
    plain = {
        "output_type": "execute_result",
        "data": {"text/plain": "3"},
        "execution_count": 9,
        "metadata": {"x": 1},
    }
    messy = {
        "nbformat": 4,
        "nbformat_minor": 2,
        "metadata": {
            "kernelspec": {"name": "venv", "display_name": "mine"},
            "language_info": {"name": "python", "version": "3.99"},
            "mystnb": {"execution_timeout": 60},
        },
        "cells": [
            {"cell_type": "markdown", "metadata": {"tags": []}, "source": "# T\n\nx  "},
            {
                "cell_type": "code",
                "metadata": {"collapsed": True, "mystnb": {"image": {"alt": "x"}}},
                "source": "a = 1   \n\nb = 2\n\n",
                "outputs": [printed],
                "execution_count": 4,
            },
            {
                "cell_type": "code",
                "metadata": dict(CHECKED),
                "source": ["print(1)\n", "3"],
                "outputs": [printed, printed | {"text": ["b\n"]}, plain],
                "execution_count": 5,
            },
        ],
    }
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(messy), "utf-8")
    assert notebooks.fix(path)
    assert not notebooks.fix(path), "the normal form of the normal form is itself"
    assert notebooks.check(path) == []
    text, plain_code, result = (content := json.loads(path.read_text()))["cells"]
    assert content["metadata"]["kernelspec"] == notebooks.KERNEL
    assert content["metadata"]["language_info"] == {"name": "python"}
    assert content["metadata"]["mystnb"] == {"execution_timeout": 60}
    assert text["source"] == ["# T\n", "\n", "x  "], "two spaces break a line"
    assert text["metadata"] == {}
    assert plain_code["source"] == ["a = 1\n", "\n", "b = 2"]
    assert plain_code["metadata"] == {"mystnb": {"image": {"alt": "x"}}}
    assert plain_code["outputs"] == []
    assert plain_code["execution_count"] is None
    assert result["execution_count"] == 1
    assert [o.get("text") for o in result["outputs"]] == [["ab\n"], None]
    assert result["outputs"][1]["execution_count"] == 1
    assert result["outputs"][1]["metadata"] == {}
    assert len({cell["id"] for cell in content["cells"]}) == 3


def test_ids_stay_and_are_unique() -> None:
    cells = [code("1", "kept"), code("1", "kept"), code("1", ""), code("1", "a b")]
    first = [c["id"] for c in notebooks.normalise(notebook(*cells))["cells"]]
    again = [c["id"] for c in notebooks.normalise(notebook(*cells))["cells"]]
    assert first[0] == "kept"
    assert len(set(first)) == 4
    assert first == again


def test_a_file_that_is_no_notebook_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text("{", "utf-8")
    (fault,) = notebooks.check(path)
    assert "is no JSON" in fault


def test_updating_stores_checked_outputs_alone(make_book) -> None:
    cells = [
        code("import sys\nprint('a', end='')\nprint('b')\nprint(1)", "free"),
        code(
            "print('KL', 0.5)\nprint('mind', file=sys.stderr)\n3",
            "result",
            metadata=CHECKED,
        ),
    ]
    root = make_book(*cells)
    path = root / "book" / "chapter.ipynb"
    assert notebooks.update_all(root)
    assert notebooks.check(path) == []
    _, free, result = json.loads(path.read_text("utf-8"))["cells"]
    assert free["outputs"] == []
    assert result["execution_count"] == 1
    assert result["outputs"][0]["text"] == ["KL 0.5\n"]
    assert result["outputs"][1]["data"] == {"text/plain": ["3"]}
    before = path.read_bytes()
    assert notebooks.update_all(root)
    assert path.read_bytes() == before


def test_updating_a_chapter_that_fails_changes_nothing(make_book) -> None:
    cell = checked("print(1 / 0)", "1\n")
    root = make_book(cell)
    path = root / "book" / "chapter.ipynb"
    before = path.read_bytes()
    assert not notebooks.update_all(root)
    assert path.read_bytes() == before


def test_the_command_line(tmp_path: Path, capsys) -> None:
    path = save(tmp_path / "a.ipynb", notebook(code("1", "one", execution_count=3)))
    assert notebooks.main(["--check", str(path)]) == 1
    assert "is not in its normal form" in capsys.readouterr().err
    assert notebooks.main(["--fix", str(path)]) == 0
    assert notebooks.main(["--check", str(path)]) == 0
    assert "1 chapters are in order" in capsys.readouterr().out


def test_an_update_takes_no_paths(capsys) -> None:
    with pytest.raises(SystemExit):
        notebooks.main(["--update", "book/one.ipynb"])
    assert "it runs every chapter that changed" in capsys.readouterr().err


def test_an_update_is_given_up_when_the_library_changes(
    tmp_path, monkeypatch, capsys
) -> None:
    folders = iter([tmp_path / "before", tmp_path / "after"])
    monkeypatch.setattr(notebooks, "chapters", lambda root: [])
    monkeypatch.setattr(notebooks, "execute", lambda root: [])
    monkeypatch.setattr(notebooks, "cache_folder", lambda root: next(folders))
    assert not notebooks.update_all(tmp_path)
    assert "the library changed" in capsys.readouterr().err
