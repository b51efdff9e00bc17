"""Check the pages that a build wrote, with nothing but their files.

- Every link inside the site leads to a page that exists, and to a place on it.
- Every picture has alt text that says something.
- No page loads anything from another host, and all that it loads is there.
- No page uses an id twice, or shows a widget that needs a kernel.

A link that a reader may follow (``<a href="https://...">``) is no load.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

# Which attribute of which element makes a browser fetch something.
LOADS = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
# The kinds of <link> that fetch nothing by themselves.
PASSIVE_LINKS = {"author", "canonical", "help", "index", "license", "next", "prev"}
PASSIVE_LINKS |= {"alternate", "search"}
CSS_LOAD = re.compile(
    r"""url\(\s*(?P<q>['"]?)(?P<url>[^'")]+)(?P=q)\s*\)"""
    r"""|@import\s+(?P<q2>['"])(?P<url2>[^'"]+)(?P=q2)""",
    re.IGNORECASE,
)
# What a script fetches by itself: import "https://..", fetch("//.."), x.src = "http..
SCRIPT_LOAD = re.compile(
    r"""(?:\bimport\s*\(?|\bfrom|\bfetch\s*\(|\bimportScripts\s*\(|\.src\s*=)\s*"""
    r"""["'`](?P<url>(?:https?:)?//[^"'`\s]+)""",
)
KERNEL_WIDGET = re.compile(r"application/vnd\.jupyter\.widget-(?:view|state)\+json")
# Words that stand where alt text should and say nothing.
EMPTY_WORDS = {"alt", "figure", "graph", "image", "img", "picture", "plot", "png"}


@lru_cache(maxsize=512)
def parse(page: Path) -> BeautifulSoup:
    """Return a page's tree."""
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


@lru_cache(maxsize=512)
def anchors(page: Path) -> frozenset[str]:
    """Return the places on a page that a link can lead to."""
    tags = parse(page).find_all(True)
    ids = {tag["id"] for tag in tags if tag.has_attr("id")}
    return frozenset(ids | {t["name"] for t in tags if t.name == "a" and t.get("name")})


def is_remote(url: str) -> bool:
    """Return whether a browser would ask another host for a URL."""
    parts = urlsplit(url.strip())
    return bool(parts.netloc) or parts.scheme in {"http", "https", "ftp", "ws", "wss"}


def is_inline(url: str) -> bool:
    """Return whether a URL carries its own content or leads to no file."""
    schemes = ("data:", "blob:", "mailto:", "tel:", "javascript:", "about:")
    return url.strip().lower().startswith(schemes)


def local_target(site: Path, page: Path, url: str) -> Path:
    """Return the file that a URL on a page of the site leads to."""
    path = unquote(urlsplit(url.strip()).path)
    if not path:
        return page
    base = site if path.startswith("/") else page.parent
    target = (base / path.lstrip("/")).resolve()
    return target / "index.html" if target.is_dir() else target


def split_srcset(value: str) -> list[str]:
    """Return the URLs of a ``srcset``."""
    return [part.split()[0] for part in value.split(", ") if part.strip()]


def check_links(site: Path, page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere in the site."""
    for tag in parse(page).find_all(["a", "area"], href=True):
        url = str(tag["href"])
        if is_remote(url) or is_inline(url) or url in {"", "#"}:
            continue
        target = local_target(site, page, url)
        if not target.is_relative_to(site):
            yield f"a link leads out of the site: {url}"
        elif not target.is_file():
            yield f"a link leads to no file: {url}"
        elif target.suffix == ".html":
            fragment = unquote(urlsplit(url).fragment)
            if fragment and fragment not in anchors(target):
                yield f"a link leads to no place on the page: {url}"


def alt_fault(tag: Tag, alt: str) -> str | None:
    """Return what is wrong with the alt text of a picture, or None."""
    words = alt.strip()
    name = unquote(urlsplit(str(tag.get("src", ""))).path).rpartition("/")[2]
    if not words:
        return "has no alt text"
    if (
        words.lower() in EMPTY_WORDS
        or (name and name in words)
        or "/" in words.split()[0]
    ):
        return f"has alt text that says nothing: {words!r}"
    return None


def check_alt(site: Path, page: Path) -> Iterator[str]:
    """Yield the pictures of a page that a reader who cannot see them misses."""
    del site
    for tag in parse(page).find_all("img"):
        if fault := alt_fault(tag, str(tag.get("alt", ""))):
            yield f"the picture {str(tag.get('src', ''))[:80]} {fault}"
    for tag in parse(page).find_all(attrs={"role": "img"}):
        named = tag.get("aria-label") or tag.get("aria-labelledby") or tag.get("alt")
        if not named and not tag.find("title"):
            yield f"an element with the role of a picture has no name: {str(tag)[:80]}"


def markup_loads(page: Path) -> Iterator[str]:
    """Yield every URL that the elements of a page make a browser fetch."""
    for name, attributes in LOADS.items():
        for tag in parse(page).find_all(name):
            for attribute in attributes:
                value = tag.get(attribute)
                if value:
                    yield from split_srcset(value) if "set" in attribute else [value]
    for tag in parse(page).find_all("link", href=True):
        kinds = {kind.lower() for kind in tag.get("rel", [])}
        if not kinds or kinds - PASSIVE_LINKS:
            yield str(tag["href"])
    for tag in parse(page).find_all("meta", attrs={"http-equiv": True}):
        match = re.search(r"url=(\S+)", str(tag.get("content", "")), re.IGNORECASE)
        if tag["http-equiv"].lower() == "refresh" and match:
            yield match[1]


def css_loads(text: str) -> Iterator[str]:
    """Yield every URL that a style sheet makes a browser fetch."""
    for match in CSS_LOAD.finditer(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)):
        yield (match["url"] or match["url2"]).strip()


def page_styles(page: Path) -> Iterator[str]:
    """Yield the style sheets written into a page itself."""
    for tag in parse(page).find_all("style"):
        yield tag.get_text()
    for tag in parse(page).find_all(style=True):
        yield str(tag["style"])


def load_faults(site: Path, origin: Path, urls: Iterator[str]) -> Iterator[str]:
    """Yield those URLs that a file loads from another host, or from nowhere."""
    for url in urls:
        if is_remote(url):
            yield f"loads from another host: {url[:120]}"
        elif is_inline(url) or url.startswith("#"):
            continue
        elif not local_target(site, origin, url).is_file():
            yield f"loads a file that is not there: {url[:120]}"


def check_loads(site: Path, page: Path) -> Iterator[str]:
    """Yield what a page loads from another host, or from nowhere."""
    yield from load_faults(site, page, markup_loads(page))
    for style in page_styles(page):
        yield from load_faults(site, page, css_loads(style))
    for tag in parse(page).find_all("script", src=False):
        for match in SCRIPT_LOAD.finditer(tag.get_text()):
            yield f"a script on it loads from another host: {match['url'][:120]}"


def check_ids(site: Path, page: Path) -> Iterator[str]:
    """Yield the ids that a page uses more than once."""
    del site
    count = Counter(str(tag["id"]) for tag in parse(page).find_all(id=True))
    for name, times in count.items():
        if times > 1:
            yield f"uses the id {name!r} {times} times"


def check_sheet(site: Path, sheet: Path) -> Iterator[str]:
    """Yield what a style sheet loads from another host, or from nowhere."""
    yield from load_faults(site, sheet, css_loads(sheet.read_text("utf-8")))


def check_script(site: Path, script: Path) -> Iterator[str]:
    """Yield what a script loads from another host as soon as it runs."""
    del site
    for match in SCRIPT_LOAD.finditer(script.read_text("utf-8")):
        yield f"loads from another host: {match['url'][:120]}"


def check_widgets(site: Path, page: Path) -> Iterator[str]:
    """Yield the widgets of a page that only a kernel could bring to life."""
    del site
    for tag in parse(page).find_all("script", type=KERNEL_WIDGET):
        yield f"shows a widget that is dead without a kernel: {tag.get_text()[:80]}"


PAGE_CHECKS = (check_links, check_alt, check_loads, check_ids, check_widgets)


def pages(site: Path) -> list[Path]:
    """Return the pages of a site."""
    found = sorted(site.rglob("*.html"))
    return [page for page in found if "_static" not in page.relative_to(site).parts]


def check(site: Path) -> list[str]:
    """Check a built site.

    Parameters
    ----------
    site : Path
        The folder that holds its ``index.html``.

    Returns
    -------
    list of str
        One line for each fault, with the file that has it.

    Raises
    ------
    FileNotFoundError
        There is no site in the folder.
    """
    site = site.resolve()
    if not (site / "index.html").is_file():
        raise FileNotFoundError(f"no index.html in {site}: run `make book` first")
    work = [(page, one) for page in pages(site) for one in PAGE_CHECKS]
    work += [(sheet, check_sheet) for sheet in sorted(site.rglob("*.css"))]
    scripts = sorted([*site.rglob("*.js"), *site.rglob("*.mjs")])
    work += [(script, check_script) for script in scripts]
    return [
        f"{path.relative_to(site)}: {line}"
        for path, one in work
        for line in one(site, path)
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", nargs="?", type=Path, default=Path("_build/html"))
    found = check(parser.parse_args(argv).site)
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(found)} faults in the built pages")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
