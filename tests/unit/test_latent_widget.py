"""The Python side of the latent explorer."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn
from torch.distributions import Independent, Normal

from ebmlib.distributions import Clusters
from ebmlib.energy import mlp
from ebmlib.gan import Generator, GeneratorDensity, push_forward
from ebmlib.grid import Grid, GridDensity
from ebmlib.latent import LatentEnergy
from ebmlib.widgets import LatentExplorer


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(widths, seed, activation="relu"):
    return mlp(widths, activation, init="torch", generator=seeded(seed))


@pytest.fixture
def parts() -> tuple[Generator, nn.Sequential]:
    return Generator(network([2, 16, 16, 2], 0)), network([2, 16, 1], 1)


@pytest.fixture
def widget(parts) -> LatentExplorer:
    truth = Clusters(sd=0.1)
    return LatentExplorer(
        *parts,
        alt="A generator",
        bins=40,
        resolution=30,
        truth=truth,
        samples=torch.zeros(600, 2),
        temperature=0.5,
    )


def decoded(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), "<" + packed["dtype"])


def test_what_the_browser_gets(widget, parts):
    base, _ = parts
    grid = Grid(bins=40)
    exact = GeneratorDensity.from_generator(base).cell_probabilities(grid).prob
    np.testing.assert_allclose(decoded(widget.spec["masses"]), exact, rtol=1e-7)
    truth = GridDensity(Clusters(sd=0.1), grid).prob
    np.testing.assert_allclose(decoded(widget.spec["truth"]), truth, rtol=1e-6)
    assert decoded(widget.spec["data"]).shape == (1000,)  # 500 points
    weights = decoded(widget.spec["base"]["weights"])
    flat = torch.cat([p.detach().reshape(-1) for p in base.network.parameters()])
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, flat.numpy())


def test_the_scale_leaves_a_tenth_of_the_mass_above(parts):
    base, critic = parts
    widget = LatentExplorer(base, critic, alt="A generator")
    masses = decoded(widget.spec["masses"]).astype(float)
    density = masses / Grid(bins=100).cell_volume
    top = widget.spec["top"]
    tenth = 0.1 * masses.sum()
    # float32 masses: without the cell at the level itself less, with it more
    assert masses[density > 1.000001 * top].sum() < tenth
    assert masses[density > 0.999999 * top].sum() >= tenth
    flat = Normal(torch.zeros(2), 50 * torch.ones(2))
    widget = LatentExplorer(base, critic, alt="x", truth=Independent(flat, 1))
    assert widget.spec["top"] == pytest.approx(1 / 4, rel=1e-3)


def test_fields_are_the_posterior_and_the_tilted_masses(widget, parts):
    ratio, prob = widget.fields()
    energy = LatentEnergy(*parts, temperature=0.5)
    posterior = GridDensity(energy, Grid(bins=30))
    # a density on a square of area 4, where the prior's is 1 / 4; weights are float32
    torch.testing.assert_close(ratio, 4 * posterior.log_prob.exp(), rtol=1e-5, atol=0)
    assert ratio.mean().item() == pytest.approx(1)
    base, critic = parts
    grid = Grid(bins=40)
    masses = GeneratorDensity.from_generator(base).cell_probabilities(grid).prob
    with torch.no_grad():
        weight = masses * (critic(grid.points)[:, 0].double() / 0.5).exp()
    torch.testing.assert_close(prob, weight / weight.sum(), rtol=1e-5, atol=1e-12)


def test_a_smooth_generator_is_counted(parts):
    base = Generator(network([2, 8, 2], 3, "tanh"))
    widget = LatentExplorer(base, parts[1], alt="Smooth", bins=20)
    counted = push_forward(base, Grid(bins=20), 1000).prob
    np.testing.assert_allclose(decoded(widget.spec["masses"]), counted, rtol=1e-6)


def test_a_critic_may_be_wrapped_and_the_truth_left_out(parts):
    base, critic = parts
    wrapped = nn.Module()
    wrapped.network = critic
    widget = LatentExplorer(base, wrapped, alt="A generator")
    assert widget.spec["truth"] is None
    assert widget.spec["data"] is None
    assert "data" not in widget.spec["shown"]
    with pytest.raises((ValueError, traitlets.TraitError), match="show"):
        widget.show = "data"


def test_the_page(widget):
    html = widget.to_html()
    assert 'data-ebm-widget="latent_explorer"' in html
    assert 'alt="A generator"' in html
    assert widget.nbytes < 100_000


def test_two_networks_of_usual_size_stay_light():
    base = Generator(network([2, 128, 128, 2], 0))
    critic = network([2, 128, 128, 1], 1)
    widget = LatentExplorer(base, critic, alt="x", truth=Clusters())
    assert widget.nbytes < 450_000


def test_the_still_picture_shows_both_panels(parts):
    base, critic = parts
    with torch.no_grad():
        base.network[-1].weight.copy_(torch.zeros(2, 16))
        base.network[-1].bias.copy_(torch.tensor([-0.5, 0.5]))
    widget = LatentExplorer(base, critic, alt="All on a point", probe=(0.9, -0.9))
    picture, alt, width = widget._fallback()
    image = Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1])))
    pixels = np.asarray(image.convert("RGB"), dtype=int)
    assert alt == "All on a point"
    assert width == pixels.shape[1] == 840
    orange = np.abs(pixels - [230, 159, 0]).sum(2) < 60
    where = np.argwhere(orange)
    left, right = where[where[:, 1] < 420], where[where[:, 1] >= 420]
    assert left.mean(0)[0] > 300  # the particle, low and far right in its square
    assert left.mean(0)[1] > 330
    assert right.mean(0)[0] < 200  # its image, high and left in the plane
    assert right.mean(0)[1] < 600


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("show", "truth"),
        ("temperature", 0.01),
        ("step_size", 2.0),
        ("probe", [0.0, 1.5]),
        ("path", [0.0, 0.0, 0.1]),
        ("refused", [3.0, 0.0]),
        ("steps", -1),
        ("accepted", 1001),
    ],
)
def test_traits_refuse_what_the_browser_cannot_do(widget, trait, value):
    before = getattr(widget, trait)
    with pytest.raises((ValueError, traitlets.TraitError), match=trait):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == before


def test_traits_take_what_it_can(widget):
    widget.show, widget.temperature, widget.step_size = "critic", 2.0, 0.3
    widget.path, widget.probe = [0.0, 0.0, 0.5, -0.5], [0.5, -0.5]
    widget.steps, widget.accepted, widget.mesh = 1, 1, True
    state = widget.page_state()
    assert state["show"] == "critic"
    assert state["path"] == [0.0, 0.0, 0.5, -0.5]


def test_errors(parts):
    base, critic = parts
    with pytest.raises(ValueError, match="low must be below high"):
        LatentExplorer(base, critic, alt="x", low=1.0)
    with pytest.raises(ValueError, match="bins must be between"):
        LatentExplorer(base, critic, alt="x", bins=500)
    with pytest.raises(ValueError, match=r"uniform on \[-1, 1\]\^2"):
        LatentExplorer(Generator(base.network, "gaussian"), critic, alt="x")
    with pytest.raises(ValueError, match=r"uniform on \[-1, 1\]\^2"):
        LatentExplorer(base.network, critic, alt="x")
    with pytest.raises(ValueError, match="base: the network must lead"):
        LatentExplorer(Generator(critic), critic, alt="x")
    with pytest.raises(ValueError, match="logit: the network must lead"):
        LatentExplorer(base, base, alt="x")
    with pytest.raises(TypeError, match="truth must be a torch Distribution"):
        LatentExplorer(base, critic, alt="x", truth=torch.zeros(3))
    with pytest.raises(ValueError, match="samples must have shape"):
        LatentExplorer(base, critic, alt="x", samples=torch.zeros(3))
    with torch.no_grad():
        critic[0].weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="logit: the network"):
        LatentExplorer(base, critic, alt="x")
