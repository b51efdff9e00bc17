"""The Python side of the particle explorer."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from ebmlib import distributions
from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.widgets import ParticleExplorer


def bowl(x: torch.Tensor) -> torch.Tensor:
    return 5 * x.square().sum(1)


@pytest.fixture
def widget() -> ParticleExplorer:
    network = mlp([2, 4, 1], init="torch", generator=torch.Generator().manual_seed(0))
    energies = {
        "bowl": bowl,
        "ring": distributions.get("ring"),
        "network": TiltedEnergy(network),
    }
    return ParticleExplorer(energies, alt="Three energies", nodes=21)


def decoded(spec: dict, place: int) -> np.ndarray:
    packed = spec["energies"][place]["values"]
    raw = np.frombuffer(base64.b64decode(packed["data"]), "<" + packed["dtype"])
    return raw.reshape(spec["nodes"], spec["nodes"])


def test_energies_of_every_kind_are_kept_at_the_nodes(widget):
    axis = torch.linspace(-1, 1, 21, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    expected = [
        bowl(points),
        -distributions.get("ring").log_prob(points),
        None,
    ]
    for place, energy in enumerate(expected):
        values = decoded(widget.spec, place)
        assert values.min() == 0
        if energy is not None:
            np.testing.assert_allclose(
                values.ravel(), energy - energy.min(), rtol=1e-6, atol=1e-5
            )


def test_defaults_and_the_page(widget):
    assert widget.energy == "bowl"
    assert widget.steps == 100
    assert not widget.playing
    html = widget.to_html()
    assert 'data-ebm-widget="particle_explorer"' in html
    assert 'alt="Three energies"' in html
    five = {str(i): bowl for i in range(5)}
    assert ParticleExplorer(five, alt="x").nbytes < 250_000


def test_the_still_picture_shows_where_the_energy_is_low(widget):
    picture, alt, width = widget._fallback()
    raw = base64.b64decode(picture.split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), dtype=float)
    assert width == 400
    assert alt == "Three energies"
    assert pixels[180:220, 180:220].mean() > 2 * pixels[:20, :20].mean()
    # upwards is the second coordinate: a bowl that is low at the top
    slope = ParticleExplorer({"slope": lambda x: -9 * x[:, 1]}, alt="A slope")
    raw = base64.b64decode(slope._fallback()[0].split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), dtype=float)
    assert pixels[:20].mean() > pixels[-20:].mean() + 50


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("energy", "rings"),
        ("kernel", "gibbs"),
        ("step_size", 0.001),
        ("temperature", 9.0),
        ("count", 7),
        ("probe", [0.0, 1.5]),
        ("steps", -1),
    ],
)
def test_traits_refuse_what_the_browser_cannot_do(widget, trait, value):
    before = getattr(widget, trait)
    with pytest.raises((ValueError, traitlets.TraitError), match=trait):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == before


def test_traits_take_what_it_can(widget):
    widget.energy, widget.kernel, widget.step_size = "ring", "hmc", 0.1
    widget.temperature, widget.count, widget.probe = 2.0, 1, [0.5, -0.5]
    widget.steps = 500
    assert widget.page_state()["kernel"] == "hmc"


def test_errors():
    with pytest.raises(ValueError, match="at least one name"):
        ParticleExplorer({}, alt="x")
    with pytest.raises(ValueError, match="nodes must be between"):
        ParticleExplorer({"bowl": bowl}, alt="x", nodes=500)
    with pytest.raises(ValueError, match="low must be below high"):
        ParticleExplorer({"bowl": bowl}, alt="x", low=1.0)
    with pytest.raises(TypeError, match="'bowl' must be an EnergyModel"):
        ParticleExplorer({"bowl": 3}, alt="x")
    with pytest.raises(ValueError, match="one number a point"):
        ParticleExplorer({"bowl": lambda x: x}, alt="x")
    with pytest.raises(FloatingPointError, match=r"not finite at \d+ of"):
        ParticleExplorer({"log": lambda x: -x[:, 0].log()}, alt="x")
    with pytest.raises(FloatingPointError, match="float32"):
        ParticleExplorer({"high": lambda x: 1e300 * x[:, 0]}, alt="x")
