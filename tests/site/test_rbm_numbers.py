"""The drawing pad's arithmetic in the browser, held against enumeration in float64."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ebmlib.widgets import RBMPad
from ebmlib.widgets._host import page_assets
from tests.site.sfc32 import Sfc32

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Sums of 64 terms of size 3 in float64: 64 * 3 * 2.2e-16 is below 1e-13.
RELATIVE, ABSOLUTE = 1e-12, 1e-12

COMPUTE = """async ([spec, job]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const { side, hidden, weight, visible_bias: b, hidden_bias: c } = spec.models[0];
  const machine = { visible: side * side, hidden, weight: m.decodeArray(weight),
    visibleBias: m.decodeArray(b), hiddenBias: m.decodeArray(c) };
  if (job.images) {
    return job.images.map((v) => ({ F: m.freeEnergy(machine, v),
      h: [...m.hiddenChance(machine, v)] }));
  }
  if (job.states) return job.states.map((h) => [...m.visibleChance(machine, h)]);
  if (job.soft) return job.soft.map((a) => [m.softplus(a), m.sigmoid(a)]);
  if (job.sorted) {
    const sorted = Float64Array.from(job.sorted);
    return { above: job.values.map((x) => m.shareAbove(sorted, x)),
      counts: [...m.histogram(sorted, job.range, job.cells)] };
  }
  if (job.brush) return m.brushed(...job.brush);
  if (job.stroke) return m.stroke(...job.stroke);
  const chain = m.gibbsChain(machine, job.drawing, job.free, job.seed);
  const [path, chance, mean] = [[], [], new Float64Array(machine.visible)];
  const blocks = [];
  for (let t = 0; t < job.steps; t += 1) {
    chain.step();
    if (job.keep) {
      path.push([...chain.v]);
      chance.push([...chain.chance]);
    }
    chain.v.forEach((x, i) => { mean[i] += x; });
    if (job.block && (t + 1) % job.block === 0) {
      blocks.push([...mean].map((x) => x / job.block));
      mean.fill(0);
    }
  }
  return { path, chance, blocks };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., Any]]:
    """Return a function that runs the page's own module on a widget's own data."""
    page_file = tmp_path_factory.mktemp("numbers") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["rbm_pad"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(widget: RBMPad, **job: Any) -> Any:
            state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
            return page.evaluate(COMPUTE, [state["spec"], job])

        yield run
        assert faults == []


def machine(side: int, hidden: int, spread: float = 1.0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(side)
    draw = torch.randn
    return SimpleNamespace(
        weight=spread * draw(hidden, side**2, generator=generator),
        visible_bias=draw(side**2, generator=generator),
        hidden_bias=draw(hidden, generator=generator),
    )


def pad(model: SimpleNamespace) -> RBMPad:
    return RBMPad({"m": model}, alt="x", images={})


def states(count: int) -> torch.Tensor:
    """All vectors of zeros and ones, (2**count, count)."""
    zero_one = [torch.tensor([0.0, 1.0], dtype=torch.float64)] * count
    return torch.cartesian_prod(*zero_one)


def joint(model: SimpleNamespace, v: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """-E(v, h) of every pair, from the definition."""
    b, c, w = (
        part.double() for part in (model.visible_bias, model.hidden_bias, model.weight)
    )
    return (v @ b)[:, None] + h @ c + v @ w.T @ h.T


def images(side: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    chance = torch.full((count, side**2), 0.4, dtype=torch.float64)
    return torch.bernoulli(chance, generator=generator)


def test_free_energy_and_hidden_chances_by_enumeration(compute) -> None:
    model = machine(8, 7)
    v, h = images(8, 40), states(7)
    found = compute(pad(model), images=v.tolist())
    weights = joint(model, v, h)
    expected = -torch.logsumexp(weights, 1)
    np.testing.assert_allclose(
        [one["F"] for one in found], expected, RELATIVE, ABSOLUTE
    )
    chance = torch.softmax(weights, 1) @ h
    np.testing.assert_allclose([one["h"] for one in found], chance, 1e-11, ABSOLUTE)


def test_visible_chances_by_enumeration(compute) -> None:
    model = machine(4, 5)
    h = states(5)
    v = states(16)
    chance = torch.softmax(joint(model, v, h), 0).T @ v
    found = compute(pad(model), states=h.tolist())
    np.testing.assert_allclose(found, chance, rtol=1e-10, atol=1e-12)


def test_no_overflow(compute) -> None:
    a = np.array([-800.0, -40.0, -1e-8, 0.0, 0.3, 50.0, 900.0])
    found = np.array(compute(pad(machine(4, 2)), soft=a.tolist()))
    np.testing.assert_allclose(found[:, 0], np.logaddexp(0, a), rtol=1e-14)
    t = torch.tensor(a)
    np.testing.assert_allclose(found[:, 1], torch.sigmoid(t), rtol=1e-14, atol=0)


@pytest.mark.parametrize("held", [False, True])
def test_the_chain_step_by_step_with_the_same_noise(compute, held) -> None:
    model = machine(5, 6)
    free = images(5, 2)[1] if held else torch.ones(25, dtype=torch.float64)
    start = images(5, 1)[0]
    job = {"drawing": start.tolist(), "free": free.tolist(), "seed": 3}
    found = compute(pad(model), **job, steps=200, keep=True)
    w, b, c = (p.double().numpy() for p in vars(model).values())
    uniform, v = Sfc32(3), start.numpy().copy()
    for path, chance in zip(found["path"], found["chance"], strict=True):
        p = 1 / (1 + np.exp(-(c + w @ v)))
        h = np.array([uniform() < one for one in p], dtype=float)
        p = 1 / (1 + np.exp(-(b + h @ w)))
        drawn = np.array([uniform() < one for one in p], dtype=float)
        v = np.where(free == 1, drawn, v)
        np.testing.assert_array_equal(path, v)
        np.testing.assert_allclose(chance, np.where(free == 1, p, v), rtol=1e-12)


@pytest.mark.parametrize("held", [False, True])
def test_the_chain_has_the_machines_distribution(compute, held) -> None:
    """Means of the pixels over 40,000 steps, with errors from 100 block means."""
    model = machine(4, 4, spread=0.7)
    start = images(4, 1)[0]
    free = torch.ones(16)
    if held:
        free[:8] = 0
    found = compute(
        pad(model),
        drawing=start.tolist(),
        free=free.tolist(),
        seed=1,
        steps=40_000,
        block=400,
    )
    v = states(16)
    v = v[(v[:, free == 0] == start[free == 0]).all(1)]
    exact = torch.softmax(torch.logsumexp(joint(model, v, states(4)), 1), 0) @ v
    blocks = np.array(found["blocks"])
    error = blocks.std(0, ddof=1) / math.sqrt(len(blocks))
    gap = np.abs(blocks.mean(0) - exact.numpy())
    # 16 pixels at 4.5 standard errors: a false alarm once in 10,000 runs
    assert (gap <= 4.5 * error + 1e-12).all()
    if held:
        np.testing.assert_array_equal(blocks[:, :8], start[:8].expand(100, 8))


def test_shares_and_histograms(compute) -> None:
    generator = np.random.default_rng(0)
    values = np.sort(generator.normal(size=300).round(2))
    asked = [*values[::25], -9.0, 9.0]
    found = compute(
        pad(machine(4, 2)),
        sorted=values.tolist(),
        values=asked,
        range=[-1.5, 2.0],
        cells=7,
    )
    np.testing.assert_allclose(found["above"], [(values > x).mean() for x in asked])
    inside = values[(values >= -1.5) & (values < 2.0)]
    np.testing.assert_array_equal(
        found["counts"], np.histogram(inside, bins=7, range=(-1.5, 2.0))[0]
    )


def test_the_brush_and_its_stroke(compute) -> None:
    widget = pad(machine(4, 2))
    rows, columns = np.mgrid[:9, :9]
    for i, j, radius in ((4, 4, 1.2), (0, 8, 2.0), (3, 0, 0.5)):
        disc = (rows - i) ** 2 + (columns - j) ** 2 <= radius**2
        expected = np.flatnonzero(disc)
        np.testing.assert_array_equal(
            compute(widget, brush=[9, i, j, radius]), expected
        )
    path = np.array(compute(widget, stroke=[[1, 2], [5, -6]]))
    steps = np.diff(np.vstack([[1, 2], path]), axis=0)
    assert (path[-1] == [5, -6]).all()
    assert (np.abs(steps).max(1) == 1).all()
    assert compute(widget, stroke=[[3, 3], [3, 3]]) == []


PAINT = """() => document.querySelector('[data-ebm-widget]').ebmModel"""


@pytest.fixture
def page(chrome, tmp_path) -> Iterator[Any]:
    """A page with a pad on a blank sheet of 8 x 8 pixels."""
    widget = RBMPad({"m": machine(8, 6)}, alt="A pad", images={})
    head = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
    text = head + widget.to_html() + page_assets(["rbm_pad"])
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    with bw.visit(chrome, (tmp_path / "page.html").as_uri()) as (found, faults):
        bw.start(found)
        yield found
        assert faults == []


def trait(page: Any, name: str) -> Any:
    return page.evaluate(f"({PAINT})().get('{name}')")


def test_drawing_with_keys(page) -> None:
    page.query_selector(".ebm-pad").focus()
    for key in ("Space", "ArrowRight", "Shift+ArrowDown", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(key)
    on = [k for k, bit in enumerate(trait(page, "drawing")) if bit == "1"]
    assert on == [0, 9, 10]
    assert trait(page, "cursor") == [1, 2]
    assert trait(page, "steps") == 0
    page.evaluate(f"({PAINT})().set('brush', 'erase')")
    page.keyboard.press("Space")
    assert trait(page, "drawing")[10] == "0"


def test_drawing_with_a_pointer(page) -> None:
    box = page.query_selector(".ebm-pad canvas").bounding_box()
    at = [box["x"] + 0.5 * box["width"] / 8, box["y"] + 4.5 * box["height"] / 8]
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] + 5 * box["width"] / 8, at[1])
    page.mouse.up()
    page.mouse.move(at[0], at[1] - 60)
    on = [k for k, bit in enumerate(trait(page, "drawing")) if bit == "1"]
    assert on == [32, 33, 34, 35, 36, 37]


def test_holding_rows_and_pixels(page) -> None:
    many = page.get_by_label("rows left free")
    many.focus()
    page.keyboard.press("Home")
    assert trait(page, "free") == "0" * 64
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_label("first of them").focus()
    page.keyboard.press("ArrowRight")
    assert trait(page, "free") == "0" * 8 + "1" * 24 + "0" * 32
    page.evaluate(f"({PAINT})().set('brush', 'hold')")
    page.query_selector(".ebm-pad").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert trait(page, "free") == "0" * 9 + "1" * 23 + "0" * 32
    page.get_by_role("button", name="100", exact=True).click()
    assert trait(page, "steps") == 100


def test_the_chain_pauses_at_the_least_and_goes_slowly_on_request(page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(f"({PAINT})().set('steps', 0)")
    page.query_selector(".ebm-play").click()
    page.wait_for_timeout(500)
    assert trait(page, "steps") == 1
    page.query_selector(".ebm-play").click()
    assert trait(page, "playing") is False
