"""The latent explorer's arithmetic in the browser, held against PyTorch's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from ebmlib.distributions import Clusters
from ebmlib.energy import mlp
from ebmlib.gan import Generator
from ebmlib.grid import Grid
from ebmlib.widgets import LatentExplorer
from ebmlib.widgets._host import page_assets
from tests.site.sfc32 import Sfc32

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Sums of at most 33 products a layer over 6 layers, of size 10: below 1e-12 in float64.
CLOSE = {"rtol": 1e-10, "atol": 1e-11}

COMPUTE = """async ([spec, job]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const [base, critic] = [spec.base, spec.critic].map(m.decodeNetwork);
  const both = m.composed(base, critic);
  const map = m.mapper(base);
  if (job.points) {
    return job.points.map((z) => ({
      x: [...map(...z)], d: m.evaluator(critic)(...map(...z)),
      ...m.probeNetwork(both, ...z),
    }));
  }
  if (job.walks) {
    const { temperature, step, seed, count } = job;
    return job.walks.map((from, i) => {
      let now = { z: from };
      for (let n = 0; n < count; n += 1) {
        now = m.latentStep(both, spec.box, now.z, {
          temperature, step, seed: seed + i * count + n,
        });
      }
      return now;
    });
  }
  const [latent, plane] = [spec.latent, spec.tilt].map(m.decodeArray);
  const masses = m.decodeArray(spec.masses);
  const tilted = m.corrected(masses, plane, job.temperature);
  const { logZ, ratio, effective } = m.posterior(latent, job.temperature);
  const truth = m.decodeArray(spec.truth);
  return {
    logZ, effective, ratio: [...ratio], tilted: [...tilted],
    distances: [m.variation(masses, truth), m.variation(tilted, truth)],
  };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., Any]]:
    """Return a function that runs the page's own module on a widget's own data."""
    page_file = tmp_path_factory.mktemp("numbers") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["latent_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(widget: LatentExplorer, **job: Any) -> Any:
            state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
            return page.evaluate(COMPUTE, [state["spec"], job])

        yield run
        assert faults == []


def network(widths, seed, activation="relu"):
    """Normal weights, in float64."""
    made = mlp(widths, activation).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in made[::2]:
            for parameter in module.parameters():
                draw = torch.randn(
                    parameter.shape, dtype=torch.float64, generator=generator
                )
                parameter.copy_(draw * math.sqrt(2 / module.in_features))
    return made


CRITIC = network([2, 33, 1], 1, "tanh")


def explorer(widths=(2, 12, 9, 2), activation="relu", **options) -> LatentExplorer:
    base = Generator(network(list(widths), 0, activation))
    options = {"bins": 40, "resolution": 30, "truth": Clusters(sd=0.2)} | options
    return LatentExplorer(base, CRITIC, alt="x", low=-2, high=2, **options)


def points(n: int, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, 2, dtype=torch.float64, generator=generator) - 1


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "softplus", "tanh"])
@pytest.mark.parametrize("widths", [(2, 2), (2, 7, 2), (2, 12, 9, 2)])
def test_images_critic_and_gradient(compute, widths, activation) -> None:
    widget = explorer(widths, activation)
    z = points(40).requires_grad_()
    found = compute(widget, points=z.tolist())
    x = widget._base(z)
    d = CRITIC(x)[:, 0]
    (gradient,) = torch.autograd.grad(d.sum(), z)
    for name, expected in (("x", x), ("d", d), ("f", d), ("gradient", gradient)):
        values = [place[name] for place in found]
        np.testing.assert_allclose(values, expected.detach(), **CLOSE)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_posterior_and_corrected_density(compute, temperature) -> None:
    widget = explorer(temperature=temperature)
    found = compute(widget, temperature=temperature)
    ratio, prob = widget.fields()
    np.testing.assert_allclose(found["ratio"], ratio, **CLOSE)
    np.testing.assert_allclose(found["tilted"], prob, **CLOSE)
    z = Grid(bins=30).points_as(torch.float64)
    with torch.no_grad():
        weight = (CRITIC(widget._base(z))[:, 0] / temperature).exp()
    # values of up to 10 travel as float32: 6e-8 of them, divided by the temperature
    rounding = 6e-7 / temperature
    assert found["logZ"] == pytest.approx(float(weight.mean().log()), abs=rounding)
    effective = weight.mean() ** 2 / weight.square().mean()
    assert found["effective"] == pytest.approx(float(effective), rel=4 * rounding)
    masses, truth = (
        torch.from_numpy(values.astype(float))
        for values in (widget._masses, widget._truth)
    )
    off = float((truth.sum() - masses.sum()).abs())  # generated off the grid
    assert off > 1e-3
    generator = ((masses - truth).abs().sum() + off) / 2
    tilted = (prob - truth).abs().sum() / 2
    # the masses travel as float32: their sum is that of the truth up to 1e-7
    expected = [float(generator), float(tilted)]
    np.testing.assert_allclose(found["distances"], expected, atol=1e-6)


def test_a_step_is_the_librarys_formula(compute) -> None:
    """Langevin's proposal and the ratio of Metropolis and Hastings, written out."""
    widget, step, temperature = explorer(), 0.3, 0.1
    z = points(200) * 0.6  # so that most proposals need no reflection
    found = compute(
        widget, walks=z.tolist(), temperature=temperature, step=step, seed=7, count=1
    )

    def log_p(place):
        return CRITIC(widget._base(place))[:, 0] / temperature

    def drift(place):
        place = place.clone().requires_grad_()
        (slope,) = torch.autograd.grad(log_p(place).sum(), place)
        return step**2 / 2 * slope

    noise, coin = [], []
    for i in range(len(z)):
        uniform = Sfc32(7 + i)
        radius, angle = math.sqrt(-2 * math.log(uniform())), 2 * math.pi * uniform()
        noise.append([radius * math.cos(angle), radius * math.sin(angle)])
        coin.append(uniform())
    noise = torch.tensor(noise, dtype=torch.float64)
    there = z + drift(z) + step * noise
    inside = (there.abs() <= 1).all(1)
    back = -(z - there - drift(there)).square().sum(1) / (2 * step**2)
    log_ratio = log_p(there) - log_p(z) + back + noise.square().sum(1) / 2
    taken = torch.tensor(coin, dtype=torch.float64).log() < log_ratio
    assert inside.sum() > 150
    assert 20 < taken[inside].sum() < inside.sum() - 20
    for i in inside.nonzero()[:, 0].tolist():
        np.testing.assert_allclose(found[i]["proposal"], there[i].detach(), **CLOSE)
        assert found[i]["accepted"] == bool(taken[i])
        end = there[i] if taken[i] else z[i]
        np.testing.assert_allclose(found[i]["z"], end.detach(), **CLOSE)


def test_the_chain_keeps_the_posterior(compute) -> None:
    """Exact draws, some steps later, are exact draws still: also at the walls."""
    widget = explorer()
    z = points(40_000, seed=3)
    with torch.no_grad():
        d = CRITIC(widget._base(z))[:, 0]
        fine = Grid(bins=400).points_as(torch.float64)
        weight = CRITIC(widget._base(fine))[:, 0].exp()
    # a bound of the weights on a fine grid, and a little more, for rejection
    ceiling = 1.05 * float(weight.max())
    assert float(d.exp().max()) < ceiling
    coin = torch.rand(
        len(z), dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    start = z[coin * ceiling < d.exp()][:3000]
    assert len(start) == 3000
    found = compute(
        widget, walks=start.tolist(), temperature=1.0, step=0.4, seed=11, count=5
    )
    end = torch.tensor([walk["z"] for walk in found], dtype=torch.float64)
    moved = (end != start).any(1).double().mean()
    assert moved > 0.5
    cells = Grid(bins=6)
    count = cells.count(end)
    expected = torch.zeros(36, dtype=torch.float64)
    expected.index_add_(0, cells.cells(fine), weight / weight.sum())
    assert stats.chisquare(count, 3000 * expected).pvalue > 1e-6


def test_the_check_can_fail(compute) -> None:
    widget = explorer()
    found = compute(widget, temperature=1.0)
    widget.temperature = 1.0001
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found["ratio"], widget.fields()[0], **CLOSE)


# What the page does


@pytest.fixture(scope="module")
def live(chrome, tmp_path_factory):
    """A page with one explorer on it, live."""
    widget = explorer(samples=points(50).float(), probe=(0.2, 0.1))
    page_file = tmp_path_factory.mktemp("live") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,"><title>t</title>'
    body = widget.to_html() + page_assets(["latent_explorer"])
    page_file.write_text(f"<!doctype html>{head}{body}", encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):
        (element,) = bw.start(page)
        yield element
        assert faults == []


@pytest.mark.parametrize("means", ["mouse", "keyboard"])
def test_every_control_changes_the_picture(live, means) -> None:
    assert bw.dead_controls(live, means) == []


def test_a_walk_goes_on_and_a_hand_ends_it(live) -> None:
    def get(name):
        return live.evaluate("(w, name) => w.ebmModel.get(name)", name)

    page = live.owner_frame().page
    start = get("probe")
    for _ in range(3):
        live.query_selector("[data-once]").click()
    path = get("path")
    assert get("steps") == 3
    assert len(path) == 8
    assert path[:2] == start
    assert path[-2:] == get("probe")
    cells = [cell.text_content() for cell in live.query_selector_all("td")]
    assert cells[-1].startswith("3, ")
    live.query_selector(".ebm-handle").focus()
    page.keyboard.press("ArrowLeft")
    assert get("probe")[0] == pytest.approx(path[-2] - 0.01, abs=1e-4)
    assert get("path") == []
    assert get("steps") == get("accepted") == 0
    live.query_selector(".ebm-play").click()
    page.wait_for_function(
        "document.querySelector('[data-ebm-widget]').ebmModel.get('steps') > 5"
    )
    live.query_selector(".ebm-play").click()
    assert get("playing") is False
    assert len(get("path")) == 2 * get("steps") + 2
    live.query_selector("text=clear path").click()
    assert get("path") == []
