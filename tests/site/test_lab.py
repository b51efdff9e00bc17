"""The EBM Lab in a real browser: what a person can do, and what must not happen."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ebmlib.checkpoint import load_models
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.grid import Grid
from ebmlib.widgets import EBMLab
from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw
from tests.site.test_browser import LOOKS, TARGETS, write_page

pytestmark = pytest.mark.browser

TWO = {
    "data": "two_gaussians",
    "a": {"method": "exact"},
    "b": {"method": "shortrun", "steps": 5, "step": 0.1},
}
GET = "name => document.querySelector('[data-ebm-widget]').ebmModel.get(name)"
SET = """([name, value]) =>
  document.querySelector('[data-ebm-widget]').ebmModel.set(name, value)"""
READY = "() => document.querySelector('.ebm-lab')?.dataset.ready !== undefined"
PICTURES = """() => [...document.querySelectorAll('.lab-plane')]
  .filter(c => c.checkVisibility()).map(c => c.toDataURL())"""
MODULE = """
  const code = document.querySelector('[data-ebm-module="ebm_lab"]').textContent;
  const url = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  const m = await import(url);
"""


def star(n: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(n, 2, generator=generator) - 1


def own_model() -> TiltedEnergy:
    generator = torch.Generator().manual_seed(3)
    network = mlp([2, 16, 8, 1], "softplus", init="torch", generator=generator)
    return TiltedEnergy(network.double(), gaussian(sd=0.7, dtype=torch.float64))


def huge_model() -> TiltedEnergy:
    """Finite energies of 1e155, of whose gradient the squares are not."""
    model = own_model()
    with torch.no_grad():
        model.network[-1].weight.fill_(1e155)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages that hold a Lab each."""
    place = tmp_path_factory.mktemp("lab")
    assets = page_assets(["ebm_lab"])
    labs = {
        "lab": EBMLab(),
        "playing": EBMLab(playing=True),
        "two": EBMLab(config=TWO),
        "small": EBMLab(small=True, controls=["method", "steps"], config=TWO),
        "exploding": EBMLab(model=huge_model()),
        "given": EBMLab(model=own_model(), data=star()),
    }
    for name, lab in labs.items():
        write_page(place, f"{name}.html", lab.to_html(), assets)
    return place


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with bw.serve(folder) as found:
        yield found


@pytest.fixture
def lab(chrome, address: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page, and see that nothing went wrong on it."""
    visits = []

    def open_page(name: str, *, hash_: str = "", **options: Any):
        visit = bw.visit(chrome, f"{address}/{name}.html{hash_}", **options)
        page, faults = visit.__enter__()
        visits.append((visit, faults))
        page.wait_for_function(READY)
        return page

    yield open_page
    for visit, _ in visits:
        visit.__exit__(None, None, None)
    assert [faults for _, faults in visits if faults] == []


def get(page, name: str) -> Any:
    return page.evaluate(GET, name)


def until(page, count: int) -> None:
    """Train on, or go back, to a number of updates, and wait."""
    page.evaluate(SET, ["count", count])
    arrived = f"() => ({GET})('count') === {count} && !({GET})('playing')"
    page.wait_for_function(arrived, timeout=60_000)


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


# --- Looks ---------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("name", ["lab", "two", "small"])
def test_it_fits_and_can_be_read(lab, name: str, width: int, theme: str) -> None:
    page = lab(name, width=width, color_scheme=theme)
    ground = {"light": "#fff", "dark": "#121212"}[theme]
    page.evaluate(f"document.body.style.background = '{ground}'")
    until(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(TARGETS) == []
    assert page.evaluate(LOOKS) == []


def test_every_control_is_named_and_explained(lab) -> None:
    page = lab("two")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    silent = page.evaluate(
        """() => [...document.querySelectorAll('.ebm-lab :is(button, select, input)')]
        .filter(c => c.checkVisibility())
        .filter(c => !(c.ariaDescription || c.closest('fieldset')?.ariaDescription)
          || !(c.ariaLabel || c.labels?.[0]?.textContent || c.textContent).trim())
        .map(c => c.outerHTML)"""
    )
    assert silent == []


def test_hover_and_focus_explain(lab) -> None:
    page = lab("two")
    guide = page.locator(".lab-guide")
    page.get_by_label("Prior sd").hover()
    assert "reference p0" in guide.text_content()
    page.get_by_label("Learning rate").focus()
    assert "Adam" in guide.text_content()


# --- Controls ------------------------------------------------------------------------


@pytest.mark.parametrize("means", ["mouse", "keyboard"])
@pytest.mark.parametrize("name", ["lab", "two", "small"])
def test_every_control_changes_the_picture(lab, name: str, means: str) -> None:
    page = lab(name)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    (widget,) = bw.start(page)
    # how the learning rate falls shows only late: it is tested by itself
    page.evaluate("document.querySelector('[data-option=schedule]')?.remove()")
    assert bw.dead_controls(widget, means) == []


def test_a_control_without_effect_on_the_next_updates_is_found(lab) -> None:
    page = lab("lab")
    (widget,) = bw.start(page)
    page.evaluate(
        """() => {
        const old = document.querySelector('[data-option=lr] input');
        old.replaceWith(old.cloneNode());
        }"""
    )
    dead = bw.dead_controls(widget, "keyboard")
    assert [line for line in dead if "Learning rate" in line] == dead != []


def test_the_schedule_changes_the_run(lab) -> None:
    page = lab("lab")
    weights = []
    for schedule in ("constant", "cosine"):
        page.evaluate(
            SET, ["config", EBMLab(config={"a": {"schedule": schedule}}).config]
        )
        if weights:  # a live change: what was trained before it stays
            button(page, "Reset").click()
        until(page, 30)
        weights.append(get(page, "weights"))
    assert weights[0] != weights[1]


def test_keys_alone_train_and_draw(lab) -> None:
    page = lab("lab")
    keys = page.keyboard
    for _ in range(40):
        keys.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Play":
            break
    keys.press("Space")
    page.wait_for_function(f"() => ({GET})('count') > 3")
    keys.press("Space")
    assert not get(page, "playing")
    page.get_by_label("Draw", exact=True).focus()
    keys.press("Space")
    assert get(page, "config")["data"] == "drawn"
    before = get(page, "config")["drawing"]
    button(page, "Clear").focus()
    keys.press("Enter")
    page.get_by_label("Drawing pad").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Space", "ArrowDown", "Space"):
        keys.press(key)
    keys.press("Enter")
    drawing = get(page, "config")["drawing"]
    assert drawing not in ("", before)
    assert drawing.strip("A"), "the drawing is not black"


def test_a_pointer_draws(lab) -> None:
    page = lab("lab")
    page.get_by_label("Draw", exact=True).check()
    before = get(page, "config")["drawing"]
    pad = page.get_by_label("Drawing pad")
    pad.scroll_into_view_if_needed()
    bw._drag(pad.element_handle())
    page.wait_for_function(f"old => ({GET})('config').drawing !== old", arg=before)
    until(page, 3)


def test_slow_motion_shows_both_halves(lab) -> None:
    page = lab("two")
    page.evaluate(
        """() => {
        window.seen = new Set();
        const pill = document.querySelectorAll('.lab-pill')[1];
        new MutationObserver(() => window.seen.add(pill.textContent))
          .observe(pill, { childList: true, characterData: true, subtree: true });
        }"""
    )
    button(page, "Slow").click()
    page.wait_for_function(
        "() => ['Langevin step', '1 · Push', '2 · Pull', 'Update'].every("
        "start => [...seen].some(text => text.startsWith(start)))"
    )
    button(page, "Slow").click()
    assert not get(page, "playing")


def test_a_preset_brings_its_sentence(lab) -> None:
    page = lab("lab", reduced_motion="reduce")
    for name, sentence in EBMLab.presets().items():
        page.get_by_label("Presets").select_option(name)
        assert page.locator(".lab-guide").text_content() in (
            sentence,
            page.get_by_label("Presets").evaluate("s => s.ariaDescription"),
        )
        page.evaluate("document.activeElement.blur()")
        page.locator(".lab-counter").hover()
        assert page.locator(".lab-guide").text_content() == sentence


# --- Runs ----------------------------------------------------------------------------


def pixels_apart(one: str, other: str) -> int:
    """Number of pixels in which two pictures, as data URIs, differ."""
    decoded = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
        for uri in (one, other)
    ]
    assert decoded[0].shape == decoded[1].shape
    return int((decoded[0] != decoded[1]).any(-1).sum())


def test_reset_replays_to_the_last_bit(lab) -> None:
    page = lab("two")
    until(page, 12)
    first = get(page, "weights"), page.evaluate(PICTURES)
    button(page, "Reset").click()
    assert get(page, "count") == 0
    assert get(page, "weights") != first[0]
    until(page, 12)
    assert get(page, "weights") == first[0]
    for one, other in zip(page.evaluate(PICTURES), first[1], strict=True):
        # the browser's own rounding of a line's edge may move a pixel
        assert pixels_apart(one, other) <= 4
    page.reload()
    page.wait_for_function(READY)
    until(page, 12)
    assert get(page, "weights") == first[0]


def test_both_models_start_from_the_same_weights(lab) -> None:
    page = lab("two")
    until(page, 1)
    until(page, 0)
    one, other = get(page, "weights")
    assert one == other
    until(page, 1)
    one, other = get(page, "weights")
    assert one != other


def test_one_can_go_back_and_on(lab) -> None:
    page = lab("lab")
    until(page, 8)
    early = get(page, "weights")
    until(page, 20)
    late = get(page, "weights")
    scrub = page.locator(".lab-scrub input")
    scrub.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    assert get(page, "count") == 8
    assert get(page, "weights") == early
    page.keyboard.press("End")
    assert (get(page, "count"), get(page, "weights")) == (20, late)
    page.keyboard.press("Home")
    until(page, 20)
    assert get(page, "weights") == late


def test_numbers_that_explode_are_explained(lab) -> None:
    page = lab("exploding")
    button(page, "Play").click()
    alert = page.get_by_role("alert")
    page.wait_for_function("document.querySelector('.lab-alert').checkVisibility()")
    assert "no longer finite" in alert.text_content()
    assert not get(page, "playing")
    assert all(torch.isfinite(m.network[0].weight).all() for m in models_of(page))
    button(page, "Start again").click()
    assert not alert.is_visible()
    button(page, "Step").click()
    assert alert.is_visible()
    # another network, and it goes on
    page.get_by_label("First layer").focus()
    page.keyboard.press("Home")
    assert not alert.is_visible()
    until(page, 2)
    assert not alert.is_visible()


def models_of(page) -> list[TiltedEnergy]:
    widget = EBMLab()
    widget.weights = get(page, "weights")
    return widget.models


def test_it_rests_out_of_sight(lab) -> None:
    page = lab("lab")
    page.evaluate("document.body.prepend(document.createElement('hr'))")
    button(page, "Play").click()
    page.wait_for_function(f"() => ({GET})('count') > 2")
    page.evaluate("document.querySelector('hr').style.marginBottom = '4000px'")
    page.wait_for_timeout(400)
    counter = page.locator(".lab-counter")
    before = counter.text_content()
    page.wait_for_timeout(600)
    assert counter.text_content() == before
    page.evaluate("document.querySelector('hr').style.marginBottom = 0")
    page.wait_for_function(
        "old => document.querySelector('.lab-counter').textContent !== old", arg=before
    )


def test_it_starts_by_itself_unless_motion_is_unwanted(lab) -> None:
    page = lab("playing", reduced_motion="reduce")
    page.wait_for_timeout(500)
    assert (get(page, "count"), get(page, "playing")) == (0, False)
    page = lab("playing", reduced_motion="no-preference")
    page.wait_for_function(f"() => ({GET})('count') > 2")


def test_it_speaks_now_and_then(lab) -> None:
    page = lab("lab")
    page.evaluate(
        """() => {
        window.said = [];
        const live = document.querySelector('[role=status]');
        new MutationObserver(() => said.push([performance.now(), live.textContent]))
          .observe(live, { childList: true, characterData: true, subtree: true });
        }"""
    )
    button(page, "Play").click()
    page.wait_for_timeout(5500)
    said = page.evaluate("said")
    assert len(said) >= 2
    gaps = [b[0] - a[0] for a, b in pairwise(said)]
    assert min(gaps) >= 1990
    assert all("Update" in text and "KL" in text for _, text in said)


# --- Sharing -------------------------------------------------------------------------


def test_a_link_carries_everything(lab) -> None:
    page = lab("two")
    page.get_by_label("seed").fill("77")
    page.keyboard.press("Tab")
    page.get_by_label("Forces").check()
    until(page, 5)
    page.evaluate(
        "navigator.clipboard.writeText = async text => { window.copied = text }"
    )
    button(page, "Copy link").click()
    link = page.evaluate("copied")
    config, weights = get(page, "config"), get(page, "weights")
    assert config["seed"] == 77
    other = lab("lab", hash_=link[link.index("#") :])
    other.wait_for_function(f"() => ({GET})('count') === 5 && !({GET})('playing')")
    assert get(other, "config") == config
    assert get(other, "weights") == weights


def test_a_small_lab_leads_to_the_whole_one(lab) -> None:
    page = lab("small")
    page.get_by_label("Persistent").check()
    config = get(page, "config")
    page.get_by_role("link", name="Open in the full Lab").click()
    page.wait_for_function(READY)
    assert page.locator(".lab-small").count() == 0
    assert get(page, "config") == config


HOSTILE = [
    "#lab&d=<script>window.hurt=1</script>",
    "#lab&d=__proto__&m=constructor&y=toString",
    "#lab&w=1e9&u=64000&k=1e99&c=-5&n=NaN&g=Infinity&at=99999999",
    "#lab&z=" + "%" * 3000,
    "#lab&r=%E0%A4%A&2=1&2.k=" + "9" * 400,
    "#lab&v=energy%22onload=hurt()&f=1e308&l=0x10&s=-0&" + "a=b&" * 5000,
    '#lab"><img src=x onerror=window.hurt=1>',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_link_can_do_nothing(lab, text: str) -> None:
    page = lab("lab", hash_=text)
    page.wait_for_timeout(200)
    assert page.evaluate("window.hurt") is None
    assert page.locator(".ebm-lab img").count() == 0
    if get(page, "playing"):
        button(page, "Pause").click()
    EBMLab(config=get(page, "config"))  # every value is an allowed one
    count = get(page, "count")
    button(page, "Step").click()
    assert get(page, "count") == count + 1


def test_other_anchors_are_left_alone(lab) -> None:
    page = lab("two", hash_="#labels")
    assert get(page, "config")["data"] == "two_gaussians"


# --- Weights -------------------------------------------------------------------------

ENERGY = (
    "async text => {"
    + MODULE
    + """
  const network = m.fromJSON(text);
  const config = m.clampConfig({ data: 'star' });
  const trainer = m.createTrainer(m.createProblem(config), config.a, network);
  return [...trainer.field().energy];
}"""
)


@pytest.mark.parametrize("prior", [0, 0.3])
def test_a_saved_file_has_the_same_energies_in_python(
    lab, tmp_path: Path, prior: float
) -> None:
    page = lab("lab")
    config = EBMLab(config={"data": "star", "a": {"prior": prior}}).config
    page.evaluate(SET, ["config", config])
    until(page, 25)
    with page.expect_download() as found:
        button(page, "Weights").click()
    file = tmp_path / found.value.suggested_filename
    found.value.save_as(file)
    (model,) = load_models(file).values()
    there = page.evaluate(ENERGY, get(page, "weights")[0])
    with torch.no_grad():
        here = model.energy(Grid(bins=48).points_as(torch.float64))
    assert float((here - torch.tensor(there, dtype=torch.float64)).abs().max()) < 1e-12
    (live,) = models_of(page)
    with torch.no_grad():
        assert torch.equal(live.energy(Grid(bins=48).points_as(torch.float64)), here)


def test_a_model_and_data_from_python_arrive(lab) -> None:
    page = lab("given")
    until(page, 1)
    until(page, 0)
    (model,) = models_of(page)
    x = Grid(bins=20).points_as(torch.float64)
    with torch.no_grad():
        assert torch.equal(model.energy(x), own_model().energy(x))
    assert get(page, "config")["data"] == "given"
    assert get(page, "metrics")[0]["kl"] is None
    until(page, 10)
    assert get(page, "metrics")[0]["log_likelihood"] is not None
    # another width is another network: the one from Python is let go
    page.get_by_label("First layer").focus()
    page.keyboard.press("Home")
    (fresh,) = models_of(page)
    assert fresh.network[0].out_features == 2


# --- Speed ---------------------------------------------------------------------------

SPEED = (
    "async () => {"
    + MODULE
    + """
  const rate = (config, seconds = 2) => {
    const lab = m.createLab(m.clampConfig(config));
    for (let k = 0; k < 5; k += 1) lab.step();
    const [start, from] = [performance.now(), lab.count];
    while (performance.now() - start < 1000 * seconds) lab.advance(12);
    return (1000 * (lab.count - from)) / (performance.now() - start);
  };
  return { exact: rate({}), chains: rate({ a: { method: 'persistent', steps: 30 } }) };
}"""
)
PAINTED = """() => new Promise(resolve => {
  const counter = document.querySelector('.lab-counter');
  let [pictures, longest, last] = [0, 0, performance.now()];
  const start = performance.now();
  const first = Number(counter.textContent.replace(',', ''));
  const watch = new MutationObserver(() => { pictures += 1; });
  watch.observe(counter, { childList: true, characterData: true, subtree: true });
  const frame = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (now - start < 3000) return requestAnimationFrame(frame);
    watch.disconnect();
    const seconds = (now - start) / 1000;
    const done = Number(counter.textContent.replace(',', '')) - first;
    resolve({ pictures: pictures / seconds, updates: done / seconds, longest });
  };
  requestAnimationFrame(frame);
})"""


def test_speed_is_reported(lab, record_property, capsys) -> None:
    """Goals: 60 exact and 20 chain updates a second, 20 pictures, paint in 300 ms."""
    page = lab("lab")
    paint = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    )
    bare = page.evaluate(SPEED)
    page.evaluate(SET, ["config", EBMLab(config={"view": {"speed": 16}}).config])
    button(page, "Play").click()
    page.wait_for_timeout(500)
    shown = page.evaluate(PAINTED)
    found = {
        "exact updates a second, alone": bare["exact"],
        "256 chains x 30 steps: updates a second, alone": bare["chains"],
        "exact updates a second, with the picture": shown["updates"],
        "pictures a second": shown["pictures"],
        "longest frame, ms": shown["longest"],
        "first paint, ms": paint,
    }
    for name, value in found.items():
        record_property(name, round(value, 1))
    with capsys.disabled():
        print("\nEBM Lab:", json.dumps({k: round(v, 1) for k, v in found.items()}))
    # reported, not asserted: a busy machine must not fail, a stalled page must
    assert bare["exact"] > 0
    assert shown["pictures"] > 0
    assert paint is not None
