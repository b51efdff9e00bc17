"""Put widgets to work on built pages, with no kernel and no network.

A widget's notebook output carries ``<div data-ebm-widget="name">`` as ``text/html``.
For each page that has one, this extension adds the style sheet, each module in use
once, and the loader. It also drops the notebook's widget state, which nothing on a page
reads and which would add a copy of each module for each widget.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from ebmlib.widgets._host import page_assets

_USED = re.compile(r'data-ebm-widget="(\w+)"')
_DEAD = "application/vnd.jupyter.widget-view+json"
logger = logging.getLogger(__name__)


def drop_widget_state(app: Sphinx, doctree: nodes.document) -> None:
    """Forget the widget state that myst-nb has noted for the page just read."""
    page = getattr(app.env, "nb_metadata", {}).get(app.env.docname, {})
    scripts = page.get("js_files", {})
    for key in [key for key in scripts if key.startswith("ipywidgets")]:
        del scripts[key]


def add_assets(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Append what the page's widgets need; warn of controls that would be dead."""
    body = context.get("body", "")
    if f'<script type="{_DEAD}">' in body:
        logger.warning(
            "this page shows an ipywidgets control, which does nothing without a "
            "kernel; use a widget of ebmlib.widgets",
            location=page,
            type="ebm",
            subtype="dead_widget",
        )
    names = set(_USED.findall(body))
    if names:
        context["body"] = f"{body}\n{page_assets(names)}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", drop_widget_state)
    app.connect("html-page-context", add_assets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
