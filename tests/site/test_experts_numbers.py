"""The experts' explorer: its arithmetic in the browser against the library's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from ebmlib.grid import Grid, GridDensity
from ebmlib.widgets import ExpertsExplorer
from ebmlib.widgets._host import page_assets
from ebmlib.widgets.experts import FAMILIES

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Sums of n terms differ by about n * eps * their size between two orders of summation:
# 40,000 * 2.2e-16 * 1 is below 1e-11. The promise is 1e-10.
CLOSE = {"rtol": 1e-10, "atol": 1e-10}

COMPUTE = """async ([state, half, bins]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const scene = { family: state.family, bowl: state.bowl,
    experts: state.experts.slice(0, state.count) };
  const energies = m.expertEnergies(scene, half, bins);
  return {
    energies: [...energies],
    logMass: m.logBoxMass(energies, half, bins),
    exact: m.exactLogPartition(scene),
    ...m.verdict(scene),
  };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs the page's own module on an explorer's own data."""
    page_file = tmp_path_factory.mktemp("experts") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["experts_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(widget: ExpertsExplorer, half: float = 4, bins: int = 40) -> dict:
            state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
            return page.evaluate(COMPUTE, [state, half, bins])

        yield run
        assert faults == []


def explorer(family: str, *rows: tuple, bowl: float = 0.8) -> ExpertsExplorer:
    """An explorer with the given (direction, strength, width, position)."""
    names = ("direction", "strength", "width", "position")
    experts = [dict(zip(names, row, strict=True)) for row in rows]
    filled = (experts * 3)[:3]
    return ExpertsExplorer(
        alt="x", family=family, experts=filled, count=len(experts), bowl=bowl
    )


ROWS = (30, 0.7, 0.5, 0.25), (105, 1.5, 0.8, -0.5), (225, 0.4, 1.5, 1.0)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_energies_and_box_mass_are_the_librarys(compute, family, count) -> None:
    widget = explorer(family, *ROWS[:count])
    found = compute(widget)
    grid = Grid(-4, 4, bins=40)
    energies = widget.model().energy(grid.points_as(torch.float64)).detach()
    np.testing.assert_allclose(found["energies"], energies, **CLOSE)
    mass = GridDensity(widget.model(), grid).log_partition
    np.testing.assert_allclose(found["logMass"], mass, **CLOSE)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("family", ["logistic_bowl", "rbm"])
def test_exact_partition_is_that_of_the_enumeration(compute, family, count) -> None:
    widget = explorer(family, *ROWS[:count])
    exact = widget.model().log_partition()
    np.testing.assert_allclose(compute(widget)["exact"], exact, **CLOSE)


@pytest.mark.parametrize("rows", [ROWS[:2], ROWS])
def test_exact_partition_of_gaussians_is_that_of_a_wide_grid(compute, rows) -> None:
    """Widest direction: sd below 1.6 about 1: 12 is 6 sd and leaves out 1e-9."""
    widget = explorer("gaussian", *rows)
    wide = GridDensity(widget.model(), Grid(-16, 16, bins=400)).log_partition
    assert compute(widget)["exact"] == pytest.approx(wide, abs=1e-8)


@pytest.mark.parametrize("strength", [0.6, 1.0, 4.0])
def test_exact_partition_of_two_student_t_experts(compute, strength) -> None:
    """Orthogonal or not: a product of integrals over the area their units span."""
    rows = (20, strength, 0.5, 0.25), (65, 0.8, 2.0, -1.0)
    exact = math.log(0.5 * 2.0) - math.log(math.sin(math.radians(45)))
    for a in (strength, 0.8):
        exact += math.log(2 * math.pi) / 2 + gammaln(a - 0.5) - gammaln(a)
    found = compute(explorer("student_t", *rows))
    np.testing.assert_allclose(found["exact"], exact, **CLOSE)


@pytest.mark.parametrize("family", ["student_t", "logistic"])
def test_no_closed_form_is_claimed_where_there_is_none(compute, family) -> None:
    assert compute(explorer(family, *ROWS))["exact"] is None
    assert compute(explorer("gaussian", ROWS[0]))["exact"] is None
    weak = strengths([0, 90], [0.6, 0.5])
    assert compute(explorer("student_t", *weak))["exact"] is None
    parallel = strengths([0, 180], [0.6, 0.6])
    assert compute(explorer("student_t", *parallel))["exact"] is None


def strengths(directions: list[int], values: list[float]) -> tuple:
    return tuple((d, v, 0.5, 0.0) for d, v in zip(directions, values, strict=True))


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        strengths([0, 90], [0.6, 0.6]),
        strengths([0, 90], [0.6, 0.5]),
        strengths([0, 90], [4.0, 0.4]),
        strengths([0, 60, 120], [0.4, 0.4, 0.4]),
        strengths([0, 60, 120], [0.3, 0.3, 0.4]),
        strengths([0, 60, 120], [0.2, 0.1, 0.7]),
        strengths([0, 180, 90], [0.3, 0.3, 0.4]),
        strengths([0, 180, 90], [0.3, 0.3, 0.6]),
        strengths([45], [4.0]),
    ],
)
def test_the_verdict_on_student_t_experts_is_the_librarys(compute, rows) -> None:
    widget = explorer("student_t", *rows)
    assert compute(widget)["finite"] is widget.model().is_normalisable()


@pytest.mark.parametrize(
    ("family", "directions", "finite"),
    [
        ("gaussian", [0, 15], True),
        ("gaussian", [0, 180], False),
        ("gaussian", [75], False),
        ("logistic", [0, 120, 240], False),
        ("logistic_bowl", [0], True),
        ("rbm", [0], True),
    ],
)
def test_the_verdict_on_the_other_families(compute, family, directions, finite) -> None:
    found = compute(explorer(family, *strengths(directions, [1.0] * len(directions))))
    assert found["finite"] is finite
    assert found["why"]


def test_the_check_can_fail(compute) -> None:
    widget = explorer("rbm", *ROWS)
    other = explorer("rbm", *ROWS, bowl=0.8000001)
    exact = other.model().log_partition()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(compute(widget)["exact"], exact, **CLOSE)
