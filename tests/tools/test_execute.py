"""The execution of chapters: side by side, cached, timed, stopped at a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache

from tools import execute

from .conftest import code, notebook, save

MakeBook = Callable[..., Path]


def test_outputs_are_cached_and_found_again(make_book: MakeBook) -> None:
    source = "import os\nprint(os.environ['OMP_NUM_THREADS'], os.getcwd())"
    root = make_book(code(source, "prints"))
    (first,) = execute.execute(root)
    assert not first.error
    assert not first.cached
    assert first.seconds > 0
    assert 20 < first.megabytes < 2000
    (second,) = execute.execute(root)
    assert second.cached
    assert second.seconds == pytest.approx(first.seconds)

    cache = get_cache(str(execute.cache_folder(root)))
    path = root / "book" / "chapter.ipynb"
    _, done = cache.merge_match_into_notebook(nbformat.read(path, as_version=4))
    assert done.cells[1].outputs[0].text == f"1 {root / 'book'}\n", "one thread"


def test_a_failure_is_not_cached(make_book: MakeBook) -> None:
    root = make_book(code("raise ValueError('no such thing')", "raises"))
    for _ in range(2):
        (run,) = execute.execute(root)
        assert not run.cached
        assert "ValueError: no such thing" in run.error


@pytest.mark.parametrize("source", ["import time\ntime.sleep(60)"])
def test_a_cell_past_the_limit_fails(make_book: MakeBook, source: str) -> None:
    (run,) = execute.execute(make_book(code(source, "sleeps")), limit=1)
    assert "timed out" in run.error.lower()


def test_a_chapter_past_the_limit_fails(make_book: MakeBook) -> None:
    cells = [code(f"import time\ntime.sleep(0.7 + {i})", f"c{i}") for i in (0, 0.1)]
    (run,) = execute.execute(make_book(*cells), limit=1)
    assert "a chapter may take 1 s" in run.error


def test_a_dead_kernel_is_a_failure(make_book: MakeBook) -> None:
    (run,) = execute.execute(make_book(code("import os\nos._exit(1)", "dies")))
    assert "died" in run.error.lower()


@pytest.mark.parametrize("bad", [{"workers": 0}, {"limit": 0}])
def test_bad_arguments_are_named(make_book: MakeBook, bad: dict) -> None:
    with pytest.raises(ValueError, match="workers and limit must be positive"):
        execute.execute(make_book(), **bad)


def test_the_cache_is_named_after_what_outputs_depend_on(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_book()
    seen = {execute.cache_folder(root)}

    def is_new() -> bool:
        known = len(seen)
        seen.add(execute.cache_folder(root))
        return len(seen) == known + 1

    (root / "ebmlib" / "model.py").write_text("VALUE = 2\n", "utf-8")
    assert is_new(), "a change in the library"
    (root / "ebmlib" / "model.py").rename(root / "ebmlib" / "other.py")
    assert is_new(), "a file by another name"
    (root / "data").mkdir()
    (root / "data" / "points.npz").write_bytes(b"1")
    assert is_new(), "new data"
    (root / "requirements.lock").write_text("numpy==2.0\n", "utf-8")
    assert is_new(), "another lock"
    monkeypatch.setattr(execute, "installed_versions", lambda: ["python==4.0"])
    assert is_new(), "another Python"
    (root / "ebmlib" / "__pycache__").mkdir()
    (root / "ebmlib" / "__pycache__" / "model.pyc").write_bytes(b"")
    assert not is_new(), "by-products do not count"


def test_pruning_keeps_the_present_state(make_book: MakeBook) -> None:
    root = make_book()
    keep = execute.cache_folder(root)
    for folder in (keep, execute.caches(root) / "old", execute.caches(root) / "older"):
        folder.mkdir(parents=True)
    (execute.caches(root) / "stray.db").write_bytes(b"")
    assert execute.prune(root) == 3
    assert list(execute.caches(root).iterdir()) == [keep]


def test_only_chapters_of_the_contents_are_executed(make_book: MakeBook) -> None:
    root = make_book()
    save(root / "book" / "draft.ipynb", notebook(code("1 / 0", "draft")))
    assert [p.name for p in execute.chapters(root)] == ["chapter.ipynb"]


def test_the_report_says_when_the_budget_is_passed(tmp_path: Path) -> None:
    slow = execute.Run(tmp_path / "a.ipynb", execute.BUDGET_SECONDS + 1, 100.0)
    assert "over the budget of 90 s" in execute.describe(slow, tmp_path)
    quick = execute.Run(tmp_path / "a.ipynb", 2.0, 100.0)
    assert execute.describe(quick, tmp_path) == (
        "a.ipynb: executed in 2.0 s, peak 100 MB"
    )
