"""What data/ ships is what its README says, file by file."""

import hashlib
import json
import re

import pytest

import ebmlib
from ebmlib import distributions
from ebmlib.checkpoint import load_models
from ebmlib.grid import Grid, GridDensity

ROOT = ebmlib.data_path("README.md").parent
LISTED = dict(
    re.findall(
        r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$",
        (ROOT / "README.md").read_text(),
        re.M,
    )
)
SHIPPED = sorted(
    p.relative_to(ROOT).as_posix()
    for p in ROOT.rglob("*")
    if p.is_file() and p.suffix not in (".md", ".py", ".pyc", ".mjs", ".tmp")
)


def test_every_shipped_file_is_listed_with_its_checksum() -> None:
    actual = {
        name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in SHIPPED
    }
    assert actual == LISTED


def test_the_networks_are_those_whose_quality_is_recorded() -> None:
    # the file keeps six digits; float32 against float64 moves a KL by less than 1e-8
    models = load_models(ROOT / "deep_frame" / "models.safetensors")
    rows = json.loads((ROOT / "deep_frame" / "fits.json").read_text())
    assert {f"{row['panel']}/{row['seed']}" for row in rows} == set(models)
    fine = Grid(bins=400)
    for row in [row for row in rows if row["seed"] == 0]:
        model = models[f"{row['panel']}/0"]
        kl = GridDensity(distributions.get(row["density"]), fine).kl(model)
        assert kl == pytest.approx(row["kl"], abs=1e-6)
        assert row["parameters"] == sum(p.numel() for p in model.parameters())
