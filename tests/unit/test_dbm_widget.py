"""The layers' explorer as a Python object: what it holds, refuses and hands over."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
import torch
import traitlets

from ebmlib.dbm import DBM
from ebmlib.widgets import DBMExplorer, _host


def machines() -> dict[str, DBM]:
    generator = torch.Generator().manual_seed(0)
    small = DBM(9, 5, 3, sd=1.0, generator=generator)
    return {"small": small, "half": DBM(16, 4, 2, generator=generator).half().float()}


def explorer(**changes) -> DBMExplorer:
    images = {"a cross": torch.tensor([0, 1, 0, 1, 1, 1, 0, 1, 0.0])}
    return DBMExplorer(machines(), alt="Three layers", images=images, **changes)


def test_the_module_is_one_self_contained_text() -> None:
    source = _host.bundle("dbm_explorer")
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    declared = r"^(?:export )?(?:function\*?|const) (\w+)"
    names = re.findall(declared, source, re.MULTILINE)
    assert len(names) == len(set(names))
    assert "http" not in source.replace("http://www.w3.org", "")


def test_page_state_holds_the_weights_exactly() -> None:
    state = json.loads(json.dumps(explorer().page_state(), allow_nan=False))
    assert state["machine"] == "small"
    kinds = {"f2": "<f2", "f4": "<f4", "f8": "<f8"}
    for name, model in machines().items():
        spec = state["spec"]["machines"][name]
        assert spec["sizes"] == list(model.sizes)
        packed = spec["weight1"]
        raw = np.frombuffer(base64.b64decode(packed["data"]), kinds[packed["dtype"]])
        assert packed["dtype"] == ("f2" if name == "half" else "f4")
        np.testing.assert_array_equal(raw, model.weight1.detach().numpy().ravel())
    small, half = (state["spec"]["machines"][k]["images"] for k in ("small", "half"))
    assert small == {"a cross": "010111010"}
    assert half == {}


@pytest.mark.parametrize("start", ["noise", "a cross"])
def test_still_picture_and_words_stand_in_for_it(start) -> None:
    html = explorer(caption="Move it", start=start).to_html()
    assert 'alt="Three layers"' in html
    assert "data:image/webp;base64," in html
    assert "Move it" in html


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": "smal"}, "did you mean 'small'"),
        ({"start": "noize"}, "did you mean 'noise'"),
        ({"show": "state"}, "did you mean 'states'"),
        ({"keep": ("hidden",)}, "keep must be one of"),
        ({"moves": "013"}, "digits 0, 1, 2"),
        ({"seed": 1000}, "seed"),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, message) -> None:
    with pytest.raises(traitlets.TraitError, match=message):
        explorer(**changes)


@pytest.mark.parametrize(
    ("models", "images", "message"),
    [
        ({}, {}, "must map a name to a DBM"),
        ({"a": torch.nn.Linear(4, 2)}, {}, "must be DBMs, got Linear"),
        ({"a": DBM(5, 2, 2)}, {}, "square images, got 5 units"),
        ({"a": DBM(4, 2, 2)}, {"x": torch.zeros(9)}, "'x' has 9 pixels"),
        ({"a": DBM(4, 2, 2)}, {"x": torch.full((4,), 0.5)}, "zeros and ones only"),
        ({"a": DBM(4, 2, 2)}, {"noise": torch.zeros(4)}, "start by coin flips"),
    ],
)
def test_what_is_no_machine_or_image_is_refused(models, images, message) -> None:
    with pytest.raises(ValueError, match=message):
        DBMExplorer(models, alt="x", images=images)
