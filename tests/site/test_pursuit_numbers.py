"""The pursuit explorer's arithmetic in the browser, held against the library's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from ebmlib.distributions import CrossLines, GaussianMixture, Texture, TwoGaussians
from ebmlib.grid import Grid, GridDensity
from ebmlib.pursuit import exact_gains, filter_pool, filter_scores, pursue
from ebmlib.widgets import PursuitExplorer
from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Sums of n terms differ by at most about n * eps * their size between two orders of
# summation: 10,000 * 2.2e-16 * 3 is below 1e-11 here.
CLOSE = {"rtol": 1e-10, "atol": 1e-11}
NEWTON = 1e-9  # what the browser leaves of a mismatch at most
STEEPEST = 160  # largest coefficient of which the browser thinks for one filter alone

COMPUTE = """async ([spec, name, filters, criterion, asked]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const { box, bins, pool } = spec;
  const packed = spec.densities.find((entry) => entry.name === name).log_density;
  const problem = m.pursuitProblem(m.decodeArray(packed), spec.prior, pool, box, bins);
  const fit = problem.fit(filters);
  const now = m.poolMoments(fit.masses, pool, box, bins);
  const gains = criterion === 'gain'
    ? m.poolGains(fit.masses, problem.moments.mean, pool, box, bins) : null;
  const scores = m.poolScores(criterion, problem.moments, now, gains);
  const start = performance.now();
  m.refit(problem.fit([]).logMasses, fit.features, fit.targets,
    [...(filters.length ? problem.fit(filters.slice(0, -1)).coefficients : []), 0]
      .slice(0, filters.length));
  const refit = performance.now() - start;
  return {
    kl: fit.kl, path: problem.path(filters), coefficients: fit.coefficients,
    targets: fit.targets, error: fit.error, masses: [...fit.masses],
    scores: [...scores], best: m.largestScore(scores), gains: gains && [...gains],
    asked: asked.map((n) => m.consider(fit, problem.data, n, pool, box, bins)),
    refit,
  };
}"""


class OnGrid(Distribution):
    """A density that is known at the points of a grid, as the browser knows it."""

    arg_constraints: dict = {}  # noqa: RUF012

    def __init__(self, density: Distribution, grid: Grid) -> None:
        super().__init__(event_shape=torch.Size([2]), validate_args=False)
        self.grid = grid
        self.values = GridDensity(density, grid).log_prob.float().double()

    def log_prob(self, value: Tensor) -> Tensor:
        return self.values[self.grid.cells(value)]


GRID = Grid(bins=50)
POOL, ROWS = filter_pool(72, 41), 41
VALUES = POOL.values(GRID.points_as(torch.float64))
NORMAL = Independent(Normal(torch.zeros(2).double(), 1.0), 1)
LOPSIDED = GaussianMixture(
    [[-0.5, -0.2], [0.4, 0.5], [0.3, -0.6]], 0.15, weights=[3, 2, 1]
)
DATA = {
    "two Gaussians": TwoGaussians(),
    "cross lines": CrossLines(),
    "texture": Texture(),
    "lopsided": LOPSIDED,
}


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs the page's own module on an explorer's own data."""
    page_file = tmp_path_factory.mktemp("pursuit") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["pursuit_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(widget, name, filters=(), criterion="mismatch", asked=()) -> dict:
            spec = json.loads(json.dumps(widget.page_state(), allow_nan=False))["spec"]
            return page.evaluate(
                COMPUTE, [spec, name, list(filters), criterion, list(asked)]
            )

        yield run
        assert faults == []


@pytest.fixture(scope="module", params=["normal", "flat"])
def widget(request) -> PursuitExplorer:
    prior = NORMAL if request.param == "normal" else None
    return PursuitExplorer(DATA, prior, alt="x", bins=GRID.bins, n_filters=0)


def greedy(widget: PursuitExplorer, name: str, n: int, criterion: str = "mismatch"):
    """The library's pursuit of the density as the browser has it; its pool numbers."""
    data = OnGrid(DATA[name], GRID)
    found = pursue(
        data,
        widget._prior,
        n,
        criterion=criterion,
        pool=POOL,
        grid=GRID,
        tolerance=1e-11,
    )
    numbers = [
        int(((POOL.angles == a) & (POOL.offsets == b)).nonzero()[0])
        for a, b in zip(found.filters.angles, found.filters.offsets, strict=True)
    ]
    return found, numbers


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("n", [1, 12])
def test_the_fit_is_the_librarys(compute, widget, name, n) -> None:
    """KL is off by half the squared mismatch in the metric of the covariance."""
    pursuit, numbers = greedy(widget, name, n)
    found = compute(widget, name, numbers)
    model = GridDensity(pursuit.model, GRID)
    features = pursuit.filters.values(GRID.points_as(torch.float64))
    centred = features - model.prob @ features
    covariance = centred.T @ (centred * model.prob[:, None])
    least = float(torch.linalg.eigvalsh(covariance)[0])
    assert least > 0
    slack = n * NEWTON**2 / least + 1e-11
    assert found["error"] <= NEWTON
    assert found["kl"] == pytest.approx(float(pursuit.kl[-1]), abs=slack)
    np.testing.assert_allclose(found["path"], pursuit.kl, rtol=0, atol=slack)
    statistics = [step.statistic for step in pursuit.history]
    np.testing.assert_allclose(found["targets"], statistics, **CLOSE)
    reach = n**0.5 * NEWTON / least  # of the coefficients: inverse times mismatch
    np.testing.assert_allclose(
        found["coefficients"], pursuit.coefficients, rtol=1e-8, atol=reach
    )


def test_the_fit_matches_an_independent_newton(compute, widget) -> None:
    """Filters of the reader's own choice, written out here in NumPy."""
    chosen = [300, 800, 1400, 2050, 2690]
    found = compute(widget, "lopsided", chosen)
    points = GRID.points_as(torch.float64).numpy()
    count = ROWS
    offsets = np.linspace(-(2**0.5), 2**0.5, count + 2)[1:-1]
    turns = np.deg2rad(5.0 * (np.array(chosen) // count))
    w = np.stack([np.cos(turns), np.sin(turns)])
    h = np.maximum(points @ w - offsets[np.array(chosen) % count], 0)
    log_q = OnGrid(LOPSIDED, GRID).values.numpy()
    q = np.exp(log_q) / np.exp(log_q).sum()
    log_prior = 0 if widget._prior is None else -(points**2).sum(1) / 2
    c = np.zeros(len(chosen))
    for _ in range(200):
        p = np.exp(log_prior + h @ c)
        p /= p.sum()
        centred = h - p @ h
        step = np.linalg.solve(centred.T @ (centred * p[:, None]), q @ h - p @ h)
        c += step * min(1.0, 1.0 / np.abs(step).max())
    np.testing.assert_allclose(p @ h, q @ h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["coefficients"], c, rtol=1e-6, atol=1e-6)
    assert found["kl"] == pytest.approx(float(q @ np.log(q / p)), abs=1e-10)


@pytest.mark.parametrize("criterion", ["mismatch", "normalised"])
@pytest.mark.parametrize("name", ["two Gaussians", "texture"])
@pytest.mark.parametrize("n", [0, 5])
def test_the_map_over_the_pool_is_the_librarys(
    compute, widget, name, n, criterion
) -> None:
    _, numbers = greedy(widget, name, n)
    found = compute(widget, name, numbers, criterion)
    expected, target, mean = scores(found, name, criterion)
    reached = target > 0
    assert int(reached.sum()) > 1000
    # |d| / sd with sd above 3e-5 (a share of 1e-9 of the second moment is left out)
    size = {"mismatch": 1e-12, "normalised": 1e-7}[criterion]
    actual = torch.tensor(found["scores"], dtype=torch.float64)
    torch.testing.assert_close(
        actual.abs()[reached], expected[reached], rtol=1e-6, atol=size
    )
    signed = (target - mean).abs() > 1e-12
    assert bool((actual.sign() == (target - mean).sign())[signed & reached].all())
    assert bool((actual[~reached] == 0).all())


def scores(found: dict, name: str, criterion: str) -> tuple[Tensor, Tensor, Tensor]:
    """The library's scores under the browser's own model, and both expectations."""
    points = GRID.points_as(torch.float64)
    q = GridDensity(OnGrid(DATA[name], GRID), GRID).prob
    p = torch.tensor(found["masses"], dtype=torch.float64)
    target, mean = q @ VALUES, p @ VALUES
    none = torch.zeros(len(points), 0, dtype=torch.float64)
    return filter_scores(POOL, target, points, p, criterion, none), target, mean


@pytest.mark.parametrize(("name", "n"), [("texture", 0), ("lopsided", 3)])
def test_gains_are_the_librarys(compute, widget, name, n) -> None:
    """Below by the coefficients beyond 160 that are left out, and never above."""
    _, numbers = greedy(widget, name, n)
    found = compute(widget, name, numbers, "gain")
    target = GridDensity(OnGrid(DATA[name], GRID), GRID).prob @ VALUES
    p = torch.tensor(found["masses"], dtype=torch.float64)
    # the library stops where a quadratic model leaves that much; its tails are slower
    expected = exact_gains(VALUES, target, p, tolerance=1e-11)
    gains = torch.tensor(found["gains"], dtype=torch.float64)
    reached = target > 0
    # at c = -160 what the mass beyond the line still weighs, against that before it
    before = (p[:, None] * (VALUES == 0)).sum(0)
    beyond = (p[:, None] * torch.exp(-STEEPEST * VALUES) * (VALUES > 0)).sum(0)
    missing = torch.log1p(beyond / before.clamp(min=1e-300)) + STEEPEST * target
    tiny = 1e-9
    assert bool((gains <= expected + tiny)[reached].all())
    assert bool((gains >= expected - missing - tiny)[reached].all())
    small = reached & (missing > 1)  # where the bound says nothing: coefficients < 160
    torch.testing.assert_close(gains[small], expected[small], rtol=0, atol=tiny)
    assert int(small.sum()) > 1000


@pytest.mark.parametrize("criterion", ["mismatch", "normalised", "gain"])
@pytest.mark.parametrize("n", [0, 5])
def test_the_greedy_rule_takes_the_same_filter(compute, widget, criterion, n) -> None:
    """A density without symmetry, where no two filters tie."""
    _, numbers = greedy(widget, "lopsided", n + 1, criterion)
    found = compute(widget, "lopsided", numbers[:-1], criterion)
    assert found["best"] == numbers[-1]


def test_equal_scores_go_to_the_first_filter(compute, widget) -> None:
    """Two Gaussians are the same from behind: two filters share the first place."""
    found = compute(widget, "two Gaussians")
    scores = np.abs(found["scores"])
    best, top = found["best"], scores.max()
    twin = (best + 36 * ROWS) % len(POOL)
    assert scores[best] == pytest.approx(top, rel=1e-9)
    assert scores[twin] == pytest.approx(top, rel=1e-9)
    assert best < twin


def test_one_filter_in_words_and_numbers(compute, widget) -> None:
    """Its gain on the cells is the map's; why it cannot be added is said."""
    first, second = 13 * ROWS + 15, 13 * ROWS + 25
    behind = [(13 + 36) * ROWS + ROWS - 1 - k for k in (15, 25)]
    for a, b in ((first, behind[0]), (second, behind[1])):
        assert float(POOL.offsets[a] + POOL.offsets[b]) == pytest.approx(0, abs=1e-12)
    chosen = [first, second, behind[0]]
    asked = [*range(5, len(POOL), 211), first, behind[1]]
    found = compute(widget, "lopsided", chosen, "gain", asked)
    for number, fact in zip(asked[:-2], found["asked"], strict=False):
        if fact["refused"]:
            continue
        assert fact["gain"] == pytest.approx(found["gains"][number], abs=1e-9)
        assert fact["mismatch"] == pytest.approx(fact["target"] - fact["expectation"])
        assert np.sign(found["scores"][number]) == np.sign(fact["mismatch"])
    assert sum(not fact["refused"] for fact in found["asked"]) > 5
    assert "already" in found["asked"][-2]["refused"]
    assert "combination" in found["asked"][-1]["refused"]
    assert found["error"] <= NEWTON


def test_what_cannot_gain_is_refused(compute) -> None:
    box = Independent(Normal(torch.zeros(2).double(), 0.2), 1)
    same = PursuitExplorer({"a": NORMAL}, NORMAL, alt="x", bins=50, n_filters=0)
    found = compute(same, "a", asked=[9 * ROWS + 20])
    assert found["kl"] == pytest.approx(0, abs=1e-9)
    assert "matches already" in found["asked"][0]["refused"]
    corner = torch.tensor([-0.9, -0.9])
    far = GaussianMixture([corner.tolist()], 0.01)
    lonely = PursuitExplorer({"a": far}, box, alt="x", bins=50, n_filters=0)
    beyond = 9 * ROWS + 38  # 45 degrees, far up
    assert (
        "no data lie beyond"
        in compute(lonely, "a", asked=[beyond])["asked"][0]["refused"]
    )


def test_lines_that_nearly_repeat_each_other_are_matched(compute, widget) -> None:
    """Through the gap between the data, where coefficients are thousands."""
    name, chosen = "two Gaussians", [848, 824, 932, 839, 862, 880, 834, 866, 918]
    found = compute(widget, name, chosen)
    assert found["error"] <= NEWTON
    assert np.abs(found["coefficients"]).max() > 500
    data = GridDensity(OnGrid(DATA[name], GRID), GRID)
    p = torch.tensor(found["masses"], dtype=torch.float64)
    gap = data.prob @ VALUES[:, chosen] - p @ VALUES[:, chosen]
    assert float(gap.abs().max()) <= NEWTON + 1e-12
    kl = float(data.prob @ (data.prob.log() - p.log()))
    assert found["kl"] == pytest.approx(kl, abs=1e-9)


def test_twelve_filters_on_a_fine_grid(compute, record_property) -> None:
    """A refit should take less than a tenth of a second: reported, not asserted."""
    widget = PursuitExplorer({"a": TwoGaussians()}, NORMAL, alt="x", n_filters=12)
    assert len(widget.filters) == 12
    found = compute(widget, "a", widget.filters)
    record_property("refit of 12 filters, ms", round(found["refit"], 1))
    # float32 of log q, off by 6e-8 of itself: how far that moves KL, to first order
    pursuit = widget.fitted()
    q = GridDensity(TwoGaussians(), widget._grid)
    p = GridDensity(pursuit.model, widget._grid)
    off = 6e-8 * q.log_prob.abs()
    values = pursuit.filters.values(widget._grid.points_as(torch.float64))
    pull = (q.log_prob - p.log_prob).abs() + values @ pursuit.coefficients.abs()
    slack = 2 * float(q.prob @ (off * (1 + pull)))
    assert slack < 1e-4
    np.testing.assert_allclose(found["path"], pursuit.kl, rtol=0, atol=slack)


def test_the_check_can_fail(compute, widget) -> None:
    pursuit, numbers = greedy(widget, "lopsided", 3)
    found = compute(widget, "lopsided", [*numbers[:-1], numbers[-1] + 1])
    assert abs(found["kl"] - float(pursuit.kl[-1])) > 1e-6


def press(page, text: str) -> str:
    page.get_by_role("button", name=text).click()
    return page.query_selector(".ebm-note").text_content()


def cell(widget, name: str) -> str:
    rows = widget.query_selector_all(".ebm-readout tr")
    found = [r.query_selector("td") for r in rows if name in r.text_content()]
    return found[0].text_content()


def test_the_buttons_do_what_they_say(chrome, tmp_path) -> None:
    explorer = PursuitExplorer({"lopsided": LOPSIDED}, NORMAL, alt="x", bins=50)
    page_file = tmp_path / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    body = explorer.to_html() + page_assets(["pursuit_explorer"])
    page_file.write_text(head + body, encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):
        (widget,) = bw.start(page)
        widget.scroll_into_view_if_needed()
        bw.picture(widget)
        get = "w => w.ebmModel.get('filters')"
        assert cell(widget, "numbers matched").startswith("2 (error")
        assert "Filter 3" in press(page, "add the greedy best")
        expected = pursue(LOPSIDED, NORMAL, 3, grid=GRID)
        assert cell(widget, "KL(data") == f"{float(expected.kl[-1]):.4f}"
        assert "Filter 4" in press(page, "add this filter")
        assert widget.evaluate(get)[-1] == explorer.candidate
        assert "one of the chosen" in press(page, "add this filter")
        assert "Filter 4 removed" in press(page, "remove the last")
        assert len(widget.evaluate(get)) == 3
        press(page, "start again")
        assert widget.evaluate(get) == []
        former = widget.evaluate("w => w.ebmModel.get('former')")
        np.testing.assert_allclose(former, expected.kl, rtol=0, atol=1e-5)
        assert "No filter is chosen" in press(page, "remove the last")
        for _ in range(12):
            press(page, "add the greedy best")
        assert "12 filters are the most" in press(page, "add the greedy best")
        assert faults == []
