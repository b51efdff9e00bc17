"""The density explorer's arithmetic in the browser, held against PyTorch's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

from ebmlib.energy import TiltedEnergy
from ebmlib.grid import Grid, GridDensity
from ebmlib.widgets import DensityExplorer
from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw

pytestmark = pytest.mark.browser

# Sums of n terms of size s differ by at most about n * eps * s between two orders of
# summation: 128 * 2.2e-16 * 100 is below 1e-11 here. The promise is 1e-10 relative.
RELATIVE, ABSOLUTE = 1e-10, 1e-11
DOUBLE = torch.float64

COMPUTE = """async ([spec, points, temperature, bins]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const { network: packed, prior, truth } = spec.models[0];
  const network = m.decodeNetwork(packed);
  const values = m.exhaust(m.gridValues(network, spec.box, bins));
  const energies = m.gridEnergies(values, prior, spec.box, bins);
  const logZ = m.logPartition(energies, temperature, spec.box, bins);
  const logDensity = m.gridLogDensity(energies, temperature, logZ);
  const known = truth === null ? null : m.decodeArray(spec.truths[truth].log_density);
  return {
    values: [...values],
    logZ,
    logDensity: [...logDensity],
    kl: known && m.klDivergence(known, logDensity),
    probes: points.map(([x, y]) => m.probe(network, prior, x, y, temperature, logZ)),
  };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs the page's own module on an explorer's own data."""
    page_file = tmp_path_factory.mktemp("numbers") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["density_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(explorer: DensityExplorer, points, temperature=1.0, bins=50) -> dict:
            spec = json.loads(json.dumps(explorer.page_state(), allow_nan=False))[
                "spec"
            ]
            return page.evaluate(COMPUTE, [spec, points.tolist(), temperature, bins])

        yield run
        assert faults == []


def network(widths: list[int], activations: list[nn.Module], scale: float = 1.0):
    """Return a network with weights drawn from a normal density, in float64."""
    generator = torch.Generator().manual_seed(sum(widths))
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs, dtype=DOUBLE)
        layer.weight.data.normal_(0, scale / inputs**0.5, generator=generator)
        layer.bias.data.normal_(0, scale, generator=generator)
        layers += [layer, *activations[len(layers) // 2 : len(layers) // 2 + 1]]
    return nn.Sequential(*layers)


NETWORKS = {
    "relu": lambda: network([2, 32, 16, 1], [nn.ReLU(), nn.ReLU()]),
    "wide": lambda: network([2, 512, 1], [nn.ReLU()]),
    "deep": lambda: network([2, 32, 64, 128, 1], [nn.ReLU()] * 3, 2.0),
    "leaky": lambda: network([2, 16, 16, 1], [nn.LeakyReLU(0.2), nn.LeakyReLU()]),
    "tanh": lambda: network([2, 32, 16, 1], [nn.Tanh(), nn.Tanh()], 3.0),
    # Scale 12 reaches inputs above 20, where PyTorch's softplus turns linear.
    "softplus": lambda: network([2, 32, 16, 1], [nn.Softplus(), nn.Softplus()], 12.0),
    "mixed": lambda: network([2, 9, 7, 1], [nn.Softplus(beta=2.0), nn.ReLU()]),
}
# In float64, like the networks: PyTorch rounds what it computes of a float32 prior.
PRIORS = {
    "none": None,
    "uniform": Independent(
        Uniform(-1.5 * torch.ones(2, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE)), 1
    ),
    "normal": Independent(Normal(torch.zeros(2, dtype=DOUBLE), 1.0), 1),
    "narrow": Independent(
        Normal(
            torch.tensor([0.1, -0.2], dtype=DOUBLE),
            torch.tensor([0.3, 0.1], dtype=DOUBLE),
        ),
        1,
    ),
    "tilted": MultivariateNormal(
        torch.tensor([0.2, 0.1], dtype=DOUBLE),
        torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=DOUBLE),
    ),
}


def close(actual: Any, expected: torch.Tensor | float) -> None:
    if isinstance(expected, torch.Tensor):
        expected = expected.detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=ABSOLUTE)


def cells(bins: int) -> torch.Tensor:
    """Return the cell centres in float64, the first coordinate slowest."""
    axis = (2 * torch.arange(bins, dtype=DOUBLE) + 1) / bins - 1
    return torch.cartesian_prod(axis, axis)


def some_points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.rand(40, 2, dtype=DOUBLE, generator=generator) - 1


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_pytorchs(compute, name: str) -> None:
    net = NETWORKS[name]()
    x = some_points().requires_grad_()
    found = compute(DensityExplorer({"m": net}, alt="m"), x.detach())
    f = net(x).squeeze(-1)
    (gradient,) = torch.autograd.grad(f.sum(), x)
    close([probe["f"] for probe in found["probes"]], f)
    close([probe["gradient"] for probe in found["probes"]], gradient)
    close(found["values"], net(cells(50)).squeeze(-1))


def test_softplus_reaches_its_linear_part() -> None:
    net = NETWORKS["softplus"]()
    inputs = net[0](cells(50))
    assert (inputs > 20).any()
    assert (inputs.abs() < 5).any()


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("name", PRIORS)
def test_densities_are_pytorchs(compute, name: str, temperature: float) -> None:
    model = TiltedEnergy(NETWORKS["relu"](), PRIORS[name])
    x = some_points()
    found = compute(DensityExplorer({"m": model}, alt="m"), x, temperature)
    tilted = -model.energy(cells(50)) / temperature
    log_z = torch.logsumexp(tilted, 0) + 2 * np.log(2 / 50)
    energy = model.energy(x)
    close(found["logZ"], log_z)
    close(found["logDensity"], tilted - log_z)
    close([probe["energy"] for probe in found["probes"]], energy)
    close(
        [probe["logDensity"] for probe in found["probes"]],
        -energy / temperature - log_z,
    )
    close([probe["score"] for probe in found["probes"]], model.score(x))


def test_log_partition_is_that_of_the_exact_grid(compute) -> None:
    model = TiltedEnergy(NETWORKS["tanh"](), PRIORS["normal"])
    found = compute(DensityExplorer({"m": model}, alt="m"), some_points(), bins=100)
    density = GridDensity(model, Grid(bins=100))
    close(found["logZ"], density.log_partition)


def test_divergence_is_pytorchs(compute) -> None:
    model = TiltedEnergy(NETWORKS["relu"](), PRIORS["normal"])
    points = cells(50)
    truth = PRIORS["tilted"].log_prob(points).float()
    truth[:300] = -torch.inf  # where the true density is zero, nothing is added
    explorer = DensityExplorer({"m": model}, alt="m", truth=truth, resolution=50)
    found = compute(explorer, some_points())
    p = torch.log_softmax(truth.to(DOUBLE), 0)[300:]
    q = torch.log_softmax(-model.energy(points), 0)[300:]
    close(found["kl"], (p.exp() * (p - q)).sum())


def test_active_neurons_are_counted(compute) -> None:
    net = NETWORKS["relu"]()
    x = some_points()
    found = compute(DensityExplorer({"m": net}, alt="m"), x)
    first = net[0](x)
    second = net[2](net[1](first))
    counts = torch.stack([(first > 0).sum(-1), (second > 0).sum(-1)], -1)
    assert [probe["active"] for probe in found["probes"]] == counts.tolist()


def test_weights_of_float32_arrive_exactly(compute) -> None:
    net = NETWORKS["deep"]().float()
    explorer = DensityExplorer({"m": net}, alt="m")
    assert explorer.spec["models"][0]["network"]["weights"]["dtype"] == "f4"
    x = some_points()
    close([p["f"] for p in compute(explorer, x)["probes"]], net.double()(x).squeeze(-1))


def test_the_check_can_fail(compute) -> None:
    net = NETWORKS["relu"]()
    explorer = DensityExplorer({"m": net}, alt="m")
    with torch.no_grad():
        net[-1].bias += 1e-8
    x = some_points()
    with pytest.raises(AssertionError):
        close([p["f"] for p in compute(explorer, x)["probes"]], net(x).squeeze(-1))
