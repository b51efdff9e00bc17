"""A build of a throw-away book: what makes it green, and what must make it red."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools import build, check_site, execute

from .conftest import code

MakeBook = Callable[..., Path]
PLOT = """\
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
axes.plot([0, 1], [0, 1])
plt.show()"""
CAPTION = {"figure": {"name": "fig-line", "caption": "A line."}}
ALT = {"image": {"alt": "A straight line that rises from left to right."}}


def test_a_good_book_builds_once(make_book: MakeBook, capfd) -> None:
    cells = [
        code(PLOT, "figure", metadata={"mystnb": CAPTION | ALT}),
        code(
            "from IPython.display import HTML\n\nHTML('<p>A widget.</p>')",
            "widget",
            metadata={"mystnb": {"figure": {"name": "fig-html", "caption": "Moves."}}},
        ),
    ]
    root = make_book(*cells, index="See {numref}`fig-line` and {numref}`fig-html`.")
    assert build.build(root)
    site = root / "_build" / "html"
    assert check_site.check(site) == []
    index = (site / "book" / "index.html").read_text("utf-8")
    assert "Figure 1.1" in index
    assert "Figure 1.2" in index, "an output in HTML is numbered like a picture"
    page = (site / "book" / "chapter.html").read_text("utf-8")
    assert ALT["image"]["alt"] in page

    capfd.readouterr()
    assert build.build(root)
    assert "Nothing changed" in capfd.readouterr().out

    # A change in the library reaches the chapters: nothing of the old cache is left.
    (root / "ebmlib" / "model.py").write_text("VALUE = 2\n", "utf-8")
    assert build.build(root)
    printed = capfd.readouterr().out
    assert "dropped the outputs of 1 earlier state" in printed
    assert "chapter.ipynb: executed in" in printed
    assert len(list(execute.caches(root).iterdir())) == 1


def test_a_raising_cell_makes_the_build_fail(make_book: MakeBook, capfd) -> None:
    root = make_book(code("print(undefined_name)", "raises"))
    assert not build.build(root)
    captured = capfd.readouterr()
    assert "NameError: name 'undefined_name' is not defined" in captured.err
    assert "FAILED" in captured.out
    assert not (root / "_build" / "html" / "index.html").exists()
    assert build.main(["--root", str(root)]) == 1


def test_broken_references_make_the_build_fail(make_book: MakeBook, capfd) -> None:
    broken = {
        "[a page](missing.md)": "missing",
        "{numref}`fig-missing`": "fig-missing",
        "{cite:t}`nobody1900`": "nobody1900",
        "{eq}`no-equation`": "no-equation",
        "{prf:ref}`no-theorem`": "no-theorem",
    }
    assert not build.build(make_book(index="\n\n".join(broken)))
    printed = capfd.readouterr().err
    assert [name for name in broken.values() if name not in printed] == []


def test_a_warning_of_a_cell_makes_the_build_fail(make_book: MakeBook, capfd) -> None:
    warn = "import warnings\n\nwarnings.warn('mind the step')"
    assert not build.build(make_book(code(warn, "warns")))
    assert "stderr was found" in capfd.readouterr().err


def test_a_picture_without_alt_text_is_found(make_book: MakeBook) -> None:
    root = make_book(code(PLOT, "figure", metadata={"mystnb": CAPTION}))
    assert build.build(root), "Sphinx itself lets it pass"
    found = check_site.check(root / "_build" / "html")
    assert len(found) == 1
    assert "alt text" in found[0]


def test_an_unnormalised_chapter_stops_the_build(make_book: MakeBook, capfd) -> None:
    root = make_book(code("1 + 1", "sum", execution_count=7))
    assert not build.build(root)
    assert "is not in its normal form" in capfd.readouterr().err


def test_the_state_covers_what_the_site_is_made_from(make_book: MakeBook) -> None:
    root = make_book()
    before = build.state(root)
    assert build.state(root) == before
    for name in ("_config.yml", "_toc.yml", "book/index.md", "ebmlib/model.py"):
        path = root / name
        path.write_text(path.read_text("utf-8") + "\n", "utf-8")
        assert build.state(root) != before, name
        before = build.state(root)
