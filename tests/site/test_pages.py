"""The pages around the chapters: start, notation, glossary, references, library."""

from __future__ import annotations

import inspect
import json
import pkgutil
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pybtex.database import parse_file

import ebmlib
from tests.conftest import ROOT
from tools import check_site
from tools.execute import chapters

BOOK = ROOT / "book"
MODULES = [
    f"ebmlib.{module.name}"
    for module in pkgutil.iter_modules(ebmlib.__path__)
    if not module.name.startswith("_")
]
# What each kind of entry must say, beside author, title and year.
FIELDS = {
    "article": {"journal", "volume", "pages"},
    "book": {"publisher"},
    "incollection": {"booktitle", "publisher"},
    "inproceedings": {"booktitle"},
    "mastersthesis": {"school"},
    "misc": {"howpublished"},
}


@cache
def article(site: Path, name: str) -> BeautifulSoup:
    """Return the article of a built page."""
    return check_site.parse((site / "book" / f"{name}.html").resolve()).article


def prose(path: Path) -> str:
    """Return the text of a page or of a chapter's Markdown cells."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] != "code")


def public_names(module: str) -> list[str]:
    """Return the functions and classes that a module offers."""
    found = import_module(module)
    listed = getattr(found, "__all__", None)
    names = listed or [name for name in vars(found) if not name.startswith("_")]
    things = {name: getattr(found, name) for name in names}
    return [
        name
        for name, thing in things.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and (listed is not None or thing.__module__ == module)
    ]


# --- The library reference -------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(module: str, site: Path) -> None:
    names = public_names(module)
    ids = {tag["id"] for tag in article(site, "api").find_all("dt", id=True)}
    assert names, f"{module} offers nothing"
    assert [name for name in names if f"{module}.{name}" not in ids] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_explained(module: str) -> None:
    found = import_module(module)
    silent = [n for n in public_names(module) if not getattr(found, n).__doc__]
    assert silent == []


@pytest.mark.parametrize("name", ["index", "usage", "notation"])
def test_references_to_the_library_lead_there(name: str, site: Path) -> None:
    codes = article(site, name).select("code.xref.py")
    assert codes
    assert [code.get_text() for code in codes if not code.find_parent("a")] == []


# --- The start page ----------------------------------------------------------------


def test_the_picture_comes_first(site: Path) -> None:
    sections = article(site, "index").select("section section")
    assert sections[0].select("[data-ebm-widget]"), "the first section holds a widget"


def test_the_divergence_was_computed(site: Path) -> None:
    text = re.sub(r"\s+", " ", article(site, "index").get_text())
    match = re.search(r"has gone from ([\d.]+) to ([\d.]+) nats", text)
    assert match, "the start page states the divergence before and after"
    first, last = map(float, match.groups())
    assert 0 < last < first
    assert "glue:text}`final-kl" in prose(BOOK / "index.ipynb")


def planned() -> dict[str, str | None]:
    """Return the chapters that the start page lists, each with its file or None."""
    items = re.findall(r"^- (?:\[(.+?)\]\((.+?)\)|(.+?) \(to come\)):", listed(), re.M)
    return {title or later: file or None for title, file, later in items}


def listed() -> str:
    return prose(BOOK / "index.ipynb").partition("## The chapters")[2]


def test_the_list_of_chapters_is_true() -> None:
    finished = {path.name for path in chapters() if path.name != "index.ipynb"}
    assert {file for file in planned().values() if file} == finished
    assert len(planned()) >= 9


def test_the_map_shows_the_chapters_of_the_list() -> None:
    tree = BeautifulSoup((BOOK / "map.svg").read_text("utf-8"), "html.parser")
    count = sum(1 for _ in tree.find_all("rect"))
    dashed = tree.find_all("rect", attrs={"stroke-dasharray": True})
    later = [title for title, file in planned().items() if file is None]
    assert (count, len(dashed)) == (len(planned()), len(later))
    words = {w for text in tree.find_all("text") for w in re.findall(r"\w+", text.text)}
    for title in planned():
        assert set(re.findall(r"\w+", title)) - {"and"} <= words, title
    alt = re.search(r":alt: (.+)", prose(BOOK / "index.ipynb"))[1]
    assert [title for title in planned() if title not in alt] == []


# --- Glossary and references -------------------------------------------------------


def terms() -> set[str]:
    text = (BOOK / "glossary.md").read_text("utf-8")
    body = re.search(r"```\{glossary\}\n:sorted:\n(.*?)```", text, re.S)[1]
    return {line.strip() for line in body.splitlines() if line[:1].strip()}


def bold_terms(text: str) -> list[str]:
    """Return what a text sets in bold as a term: words alone, and no sentence."""
    found = re.findall(r"\*\*([^*\n]+(?:\n[^*\n]+)?)\*\*", text)
    found = [re.sub(r"\s+", " ", words) for words in found]
    return [words for words in found if re.fullmatch(r"[A-Za-z][\w -]*", words)]


def singular(words: str) -> str:
    return words.lower().removesuffix("s")


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_bold_terms_are_in_the_glossary(path: Path) -> None:
    known = {singular(term) for term in terms()}
    missing = [t for t in bold_terms(prose(path)) if singular(t) not in known]
    assert missing == [], "define these in the glossary, or emphasise with *italics*"


def test_bold_terms_are_found() -> None:
    text = "A **tilt**, a **reference\ndensity**, **one claim.** and $x$ **3 times**"
    assert bold_terms(text) == ["tilt", "reference density"]


def test_references_are_complete() -> None:
    entries = parse_file(str(BOOK / "references.bib")).entries
    assert list(entries) == sorted(entries)
    for key, entry in entries.items():
        given = set(entry.fields) | set(entry.persons)
        wanted = {"author", "title", "year"} | FIELDS[entry.type]
        assert wanted <= given, f"{key} lacks {sorted(wanted - given)}"
        first = entry.persons["author"][0]
        surname = "".join(first.prelast_names + first.last_names).lower()
        plain = re.sub(r"\\.|[{} ]", "", surname)
        # a letter tells apart what one author wrote first in one year
        assert re.fullmatch(plain + entry.fields["year"] + "[b-z]?", key), key


def test_every_reference_is_listed(site: Path) -> None:
    entries = parse_file(str(BOOK / "references.bib")).entries
    assert len(article(site, "references").select(".citation")) == len(entries)


def test_citations_show_author_and_year(site: Path) -> None:
    text = re.sub(r"\s+", " ", article(site, "notation").get_text())
    assert "Kim and Bengio [2016]" in text
