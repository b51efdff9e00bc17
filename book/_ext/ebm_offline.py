"""Make the built site whole: it serves its own MathJax and asks nobody for anything.

MathJax comes from the installed distribution ``sphinx-mathjax-offline``; only the
files that a page of this book can ask for are copied.
"""

from __future__ import annotations

import shutil
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

# The component that mathjax_path names, its fonts, and what TeX input loads on demand.
MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
)

REPEATED_IDS = {"exercise-content", "proof-content", "solution-content"}


def mathjax_source() -> Path:
    """Return the folder of MathJax in the installed distribution.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        ``sphinx-mathjax-offline`` is not installed.
    FileNotFoundError
        It is, but without the component that the book uses.
    """
    found = distribution("sphinx-mathjax-offline")
    folder = Path(str(found.locate_file("sphinx-mathjax-offline/static/mathjax")))
    if not (folder / MATHJAX_PARTS[0]).is_file():
        raise FileNotFoundError(f"no {MATHJAX_PARTS[0]} in {folder}")
    return folder


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax into the built site."""
    if exception is not None or app.builder.format != "html":
        return
    source, target = mathjax_source(), Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def drop_repeated_ids(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Take away the ids that proofs, exercises and solutions all give their bodies.

    No link and no style uses them, and an id must be the only one on its page.
    """
    for section in doctree.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in REPEATED_IDS]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("build-finished", copy_mathjax)
    app.connect("doctree-resolved", drop_repeated_ids)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
