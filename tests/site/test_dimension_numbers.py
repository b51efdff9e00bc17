"""The dimension explorer's arithmetic in the browser, held against Python's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw
from tests.site.sfc32 import Sfc32

pytestmark = pytest.mark.browser

CALL = """async ([name, values]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  if (name === 'uniforms') {
    const next = m.uniforms(values[0]);
    return Array.from({ length: values[1] }, () => next());
  }
  const found = m[name](...values);
  if (name !== 'experiment') return found;
  return { ...found, radii: [...found.radii], weights: [...found.weights] };
}"""


@pytest.fixture(scope="module")
def call(chrome, tmp_path_factory) -> Iterator[Callable[..., Any]]:
    """Return a function that calls the page's own module."""
    page_file = tmp_path_factory.mktemp("dimension") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["dimension_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):
        yield lambda name, *values: page.evaluate(CALL, [name, list(values)])
        assert faults == []


def test_random_numbers_are_those_of_the_generator(call) -> None:
    python = Sfc32(7)
    assert call("uniforms", 7, 50) == [python() for _ in range(50)]
    assert stats.kstest(call("uniforms", 1, 20_000), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dim", [1, 2, 7, 100])
def test_radii_follow_their_exact_law(call, dim: int) -> None:
    found = call("experiment", dim, 1.3, 20_000, 1)
    radii = np.array(found["radii"])
    assert stats.kstest(radii / 1.3, stats.chi(dim).cdf).pvalue > 1e-3
    for radius in (0.5, 1.0, math.sqrt(dim)):
        wanted = stats.chi(dim, scale=1.3).pdf(radius)
        assert call("radiusDensity", radius, dim, 1.3) == pytest.approx(wanted, 1e-11)
    assert call("logGammaHalf", dim) == pytest.approx(
        float(special.gammaln(dim / 2)), rel=1e-12, abs=1e-13
    )


@pytest.mark.parametrize(("dim", "sd"), [(3, 0.6), (10, 0.9), (5, 1.0), (40, 1.3)])
def test_results_are_those_of_numpy_on_the_same_radii(call, dim, sd) -> None:
    n = 2000
    found = call("experiment", dim, sd, n, 5)
    radii = np.array(found["radii"])
    target = -(radii**2) / 2
    log_weights = target - (-(radii**2) / (2 * sd**2) - dim * math.log(sd))
    weights = np.exp(log_weights - special.logsumexp(log_weights))
    np.testing.assert_allclose(found["weights"], weights, rtol=1e-9, atol=1e-13)
    size = 1 / np.square(weights).sum()
    assert found["size"] == pytest.approx(size, rel=1e-10)
    assert found["largest"] == pytest.approx(weights.max(), rel=1e-10)
    mean = special.logsumexp(log_weights) - math.log(n)
    assert found["logZ"] == pytest.approx(mean, rel=1e-10, abs=1e-12)
    error = math.sqrt(max(0.0, n / size - 1) / (n - 1))
    assert found["error"] == pytest.approx(error, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize(("dim", "sd"), [(1, 1.5), (4, 1.3), (20, 1.1)])
def test_measured_acceptance_follows_its_law(call, dim, sd) -> None:
    n, wanted = 20_000, sd**-dim
    found = call("experiment", dim, sd, n, 2)
    assert abs(found["acceptance"] - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / n)
    assert call("laws", dim, sd)["acceptance"] == pytest.approx(wanted, rel=1e-12)


def test_laws_agree_with_quadrature(call) -> None:
    """Effective share and divergence, by SciPy's quadrature along one coordinate."""
    x = np.linspace(-12, 12, 200_001)
    p = stats.norm.pdf(x)
    for sd in (0.8, 1.2, 2.0):
        q = stats.norm.pdf(x, scale=sd)
        square = np.trapezoid(p * p / q, x)
        divergence = np.trapezoid(p * (stats.norm.logpdf(x) - np.log(q)), x)
        for dim in (1, 10):
            found = call("laws", dim, sd)
            assert found["share"] == pytest.approx(square**-dim, rel=1e-8)
            assert found["kl"] == pytest.approx(dim * divergence, rel=1e-8)
            assert found["tail"] == pytest.approx(1 - sd**2)
    narrow = call("laws", 3, 0.7)
    assert narrow["share"] is None
    assert narrow["acceptance"] is None
