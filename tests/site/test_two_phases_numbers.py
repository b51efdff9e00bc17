"""The two-phase widget's arithmetic in the browser, held against autograd's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from ebmlib.distributions import ThreeGaussians1D
from ebmlib.energy import EnergyModel
from ebmlib.grid import Grid, GridDensity
from ebmlib.widgets import TwoPhases
from ebmlib.widgets._host import page_assets
from ebmlib.widgets.two_phases import SOURCES

pytest.importorskip("playwright")
from tests.site import browser as bw
from tests.site.sfc32 import Sfc32

pytestmark = pytest.mark.browser

# Sums of n terms of size s differ by at most about n * eps * s between two orders of
# summation: 400 * 2.2e-16 * 300 is 3e-11 here. Training carries differences on without
# blowing them up below the largest stable rate, 2 / (largest curvature), about 4.8.
RELATIVE, ABSOLUTE = 1e-9, 1e-9
BUMPS, BINS, SEED = 40, 200, 7

COMPUTE = """async ([spec, settings]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const problem = m.problemOf(spec);
  const result = m.train(problem, settings);
  const random = m.uniforms(spec.seed);
  return {
    ...Object.fromEntries(Object.entries(result).map(
      ([key, value]) => [key, value.length === undefined ? value : [...value]])),
    uniforms: Array.from({ length: 20 }, random),
    bars: [...m.histogram(problem.data, spec.box, 40)],
  };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs the page's own module on a widget's own data."""
    page_file = tmp_path_factory.mktemp("numbers") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["two_phases"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(widget: TwoPhases) -> dict[str, Any]:
            state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
            settings = {
                "samples": SOURCES[widget.negatives]["samples"],
                "rate": widget.rate,
                "halves": widget.half,
            }
            return page.evaluate(COMPUTE, [state["spec"], settings])

        yield run
        assert faults == []


class Bumps(EnergyModel):
    """The widget's energy, written down once more."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.zeros(BUMPS, dtype=torch.float64))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        spacing = 2 / (BUMPS - 1)
        centres = torch.linspace(-1, 1, BUMPS, dtype=torch.float64)
        return -torch.exp(-((x - centres) ** 2) / (2 * spacing**2)) @ self.theta


def gradient(model: Bumps, value: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value, model.theta)[0]


def trained(x: torch.Tensor, source: str, rate: float, halves: int) -> Bumps:
    """Train by automatic differentiation of the mean energies."""
    model, random = Bumps(), Sfc32(SEED)
    points = Grid(bins=BINS, dim=1).points_as(torch.float64)
    push = gradient(model, -model.energy(x).mean())
    for half in range(halves):
        if half % 2 == 0:
            prob = torch.softmax(-model.energy(points).detach(), 0)
            samples = SOURCES[source]["samples"]
            if samples is None:
                pull = gradient(model, prob @ model.energy(points))
            elif samples == 0:
                pull = torch.zeros_like(push)
            else:
                total = prob.cumsum(0).numpy()
                u = np.array([random() for _ in range(samples)]) * total[-1]
                cells = np.searchsorted(total, u, side="right")
                pull = gradient(model, model.energy(points[cells]).mean())
        with torch.no_grad():
            model.theta += rate * (push if half % 2 == 0 else pull)
    return model


def widget(source: str, rate: float, half: int) -> TwoPhases:
    truth = ThreeGaussians1D()
    x = truth.sample((400,), generator=torch.Generator().manual_seed(0))
    return TwoPhases(
        x, truth, alt="a", negatives=source, rate=rate, half=half, seed=SEED
    )


def close(actual: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        expected = expected.detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=ABSOLUTE)


@pytest.mark.parametrize("half", [0, 1, 2, 41, 120])
@pytest.mark.parametrize("source", SOURCES)
def test_training_is_gradient_ascent(compute, source: str, half: int) -> None:
    shown = widget(source, 2.0, half)
    found = compute(shown)
    model = trained(shown._data, source, 2.0, half)
    close(found["theta"], model.theta)
    density = GridDensity(model, shown._grid)
    close(found["logZ"], density.log_partition)
    close(found["logDensity"], density.log_prob)
    close(found["logLikelihood"], density.log_likelihood(shown._data))
    close(found["kl"], GridDensity(ThreeGaussians1D(), shown._grid).kl(density))
    close(found["dataEnergy"], model.energy(shown._data).mean())
    close(found["modelEnergy"], density.expectation(model.energy))


def test_the_forces_are_what_the_next_update_does(compute) -> None:
    before, after = (compute(widget("exact", 3.0, half)) for half in (10, 12))
    change = np.array(after["energy"]) - np.array(before["energy"])
    close(change, np.add(before["push"], before["pull"]))
    pushed = compute(widget("exact", 3.0, 11))
    for name in ("push", "pull"):
        close(pushed[name], before[name])
    close(pushed["energyBefore"], before["energy"])


def test_random_numbers_are_those_of_the_generator(compute) -> None:
    random = Sfc32(SEED)
    assert compute(widget("few", 2.0, 1))["uniforms"] == [random() for _ in range(20)]


def test_the_bars_are_a_histogram(compute) -> None:
    shown = widget("exact", 2.0, 0)
    bars, _ = np.histogram(shown._data[:, 0], 40, (-1, 1), density=True)
    close(compute(shown)["bars"], bars)


def test_the_check_can_fail(compute) -> None:
    shown = widget("exact", 2.0, 40)
    model = trained(shown._data, "exact", 2.0 + 1e-6, 40)
    with pytest.raises(AssertionError):
        close(compute(shown)["theta"], model.theta)
