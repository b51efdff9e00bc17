"""The shipped networks and pursuits are those whose quality is recorded."""

import json

import pytest
import torch

from ebmlib import data_path, distributions
from ebmlib.checkpoint import load_models
from ebmlib.grid import Grid, GridDensity
from ebmlib.pursuit import Filters

FOLDER = data_path("pursuit")
FINE = Grid(bins=200)


@pytest.mark.parametrize("part", ["small", "texture", "pursuits"])
def test_each_file_holds_the_networks_that_its_rows_describe(part):
    models = load_models(FOLDER / f"{part}.safetensors")
    rows = {
        row["name"]: row for row in json.loads((FOLDER / f"{part}.json").read_text())
    }
    assert set(models) <= set(rows)
    assert {name for name, row in rows.items() if "hidden" in row} <= set(models)
    for name in list(models)[::25]:
        truth = distributions.get(rows[name]["density"])
        kl = GridDensity(truth, FINE).kl(models[name])
        assert kl == pytest.approx(rows[name]["kl"], rel=1e-4)


def test_the_pursued_networks_match_the_statistics_of_their_points():
    """Their filters' means are those of the 20,000 points, to the digits of float32."""
    model = load_models(FOLDER / "pursuits.safetensors")["texture/mismatch/16"]
    generator = torch.Generator().manual_seed(0)
    x = distributions.get("texture").sample((20_000,), generator=generator)
    filters = Filters.of(model.network)
    expected = GridDensity(model, Grid(bins=100)).expectation(filters.values)
    gap = (filters.values(x).mean(0) - expected).abs()
    assert float(gap.max()) < 1e-7
