"""Make the built site whole: it serves its own MathJax and asks nobody for anything.

MathJax comes from the installed distribution ``sphinx-mathjax-offline``; only the
files that a page of this book can ask for are copied.
"""

from __future__ import annotations

import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx

# The component that mathjax_path names, its fonts, and what TeX input loads on demand.
MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
)


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


def drop_widget_state(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Leave the kernel's widget state out of a page: nothing there could use it.

    It holds a copy of every widget's script and data, which the page has already.
    """
    NbMetadataCollector.get_js_files(app.env, pagename).pop("ipywidgets_state", None)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("build-finished", copy_mathjax)
    # Before MyST-NB's own handler, which writes the state into the page.
    app.connect("html-page-context", drop_widget_state, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
