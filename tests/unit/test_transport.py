"""Optimal transport against linear programming, SciPy and closed forms."""

import math

import hypothesis.strategies as st
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from scipy import linalg, optimize, stats

from ebmlib.transport import (
    AffineMap,
    OptimalCritic,
    PointMap,
    colour_map,
    plan,
    recolour,
    transport_map,
    wasserstein,
)

few = settings(max_examples=25, deadline=None)


def draw(n, d=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=torch.float64, generator=generator)


def masses(n, seed=0):
    generator = torch.Generator().manual_seed(100 + seed)
    weights = torch.rand(n, dtype=torch.float64, generator=generator) + 0.05
    return weights / weights.sum()


def between(x, y):
    """Distances from differences: torch.cdist's matrix product cancels digits."""
    return (x[:, None] - y).norm(dim=2)


def programme(costs, a, b):
    """Least cost of a coupling, by HiGHS, whose tolerance is 1e-7."""
    n, m = costs.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    answer = optimize.linprog(
        costs.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b])
    )
    return answer.fun


sizes = pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (6, 6), (9, 14)])
costs = pytest.mark.parametrize("cost", ["euclidean", "squared"])


@costs
@sizes
def test_the_exact_plan_is_the_linear_programme(n, m, cost):
    x, y, a, b = draw(n), draw(m, seed=1) + 0.5, masses(n), masses(m, 1)
    got = plan(x, y, x_weights=a, y_weights=b, cost=cost)
    distance = between(x, y) ** (2 if cost == "squared" else 1)
    assert got.cost == pytest.approx(programme(distance.numpy(), a, b), abs=1e-6)
    assert got.cost == pytest.approx(float((got.matrix * distance).sum()), rel=1e-12)
    assert (got.matrix >= 0).all() and got.marginal_error < 1e-14
    torch.testing.assert_close(got.matrix.sum(1), a, rtol=0, atol=1e-15)
    torch.testing.assert_close(got.matrix.sum(0), b, rtol=0, atol=1e-15)


@costs
@sizes
def test_the_potentials_are_feasible_tight_and_leave_no_gap(n, m, cost):
    x, y, a, b = draw(n), draw(m, seed=1) + 0.5, masses(n), masses(m, 1)
    got = plan(x, y, x_weights=a, y_weights=b, cost=cost)
    f, g = got.potentials
    distance = between(x, y) ** (2 if cost == "squared" else 1)
    slack = distance - f[:, None] - g
    rounding = 4 * (n + m) * np.finfo(float).eps * float(distance.max())  # of a sum
    assert slack.min() > -rounding
    assert slack[got.matrix > 0].max() < rounding
    assert got.dual == pytest.approx(got.cost, rel=1e-13)
    assert got.dual == pytest.approx(float(a @ f + b @ g), rel=1e-13)


@few
@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 10**6))
def test_no_other_coupling_is_cheaper(n, m, seed):
    """Against the product of the weights, and against it sharpened by Sinkhorn."""
    x, y, a, b = draw(n, 3, seed), draw(m, 3, seed + 1), masses(n), masses(m, 1)
    weights = {"x_weights": a, "y_weights": b, "cost": "squared"}
    best = plan(x, y, **weights).cost
    product = float((a[:, None] * b * between(x, y).square()).sum())
    softer = plan(x, y, regularisation=product, **weights).cost
    assert best <= softer * (1 + 1e-7) and softer <= product * (1 + 1e-7)


@pytest.mark.parametrize("regularisation", [1.0, 0.2, 0.06])
def test_the_entropic_plan_tends_to_the_exact_one(regularisation):
    """Its excess cost is at most regularisation * log(n m), and its dual has no gap.

    For the entropic optimum P and the exact one Q, <C, P> - r H(P) <= <C, Q> - r H(Q)
    and entropies lie in [0, log(n m)]. The stated tolerance on the columns, 1e-9, moves
    costs by less than 1e-8.
    """
    x, y, a, b = draw(7), draw(9, seed=1) + 0.5, masses(7), masses(9, 1)
    weights = {"x_weights": a, "y_weights": b, "cost": "squared"}
    exact = plan(x, y, **weights)
    got = plan(x, y, regularisation=regularisation, **weights)
    distance = between(x, y).square()
    f, g = got.potentials
    torch.testing.assert_close(
        got.matrix, ((f[:, None] + g - distance) / regularisation).exp()
    )
    entropy = -float(torch.special.xlogy(got.matrix, got.matrix).sum())
    assert got.marginal_error < 3e-9
    assert got.dual == pytest.approx(got.cost - regularisation * entropy, abs=1e-8)
    assert -1e-8 < got.cost - exact.cost < regularisation * math.log(63)


def test_products_and_logarithms_are_one_iteration(monkeypatch):
    x, y = draw(7), draw(9, seed=1) + 0.5
    products = plan(x, y, regularisation=0.3)
    monkeypatch.setattr("ebmlib.transport._plan.STEEP", 0.0)
    logarithms = plan(x, y, regularisation=0.3)
    torch.testing.assert_close(products.matrix, logarithms.matrix, rtol=0, atol=1e-8)
    assert products.dual == pytest.approx(logarithms.dual, abs=1e-8)
    assert logarithms.dual == pytest.approx(
        float(sum(potential.mean() for potential in logarithms.potentials))
    )


def test_a_steep_cost_does_not_underflow():
    """Costs up to 25,000 regularisations: exp(-25000) is zero in any float."""
    x = 10 * torch.arange(6.0, dtype=torch.float64)[:, None]
    got = plan(x, x.flip(0) + 0.3, cost="squared", regularisation=0.1)
    torch.testing.assert_close(got.matrix, torch.eye(6).flip(0).double() / 6)
    assert got.cost == pytest.approx(0.09, rel=1e-6)


@few
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_on_the_line_sorting_is_scipy_and_the_plan(n, m, seed):
    x, y, a, b = draw(n, 1, seed), draw(m, 1, seed + 1), masses(n), masses(m, 1)
    weights = {"x_weights": a, "y_weights": b}
    by_scipy = stats.wasserstein_distance(x[:, 0], y[:, 0], a, b)
    assert wasserstein(x, y, **weights) == pytest.approx(by_scipy, rel=1e-12)
    assert plan(x, y, **weights).cost == pytest.approx(by_scipy, rel=1e-12)
    squared = plan(x, y, cost="squared", **weights).cost
    assert wasserstein(x, y, 2, **weights) == pytest.approx(squared**0.5, rel=1e-12)


@few
@given(st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([1, 2]))
def test_wasserstein_is_a_metric_and_moves_with_the_points(d, seed, p):
    x, y, z = draw(6, d, seed), draw(8, d, seed + 1), draw(5, d, seed + 2)
    shift = draw(1, d, seed + 3)
    assert wasserstein(x, x + shift, p) == pytest.approx(float(shift.norm()), rel=1e-9)
    assert wasserstein(x, y, p) == pytest.approx(wasserstein(y, x, p), rel=1e-12)
    longer = wasserstein(x, z, p) + wasserstein(z, y, p)
    assert wasserstein(x, y, p) <= longer * (1 + 1e-12)
    assert wasserstein(1e-9 * x, 1e-9 * y, p) == pytest.approx(
        1e-9 * wasserstein(x, y, p), rel=1e-9
    )
    assert wasserstein(x, x.clone(), p) == 0
    assert wasserstein(x, y, 1) <= wasserstein(x, y, 2) * (1 + 1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_optimal_critic_attains_w1_with_slope_one(d):
    """Data above fakes by exactly W1; slopes at most 1, and 1 almost everywhere."""
    data, fakes = draw(12, d), draw(15, d, 1) - 0.7
    weights = {"x_weights": masses(12), "y_weights": masses(15, 1)}
    critic = OptimalCritic(data, fakes, **weights)
    gap = weights["x_weights"] @ critic(data) - weights["y_weights"] @ critic(fakes)
    assert float(gap) == pytest.approx(critic.distance, rel=1e-12)
    assert critic.distance == pytest.approx(wasserstein(data, fakes, **weights))
    z = (3 * draw(400, d, 2)).requires_grad_(True)
    rise = (critic(z)[:, None] - critic(z)).abs()
    assert (rise <= between(z, z) + 1e-12).all()
    (slope,) = torch.autograd.grad(critic(z).sum(), z)
    torch.testing.assert_close(slope.norm(dim=1), torch.ones(400, dtype=torch.float64))


def test_the_critics_gradient_leads_a_fake_to_a_datum_of_its_plan():
    """With uneven weights no other datum does as well: 34 pairs carry mass, and no
    other pair is tight.
    """
    data, fakes = draw(20), (draw(15, seed=1) - 0.7).requires_grad_()
    weights = {"x_weights": masses(20), "y_weights": masses(15, 1)}
    carries = plan(data, fakes, **weights).matrix > 0
    assert carries.sum() == 20 + 15 - 1
    critic = OptimalCritic(data, fakes, **weights)
    (slope,) = torch.autograd.grad(critic(fakes).sum(), fakes)
    towards = torch.nn.functional.normalize(data[:, None] - fakes.detach(), dim=2)
    reached = (towards - slope).norm(dim=2) < 1e-9
    assert (reached & carries).any(0).all()


def test_the_gaussian_map_matches_moments_at_the_bures_distance():
    """Moments to rounding; the cost is SciPy's closed form and below any plan's."""
    x, y = draw(80, 3) @ draw(3, 3, 1), draw(60, 3, 2) @ draw(3, 3, 3) + 1.0
    found = transport_map(x, y, "gaussian")
    s, t = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    torch.testing.assert_close(found(x).mean(0), y.mean(0))
    np.testing.assert_allclose(np.cov(found(x).T, bias=True), t, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.matrix, found.matrix.T)
    assert torch.linalg.eigvalsh(found.matrix).min() > 0
    root = linalg.sqrtm(s)
    cross = np.trace(linalg.sqrtm(root @ t @ root)).real
    shift = float((x.mean(0) - y.mean(0)).square().sum())
    bures = shift + np.trace(s) + np.trace(t) - 2 * cross
    assert found.cost == pytest.approx(bures, rel=1e-9)
    moved = float((found(x) - x).square().sum(1).mean())
    assert moved == pytest.approx(found.cost, rel=1e-12)
    assert found.cost <= plan(x, y, cost="squared").cost
    theirs = ot.gaussian.bures_wasserstein_mapping(
        *(x.mean(0).numpy(), y.mean(0).numpy(), s, t)
    )
    np.testing.assert_allclose(found.matrix, theirs[0], rtol=1e-9, atol=1e-11)


def test_the_gaussian_map_onto_a_line_is_finite():
    """Grey is a line in the space of colours: two eigenvalues are zero or rounding."""
    x, grey = draw(50, 3), draw(40, 1, 1) * torch.tensor([[0.3, 0.9, 0.6]])
    found = transport_map(x, grey, "gaussian")
    wanted = np.cov(grey.T, bias=True)
    np.testing.assert_allclose(np.cov(found(x).T, bias=True), wanted, atol=1e-7)
    with pytest.raises(ValueError, match="spans 1 of 3"):
        transport_map(grey, x, "gaussian")


@pytest.mark.parametrize(
    ("method", "peer", "options"),
    [
        ("exact", ot.da.EMDTransport(), {}),
        (
            "entropic",
            ot.da.SinkhornTransport(2.0, tol=1e-12, out_of_sample_map="ferradans"),
            {"regularisation": 2.0, "tolerance": 1e-12},
        ),
    ],
)
def test_maps_of_plans_are_pots_within_samples_and_outside(method, peer, options):
    x, y, new = draw(30, 3), draw(40, 3, 1) + 0.5, draw(25, 3, 2)
    found = transport_map(x, y, method, **options)
    assert isinstance(found, PointMap)
    peer.fit(Xs=x.numpy(), Xt=y.numpy())
    close = {"rtol": 0, "atol": 1e-7}
    np.testing.assert_allclose(found(x), peer.transform(Xs=x.numpy()), **close)
    np.testing.assert_allclose(found(new), peer.transform(Xs=new.numpy()), **close)


def test_the_exact_map_of_as_many_points_is_a_permutation_and_others_shrink():
    x, y = draw(40, 2), draw(40, 2, 1)
    exact = transport_map(x, y)
    assert between(exact(x), y).min(1).values.max() < 1e-12
    assert wasserstein(exact(x), y) < 1e-12
    blurred = transport_map(x, y, "entropic", regularisation=50.0)
    torch.testing.assert_close(blurred(x).mean(0), y.mean(0))
    assert blurred(x).var(0).sum() < 0.01 * y.var(0).sum()


def test_colours_go_over_and_shapes_stay():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 20, 30, generator=generator)
    like = 0.5 + 0.3 * torch.rand(3, 25, 15, generator=generator)
    affine = colour_map(image, like, "gaussian")
    assert isinstance(affine, AffineMap)
    new = recolour(image, affine)
    assert new.shape == image.shape and new.dtype == image.dtype
    torch.testing.assert_close(new.mean((1, 2)), like.mean((1, 2)))
    x = image[:, 4, 7]
    wanted = x @ affine.matrix.float() + affine.offset.float()
    torch.testing.assert_close(new[:, 4, 7], wanted)

    def again(seed, **options):
        generator = torch.Generator().manual_seed(seed)
        return colour_map(image, like, n_samples=50, generator=generator, **options)

    assert torch.equal(again(1).images, again(1).images)
    assert not torch.equal(again(1).images, again(2).images)
    assert again(1).samples.shape == (50, 3)
    soft = again(1, method="entropic", regularisation=0.05)
    assert soft.cost > again(1).cost


def test_a_plan_that_is_not_reached_is_an_error():
    x, y = draw(30), draw(30, seed=1)
    with pytest.raises(RuntimeError, match="raise max_steps; POT says"):
        plan(x, y, max_steps=2)
    for regularisation in (0.05, 1e-4):  # by products, and in logarithms
        with pytest.raises(RuntimeError, match="the regularisation or the tolerance"):
            plan(x, y, regularisation=regularisation, max_steps=3)


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (ValueError, "Did you mean 'euclidean'", {"cost": "euclidian"}),
        (ValueError, "regularisation must be positive", {"regularisation": 0.0}),
        (ValueError, "x_weights must have shape", {"x_weights": torch.ones(3)}),
        (ValueError, "sum to 1, got the sum 4", {"x_weights": torch.ones(4)}),
        (
            ValueError,
            "must not be negative",
            {"y_weights": torch.tensor([1.5, -0.5, 0.0])},
        ),
        (
            ValueError,
            "2 zeros; leave those points out",
            {"y_weights": torch.tensor([1.0, 0.0, 0.0]), "regularisation": 1.0},
        ),
    ],
)
def test_bad_arguments_of_plans(error, words, options):
    with pytest.raises(error, match=words):
        plan(draw(4), draw(3), **options)


def test_bad_arguments_of_distances_and_maps():
    x, image = draw(4), torch.zeros(3, 5, 5)
    with pytest.raises(ValueError, match="p must be 1 or 2"):
        wasserstein(x, x, 3)
    with pytest.raises(ValueError, match="y must have shape"):
        wasserstein(x, draw(4, 3))
    with pytest.raises(ValueError, match="belongs to method"):
        transport_map(x, x, regularisation=0.1)
    with pytest.raises(ValueError, match="belongs to method"):
        transport_map(x, x, "entropic")
    with pytest.raises(TypeError, match="takes no tolerance"):
        transport_map(x, x, "gaussian", tolerance=0.1)
    with pytest.raises(ValueError, match="n_samples must be at most 25"):
        colour_map(image, image)
    with pytest.raises(ValueError, match=r"image must have shape \(c, h, w\)"):
        recolour(image[0], lambda x: x)


def test_points_without_mass_do_not_matter():
    x, y = draw(5), draw(6, seed=1)
    nothing = torch.tensor([1.0, 0, 1, 1, 0], dtype=torch.float64) / 3
    got = plan(x, y, x_weights=nothing)
    assert got.cost == pytest.approx(plan(x[nothing > 0], y).cost, rel=1e-12)
    assert (got.matrix[nothing == 0] == 0).all()
    assert OptimalCritic(x, y, x_weights=nothing).distance == got.cost
