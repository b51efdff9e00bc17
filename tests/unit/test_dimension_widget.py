"""The dimension explorer as a Python object."""

from __future__ import annotations

import base64
import io
import json
import re

import pytest
import traitlets
from PIL import Image

from ebmlib.widgets import DimensionExplorer
from ebmlib.widgets._host import bundle


def test_a_page_gets_what_the_module_reads() -> None:
    explorer = DimensionExplorer(alt="Weights", caption="Look", dim=30, n=100, seed=3)
    html = explorer.to_html()
    state = json.loads(
        re.search(r'<script type="application/json">(.*)</script>', html)[1]
    )
    assert state["dim"] == 30
    assert state["sd"] == 1.3
    assert state["spec"]["sizes"] == [100, 1000, 10_000, 100_000]
    assert state["spec"]["dims"] == 100
    assert 'data-ebm-widget="dimension_explorer"' in html
    assert 'alt="Weights"' in html
    assert explorer.nbytes < 60_000


def test_the_module_is_one_self_contained_text() -> None:
    source = bundle("dimension_explorer")
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    names = re.findall(r"^export function\*? (\w+)", source, re.MULTILINE)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("sd", [0.6, 0.8, 1.3])
def test_the_still_picture_shows_the_laws_that_exist(sd: float) -> None:
    data, alt, width = DimensionExplorer(alt="Weights", sd=sd)._fallback()
    picture = Image.open(io.BytesIO(base64.b64decode(data.split(",")[1])))
    assert alt == "Weights"
    assert picture.width == width == 506
    assert len(set(picture.convert("L").get_flattened_data())) > 10


def test_choices_can_be_set_and_others_are_refused() -> None:
    explorer = DimensionExplorer(alt="Weights")
    explorer.dim, explorer.sd, explorer.n, explorer.seed = 100, 2.0, 100_000, 20
    for name, value, message in (
        ("dim", 0, "dim must lie in 1 to 100, got 0"),
        ("dim", 101, "dim must lie in 1 to 100, got 101"),
        ("seed", 21, "seed must lie in 1 to 20"),
        ("sd", 1.4, "sd must be one of"),
        ("n", 99, "n must be one of"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(explorer, name, value)
    assert explorer.dim == 100
    for wrong in ({"sd": 1.4}, {"n": 99}, {"dim": 0}):
        with pytest.raises(traitlets.TraitError):
            DimensionExplorer(alt="Weights", **wrong)


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="sds must be positive"):
        DimensionExplorer(alt="Weights", sds=[0.0, 1.3])
    with pytest.raises(ValueError, match="sizes must be at least 2"):
        DimensionExplorer(alt="Weights", sizes=[1, 1000])
    with pytest.raises(ValueError, match="dims must be at least 2"):
        DimensionExplorer(alt="Weights", dims=1)
    with pytest.raises(ValueError, match="alt must say"):
        DimensionExplorer(alt=" ")
