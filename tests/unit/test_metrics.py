"""Distances against closed forms, double loops and a linear program."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import optimize, stats

from ebmlib.energy import EnergyModel, gaussian
from ebmlib.grid import Grid, GridDensity
from ebmlib.metrics import kl, mmd, mode_coverage, sliced_wasserstein, total_variation

few = settings(max_examples=25, deadline=None)


def draw(n, d=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=torch.float64, generator=generator)


class Masses(EnergyModel):
    def __init__(self, *masses):
        super().__init__()
        self.masses = torch.tensor(masses, dtype=torch.float64)

    def energy(self, x):
        return -self.masses.log()


LINE = Grid(bins=3, dim=1)
P = GridDensity(Masses(0.5, 0.3, 0.2), LINE)
Q = GridDensity(Masses(0.2, 0.3, 0.5), LINE)


def test_kl_and_total_variation_of_three_cells():
    assert kl(P, Q) == pytest.approx(0.3 * math.log(2.5))
    assert kl(P, P) == 0
    assert total_variation(P, Q) == pytest.approx(0.3)
    assert total_variation(P, P) == 0
    empty = GridDensity(Masses(1.0, 0.0, 0.0), LINE)
    assert kl(P, empty) == math.inf
    assert total_variation(P, empty) == pytest.approx(0.5)


def test_total_variation_of_two_gaussians():
    """Phi(gap / 2 sd) - Phi(-gap / 2 sd), by SciPy; the box cuts 8 sd away.

    The integrand has one kink per crossing of the two densities: midpoint error of
    h**2 |jump in slope| / 8 at each, here below 1e-5.
    """
    grid = Grid(-2.5, 2.5, bins=2000, dim=1)

    class Shifted(EnergyModel):
        def __init__(self, mean):
            super().__init__()
            self.mean = mean

        def energy(self, x):
            return (x[:, 0] - self.mean).square() / (2 * 0.25**2)

    p, q = (GridDensity(Shifted(mean), grid) for mean in (-0.2, 0.3))
    exact = 2 * stats.norm.cdf(0.5 / (2 * 0.25)) - 1
    assert total_variation(p, q) == pytest.approx(exact, abs=1e-5)


def test_mmd_is_the_double_sum():
    x, y, s = draw(30), draw(40, seed=1) + 0.5, 0.7

    def k(a, b):
        return math.exp(-float((a - b).square().sum()) / (2 * s**2))

    within_x = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j)
    within_y = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j)
    across = sum(k(a, b) for a in x for b in y)
    exact = within_x / (30 * 29) + within_y / (40 * 39) - 2 * across / (30 * 40)
    assert mmd(x, y, bandwidth=s) == pytest.approx(exact, abs=1e-13)


def test_mmd_of_one_law_is_zero_on_average_and_its_closed_form_for_two():
    """Mean of 50 independent estimates within 4 of their standard errors.

    For N(0, I) and N(m, I) in the plane and bandwidth s, with v = s**2 + 2:
    MMD**2 = 2 (s**2 / v) (1 - exp(-|m|**2 / 2v)).
    """
    shift = torch.tensor([0.6, -0.3], dtype=torch.float64)
    v = 1.0 + 2
    exact = 2 / v * (1 - math.exp(-float(shift.square().sum()) / (2 * v)))
    for m, wanted in ((torch.zeros_like(shift), 0.0), (shift, exact)):
        runs = [
            mmd(draw(200, seed=i), draw(200, seed=1000 + i) + m, bandwidth=1.0)
            for i in range(50)
        ]
        assert abs(np.mean(runs) - wanted) < 4 * np.std(runs) / math.sqrt(50)


def test_mmd_is_as_exact_far_from_the_origin():
    """Moving by 1e6 rounds coordinates by 1e-10, and the kernel by no more."""
    x, y = draw(60), draw(60, seed=1)
    near, far = mmd(x, y, bandwidth=1.0), mmd(x + 1e6, y + 1e6, bandwidth=1.0)
    assert far == pytest.approx(near, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 7), (1, 3), (6, 9)])
def test_wasserstein_on_the_line_is_the_linear_program(n, m):
    """On the line every direction is the line itself: W2 exactly."""
    x, y = draw(n, 1), draw(m, 1, seed=1) + 0.3
    cost = (x - y.T).square().numpy().ravel()
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    plan = optimize.linprog(
        cost,
        A_eq=np.vstack([rows, columns]),
        b_eq=np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)]),
    )
    ours = sliced_wasserstein(x, y, n_projections=3)
    assert ours == pytest.approx(math.sqrt(plan.fun), abs=1e-7)


@few
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 100))
def test_wasserstein_bounds_that_of_order_one(n, m, seed):
    """W1 <= W2 (Jensen), with W1 by SciPy; and it is symmetric."""
    x, y = draw(n, 1, seed), draw(m, 1, seed + 1)
    ours = sliced_wasserstein(x, y, n_projections=2)
    first = stats.wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert ours >= first - 1e-12
    assert sliced_wasserstein(y, x, n_projections=2) == pytest.approx(ours, abs=1e-12)


def test_sliced_wasserstein_of_a_shift_is_its_length_over_root_d():
    """The mean over directions of (shift . u)**2 is |shift|**2 / d.

    (shift . u)**2 has relative variance 1/2 in the plane: 4 standard errors over N
    directions are 4 sqrt(1 / 2N) of the square.
    """
    x, shift, n = draw(50), torch.tensor([0.3, 0.4], dtype=torch.float64), 4000
    seeded = torch.Generator().manual_seed(0)
    squared = sliced_wasserstein(x, x + shift, n_projections=n, generator=seeded) ** 2
    assert squared == pytest.approx(0.25 / 2, rel=4 / math.sqrt(2 * n))


def test_sliced_wasserstein_does_not_feel_translations_nor_order_nor_copies():
    x, y = draw(20), draw(30, seed=1)

    def distance(a, b):
        seeded = torch.Generator().manual_seed(3)
        return sliced_wasserstein(a, b, generator=seeded)

    before = torch.get_rng_state()
    wanted = distance(x, y)
    assert distance(x + 5, y + 5) == pytest.approx(wanted, abs=1e-12)
    assert distance(x.flip(0), y) == pytest.approx(wanted, abs=1e-14)
    assert distance(torch.cat([x, x, x]), y) == pytest.approx(wanted, abs=1e-12)
    assert distance(x, x) == 0
    assert torch.equal(torch.get_rng_state(), before)


def test_mode_coverage_counts_by_hand():
    modes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    samples = torch.tensor([[0.1, 0.0], [0.0, 0.25], [0.9, 0.0], [0.5, 0.9]])
    counts, covered, share = mode_coverage(samples, modes, radius=0.3)
    assert counts.tolist() == [2, 1, 0]
    assert covered == 2
    assert share == 0.75


def test_mode_coverage_is_sharp_with_many_points():
    """A matrix product would misplace a distance of 1e-3 at a distance of 1e3."""
    modes = torch.full((40, 2), 1024.0) + torch.arange(40.0)[:, None]
    samples = modes.repeat(2, 1)
    samples[40:] += 2**-9  # exact in float32 up to 2**13
    coverage = mode_coverage(samples, modes, radius=1e-3)
    assert coverage.counts.tolist() == [1] * 40
    assert coverage.share == 0.5


X = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kl(gaussian(), Q), TypeError, "p must be a GridDensity, got Indep"),
        (lambda: total_variation(P, 1), TypeError, "q must be a GridDensity, got int"),
        (
            lambda: total_variation(P, GridDensity(gaussian(1), Grid(bins=4, dim=1))),
            ValueError,
            "q must live on the grid of p",
        ),
        (lambda: mmd(X, X, bandwidth=0), ValueError, "bandwidth must be positive"),
        (lambda: mmd(X[:1], X, bandwidth=1), ValueError, "at least 2 .*got 1 and 3"),
        (
            lambda: mmd(X, X[:, :1], bandwidth=1),
            ValueError,
            r"y must have shape \(n, 2",
        ),
        (lambda: sliced_wasserstein(X, X[:0]), ValueError, "y is empty"),
        (lambda: sliced_wasserstein(X[0], X), ValueError, "x must have shape"),
        (
            lambda: sliced_wasserstein(X, X, n_projections=0),
            ValueError,
            "n_projections must be at least 1, got 0",
        ),
        (lambda: sliced_wasserstein(X, X, generator=1), TypeError, "generator must"),
        (lambda: mode_coverage(X, X / 0, radius=1), ValueError, "modes must be finite"),
        (lambda: mode_coverage(X, X, radius=-1), ValueError, "radius must be positive"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
