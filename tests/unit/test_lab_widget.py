"""The EBM Lab's Python side: options, what is sent to the page, what comes back."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.grid import Grid
from ebmlib.widgets import EBMLab, _lab_options
from ebmlib.widgets.ebm_lab import decode_drawing


def model(widths=(2, 8, 4, 1), activation="tanh", prior=None) -> TiltedEnergy:
    generator = torch.Generator().manual_seed(0)
    network = mlp(list(widths), activation, init="torch", generator=generator)
    return TiltedEnergy(network.double(), prior)


def payload(lab: EBMLab) -> dict:
    found = re.search(r'<script type="application/json">(.*)</script>', lab.to_html())
    return json.loads(found[1])


def drawing() -> str:
    """One bright cell in the top left corner: level 3, that is the bits 11."""
    return "w" + "A" * 191


# --- Options -------------------------------------------------------------------------


def test_the_presets_are_whole_configurations() -> None:
    presets = _lab_options.presets()
    assert len(presets) >= 1
    for name, preset in presets.items():
        lab = EBMLab(name)
        assert lab.config == preset["config"]
        assert EBMLab.presets()[name] == preset["sentence"]
    presets.clear()  # a copy: the next caller gets them all
    assert _lab_options.presets()


def test_a_configuration_is_completed() -> None:
    config = EBMLab(config={"data": "star", "a": {"steps": 5}, "b": {"method": "cd"}})
    assert (config := config.config)["data"] == "star"
    assert config["a"]["steps"] == config["b"]["steps"] == 5
    assert (config["a"]["method"], config["b"]["method"]) == ("exact", "cd")
    assert config["view"]["show"] == "density"
    assert EBMLab(config=config).config == config


def test_options_go_on_top_of_a_preset() -> None:
    plain = EBMLab("short-run").config
    lab = EBMLab("short-run", config={"seed": 5, "b": {"steps": 50}})
    assert lab.config == {**plain, "seed": 5, "b": {**plain["b"], "steps": 50}}
    assert EBMLab("short-run", config={"b": None}).config["b"] is None


def test_the_defaults_are_not_shared() -> None:
    EBMLab().config["a"]["steps"] = 1
    EBMLab().config["view"]["layers"].append("modes")
    assert EBMLab().config["a"]["steps"] != 1
    assert "modes" not in EBMLab().config["view"]["layers"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dat": "star"}, "config has no option 'dat'. Did you mean 'data'"),
        ({"data": "stra"}, "Did you mean 'star'"),
        ({"points": 3}, r"config\['points'\] must be one of"),
        ({"seed": -1}, "must be between 0 and"),
        ({"a": {"stepp": 1}}, r"config\['a'\] has no option 'stepp'"),
        ({"b": {"lr": 7.0}}, r"config\['b'\]\['lr'\] must be one of"),
        ({"a": {"lr": True}}, "must be one of"),
        ({"view": {"layers": ["dots"]}}, "must be some of"),
        ({"view": {"layers": "data"}}, "must be some of"),
        ({"drawing": "<script>"}, "a drawing that the Lab wrote"),
        ({"data": "drawn"}, "'drawn' needs"),
        ({"data": "given"}, "'given' needs data"),
    ],
)
def test_what_is_not_allowed_is_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EBMLab(config=config)
    lab = EBMLab()
    with pytest.raises(traitlets.TraitError, match=message):
        lab.config = config
    assert lab.config == EBMLab().config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (7, "config must be a mapping, got int"),
        ({"a": 7}, r"config\['a'\] must be a mapping, got int"),
        ({"seed": 1.5}, "must be an integer"),
        ({"seed": True}, "must be an integer"),
        ({"a": {"method": 3}}, "must be a string"),
    ],
)
def test_what_has_the_wrong_type_is_refused(config, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        EBMLab(config=config)


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="unknown preset 'shortrun'"):
        EBMLab("shortrun")
    with pytest.raises(ValueError, match="unknown controls 'metod'"):
        EBMLab(small=True, controls=["metod"])
    assert "lr" in EBMLab.options()["side"]
    with pytest.raises(traitlets.TraitError, match="count must lie in 0 to"):
        EBMLab().count = -1


# --- What is sent, and what comes back -----------------------------------------------


@pytest.mark.parametrize("prior", [None, gaussian(sd=0.3, dtype=torch.float64)])
@pytest.mark.parametrize("widths", [(2, 5, 1), (2, 8, 4, 1)])
def test_a_model_goes_and_comes_back_exactly(widths, prior) -> None:
    sent = model(widths, prior=prior)
    lab = EBMLab(model=sent)
    lab.weights = [payload(lab)["given"]["network"]]
    (back,) = lab.models
    x = Grid(bins=10).points_as(torch.float64)
    assert torch.equal(back.energy(x), sent.energy(x))
    assert all(parameter.requires_grad for parameter in back.parameters())


def test_models_need_a_browser() -> None:
    with pytest.raises(RuntimeError, match="no browser has sent weights"):
        _ = EBMLab().models


def test_data_go_exactly() -> None:
    data = torch.tensor([[0.1, -0.2], [1.0, -1.0]])
    lab = EBMLab(data=data)
    packed = payload(lab)["given"]["points"]
    values = np.frombuffer(base64.b64decode(packed["data"]), "<" + packed["dtype"])
    assert values.tolist() == data.double().ravel().tolist()
    assert lab.config["data"] == "given"


def test_a_live_lab_takes_more() -> None:
    lab = EBMLab()
    seen = []
    lab.observe(lambda change: seen.append(change["name"]), ["given", "config"])
    lab.send(data=torch.zeros(3, 2))
    lab.send(model=model())
    assert seen == ["given", "config", "given"]
    assert set(lab.given) == {"points", "network"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": torch.full((2, 2), 1.5)}, ValueError, "must lie in the box"),
        ({"data": torch.zeros(3, 3)}, ValueError, "data"),
        ({"data": torch.zeros(0, 2)}, ValueError, "data"),
        ({"data": [[0.0, 0.0]]}, TypeError, "data"),
        ({"model": EnergyModel()}, TypeError, "must be a TiltedEnergy"),
        ({"model": model((2, 4, 4, 4, 1))}, ValueError, "one or two hidden"),
        ({"model": model((3, 4, 1))}, ValueError, "2 inputs"),
        ({"model": model((2, 65, 1))}, ValueError, "widest layer"),
        ({"model": TiltedEnergy(nn.Linear(2, 1))}, ValueError, "network must be"),
    ],
)
def test_bad_models_and_data_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        EBMLab(**arguments)


def test_weights_that_are_not_finite_are_refused() -> None:
    bad = model()
    nn.init.constant_(bad.network[0].weight, float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        EBMLab(model=bad)


# --- What stands on a page -----------------------------------------------------------


def test_a_page_gets_what_the_module_reads() -> None:
    lab = EBMLab(
        "short-run", small=True, controls=["steps"], caption="c", href="x.html"
    )
    state = payload(lab)
    assert state["spec"] == {
        "small": True,
        "controls": ["steps"],
        "preset": "short-run",
        "href": "x.html",
    }
    assert state["config"] == lab.config
    assert (state["count"], state["playing"], state["given"]) == (0, False, {})
    assert "weights" not in state
    assert lab.nbytes < 40_000


def test_a_page_cannot_be_left_through_the_caption() -> None:
    html = EBMLab(caption="</script><b>", alt='"><i>').to_html()
    assert html.count("</script>") == 1
    assert "<b>" not in html
    assert "<i>" not in html


def pixels(lab: EBMLab) -> np.ndarray:
    raw = re.search(r'src="data:image/webp;base64,([^"]+)"', lab.to_html())[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(raw))).convert("L"), int)


def test_the_still_picture_shows_data_and_model() -> None:
    plain = pixels(EBMLab())
    assert np.array_equal(plain, pixels(EBMLab()))
    assert plain.std() > 20
    other = pixels(EBMLab(config={"data": "dots"}))
    # data on the left, what has been learned of them on the right
    half = plain.shape[1] // 2
    for side in (slice(0, half), slice(half, None)):
        assert np.abs(plain[:, side] - other[:, side]).mean() > 5
    given = pixels(EBMLab(model=model(), data=torch.zeros(4, 2)))
    assert given.std() > 5
    assert pixels(EBMLab(config={"data": "drawn", "drawing": drawing()})).std() > 5


def test_its_alternative_text_names_the_data() -> None:
    assert "the two spirals" in EBMLab(config={"data": "two_spirals"}).alt
    assert (
        "a drawn density" in EBMLab(config={"data": "drawn", "drawing": drawing()}).alt
    )
    assert EBMLab(alt="Mine").alt == "Mine"


def test_drawings_are_read_from_the_top_left() -> None:
    grey = decode_drawing(drawing())
    assert grey.shape == (24, 24)
    assert grey[0, 0] == 3
    assert int(grey.sum()) == 3
