"""The two-phase widget as a Python object: what it refuses and hands to a page."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ebmlib.distributions import Ring, ThreeGaussians1D
from ebmlib.grid import Grid, GridDensity
from ebmlib.widgets import TwoPhases, _host
from ebmlib.widgets.two_phases import SOURCES

TRUTH = ThreeGaussians1D()


def data(n: int = 50) -> torch.Tensor:
    return TRUTH.sample((n,), generator=torch.Generator().manual_seed(0))


def decode(packed: dict[str, str]) -> np.ndarray:
    raw = _host.base64.b64decode(packed["data"])
    return np.frombuffer(raw, dtype="<" + packed["dtype"])


def test_the_module_is_one_self_contained_text() -> None:
    source = _host.bundle("two_phases")
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    names = re.findall(r"^export function\*? (\w+)", source, re.MULTILINE)
    assert len(names) == len(set(names)) > 5
    assert "http" not in source


def test_data_and_truth_arrive_exactly() -> None:
    x = data()
    spec = TwoPhases(x, TRUTH, alt="a", bins=64).spec
    np.testing.assert_array_equal(decode(spec["data"]), x[:, 0].double().numpy())
    exact = GridDensity(TRUTH, Grid(bins=64, dim=1)).log_prob
    np.testing.assert_array_equal(decode(spec["truth"]), exact.numpy())
    json.dumps(spec, allow_nan=False)


def test_traits_refuse_what_cannot_be_shown() -> None:
    widget = TwoPhases(data(), TRUTH, alt="a", max_updates=10)
    widget.half, widget.negatives, widget.rate = 20, "few", 0.3
    for name, value, message in (
        ("half", 21, "half must be between 0 and 20"),
        ("negatives", "exacct", "Did you mean 'exact'"),
        ("rate", 11.0, "rate must be between 0.3 and 10"),
    ):
        with pytest.raises(ValueError, match=message):
            setattr(widget, name, value)
    assert (widget.half, widget.negatives, widget.rate) == (20, "few", 0.3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": torch.zeros(3)}, ValueError, "data must have shape"),
        ({"data": torch.zeros(0, 1)}, ValueError, "data is empty"),
        ({"data": [[0.0]]}, TypeError, "data must be a torch.Tensor"),
        ({"data": torch.full((2, 1), 1.5)}, ValueError, "must lie in the box"),
        ({"truth": Ring()}, ValueError, "event_shape"),
        ({"n_bumps": 1}, ValueError, "n_bumps must be between 2 and 100"),
        ({"bins": 2.5}, TypeError, "bins must be an integer"),
        ({"seed": -1}, ValueError, "seed must be between"),
        ({"max_updates": 0}, ValueError, "max_updates must be between"),
        ({"half": -1}, ValueError, "half must be between"),
        ({"alt": " "}, ValueError, "alt must say"),
    ],
)
def test_bad_arguments_are_refused(change, error, message: str) -> None:
    options = {"data": data(), "truth": TRUTH, "alt": "a"} | change
    with pytest.raises(error, match=message):
        TwoPhases(options.pop("data"), options.pop("truth"), **options)


def test_the_sources_are_what_their_labels_say() -> None:
    for entry in SOURCES.values():
        number = re.match(r"\d+", entry["label"])
        counts = {"exact": None, "none": 0}
        wanted = int(number[0]) if number else counts[entry["label"]]
        assert entry["samples"] == wanted


def test_the_still_picture_is_that_of_the_trained_density() -> None:
    widget = TwoPhases(data(), TRUTH, alt="Learning", half=0)
    flat = widget._log_prob()
    torch.testing.assert_close(
        flat, torch.full_like(flat, -np.log(2.0)), rtol=0, atol=1e-12
    )
    truth = GridDensity(TRUTH, widget._grid)
    before = float((truth.prob * (truth.log_prob - flat)).sum())
    widget.half = 200
    fitted = widget._log_prob()
    assert float((truth.prob * (truth.log_prob - fitted)).sum()) < before / 2
    picture, alt, width = widget._fallback()
    assert (alt, width) == ("Learning", 506)
    image = Image.open(io.BytesIO(_host.base64.b64decode(picture.split(",")[1])))
    assert image.width == width
