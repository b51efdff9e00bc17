"""The partition explorer's regions in the browser, held against the library's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.partition import ReLUPartition
from ebmlib.widgets import PartitionExplorer
from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Corners are intersections of lines: where two cross at an angle of 1e-3 or more, it
# is known to about 1e-12 in float64, and an area below 4 to about as much.
NEAR = 1e-10
CUT = """async ([spec, points, depth]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const { networks, prior } = spec.models[0];
  const regions = m.linearRegions(m.decodeNetwork(networks[0]), spec.box, depth);
  return {
    areas: regions.map(m.polygonArea),
    corners: regions.map(region => region.owners.length),
    here: points.map(([x, y]) => {
      const region = m.regionAt(regions, x, y);
      return {
        active: region.active,
        plane: region.plane && [...region.plane],
        centre: region.plane && m.localCentre(prior, region.plane),
        bounding: m.boundaryNeurons(region),
        area: m.polygonArea(region),
      };
    }),
  };
}"""


@pytest.fixture(scope="module")
def cut(chrome, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that cuts the square with the page's own module."""
    page_file = tmp_path_factory.mktemp("regions") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["partition_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(model, points, depth: int) -> dict:
            spec = PartitionExplorer({"m": model}, alt="m").spec
            spec = json.loads(json.dumps(spec, allow_nan=False))
            return page.evaluate(CUT, [spec, points.tolist(), depth])

        yield run
        assert faults == []


def network(widths: list[int], activation: str = "relu", seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    made = mlp(widths, activation, generator=generator)
    nn.init.normal_(made[-1].weight, generator=generator)
    return made


def some_points(n: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 2, dtype=torch.float64, generator=generator) * 2 - 1


NETWORKS = {
    "one layer": lambda: network([2, 40, 1]),
    "two layers": lambda: network([2, 32, 16, 1]),
    "four layers": lambda: network([2, 8, 8, 8, 8, 1]),
    "leaky": lambda: network([2, 12, 9, 1], "leaky_relu"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_regions_are_the_librarys(cut, name: str) -> None:
    net, x = NETWORKS[name](), some_points()
    exact = ReLUPartition.from_network(net)
    depth = len(exact.widths)
    found = cut(net, x, depth)
    assert len(found["areas"]) == exact.n_regions
    areas = exact.areas.sort().values.numpy()
    np.testing.assert_allclose(np.sort(found["areas"]), areas, atol=NEAR)
    assert sorted(found["corners"]) == sorted(exact.lengths.tolist())
    region = exact.locate(x)
    patterns = torch.cat(exact.patterns, 1)[region]
    assert [h["active"] for h in found["here"]] == patterns.tolist()
    planes = torch.cat([exact.gradients, exact.offsets[:, None]], 1)[region]
    scale = float(planes.abs().max())
    np.testing.assert_allclose(
        [h["plane"] for h in found["here"]], planes, atol=1e-12 * scale
    )
    bounding = [exact.boundary_neurons(int(r)).tolist() for r in region]
    assert [h["bounding"] for h in found["here"]] == bounding


def test_fewer_layers_are_the_partition_of_the_network_cut_short(cut) -> None:
    net, x = NETWORKS["four layers"](), some_points(10)
    for depth in (1, 2, 3):
        head = nn.Sequential(*list(net)[: 2 * depth], nn.Linear(8, 1))
        exact = ReLUPartition.from_network(head)
        found = cut(net, x, depth)
        assert len(found["areas"]) == exact.n_regions
        assert sum(found["areas"]) == pytest.approx(4, abs=NEAR)
        assert all(h["plane"] is None for h in found["here"])


def test_the_local_gaussian_is_centred_where_its_density_peaks(cut) -> None:
    net, x = NETWORKS["two layers"](), some_points(50)
    model = TiltedEnergy(net, gaussian(sd=0.5))
    exact = ReLUPartition.from_network(net)
    centres = 0.25 * exact.gradients[exact.locate(x)]
    found = [h["centre"] for h in cut(model, x, 2)["here"]]
    np.testing.assert_allclose(found, centres, rtol=1e-9, atol=1e-12)
    assert all(h["centre"] is None for h in cut(net, x, 2)["here"])


def test_neurons_that_are_dead_or_constant_cut_nothing(cut) -> None:
    net = network([2, 6, 4, 1])
    with torch.no_grad():
        net[0].weight[0], net[0].bias[0] = 0.0, 1.0
        net[0].weight[1], net[0].bias[1] = 0.0, 0.0
        net[2].weight[0], net[2].bias[0] = 0.0, -1.0
    exact = ReLUPartition.from_network(net)
    found = cut(net, some_points(5), 2)
    assert len(found["areas"]) == exact.n_regions
    for here in found["here"]:
        assert here["active"][:2] == [True, False]
        assert here["active"][6] is False


def test_the_check_can_fail(cut) -> None:
    net = NETWORKS["two layers"]()
    found = cut(net, some_points(5), 2)
    with torch.no_grad():
        net[0].bias[0] += 1e-4
    areas = ReLUPartition.from_network(net).areas.sort().values.numpy()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(np.sort(found["areas"]), areas, atol=NEAR)
