"""R-hat and effective sample sizes: ArviZ's answers, and what theory says of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ebmlib.metrics import effective_sample_size, split_rhat

STORED = np.load(Path(__file__).parents[1] / "fixtures" / "arviz_answers.npz")
CASES = [name for name in STORED.files if f"{name}_answers" in STORED.files]


def autoregression(rho: float, n_draws: int, n_chains: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n_draws, n_chains, generator=generator, dtype=torch.float64)
    for i in range(1, n_draws):
        draws[i] = rho * draws[i - 1] + math.sqrt(1 - rho**2) * draws[i]
    return draws


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_arviz(name):
    draws = torch.from_numpy(STORED[name])
    rhat, bulk, tail = STORED[f"{name}_answers"]
    ours = [effective_sample_size(draws), effective_sample_size(draws, kind="tail")]
    np.testing.assert_allclose(ours, [bulk, tail], rtol=1e-6)
    if name == "still":  # ArviZ divides by a variance that is rounding alone
        assert split_rhat(draws) == math.inf
        assert rhat > 1e10
    elif draws.shape[1] > 1:
        np.testing.assert_allclose(split_rhat(draws), rhat, rtol=1e-6)


def test_there_are_enough_stored_answers():
    assert len(CASES) == 16
    answers = np.stack([STORED[f"{name}_answers"] for name in CASES])
    assert np.isfinite(answers[:, 1:]).all()
    assert (np.isnan(answers[:, 0]) == [STORED[c].shape[1] == 1 for c in CASES]).all()


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.6, 0.9])
def test_autoregression_has_the_size_that_theory_gives(rho):
    # the mean of an AR(1) chain has the variance of n (1 - rho) / (1 + rho) draws
    sizes = torch.stack(
        [
            effective_sample_size(autoregression(rho, 2000, 4, seed))
            for seed in range(20)
        ]
    )
    error = sizes.mean() - 8000 * (1 - rho) / (1 + rho)
    assert error.abs() < 4 * sizes.std() / math.sqrt(20)


def test_columns_are_taken_one_by_one():
    draws = torch.stack([autoregression(r, 200, 3, 1) for r in (0.0, 0.8)], dim=2)
    for statistic in (split_rhat, effective_sample_size):
        columns = torch.stack([statistic(draws[:, :, j]) for j in range(2)])
        assert torch.equal(statistic(draws), columns)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-5, 5))
def test_ranks_are_blind_to_a_rising_map(seed, scale, shift):
    draws = autoregression(0.5, 60, 3, seed)
    moved = torch.exp(scale / 10 * draws) * scale + shift
    for kind in ("bulk", "tail"):
        torch.testing.assert_close(
            effective_sample_size(draws, kind=kind),
            effective_sample_size(moved, kind=kind),
        )


def test_rhat_sees_a_chain_apart_a_wide_chain_and_a_drift():
    good = autoregression(0.3, 1000, 4, 0)
    assert split_rhat(good) < 1.01
    apart = good + torch.tensor([0.0, 0.0, 0.0, 1.0])
    wide = good * torch.tensor([1.0, 1.0, 1.0, 3.0])
    drift = good + torch.linspace(-1, 1, 1000)[:, None]
    for bad in (apart, wide, drift):
        assert split_rhat(bad) > 1.05


def test_chains_that_do_not_move():
    assert split_rhat(torch.arange(3.0).expand(20, 3)) == math.inf
    assert split_rhat(torch.ones(20, 3)).isnan()
    assert effective_sample_size(torch.ones(20, 3)) == 60


@pytest.mark.parametrize("statistic", [split_rhat, effective_sample_size])
def test_bad_draws(statistic):
    with pytest.raises(ValueError, match=r"\(m, n\).*at least 4 draws"):
        statistic(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"got \(8,\)"):
        statistic(torch.zeros(8))
    draws = torch.zeros(8, 2)
    draws[3, 1] = math.nan
    with pytest.raises(FloatingPointError, match="1 of 16"):
        statistic(draws)


def test_rhat_needs_two_chains_and_a_known_kind():
    with pytest.raises(ValueError, match="at least 2 chain"):
        split_rhat(torch.zeros(8, 1))
    with pytest.raises(ValueError, match="Did you mean 'bulk'"):
        effective_sample_size(torch.zeros(8, 2), kind="bulky")
