"""The experts' explorer as a Python object: what it holds, refuses and hands over."""

from __future__ import annotations

import json
import re

import pytest
import torch
import traitlets

from ebmlib.energy import GaussianRBM, LogisticExperts, StudentTExperts
from ebmlib.widgets import ExpertsExplorer, _host
from ebmlib.widgets.experts import FAMILIES


def explorer(**changes) -> ExpertsExplorer:
    return ExpertsExplorer(alt="Two ridges that cross", **changes)


def test_the_module_is_one_self_contained_text() -> None:
    source = _host.bundle("experts_explorer")
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    declared = r"^(?:export )?(?:function\*?|const) (\w+)"
    names = re.findall(declared, source, re.MULTILINE)
    assert len(names) == len(set(names))
    assert "http" not in source.replace("http://www.w3.org", "")


def test_page_state_is_json_and_small() -> None:
    widget = explorer()
    state = json.loads(json.dumps(widget.page_state(), allow_nan=False))
    assert state["spec"]["families"] == FAMILIES
    assert len(state["experts"]) == 3
    assert widget.nbytes < 60_000


def test_still_picture_and_words_stand_in_for_it() -> None:
    html = explorer(caption="Move it").to_html()
    assert 'alt="Two ridges that cross"' in html
    assert "data:image/webp;base64," in html
    assert "Move it" in html


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("student_t", StudentTExperts),
        ("logistic", LogisticExperts),
        ("logistic_bowl", LogisticExperts),
        ("rbm", GaussianRBM),
    ],
)
def test_the_model_is_the_librarys(family, kind) -> None:
    widget = explorer(family=family, count=3)
    model = widget.model()
    assert isinstance(model, kind)
    assert len(model.weight) == 3
    assert model.energy(torch.zeros(4, 2, dtype=torch.float64)).shape == (4,)
    assert model.is_normalisable() is (family != "logistic")


def test_an_expert_of_each_family_by_hand() -> None:
    """At the origin, expert 1 of the defaults (position 0, width 1/2) has u = 0."""
    x = torch.tensor([[0.0, 0.3], [0.5, -1.0]], dtype=torch.float64)
    energy = explorer(family="gaussian", count=1).model().energy(x)
    torch.testing.assert_close(energy, torch.tensor([0, 0.6 / 2]).double())
    energy = explorer(family="student_t", count=1).model().energy(x)
    torch.testing.assert_close(energy, 0.6 * torch.tensor([1, 1.5]).double().log())
    energy = explorer(family="logistic", count=1).model().energy(x[:1])
    torch.testing.assert_close(energy, -torch.tensor([2.0]).double().log())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "student"}, "did you mean 'student_t'"),
        ({"show": "densty"}, "did you mean 'density'"),
        ({"half": 3}, "half must be one of"),
        ({"bowl": 9.0}, "bowl must lie in 0.4 to 2.0"),
        ({"count": 4}, "count must be 1 to 3"),
        ({"selected": 3}, "selected must be 0 to 2"),
        ({"experts": []}, "experts must be 3, got 0"),
        ({"experts": [{"direction": 0}] * 3}, "experts need"),
        (
            {
                "experts": [
                    {"direction": 0, "strength": 9, "width": 1, "position": 0},
                ]
                * 3
            },
            "strength must lie in 0.1 to 4.0, got 9",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, message) -> None:
    with pytest.raises(traitlets.TraitError, match=message):
        explorer(**changes)
