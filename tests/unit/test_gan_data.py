"""The shipped generators of the plane are those whose coverage is recorded."""

import json

import pytest
import torch

import ebmlib
from ebmlib import distributions, metrics
from ebmlib.checkpoint import load_networks
from ebmlib.gan import Generator, critic_values

FOLDER = ebmlib.data_path("gan")
SD = 0.05 / 2.828
DOTS = distributions.Dots(per_side=5, half_width=4 / 2.828, sd=SD)


@pytest.fixture(scope="module")
def networks():
    return load_networks(FOLDER / "plane.safetensors")


def test_every_seed_has_a_generator_and_a_critic(networks):
    rows = json.loads((FOLDER / "plane.json").read_text())
    assert [row["seed"] for row in rows] == list(range(10))
    assert set(networks) == {f"{k}/{name}" for k in range(10) for name in _NAMES}


_NAMES = ("base", "critic")


@pytest.mark.parametrize("seed", range(10))
def test_coverage_is_what_was_recorded(networks, seed):
    row = json.loads((FOLDER / "plane.json").read_text())[seed]
    base = Generator(networks[f"{seed}/base"])
    samples = base.sample(10_000, generator=torch.Generator().manual_seed(0))
    centres = torch.as_tensor(DOTS.means).float()
    near = metrics.mode_coverage(samples, centres, radius=4 * SD)
    # rounding elsewhere may carry a sample or two over the border
    assert near.share == pytest.approx(row["share"][-1], abs=1e-3)
    assert int((near.counts >= 20).sum()) == row["modes"][-1] == 25


def test_critics_tell_data_from_the_ground_between(networks):
    data = DOTS.sample((1000,), generator=torch.Generator().manual_seed(0)).float()
    centres = torch.as_tensor(DOTS.means).float()
    middle = centres[(centres < 1.2).all(1)] + 1 / 2.828  # of four dots each
    for seed in range(10):
        critic = networks[f"{seed}/critic"]
        assert critic_values(critic, data).mean() > critic_values(critic, middle).mean()


def test_short_trainings_cover_every_setting_once():
    rows = json.loads((FOLDER / "collapse.json").read_text())
    keys = {(r["density"], r["name"], r["configuration"], r["seed"]) for r in rows}
    assert len(keys) == len(rows) == 3 * 5 * 3 * 5
    most = {"dots": 25, "clusters": 8, "ring": 36}
    assert all(0 <= r["modes"] <= most[r["density"]] for r in rows)
    # each covered mode holds at least 20 of the 10,000 samples
    assert all(r["modes"] * 20 / 10_000 <= r["share"] <= 1 for r in rows)
