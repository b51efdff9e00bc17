"""The layers' explorer: its arithmetic in the browser against the library's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from ebmlib.dbm import DBM
from ebmlib.widgets import DBMExplorer
from ebmlib.widgets._host import page_assets

pytest.importorskip("playwright")
from tests.site import browser as bw
from tests.site.sfc32 import Sfc32

pytestmark = pytest.mark.browser

# Sums of at most 800 terms of size 10 in another order: 800 * 2.2e-16 * 10 < 2e-12.
CLOSE = {"rtol": 1e-10, "atol": 1e-10}
LAYERS = ("visible", "hidden1", "hidden2")

COMPUTE = """async ([spec, image, seed, moves]) => {
  const source = document.querySelector('[data-ebm-module]').textContent;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const m = await import(url);
  const machine = { sizes: spec.sizes, biases: spec.biases.map(m.decodeNumbers),
    weight1: m.decodeNumbers(spec.weight1), weight2: m.decodeNumbers(spec.weight2) };
  const chain = m.layerChain(machine, image, seed);
  for (const letter of moves) chain.draw(Number(letter));
  const inputs = m.layerInputs(machine, chain.layers, 1);
  return {
    layers: chain.layers.map((x) => [...x]), chances: chain.chances.map((x) => [...x]),
    energies: chain.energies, below: [...inputs.below], above: [...inputs.above],
    weight: [...machine.weight1],
  };
}"""


@pytest.fixture(scope="module")
def compute(chrome, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs the page's own module on a machine's own data."""
    page_file = tmp_path_factory.mktemp("dbm") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    page_file.write_text(head + page_assets(["dbm_explorer"]), encoding="utf-8")
    with bw.visit(chrome, page_file.as_uri()) as (page, faults):

        def run(model: DBM, moves: str, image: list | None = None, seed: int = 0):
            widget = DBMExplorer({"m": model}, alt="x")
            spec = json.loads(json.dumps(widget.spec, allow_nan=False))["machines"]["m"]
            return page.evaluate(COMPUTE, [spec, image, seed, moves])

        yield run
        assert faults == []


def machine(kind: str = "double", seed: int = 0) -> DBM:
    generator = torch.Generator().manual_seed(seed)
    model = DBM(16, 7, 5, sd=1.0, generator=generator)
    with torch.no_grad():
        for bias in list(model.parameters())[2:]:
            bias.normal_(0, 1, generator=generator)
    if kind == "half":
        model.half()
    elif kind == "double":
        model.double().weight1.data.mul_(1 / 3)
    return model.double() if kind != "single" else model


def replay(model: DBM, moves: str, image: list | None, seed: int) -> dict[str, Any]:
    """The same chain in Python, from the library's conditionals."""
    model = model.double()
    uniform = Sfc32(seed)
    layers = [
        torch.tensor([[float(uniform() < 0.5) for _ in range(k)]]).double()
        for k in model.sizes
    ]
    if image is not None:
        layers[0] = torch.tensor([image]).double()
    chances = [x.clone() for x in layers]
    with torch.no_grad():
        energies = [model.energy(*layers).item()]
        for letter in moves:
            which = int(letter)
            chances[which] = (
                model.visible_mean(layers[1])
                if which == 0
                else model.hidden2_mean(layers[1])
                if which == 2
                else model.hidden1_mean(layers[0], layers[2])
            )
            draws = [uniform() for _ in range(model.sizes[which])]
            layers[which] = (torch.tensor([draws]).double() < chances[which]).double()
            energies.append(model.energy(*layers).item())
    return {"layers": layers, "chances": chances, "energies": energies}


@pytest.mark.parametrize("kind", ["half", "single", "double"])
@pytest.mark.parametrize("moves", ["", "1", "102" * 20, "2110021"])
def test_the_chain_is_the_librarys(compute, kind, moves) -> None:
    """The weights to the last bit, then every state, chance and energy."""
    model = machine(kind)
    found = compute(model, moves, seed=7)
    np.testing.assert_array_equal(
        found["weight"], model.weight1.detach().double().numpy().ravel()
    )
    expected = replay(model, moves, None, 7)
    for name in ("layers", "chances"):
        for ours, theirs in zip(expected[name], found[name], strict=True):
            np.testing.assert_allclose(theirs, ours[0], **CLOSE)
    np.testing.assert_allclose(found["energies"], expected["energies"], **CLOSE)
    v, _, h2 = (torch.tensor([x]).double() for x in found["layers"])
    with torch.no_grad():
        np.testing.assert_allclose(
            found["below"], (v @ model.weight1.T.double())[0], **CLOSE
        )
        np.testing.assert_allclose(
            found["above"], (h2 @ model.weight2.double())[0], **CLOSE
        )


def test_a_chain_from_an_image(compute) -> None:
    image = [float(i % 3 == 0) for i in range(16)]
    found = compute(machine(), "12" * 5, image)
    assert found["layers"][0] == image
    expected = replay(machine(), "12" * 5, image, 0)
    np.testing.assert_allclose(found["energies"], expected["energies"], **CLOSE)


def test_the_check_can_fail(compute) -> None:
    found = compute(machine(), "102" * 3)
    expected = replay(machine(seed=1), "102" * 3, None, 0)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found["energies"], expected["energies"], **CLOSE)
