"""The Python side of the drawing pad."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from ebmlib.widgets import RBMPad


def machine(side: int, hidden: int, seed: int = 0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        weight=torch.randn(hidden, side**2, generator=generator),
        visible_bias=torch.randn(side**2, generator=generator),
        hidden_bias=torch.randn(hidden, generator=generator),
    )


SMALL, LARGE = machine(4, 3), machine(6, 5)
CROSS = torch.eye(4)
IMAGES = {"a stroke": CROSS, "all": torch.ones(36), "an edge": torch.ones(4, 1) * CROSS}


@pytest.fixture
def pad() -> RBMPad:
    return RBMPad({"small": SMALL, "large": LARGE}, alt="A pad", images=IMAGES)


def decoded(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), "<" + packed["dtype"])


def test_weights_travel_exactly_and_images_go_to_the_machines_of_their_size(pad):
    small, large = pad.spec["models"]
    np.testing.assert_array_equal(
        decoded(large["weight"]), LARGE.weight.T.numpy().ravel()
    )
    np.testing.assert_array_equal(decoded(small["hidden_bias"]), SMALL.hidden_bias)
    names = [start["name"] for start in small["starts"]]
    assert names == ["a stroke", "an edge", "a blank sheet"]
    assert [start["name"] for start in large["starts"]] == ["all", "a blank sheet"]
    assert pad.drawing == "1000010000100001"
    assert pad.free == "1" * 16


def test_a_reference_of_images_becomes_their_free_energies_by_enumeration():
    generator = torch.Generator().manual_seed(1)
    images = torch.bernoulli(torch.full((50, 16), 0.5), generator=generator)
    pad = RBMPad({"m": SMALL}, alt="x", images={}, reference={"m": images})
    h = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).double()
    v = images.double()
    joint = (
        (v @ SMALL.visible_bias.double())[:, None]
        + h @ SMALL.hidden_bias.double()
        + v @ SMALL.weight.T.double() @ h.T
    )
    expected = np.sort(-torch.logsumexp(joint, 1).numpy())
    found = decoded(pad.spec["models"][0]["reference"])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_long_reference_is_thinned_by_rank():
    energies = torch.randn(10_000, generator=torch.Generator().manual_seed(2))
    pad = RBMPad({"m": SMALL}, alt="x", images={}, reference={"m": energies})
    kept = decoded(pad.spec["models"][0]["reference"])
    assert len(kept) == 400
    assert kept[0] == energies.min()
    assert kept[-1] == energies.max()
    # by rank: no quantile moves by more than one step of the thinning
    shares = np.searchsorted(np.sort(energies.numpy()), kept) / 10_000
    assert np.abs(shares - np.linspace(0, 1, 400)).max() < 1 / 400


def test_the_page_and_its_still_picture(pad):
    html = pad.to_html()
    assert 'data-ebm-widget="rbm_pad"' in html
    assert 'alt="A pad"' in html
    picture, _, width = pad._fallback()
    raw = base64.b64decode(picture.split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("L"))
    dark = pixels.reshape(4, width // 4, 4, width // 4).mean((1, 3)) < 128
    np.testing.assert_array_equal(dark, CROSS.numpy() == 1)


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("model", "smal"),
        ("drawing", "01"),
        ("drawing", "2" * 16),
        ("free", "1" * 17),
        ("brush", "pen"),
        ("show", "mean"),
        ("steps", 10_001),
        ("seed", -1),
        ("cursor", [0, 6]),
    ],
)
def test_traits_refuse_what_the_browser_cannot_do(pad, trait, value):
    before = getattr(pad, trait)
    with pytest.raises((ValueError, traitlets.TraitError), match=trait):
        setattr(pad, trait, value)
    assert getattr(pad, trait) == before


def test_traits_take_what_it_can(pad):
    pad.model, pad.drawing, pad.free = "large", "01" * 18, "10" * 18
    pad.brush, pad.show, pad.steps, pad.seed = "hold", "probability", 1000, 7
    pad.cursor = [5, 5]
    assert pad.page_state()["drawing"] == "01" * 18
    by_name = RBMPad({"m": SMALL}, alt="x", images=IMAGES, drawing="an edge")
    assert by_name.drawing == pad.spec["models"][0]["starts"][1]["bits"]


def wide(**parts: torch.Tensor) -> dict[str, SimpleNamespace]:
    return {"m": SimpleNamespace(**(vars(SMALL) | parts))}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"models": {}}, ValueError, "models must map at least one name"),
        ({"images": {"grey": CROSS / 2}}, ValueError, "'grey' must hold zeros and"),
        ({"model": "n"}, ValueError, "unknown model 'n'"),
        ({"reference": {"n": CROSS}}, ValueError, "unknown reference: name"),
        ({"reference": {"m": torch.ones(2, 9)}}, ValueError, "reference of 'm' must"),
        ({"log_partition": {"m": "x"}}, TypeError, "log_partition of 'm'"),
        ({"models": wide(weight=torch.ones(16, 3))}, ValueError, "square images of at"),
        ({"models": wide(visible_bias=torch.ones(15))}, ValueError, "square images"),
        (
            {"models": wide(weight=torch.full((3, 16), torch.nan))},
            FloatingPointError,
            "'m' weight",
        ),
        ({"alt": " "}, ValueError, "alt must say"),
    ],
)
def test_bad_pads_are_refused(options, error, message):
    good = {"models": {"m": SMALL}, "alt": "x", "images": IMAGES}
    with pytest.raises(error, match=message):
        RBMPad(**(good | options))
