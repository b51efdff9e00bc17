"""The particles' arithmetic in the browser, held against PyTorch and exact masses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from ebmlib import distributions
from ebmlib.samplers import State, leapfrog
from ebmlib.widgets import ParticleExplorer
from ebmlib.widgets._host import page_assets
from ebmlib.widgets.particle import KERNELS

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Energies of size 100 in float64, a handful of operations each: 100 * 10 * 2.2e-16 is
# below 1e-12; gradients divide by the spacing, a fortieth.
RELATIVE, ABSOLUTE = 1e-10, 1e-11
BINS = 32

COMPUTE = """async ([spec, job]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const values = m.decodeArray(spec.energies[0].values);
  const field = m.bilinear(values, spec.nodes, spec.box);
  if (job.points) {
    return job.points.map(([x, y]) => {
      const g = [0, 0];
      return [field(x, y, g), ...g];
    });
  }
  if (job.folds) return job.folds.map((x) => m.fold(x, spec.box));
  if (job.masses) return [...m.exactMasses(field, spec.box, spec.bins, job.masses)];
  if (job.distance) {
    const masses = Float64Array.from(job.distance.masses);
    return [m.distance(Float64Array.from(job.distance.counts), masses),
      ...job.distance.totals.map((n) => m.independentDistance(masses, n))];
  }
  if (job.paths) {
    return job.paths.map(([x, y, u, v]) => {
      const [place, speed, g] = [[x, y], [u, v], [0, 0]];
      field(x, y, g);
      const energy = m.leapfrog(field, spec.box, place, speed, g, job.step, job.count);
      return [...place, ...speed, energy];
    });
  }
  const run = m.particles({
    field, box: spec.box, kernel: job.kernel, step: job.step, bins: spec.bins,
    temperature: job.temperature, seed: job.seed,
    positions: m.dropped(job.from, job.count, job.spread, spec.box, 1),
  });
  for (let i = 0; i < job.steps; i += 1) run.advance();
  return { x: [...run.cloud.x], counts: [...run.counts],
    acceptance: run.acceptance(), swaps: run.swapRate() };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., Any]]:
    """Return a function that runs the page's own module on a widget's own data."""
    page_file = tmp_path_factory.mktemp("numbers") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["particle_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(widget: ParticleExplorer, **job: Any) -> Any:
            state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
            return page.evaluate(COMPUTE, [state["spec"], job])

        yield run
        assert faults == []


def wells(x: torch.Tensor) -> torch.Tensor:
    """Two wells cut by the walls, one a little deeper, two nats apart."""
    first, second = x.unbind(1)
    return 10 * (first**2 - 0.3) ** 2 - 0.4 * first + 1.5 * (second - first) ** 2


class Between:
    """The same energy between nodes, in PyTorch: bilinear, with its gradient."""

    def __init__(self, widget: ParticleExplorer) -> None:
        nodes = widget.spec["nodes"]
        axis = torch.linspace(-1, 1, nodes, dtype=torch.float64)
        values = wells(torch.cartesian_prod(axis, axis))
        values = (values - values.min()).float().double()  # as it is shipped
        self.values, self.nodes = values.reshape(nodes, nodes), nodes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        place = (x + 1) * (self.nodes - 1) / 2
        corner = place.detach().floor().clamp(0, self.nodes - 2).long()
        (i, j), (a, b) = corner.unbind(1), (place - corner).unbind(1)
        v = self.values
        low = v[i, j] * (1 - b) + v[i, j + 1] * b
        high = v[i + 1, j] * (1 - b) + v[i + 1, j + 1] * b
        return low * (1 - a) + high * a


@pytest.fixture(scope="module")
def widget() -> ParticleExplorer:
    return ParticleExplorer({"wells": wells}, alt="Two wells")


def masses_of(energy: Between, temperature: float, bins: int, fine: int) -> np.ndarray:
    """Exact masses by a quadrature of its own, four times as fine."""
    axis = (torch.arange(bins * fine, dtype=torch.float64) + 0.5) * 2 / (
        bins * fine
    ) - 1
    prob = torch.softmax(-energy(torch.cartesian_prod(axis, axis)) / temperature, 0)
    return prob.reshape(bins, fine, bins, fine).sum((1, 3)).numpy()


def test_energy_and_gradient_between_the_nodes(compute, widget) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(200, 2, dtype=torch.float64, generator=generator) - 1
    x = torch.cat([x, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -0.3]]).double()])
    found = torch.tensor(compute(widget, points=x.tolist()), dtype=torch.float64)
    x.requires_grad_()
    energy = Between(widget)(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    expected = torch.cat([energy.detach()[:, None], gradient], 1)
    torch.testing.assert_close(found, expected, rtol=RELATIVE, atol=ABSOLUTE)


def test_folding_into_the_box(compute, widget) -> None:
    found = compute(widget, folds=[0.3, 1.0, 1.2, -1.5, 3.1, -3.2, 5.4])
    places, signs = zip(*found, strict=True)
    np.testing.assert_allclose(
        places, [0.3, 1.0, 0.8, -0.5, -0.9, 0.8, 0.6], atol=1e-12
    )
    assert signs == (1, 1, -1, -1, 1, 1, -1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_exact_masses(compute, widget, temperature) -> None:
    found = np.array(compute(widget, masses=temperature)).reshape(BINS, BINS)
    finer = masses_of(Between(widget), temperature, BINS, 16)
    # the midpoint rule's error falls as its cell squared: 4 places a side against 16
    coarse = masses_of(Between(widget), temperature, BINS, 4)
    np.testing.assert_allclose(found, coarse, rtol=1e-9)
    assert np.abs(found - finer).sum() < 1e-3
    assert abs(found.sum() - 1) < 1e-12


def test_total_variation_and_that_of_independent_draws(compute, widget) -> None:
    generator = np.random.default_rng(0)
    masses = generator.dirichlet(np.full(BINS * BINS, 0.3))
    counts = generator.multinomial(5000, masses)
    totals = [50, 5000, 500_000]
    found = compute(
        widget,
        distance={
            "masses": masses.tolist(),
            "counts": counts.tolist(),
            "totals": totals,
        },
    )
    assert found[0] == pytest.approx(0.5 * np.abs(counts / 5000 - masses).sum())
    for total, value in zip(totals, found[1:], strict=True):
        drawn = generator.multinomial(total, masses, size=400) / total
        measured = 0.5 * np.abs(drawn - masses).sum(1)
        error = measured.std() / math.sqrt(400)
        # a Poisson count has a hundredth more spread than the binomial one
        assert abs(value - measured.mean()) < 4 * error + 0.01 * value


def test_leapfrog_is_that_of_the_library(compute, widget) -> None:
    generator = torch.Generator().manual_seed(2)
    x = 2 * torch.rand(30, 2, dtype=torch.float64, generator=generator) - 1
    v = torch.randn(30, 2, dtype=torch.float64, generator=generator)
    energy = Between(widget)
    start = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(start).sum(), start)
    state = State(x, energy(x), gradient, torch.ones(30, dtype=torch.bool))
    end, last = leapfrog(
        state, v, energy, step_size=0.05, n_leapfrog=20, bounds=(-1.0, 1.0)
    )
    paths = torch.cat([x, v], 1).tolist()
    found = compute(widget, paths=paths, step=0.05, count=20)
    expected = torch.cat([end.positions, last, end.energy[:, None]], 1)
    # the gradient jumps at the nodes' lines: a path that meets one to rounding may
    # part, and none of these does
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def eighths(x: np.ndarray) -> np.ndarray:
    """Counts of points (n, 2) in 8 x 8 cells."""
    return np.histogram2d(*x.T, bins=8, range=[[-1, 1], [-1, 1]])[0]


RUNS = [
    ("metropolis", 0.3, 1.0),
    ("metropolis", 0.3, 2.0),
    ("mala", 0.15, 1.0),
    ("mala", 0.15, 0.6),
    ("hmc", 0.06, 1.0),
    ("tempering", 0.12, 1.0),
]


@pytest.mark.parametrize(("kernel", "step", "temperature"), RUNS)
def test_the_exact_density_is_stationary(compute, widget, kernel, step, temperature):
    found = compute(
        widget,
        kernel=KERNELS[kernel],
        step=step,
        temperature=temperature,
        seed=3,
        **{"from": [0.0, 0.0]},
        spread=0.5,
        count=6000,
        steps=150,
    )
    x = np.array(found["x"]).reshape(-1, 2)
    masses = masses_of(Between(widget), temperature, 8, 32)
    observed, expected = eighths(x), masses * len(x)
    rare = expected < 20  # too few for the test: they count as one cell
    pairs = [np.append(v[~rare], v[rare].sum()) for v in (observed, expected + 1e-9)]
    statistic = ((pairs[0] - pairs[1]) ** 2 / pairs[1]).sum()
    assert stats.chi2.sf(statistic, (~rare).sum()) > 1e-4
    assert 0.05 < found["acceptance"] < 1
    assert (found["swaps"] > 0.2) == (kernel == "tempering")
    # and the histogram of all visits holds every visit
    assert sum(found["counts"]) == 6000 * 150


def test_langevin_is_biased_where_the_step_is_large(compute, widget) -> None:
    setting = {"from": [0.0, 0.0], "spread": 0.4, "count": 6000, "seed": 3}
    job = {"kernel": KERNELS["langevin"], "temperature": 1.0, **setting}
    exact = masses_of(Between(widget), 1.0, 8, 32)

    def gap(step: float) -> float:
        steps = round(2.5 / step**2)  # the same time
        x = np.array(compute(widget, step=step, steps=steps, **job)["x"])
        return 0.5 * np.abs(eighths(x.reshape(-1, 2)) / 6000 - exact).sum()

    # 6,000 independent draws in 64 cells are some 0.03 away
    assert gap(0.1) < 0.05 < 0.12 < gap(0.45)


def test_the_same_seed_gives_the_same_particles(compute, widget) -> None:
    job = {
        "kernel": KERNELS["mala"],
        "step": 0.1,
        "temperature": 1.0,
        "from": [0.2, 0.1],
        "spread": 0.05,
        "count": 20,
        "steps": 30,
    }
    first = compute(widget, seed=5, **job)
    assert compute(widget, seed=5, **job) == first
    assert compute(widget, seed=6, **job) != first


def test_the_star_is_shipped_as_it_is(compute) -> None:
    star = distributions.get("star")
    widget = ParticleExplorer({"star": star}, alt="The star")
    axis = torch.linspace(-1, 1, 81, dtype=torch.float64)[::8]
    points = torch.cartesian_prod(axis, axis)  # nodes
    found = torch.tensor(compute(widget, points=points.tolist())).double()[:, 0]
    expected = -star.log_prob(points)
    gap = found - expected
    # up to the constant that the lowest node sets, in float32
    assert (gap - gap[0]).abs().max() < 1e-4
