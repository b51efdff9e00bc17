"""What every widget shares: module sources, the page's HTML, and exact encodings."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from PIL import Image

from ebmlib._checks import nearest

HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"\./(\w+\.mjs)";\n', re.MULTILINE)


def bundle(name: str) -> str:
    """Return the module ``name``.mjs with its local imports put in place.

    A notebook loads a widget's module from a Blob, where relative imports fail, and a
    page opened from disk may import no file at all: both need one self-contained text.

    Parameters
    ----------
    name : str
        The module's name, without ``.mjs``.

    Returns
    -------
    str
        Source text of one ES module; each imported file occurs once.

    Raises
    ------
    ValueError
        If the text holds ``</script`` or ``<!--``, which would end or hide the element
        that carries it in a page.
    """
    seen: set[str] = set()

    def expand(file_name: str) -> str:
        if file_name in seen:
            return ""
        seen.add(file_name)
        text = (HERE / file_name).read_text(encoding="utf-8")
        return _IMPORT.sub(lambda match: expand(match[1]), text)

    source = expand(f"{name}.mjs")
    if "</script" in source.lower() or "<!--" in source:
        raise ValueError(f"module {name!r} must not contain '</script' or '<!--'")
    return source


def stylesheet() -> str:
    """Return the style sheet that all widgets share."""
    return (HERE / "widgets.css").read_text(encoding="utf-8")


def page_assets(names: Iterable[str]) -> str:
    """Return the HTML that brings widgets to life on one page, to be put in once.

    Parameters
    ----------
    names : iterable of str
        The modules that the page uses.

    Returns
    -------
    str
        A style sheet, each module as inert text, and the loader that starts them.
    """
    parts = [f"<style>{stylesheet()}</style>"]
    for name in sorted(set(names)):
        parts.append(
            f'<script type="text/plain" data-ebm-module="{escape(name)}">'
            f"{bundle(name)}</script>"
        )
    parts.append(f"<script>{bundle('loader')}</script>")
    return "\n".join(parts)


def encode_array(values: Any) -> dict[str, str]:
    """Encode numbers exactly as base64 of a little-endian typed array.

    Parameters
    ----------
    values : array_like
        Real numbers of any shape; flattened in C order.

    Returns
    -------
    dict
        ``dtype`` is ``"f4"`` where every value is a float32 already, so that half the
        bytes hold the same numbers, and ``"f8"`` otherwise; ``data`` is the base64.
    """
    wide = np.ascontiguousarray(values, dtype="<f8").ravel()
    with np.errstate(over="ignore"):
        narrow = wide.astype("<f4")
    exact = np.array_equal(narrow.astype("<f8"), wide, equal_nan=True)
    raw = narrow if exact else wide
    text = base64.b64encode(raw.tobytes()).decode("ascii")
    return {"dtype": "f4" if exact else "f8", "data": text}


def encode_image(
    image: Image.Image, *, quality: int = 85, lossless: bool = False
) -> str:
    """Return a picture as a WebP data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, lossless=lossless, method=5)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def suggest(name: str, value: object, allowed: Iterable[object]) -> str:
    """Return an error message for an unknown choice, with the nearest allowed one."""
    options = [str(option) for option in allowed]
    near = nearest(str(value), options)
    hint = f"; did you mean {near!r}?" if near is not None else ""
    return f"{name} must be one of {options}, got {value!r}{hint}"


def axis_label(value: object) -> str:
    """Return a label as it is shown: numbers without needless digits."""
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def axis_spec(name: str, labels: Iterable[object]) -> dict[str, Any]:
    """Describe one axis of choices for the browser.

    Numbers (in any order given) become a slider, words become buttons or a list.
    """
    labels = list(labels)
    numeric = all(isinstance(v, (int, float, np.number)) for v in labels)
    return {
        "name": str(name),
        "labels": [axis_label(value) for value in labels],
        "kind": "slider" if numeric else "choice",
    }


class PageWidget(anywidget.AnyWidget):
    """A widget that also knows how to stand on a page without a kernel.

    A subclass sets ``_module`` (its ES module's name), ``_esm``, tags the traits that
    its module reads with ``page=True, sync=True``, and implements `_fallback`.
    """

    _module = ""
    _css = stylesheet()

    caption = traitlets.Unicode().tag(sync=True, page=True)
    alt = traitlets.Unicode().tag(sync=True, page=True)

    def __init__(self, *, alt: str, caption: str = "", **traits: Any) -> None:
        if not isinstance(alt, str) or not alt.strip():
            raise ValueError(f"alt must say what the picture shows, got {alt!r}")
        if not isinstance(caption, str):
            raise TypeError(f"caption must be a string, got {type(caption).__name__}")
        super().__init__(alt=alt.strip(), caption=caption.strip(), **traits)

    def page_state(self) -> dict[str, Any]:
        """Return what the module reads, as JSON can carry it."""
        return {name: getattr(self, name) for name in self.traits(page=True)}

    def _fallback(self) -> tuple[str, str, int]:
        """Return the still picture's data URI, its alt text and its width in pixels."""
        raise NotImplementedError

    def to_html(self) -> str:
        """Return the element that a built page shows: still picture, caption, data."""
        picture, alt, width = self._fallback()
        state = json.dumps(self.page_state(), ensure_ascii=False, allow_nan=False)
        safe = state.replace("<", "\\u003c").replace("\u2028", "\\u2028")
        caption = (
            f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        )
        return (
            f'<div class="ebm-widget" data-ebm-widget="{self._module}">'
            f'<figure class="ebm-fallback"><img src="{picture}" alt="{escape(alt)}" '
            f'width="{width}" style="max-width:100%;height:auto">{caption}</figure>'
            f'<script type="application/json">{safe}</script></div>'
        )

    @property
    def nbytes(self) -> int:
        """Bytes that the widget adds to a built page (its module not counted)."""
        return len(self.to_html().encode())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        formats = super()._repr_mimebundle_(**kwargs)
        if formats is not None:
            formats[0]["text/html"] = self.to_html()
        return formats
