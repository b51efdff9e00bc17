"""Every built page in a real browser: nothing from outside, every control alive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ebmlib.widgets import DensityExplorer, FrameExplorer
from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

LOOKS = """() => {
  const channel = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) =>
    .2126 * channel(r / 255) + .7152 * channel(g / 255) + .0722 * channel(b / 255);
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const paper = e => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > .99) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const words = '.ebm :is(p, span, td, th, output, legend)';
  for (const e of document.querySelectorAll(words)) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!text || !e.checkVisibility() || e.matches('.ebm-sr')) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(paper(e))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const name = e.textContent.slice(0, 30);
    if (contrast < 4.5) poor.push(`${name}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""
TARGETS = """() => [...document.querySelectorAll('.ebm :is(button, select, input)')]
  .filter(c => c.checkVisibility())
  .map(c => [c, (c.matches('[type=radio], [type=checkbox]') ? c.closest('label') : c)
    .getBoundingClientRect()])
  .filter(([c, box]) => box.height < 43.5 || box.width < 43.5)
  .map(([c, box]) => `${c.type} ${c.name}: ${box.width} x ${box.height}`)"""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    with bw.serve(site) as found:
        yield found


def film() -> FrameExplorer:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 255, (4, 3, 24, 30, 3), dtype=np.uint8)
    axes = {
        "training step": [0, 10, 100, 1000],
        "prior": ["uniform", "normal", "narrow"],
    }
    return FrameExplorer(
        frames,
        axes,
        alt="Noise",
        caption="A film",
        numbers={"KL": np.arange(12.0).reshape(4, 3)},
        seconds_per_frame=0.1,
    )


def explorer() -> DensityExplorer:
    generator = torch.Generator().manual_seed(0)
    networks = {}
    for width in (8, 16):
        network = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))
        for parameter in network.parameters():
            parameter.data.normal_(generator=generator)
        networks[f"width {width}"] = network
    truth = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(2), 0.3 * torch.ones(2)), 1
    )
    points = truth.sample((50,)).clamp(-1, 1)
    return DensityExplorer(
        networks,
        alt="A density",
        caption="Two networks",
        data=points,
        truth=truth,
        probe=(0.2, -0.1),
    )


def write_page(folder: Path, name: str, body: str, assets: str) -> None:
    head = '<meta charset="utf-8"><link rel="icon" href="data:,"><title>t</title>'
    view = '<meta name="viewport" content="width=device-width">'
    text = f"<!doctype html><html><head>{head}{view}</head><body>{body}{assets}</body>"
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of pages with widgets, and of pages that each have one fault."""
    folder = tmp_path_factory.mktemp("small_site")
    a_film, a_density = film().to_html(), explorer().to_html()
    assets = page_assets(["frame_explorer", "density_explorer"])
    write_page(folder, "good.html", a_film + a_density + a_film, assets)
    write_page(folder, "film.html", a_film, page_assets(["frame_explorer"]))
    dead = page_assets(["frame_explorer"]).replace('er("input"', 'er("never"')
    write_page(folder, "dead.html", a_film, dead)
    outside = '<p>x</p><script>fetch("http://192.0.2.1/x").catch(() => 0)</script>'
    write_page(folder, "outside.html", outside, "")
    write_page(folder, "raises.html", "<script>throw new Error('lost')</script>", "")
    write_page(folder, "missing.html", '<img src="no.png" alt="">', "")
    write_page(folder, "wide.html", '<div style="width:700px">x</div>', "")
    return folder


@pytest.fixture(scope="session")
def small(small_site: Path) -> Iterator[str]:
    with bw.serve(small_site) as found:
        yield found


def gather(pages: list[str], check) -> dict[str, object]:
    """Return what a check finds wrong, by page."""
    found = {page: check(page) for page in pages}
    return {page: wrong for page, wrong in found.items() if wrong}


def widget_pages(site: Path) -> list[str]:
    """Return the pages that hold widgets; a book without any is a mistake."""
    pages = bw.with_query(site, "data-ebm-widget=")
    assert pages, "no built page holds a widget"
    return pages


def page_faults(chrome, url: str, width: int) -> list[str]:
    """Load a page, wait for its mathematics, and return every fault found on it."""
    with bw.visit(chrome, url, width=width) as (page, faults):
        # the browser does not always call a page with many modules idle
        page.wait_for_load_state("load")
        page.wait_for_timeout(500)
        if page.query_selector(".math"):
            page.wait_for_selector("mjx-container", state="attached")
        if page.query_selector("mjx-merror"):
            faults.append("an equation that MathJax cannot read")
        bw.start(page)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            faults.append(f"{wide} pixels wider than a screen of {width}")
        return faults


def widget_faults(chrome, url: str, means: str) -> list[str]:
    with bw.visit(chrome, url) as (page, faults):
        dead = [c for widget in bw.start(page) for c in bw.dead_controls(widget, means)]
        return dead + faults


def still_faults(chrome, url: str) -> list[str]:
    """Return what is missing or too much on a page without JavaScript."""
    with bw.visit(chrome, url, java_script_enabled=False) as (page, faults):
        for widget in page.query_selector_all(bw.WIDGET):
            image = widget.query_selector("img")
            box = image.bounding_box() if image and image.is_visible() else None
            if not box or min(box["width"], box["height"]) < 20:
                faults.append("no picture")
            elif not image.get_attribute("alt"):
                faults.append("a picture without alt text")
            live = widget.query_selector_all("input, select, button")
            if any(control.is_visible() for control in live):
                faults.append("a control that cannot work")
        return faults


# The built site


@pytest.mark.parametrize("width", [1200, 360])
def test_every_page_loads_by_http(chrome, address: str, site: Path, width: int) -> None:
    pages = bw.all_pages(site)
    assert pages
    assert not gather(pages, lambda p: page_faults(chrome, f"{address}/{p}", width))


def test_every_page_loads_from_disk(chrome, site: Path) -> None:
    folder = site.resolve()
    pages = bw.all_pages(site)
    assert not gather(
        pages, lambda p: page_faults(chrome, f"{folder.as_uri()}/{p}", 1200)
    )


@pytest.mark.parametrize("means", ["mouse", "keyboard"])
def test_every_control_changes_its_picture(chrome, address, site: Path, means) -> None:
    pages = widget_pages(site)
    assert not gather(pages, lambda p: widget_faults(chrome, f"{address}/{p}", means))


def test_widgets_leave_a_picture_without_javascript(
    chrome, address, site: Path
) -> None:
    pages = widget_pages(site)
    assert not gather(pages, lambda p: still_faults(chrome, f"{address}/{p}"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_widgets_are_legible_in_both_themes(chrome, address, site: Path, theme) -> None:
    def check(name: str) -> list[str]:
        with bw.visit(chrome, f"{address}/{name}", color_scheme=theme) as (page, _):
            assert page.evaluate("document.documentElement.dataset.theme") == theme
            for widget in bw.start(page):
                widget.scroll_into_view_if_needed()
                bw.picture(widget)
            return page.evaluate(LOOKS)

    assert not gather(widget_pages(site), check)


def test_nothing_moves_by_itself(chrome, address: str, site: Path) -> None:
    def check(name: str) -> list[str]:
        url = f"{address}/{name}"
        with bw.visit(chrome, url, reduced_motion="reduce") as (page, _):
            moving = []
            for widget in bw.start(page):
                widget.scroll_into_view_if_needed()
                before = bw.picture(widget)
                page.wait_for_timeout(700)
                if widget.evaluate(bw.PICTURE) != before:
                    moving.append(widget.get_attribute("data-ebm-widget"))
            return moving

    assert not gather(widget_pages(site), check)


# The same checks on small pages, and the proof that each of them can fail


def test_good_page_has_no_fault(chrome, small: str, small_site: Path) -> None:
    assert page_faults(chrome, f"{small}/good.html", 360) == []
    assert page_faults(chrome, f"{small_site.as_uri()}/good.html", 1200) == []
    assert still_faults(chrome, f"{small}/good.html") == []


@pytest.mark.parametrize("means", ["mouse", "keyboard"])
def test_good_page_has_no_dead_control(chrome, small: str, means: str) -> None:
    assert widget_faults(chrome, f"{small}/good.html", means) == []


@pytest.mark.parametrize("means", ["mouse", "keyboard"])
def test_a_dead_control_is_found(chrome, small: str, means: str) -> None:
    found = widget_faults(chrome, f"{small}/dead.html", means)
    assert found == ["range 'training step0'"]


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("outside.html", "request to http://192.0.2.1/x"),
        ("raises.html", "page error: lost"),
        ("missing.html", "status 404"),
        ("wide.html", "pixels wider than a screen of 360"),
    ],
)
def test_a_fault_of_the_page_is_found(chrome, small: str, page: str, fault) -> None:
    assert any(fault in line for line in page_faults(chrome, f"{small}/{page}", 360))


def test_a_picture_without_alt_text_is_found(chrome, small_site: Path) -> None:
    page = small_site / "film.html"
    bare = page.read_text("utf-8").replace('alt="Noise', 'alt="" title="Noise')
    (small_site / "bare.html").write_text(bare, encoding="utf-8")
    found = still_faults(chrome, f"{small_site.as_uri()}/bare.html")
    assert found == ["a picture without alt text"]


def test_targets_are_large_enough(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/good.html", width=360) as (page, _):
        bw.start(page)
        assert page.evaluate(TARGETS) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_small_page_is_legible(chrome, small: str, theme: str) -> None:
    with bw.visit(chrome, f"{small}/good.html", color_scheme=theme) as (page, _):
        ground = {"light": "#fff", "dark": "#121212"}[theme]
        page.evaluate(f"document.body.style.background = '{ground}'")
        for widget in bw.start(page):
            widget.scroll_into_view_if_needed()
            bw.picture(widget)
        assert page.evaluate(LOOKS) == []
        page.evaluate("document.querySelector('.ebm-note').style.color = '#808080'")
        page.evaluate("document.body.style.background = '#777'")
        assert page.evaluate(LOOKS) != []


# What a film does


def shown(widget) -> str:
    return widget.query_selector(".ebm-stage img").get_attribute("alt")


def test_film_plays_to_its_end_and_says_what_it_shows(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/film.html") as (page, faults):
        (widget,) = bw.start(page)
        assert shown(widget) == "Noise: training step 0, prior uniform, KL = 0.000"
        widget.query_selector(".ebm-play").click()
        ended = "document.querySelector('.ebm-value').textContent === '1000'"
        page.wait_for_function(ended)
        page.wait_for_selector("[aria-label='Play along training step']")
        assert shown(widget) == "Noise: training step 1000, prior uniform, KL = 9.000"
        said = "() => document.querySelector('[role=status]').textContent"
        page.wait_for_function(f"({said})().includes('training step 1000')")
        assert faults == []


def test_film_stops_when_out_of_sight(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/film.html") as (page, _):
        (widget,) = bw.start(page)
        page.evaluate("document.body.prepend(document.createElement('hr'))")
        widget.evaluate("w => w.ebmModel.set('interval', 60)")
        widget.query_selector(".ebm-play").click()
        assert widget.evaluate("w => w.ebmModel.get('playing')") is True
        page.evaluate("document.querySelector('hr').style.marginBottom = '3000px'")
        page.wait_for_function(
            "!document.querySelector('[data-ebm-widget]').ebmModel.get('playing')"
        )


def test_arrow_keys_on_the_picture_follow_the_axes(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/film.html") as (page, _):
        (widget,) = bw.start(page)
        widget.query_selector(".ebm-stage").focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
            page.keyboard.press(key)
        page.keyboard.press("ArrowDown")
        assert widget.evaluate("w => w.ebmModel.get('index')") == [1, 0]


def test_two_films_on_a_page_are_independent(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/good.html") as (page, _):
        first, _, last = bw.start(page)
        last.query_selector(".ebm-chip:last-child").click()
        assert "narrow" in shown(last)
        assert "uniform" in shown(first)


def test_print_shows_the_picture_and_no_control(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/good.html") as (page, _):
        for widget in bw.start(page):
            page.emulate_media(media="print")
            assert widget.query_selector(".ebm-fallback img").is_visible()
            assert not widget.query_selector(".ebm").is_visible()


def test_probe_follows_a_drag(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/good.html") as (page, _):
        widget = bw.start(page)[1]
        widget.scroll_into_view_if_needed()
        bw.picture(widget)
        side = widget.query_selector(".ebm-square").bounding_box()["width"]
        bw._drag(widget.query_selector(".ebm-handle"))
        moved = widget.evaluate("w => w.ebmModel.get('probe')")
        pixel = 2 / side
        assert moved == pytest.approx([0.2 + 30 * pixel, -0.1 - 20 * pixel], abs=pixel)


TWO_VIEWS = """async () => {
  const text = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  const { default: module } = await import(url);
  const widget = document.querySelector('[data-ebm-widget]');
  const model = widget.ebmModel;
  const [one, two] = [1, 2].map(() => document.body.appendChild(
    document.createElement('div')));
  const stop = [one, two].map(el => module.render({ model, el }));
  const sources = () => [one, two].map(el => el.querySelector('img').alt.slice(0, 28));
  one.querySelector('input').value = 1;
  one.querySelector('input').dispatchEvent(new Event('input'));
  const together = sources();
  stop[1]();
  model.set('index', [2, 0]);
  return [together, sources()];
}"""


def test_two_views_of_one_model_stay_in_step(chrome, small: str) -> None:
    with bw.visit(chrome, f"{small}/film.html") as (page, faults):
        bw.start(page)
        together, after = page.evaluate(TWO_VIEWS)
        assert together == ["Noise: training step 10, pri"] * 2
        assert after[0].startswith("Noise: training step 100")
        assert after[1] == together[1], "a view that is gone still listens"
        assert faults == []
