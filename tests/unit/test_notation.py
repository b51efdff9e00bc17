"""The notation page against the code: its names exist, and its signs hold."""

from __future__ import annotations

import importlib
import math
import re

import pytest
import torch
from torch import Tensor

from ebmlib.distributions import Star
from ebmlib.energy import EnergyModel, TiltedEnergy, gaussian, mlp
from ebmlib.fit import History, fit
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives, Negatives
from tests.conftest import ROOT

# {py:kind}`shown <target>` or {py:kind}`target`
ROLE = re.compile(r"\{py:(\w+)\}`(?:([^`<]+?) <([\w.]+)>|([\w.]+))`")


def named(text: str) -> list[tuple[str, str]]:
    """Return (module, name in it) for every reference of a page to the library."""
    found = []
    for _, shown, target, bare in ROLE.findall(text):
        parts = (target or bare).split(".")
        # The module ends where a class begins, or before a function.
        classes = [i for i, part in enumerate(parts) if not part.islower()]
        end = classes[0] if classes else len(parts) - 1
        found.append((".".join(parts[:end]), shown or ".".join(parts[end:])))
    return found


NAMES = named((ROOT / "book" / "notation.md").read_text("utf-8"))


def tilted(sd: float | None = 1.0) -> TiltedEnergy:
    generator = torch.Generator().manual_seed(0)
    network = mlp([2, 8, 1], init="torch", generator=generator).double()
    return TiltedEnergy(network, None if sd is None else gaussian(sd=sd))


def instances() -> dict[type, object]:
    """Return one object of each class whose attributes exist on objects alone."""
    model, grid = tilted(), Grid(bins=4)
    from ebmlib.widgets import DensityExplorer

    explorer = DensityExplorer({"one": model}, alt="A density")
    negatives = GridNegatives(grid)(model)
    objects = (model, grid, GridDensity(model, grid), History(), explorer, negatives)
    return {type(thing): thing for thing in objects}


def resolve(module: str, name: str) -> object:
    found = importlib.import_module(module)
    for part in name.split("."):
        if isinstance(found, type) and not hasattr(found, part):
            found = instances()[found]
        found = getattr(found, part)
    return found


def test_the_page_names_the_library() -> None:
    assert len(NAMES) >= 20
    assert ("ebmlib.energy", "TiltedEnergy.negative_energy") in NAMES


@pytest.mark.parametrize(("module", "name"), sorted(set(NAMES)))
def test_every_name_exists(module: str, name: str) -> None:
    assert resolve(module, name) is not None


def test_a_name_that_is_gone_is_noticed() -> None:
    (gone,) = named("{py:meth}`Energy.up <ebmlib.energy.EnergyModel.up>`")
    with pytest.raises(AttributeError):
        resolve(*gone)


def points(n: int = 50) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 2, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("sd", [None, 0.3, 1.0])
def test_energy_is_minus_f_minus_log_reference(sd: float | None) -> None:
    model, x = tilted(sd), points()
    reference = torch.zeros(len(x)) if sd is None else model.prior.log_prob(x)
    expected = -model.network(x)[:, 0] - reference
    torch.testing.assert_close(model.energy(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.negative_energy(x), model.network(x)[:, 0])


def test_energy_is_low_where_points_are_likely() -> None:
    model, grid = tilted(), Grid(bins=30)
    density = GridDensity(model, grid)
    energy = model.energy(grid.points_as(torch.float64)).detach()
    expected = -energy - density.log_partition
    torch.testing.assert_close(density.log_prob, expected, rtol=0, atol=1e-10)
    assert int(density.prob.argmax()) == int(energy.argmin())
    assert float(density.prob.sum()) == pytest.approx(1, abs=1e-12)
    mass = density.log_prob.exp() * grid.cell_volume
    torch.testing.assert_close(density.prob, mass, rtol=1e-10, atol=0)


def test_flat_reference_and_uniform_density_differ_by_log_4() -> None:
    low, high = -torch.ones(2), torch.ones(2)
    uniform = torch.distributions.Independent(torch.distributions.Uniform(low, high), 1)
    flat, grid = tilted(None), Grid(bins=30)
    box = TiltedEnergy(flat.network, uniform)
    a, b = GridDensity(flat, grid), GridDensity(box, grid)
    torch.testing.assert_close(a.log_prob, b.log_prob, rtol=0, atol=1e-6)
    assert a.log_partition - b.log_partition == pytest.approx(math.log(4), abs=1e-6)


def test_score_is_minus_the_gradient_of_the_energy() -> None:
    model, x, h = tilted(), points(10), 1e-5
    for axis in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = h
        slope = (model.energy(x + shift) - model.energy(x - shift)) / (2 * h)
        away = (slope + model.score(x)[:, axis]).abs() > 1e-6
        assert away.sum() <= 1, "at most one point may straddle a kink"


def test_loss_is_minus_the_mean_log_likelihood() -> None:
    model, grid, x = tilted(), Grid(bins=30), points()
    before = -model.energy(x).detach().mean() - GridDensity(model, grid).log_partition
    history = fit(model, x, GridNegatives(grid), 1)
    assert history.loss[0] == pytest.approx(-float(before), abs=1e-6)


def test_negative_weights_are_a_distribution() -> None:
    negatives = GridNegatives(Grid(bins=20))(tilted())
    assert isinstance(negatives, Negatives)
    assert bool((negatives.weights >= 0).all())
    assert float(negatives.weights.sum()) == pytest.approx(1, abs=1e-12)


def test_divergence_puts_the_truth_first() -> None:
    grid = Grid(bins=50)
    truth, model = GridDensity(Star(), grid), GridDensity(tilted(), grid)
    expected = (truth.prob * (truth.log_prob - model.log_prob)).sum()
    assert truth.kl(model) == pytest.approx(float(expected), abs=1e-10)


class Normal(EnergyModel):
    """Energy of a standard normal density."""

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * x.square().sum(1)


@pytest.mark.parametrize("step", [0.04, 0.5, 1.9])
def test_both_forms_of_the_langevin_step(step: float) -> None:
    """The forms agree, and the variance settles where the page says.

    On a normal density the step is linear, x' = a x + b noise, so a variance v becomes
    a**2 v + b**2, and the page's 1 / (1 - step**2 / 4) is left as it is.
    """
    one = torch.ones(1, 1, dtype=torch.float64)
    length = [float(one + step**2 / 2 * Normal().score(one)), step]
    tau = step**2 / 2
    time = [float(one + tau * Normal().score(one)), math.sqrt(2 * tau)]
    assert length == pytest.approx(time, abs=1e-14)
    a, b = length
    variance = 1 / (1 - step**2 / 4)
    assert a**2 * variance + b**2 == pytest.approx(variance, rel=1e-12)
