"""Pictures of linear regions hold the regions, and the explorer what it was given."""

import json
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from ebmlib import plotting as P
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.partition import ReLUPartition
from ebmlib.widgets import PartitionExplorer, _host


@pytest.fixture(autouse=True)
def headless():
    mpl.use("agg")
    yield
    plt.close("all")


def network(widths=(2, 6, 4, 1), seed=0, activation="relu"):
    generator = torch.Generator().manual_seed(seed)
    made = mlp(list(widths), activation, generator=generator)
    nn.init.normal_(made[-1].weight, generator=generator)
    return made


def partition(**options):
    return ReLUPartition.from_network(network(**options))


def length(segments) -> float:
    return float(np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1).sum())


def test_first_layer_edges_make_up_the_whole_lines():
    cut = partition(widths=(2, 5, 1))
    (lines,) = P.plot_edges(cut).collections
    drawn = np.array(lines.get_segments())
    by_hand = P.plot_partition_lines(network(widths=(2, 5, 1)))
    whole = np.array(by_hand.collections[0].get_segments())
    # every edge is drawn from both of its sides
    assert length(drawn) == pytest.approx(2 * length(whole), rel=1e-9)


def test_each_layer_has_its_colour_and_a_colour_overrides_it():
    cut = partition()
    first, second = P.plot_edges(cut).collections
    assert not np.array_equal(first.get_color(), second.get_color())
    for lines in P.plot_edges(cut, colour="black").collections:
        np.testing.assert_array_equal(lines.get_color()[0], [0, 0, 0, 1])


def test_one_region_is_outlined_with_its_sides_on_the_square():
    cut = partition()
    region = int(cut.corner_regions[cut.edge_neurons < 0][0])
    ax = P.plot_edges(cut, regions=[region])
    drawn = sum(length(np.array(c.get_segments())) for c in ax.collections)
    corners = cut.polygons[region]
    around = (corners.roll(-1, 0) - corners).norm(dim=1).sum()
    assert drawn == pytest.approx(float(around), rel=1e-12)


def test_edges_of_a_neuron_lie_on_its_line():
    cut, net = partition(), network().double()
    ax = P.plot_edges(cut, neurons=[2])
    ends = torch.tensor(np.concatenate([c.get_segments() for c in ax.collections]))
    z = net[0](ends.reshape(-1, 2))[:, 2]
    assert len(ends)
    assert float(z.detach().abs().max()) < 1e-12


def test_regions_carry_their_values():
    cut = partition()
    ax = P.plot_regions(cut, cut.areas, label="area")
    (fills,) = ax.collections
    np.testing.assert_array_equal(fills.get_array(), cut.areas.numpy())
    assert len(fills.get_paths()) == cut.n_regions
    assert fills.get_clim() == (float(cut.areas.min()), float(cut.areas.max()))
    assert len(ax.get_figure().axes) == 2
    (fills,) = P.plot_regions(cut, cut.areas, limits=(0, 1)).collections
    assert fills.get_clim() == (0, 1)


def test_bad_pictures_are_refused():
    cut = partition()
    with pytest.raises(TypeError, match="partition must be a ReLUPartition, got Seq"):
        P.plot_edges(network())
    with pytest.raises(ValueError, match="neurons must lie in 0 to 9, got 10 to 10"):
        P.plot_edges(cut, neurons=[10])
    with pytest.raises(ValueError, match="regions must lie in 0 to"):
        P.plot_edges(cut, regions=torch.tensor([-1]))
    with pytest.raises(ValueError, match="one a region"):
        P.plot_regions(cut, cut.areas[:-1])
    with pytest.raises(FloatingPointError, match="got 1 NaN"):
        P.plot_regions(cut, cut.areas.clone().index_fill_(0, torch.tensor([0]), np.nan))
    wide = ReLUPartition.from_network(network(), [-2, -1], [2, 1])
    with pytest.raises(ValueError, match="must be of a square"):
        P.plot_edges(wide)


# The explorer in Python


def payload(widget) -> dict:
    found = re.search(
        r'<script type="application/json">(.*)</script>', widget.to_html()
    )
    return json.loads(found[1])


def test_the_module_is_one_self_contained_text():
    source = _host.bundle("partition_explorer")
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    names = re.findall(
        r"^(?:export )?(?:function\*?|const) (\w+)", source, re.MULTILINE
    )
    assert len(names) == len(set(names)) > 20


def test_a_film_of_training_is_a_slider_and_starts_at_its_end():
    film = {0: network(seed=0), 100: network(seed=1), 2000: network(seed=2)}
    explorer = PartitionExplorer({"run": film, "other": network((2, 5, 1))}, alt="x")
    state = payload(explorer)
    assert [m["steps"] for m in state["spec"]["models"]] == [["0", "100", "2000"], [""]]
    assert (state["step"], state["depth"], state["model"]) == (2, 2, "run")
    assert len(state["spec"]["models"][0]["networks"]) == 3


def test_the_prior_of_the_model_goes_along():
    tilted = TiltedEnergy(network(), gaussian(sd=0.5))
    explorer = PartitionExplorer({"m": tilted, "flat": network()}, alt="x")
    normal, flat = (entry["prior"] for entry in explorer.spec["models"])
    assert normal["precision"] == [[4, 0], [0, 4]]
    assert flat["kind"] == "uniform"


def test_the_fallback_shows_the_borders_of_the_model_on_show():
    film = {0: network(seed=0), 1: network(seed=1)}
    a, b = (PartitionExplorer({"m": film}, alt="A partition", step=s) for s in (0, 1))
    assert a._fallback()[0] != b._fallback()[0]
    tilted = PartitionExplorer({"m": TiltedEnergy(network(), gaussian())}, alt="x")
    assert tilted._fallback()[2] == 400
    assert 'alt="A partition"' in a.to_html()


def test_bad_models_are_refused():
    tanh = network(activation="tanh")
    with pytest.raises(
        ValueError, match="whose regions are polygons, got \\['tanh'\\]"
    ):
        PartitionExplorer({"m": tanh}, alt="x")
    with pytest.raises(ValueError, match="no hidden layer"):
        PartitionExplorer({"m": nn.Sequential(nn.Linear(2, 1))}, alt="x")
    with pytest.raises(ValueError, match="at least one name"):
        PartitionExplorer({}, alt="x")
    with pytest.raises(ValueError, match="at least one training step"):
        PartitionExplorer({"m": {}}, alt="x")
    with pytest.raises(ValueError, match="one architecture"):
        PartitionExplorer({"m": {0: network(), 1: network((2, 5, 1))}}, alt="x")
    with pytest.raises(ValueError, match="one prior"):
        film = {0: network(), 1: TiltedEnergy(network(), gaussian())}
        PartitionExplorer({"m": film}, alt="x")
    with pytest.raises(ValueError, match="low must be less than high"):
        PartitionExplorer({"m": network()}, alt="x", low=1, high=1)
    with pytest.raises(ValueError, match="did you mean 'star'"):
        PartitionExplorer({"star": network()}, alt="x", model="stars")


def test_bad_traits_are_refused():
    explorer = PartitionExplorer({"m": network()}, alt="x")
    for name, value in (
        ("model", "n"),
        ("step", 1),
        ("depth", 0),
        ("depth", 3),
        ("fill", "area"),
        ("probe", [0, 2]),
    ):
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, value)
    explorer.depth, explorer.fill, explorer.probe = 1, "active", [0.5, -1]
