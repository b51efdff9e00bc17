"""The built pages, read as files: links, alt text, loads, ids, dead widgets.

``tests/tools/test_check_site.py`` shows that each of these checks can fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_site
from tools.execute import ROOT, parse_toc_yaml

DOCUMENTS = list(parse_toc_yaml(ROOT / "_toc.yml"))


def faults(check, site: Path, paths: list[Path]) -> list[str]:
    """Return what one check finds in some files of the site."""
    site = site.resolve()
    return [
        f"{path.relative_to(site)}: {line}"
        for path in paths
        for line in check(site, path)
    ]


@pytest.mark.parametrize("check", check_site.PAGE_CHECKS, ids=lambda c: c.__name__)
def test_every_page_passes(check, site: Path) -> None:
    paths = check_site.pages(site.resolve())
    assert len(paths) >= len(DOCUMENTS)
    assert faults(check, site, paths) == []


def test_style_sheets_load_nothing_from_elsewhere(site: Path) -> None:
    sheets = sorted(site.resolve().rglob("*.css"))
    assert sheets
    assert faults(check_site.check_sheet, site, sheets) == []


def test_scripts_load_nothing_from_elsewhere(site: Path) -> None:
    resolved = site.resolve()
    scripts = sorted([*resolved.rglob("*.js"), *resolved.rglob("*.mjs")])
    assert scripts
    assert faults(check_site.check_script, site, scripts) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_has_its_page(name: str, site: Path) -> None:
    page = site / f"{name}.html"
    assert page.is_file()
    # The theme writes the title once more, for print alone, outside the article.
    headings = check_site.parse(page.resolve()).select("article h1")
    assert len(headings) == 1, "a page has one title"


def test_the_start_page_is_an_index(site: Path) -> None:
    first = next(iter(DOCUMENTS))
    assert f"{first}.html" in (site / "index.html").read_text("utf-8")


def test_one_search_box(site: Path) -> None:
    for page in check_site.pages(site.resolve()):
        tree = check_site.parse(page)
        boxes = [
            b for b in tree.select("form.bd-search") if not b.find_parent("dialog")
        ]
        assert len(boxes) <= 1, page


def test_mathematics_is_served_by_the_site(site: Path) -> None:
    folder = site / "_static" / "mathjax"
    assert (folder / "tex-mml-chtml.js").is_file()
    assert len(list((folder / "output/chtml/fonts/woff-v2").glob("*.woff"))) > 20
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 4e6


def test_no_page_carries_the_state_of_widgets(site: Path) -> None:
    for page in check_site.pages(site.resolve()):
        assert "jupyter.widget-state+json" not in page.read_text("utf-8"), page


def test_both_themes_are_there(site: Path) -> None:
    page = (site / f"{next(iter(DOCUMENTS))}.html").read_text("utf-8")
    assert "theme-switch-button" in page
    assert 'data-default-mode="auto"' in page
