"""The pursuit explorer as a Python object: what it holds, refuses and hands over."""

from __future__ import annotations

import base64
import json
import math
import re

import numpy as np
import pytest
import torch
from torch.distributions import Beta, Independent, Normal

from ebmlib.distributions import CrossLines, Texture, TwoGaussians
from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.grid import Grid, GridDensity
from ebmlib.pursuit import Filters, filter_pool, pursue
from ebmlib.widgets import PursuitExplorer, _host
from ebmlib.widgets.pursuit import CRITERIA

PRIOR = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
DATA = {"two Gaussians": TwoGaussians(), "cross lines": CrossLines()}


def explorer(**changes) -> PursuitExplorer:
    small = {"bins": 30, "n_angles": 24, "n_offsets": 15}
    given = {"densities": DATA, "prior": PRIOR, "alt": "Two blobs", **small, **changes}
    return PursuitExplorer(given.pop("densities"), given.pop("prior"), **given)


def test_the_module_is_one_self_contained_text() -> None:
    source = _host.bundle("pursuit_explorer")
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    declared = r"^(?:export )?(?:function\*?|const) (\w+)"
    names = re.findall(declared, source, re.MULTILINE)
    assert len(names) == len(set(names))
    assert "http" not in source.replace("http://www.w3.org", "")


def test_page_state_is_json_and_small() -> None:
    widget = explorer(bins=100)
    state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
    assert state["spec"]["criteria"] == CRITERIA
    assert [entry["name"] for entry in state["spec"]["densities"]] == list(DATA)
    # two densities at four bytes a cell in base64, and a picture
    assert widget.nbytes < 2 * 100**2 * 4 * 4 / 3 + 60_000


def test_the_browser_gets_the_librarys_pool() -> None:
    """Its numbers are those of the library: the angle slowest."""
    widget = explorer(n_angles=24, n_offsets=9)
    sent, pool = widget.spec["pool"], filter_pool(24, 9)
    angles = np.repeat(np.deg2rad(sent["angles"]), 9)
    np.testing.assert_allclose(angles, pool.angles, atol=1e-14)
    np.testing.assert_allclose(np.tile(sent["offsets"], 24), pool.offsets, atol=1e-14)
    assert torch.equal(widget.pool.offsets, pool.offsets)


def test_the_pool_reaches_the_corners_of_any_square() -> None:
    offsets = explorer(low=-3.0, high=1.0, n_filters=0).pool.offsets
    step = float(offsets[1] - offsets[0])
    assert float(offsets.max()) == pytest.approx(3 * math.sqrt(2) - step)


def test_the_densities_are_those_of_the_grid() -> None:
    packed = explorer().spec["densities"][1]["log_density"]
    assert packed["dtype"] == "f4"
    raw = np.frombuffer(base64.b64decode(packed["data"]), dtype="<f4")
    exact = GridDensity(CrossLines(), Grid(bins=30)).log_prob
    np.testing.assert_allclose(raw, exact, rtol=1e-7)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_it_begins_with_what_the_greedy_rule_takes(criterion) -> None:
    widget = explorer(n_filters=3, criterion=criterion, density="cross lines")
    grid = Grid(bins=30)
    expected = pursue(
        CrossLines(), PRIOR, 3, criterion=criterion, pool=filter_pool(24, 15), grid=grid
    )
    chosen = widget.pool[torch.tensor(widget.filters)]
    torch.testing.assert_close(chosen.angles, expected.filters.angles)
    torch.testing.assert_close(chosen.offsets, expected.filters.offsets)


def test_what_it_fits_matches_the_filters_on_show() -> None:
    widget = explorer()
    widget.filters = [36, 142, 248]
    fitted = widget.fitted()
    assert len(fitted.filters) == 3
    assert fitted.history[-1].residual <= 1e-8
    grid = Grid(bins=30)
    values = widget.pool[torch.tensor([36, 142, 248])].values(
        grid.points_as(torch.float64)
    )
    data = GridDensity(TwoGaussians(), grid).prob @ values
    model = GridDensity(fitted.model, grid).prob @ values
    torch.testing.assert_close(model, data, rtol=0, atol=1.1e-8)
    widget.filters = []
    assert float(widget.fitted().kl[-1]) == pytest.approx(float(fitted.kl[0]))


def test_the_filter_asked_about_is_the_nearest() -> None:
    widget = explorer(angle=-46.0, offset=0.31, n_angles=72, n_offsets=41)
    angle = float(widget.pool.angles[widget.candidate])
    offset = float(widget.pool.offsets[widget.candidate])
    assert math.degrees(angle) == pytest.approx(315)
    step = 2 * math.sqrt(2) / 42
    assert offset == pytest.approx(5 * step)
    assert abs(offset - 0.31) <= step / 2


def test_the_fallback_s_mismatches_are_those_of_the_definition() -> None:
    widget = explorer(n_angles=12, n_offsets=7)
    weight = torch.linspace(-1, 1, 30**2, dtype=torch.float64)
    points = Grid(bins=30).points_as(torch.float64)
    expected = weight @ filter_pool(12, 7).values(points)
    torch.testing.assert_close(widget._expect(weight), expected)


@pytest.mark.parametrize("n_filters", [0, 4])
def test_still_picture_and_words_stand_in_for_it(n_filters, recwarn) -> None:
    html = explorer(caption="Add one", n_filters=n_filters).to_html()
    assert 'alt="Two blobs"' in html
    assert "data:image/webp;base64," in html
    assert "Add one" in html
    assert not [w for w in recwarn if "copy" in str(w.message)]


def test_a_flat_prior_and_an_image_will_do() -> None:
    widget = explorer(densities={"texture": Texture()}, prior=None, n_filters=1)
    assert widget.spec["prior"]["kind"] == "uniform"
    assert widget.density == "texture"
    assert len(widget.filters) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"densities": {}}, ValueError, "at least one name"),
        ({"densities": TwoGaussians()}, ValueError, "at least one name"),
        (
            {"densities": {"a": TiltedEnergy(mlp([2, 4, 1]), None)}},
            TypeError,
            "'a' must be a distribution, got TiltedEnergy",
        ),
        ({"bins": 10}, ValueError, "bins must"),
        ({"bins": 40.0}, TypeError, "bins must"),
        ({"n_angles": 1}, ValueError, "n_angles must"),
        ({"n_offsets": 500}, ValueError, "n_offsets must"),
        ({"n_filters": 13}, ValueError, "n_filters must"),
        ({"low": 1.0, "high": -1.0}, ValueError, "low"),
        ({"density": "cross line"}, ValueError, "cross lines"),
        ({"criterion": "raw"}, ValueError, "criterion"),
        ({"prior": Independent(Beta(torch.ones(2), 1.0), 1)}, ValueError, "prior must"),
        ({"alt": " "}, ValueError, "alt must"),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, error, message) -> None:
    with pytest.raises(error, match=message):
        explorer(**changes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("density", "ring", "density"),
        ("criterion", "orthogonalised", "criterion"),
        ("candidate", 24 * 15, "candidate"),
        ("candidate", -1, "candidate"),
        ("filters", [3, 3], "12 different ones"),
        ("filters", list(range(13)), "12 different ones"),
        ("filters", [24 * 15], "filters must"),
    ],
)
def test_a_trait_out_of_range_is_refused(name, value, message) -> None:
    widget = explorer(n_filters=0)
    with pytest.raises(ValueError, match=message):
        setattr(widget, name, value)


def test_the_pool_is_made_of_filters() -> None:
    assert isinstance(explorer().pool, Filters)
