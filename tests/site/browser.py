"""A real browser on pages that must need nothing from anywhere else."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ElementHandle, Page, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDGET = "[data-ebm-widget]"
CONTROLS = (
    '.ebm :is(button, select, input[type="range"], input[type="number"], '
    'input[type="checkbox"]), .ebm fieldset, .ebm-stage[tabindex]'
)

# What a reader sees of a widget: every canvas and every picture in its live part.
PICTURE = """widget => {
  const live = widget.querySelector('.ebm');
  if (!live || live.closest('[aria-busy]')) return null;
  const seen = [...live.querySelectorAll('canvas')].map(c => c.toDataURL());
  seen.push(...[...live.querySelectorAll('img')].map(i => i.src));
  return seen.join(' ');
}"""
# A run that started by itself goes back and rests: only the controls move the picture.
SNAPSHOT = """widget => {
  if (widget.ebmModel.get('playing')) {
    widget.ebmModel.set('playing', false);
    widget.querySelector('[data-reset]')?.click();
  }
  const names = Object.keys(JSON.parse(
    widget.querySelector('script[type="application/json"]').textContent));
  widget.ebmBefore = names.map(name => [name, widget.ebmModel.get(name)]);
}"""
RESTORE = """widget => {
  widget.ebmModel.set('playing', false);
  for (const [name, value] of widget.ebmBefore) widget.ebmModel.set(name, value);
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback interface; yields its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def launch(executable: str) -> Iterator[Browser]:
    """Start a browser with a new profile; nothing in it calls home."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser, address: str, *, width: int = 1200, **options: Any
) -> Iterator[tuple[Page, list[str]]]:
    """Open a page; yields it and the growing list of what went wrong on it.

    A fault is a request that leaves the site (also refused), a status of 400 or more,
    an error that the page did not catch, or one that it wrote to the console.
    """
    viewport = {"width": width, "height": 900}
    context = browser.new_context(viewport=viewport, **options)
    context.set_default_timeout(15_000)
    faults: list[str] = []
    home = re.match(r"(file://|http://[^/]*)", address)[0]

    def gate(route: Any) -> None:
        if route.request.url.startswith(home):
            route.continue_()
        else:
            faults.append(f"request to {route.request.url}")
            route.abort()

    def answered(response: Any) -> None:
        if response.status >= 400:
            faults.append(f"status {response.status} of {response.url}")

    def said(message: Any) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    context.route("**/*", gate)
    page = context.new_page()
    page.on("response", answered)
    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
    try:
        page.goto(address)
        yield page, faults
    finally:
        context.close()


def with_query(folder: Path, pattern: str) -> list[str]:
    """Return the pages of a site, relative to it, whose text has a pattern."""
    pages = sorted(folder.rglob("*.html"))
    found = [p for p in pages if re.search(pattern, p.read_text(encoding="utf-8"))]
    return [page.relative_to(folder).as_posix() for page in found]


def all_pages(folder: Path) -> list[str]:
    """Return all pages of a site, relative to it, but what Sphinx keeps for itself."""
    inner = ("_static/", "_sources/", "_modules/")
    return [page for page in with_query(folder, "") if not page.startswith(inner)]


def picture(widget: ElementHandle, other_than: str | None = None) -> str | None:
    """Wait for a settled picture, other than a former one; None when none comes."""
    page = widget.owner_frame().page
    for wait in (50, 50, 100, 100, 200, 300, 400, 800, 1000, 1000):
        now = widget.evaluate(PICTURE)
        if now is not None and now != other_than:
            return now
        page.wait_for_timeout(wait)
    return None


def start(page: Page) -> list[ElementHandle]:
    """Wait until every widget of a page is live, and return them."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-ebm-widget]')]"
        ".every(widget => widget.classList.contains('ebm-live'))"
    )
    return page.query_selector_all(WIDGET)


def _drag(control: ElementHandle) -> None:
    mouse, box = control.owner_frame().page.mouse, control.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 30, y + 20, steps=4)
    mouse.up()


def _click_track(control: ElementHandle) -> None:
    box = control.bounding_box()
    share = control.evaluate("c => (c.value - c.min) / (c.max - c.min)")
    place = {
        "x": box["width"] * (0.12 if share > 0.5 else 0.88),
        "y": box["height"] / 2,
    }
    control.click(position=place)


def by_mouse(control: ElementHandle, kind: str) -> None:
    """Use a control as a pointer would."""
    if kind == "range":
        _click_track(control)
    elif kind == "number":
        box = control.bounding_box()
        control.hover()
        up = {"x": box["width"] - 16, "y": box["height"] / 2 - 5}
        control.click(position=up)
    elif kind == "select-one":
        # The open list is drawn by the system, out of a test's reach.
        control.select_option(index=control.evaluate("c => c.selectedIndex ? 0 : 1"))
    elif kind == "fieldset":
        control.query_selector("label:not(:has(:checked))").click()
    elif "ebm-handle" in (control.get_attribute("class") or ""):
        _drag(control)
    else:
        control.click()


def by_keyboard(control: ElementHandle, kind: str) -> None:
    """Use a control with keys alone."""
    keys = control.owner_frame().page.keyboard
    if kind == "fieldset":
        control.query_selector("input:checked").focus()
        keys.press("ArrowRight")
        return
    control.focus()
    last = "c => c.selectedIndex === c.options.length - 1"
    at_end = "c => Number(c.value) >= Number(c.max)"
    if kind == "range":
        keys.press("ArrowLeft" if control.evaluate(at_end) else "ArrowRight")
    elif kind == "number":
        keys.press("ArrowDown" if control.evaluate(at_end) else "ArrowUp")
    elif kind == "select-one":
        keys.press("ArrowUp" if control.evaluate(last) else "ArrowDown")
    elif kind == "stage":
        source = "stage => stage.querySelector('img').src"
        before = control.evaluate(source)
        keys.press("ArrowRight")
        if control.evaluate(source) == before:
            keys.press("ArrowLeft")
    elif "ebm-handle" in (control.get_attribute("class") or ""):
        keys.press("ArrowRight")
    else:
        keys.press("Space")


def kind_of(control: ElementHandle) -> str:
    """Say how a control is used."""
    return control.evaluate(
        "c => c.matches('.ebm-stage') ? 'stage' : c.type || c.tagName"
    )


def name_of(control: ElementHandle) -> str:
    """Return the words by which a reader knows a control."""
    return control.evaluate(
        "c => (c.getAttribute('aria-label') "
        "|| c.querySelector?.('legend')?.textContent "
        "|| c.labels?.[0]?.textContent || c.textContent || '').trim().slice(0, 40)"
    )


def usable(widget: ElementHandle) -> list[ElementHandle]:
    """Return the controls in sight that leave a choice and should move the picture.

    Not those marked ``data-elsewhere``, which act on the clipboard, a file or other
    controls: whoever marks one so tests it by itself.
    """
    choice = """c => c.type === 'range' ? Number(c.max) > Number(c.min)
        : c.type === 'select-one' ? c.options.length > 1
        : c.tagName === 'FIELDSET' ? c.querySelectorAll('input').length > 1 : true"""
    controls = widget.query_selector_all(CONTROLS)
    ready = "c => !c.disabled && !c.closest('[data-elsewhere]')"
    controls = [c for c in controls if c.is_visible() and c.evaluate(ready)]
    return [c for c in controls if c.evaluate(choice)]


def shows_later(control: ElementHandle) -> bool:
    """Tell whether a control acts on what comes next, such as a learning rate."""
    return control.evaluate("c => Boolean(c.closest('[data-later]'))")


def next_picture(widget: ElementHandle) -> str | None:
    """Press the button that makes one step, marked ``data-once``; what is seen then."""
    widget.query_selector("[data-once]").click()
    return picture(widget)


def dead_controls(widget: ElementHandle, means: str) -> list[str]:
    """Move every control of a live widget; return those that change no picture.

    Parameters
    ----------
    widget : ElementHandle
        Element of the widget.
    means : str
        ``"mouse"`` or ``"keyboard"``.
    """
    use = {"mouse": by_mouse, "keyboard": by_keyboard}[means]
    widget.scroll_into_view_if_needed()
    if picture(widget) is None:
        return ["the widget never shows a picture"]
    widget.evaluate(SNAPSHOT)
    dead = []
    controls = usable(widget)
    for control in controls:
        kind = kind_of(control)
        if kind == "stage" and means == "mouse":
            continue
        before, name = picture(widget), name_of(control)
        if not name:
            dead.append(f"a {kind} without a label")
        if shows_later(control):
            # one step with it and one without, from the same state
            before = next_picture(widget)
            widget.evaluate(RESTORE)
            use(control, kind)
            changed = next_picture(widget) != before
        else:
            use(control, kind)
            changed = picture(widget, other_than=before) is not None
        if not changed:
            dead.append(f"{kind} {name!r}")
        widget.evaluate(RESTORE)
        picture(widget)
    return dead if controls else ["the widget has no control"]
