"""Every toy density against oracles that do not share its code.

Normalisation, moments and entropy are held against Gauss-Legendre quadrature written
here, samples against the masses of cells, closed forms against SciPy.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Distribution

from ebmlib import distributions as D
from ebmlib.distributions._base import entropy_on_box, gauss_legendre

IMAGES = ("galaxy", "texture")
SMOOTH = [name for name in D.available() if name not in IMAGES]
PLANE = [name for name in SMOOTH if D.get(name).dim == 2]
N_SAMPLES = 100_000
# One false alarm in a thousand runs of the whole file, shared by all densities.
ALPHA = 1e-3 / (2 * len(D.available()))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def box_of(density):
    """A box that holds all but a negligible mass: the density's own, or a wide one."""
    if density.bounds is not None:
        return density.bounds[0].tolist(), density.bounds[1].tolist()
    return [-1.3] * density.dim, [1.3] * density.dim


def rule(low, high, panels, order):
    """Composite Gauss-Legendre nodes and weights, in NumPy."""
    node, weight = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(low, high, panels + 1)
    half = (edges[1] - edges[0]) / 2
    nodes = (edges[:-1, None] + edges[1:, None]) / 2 + half * node
    return nodes.ravel(), np.tile(half * weight, panels)


def integrate_box(density, functions, panels, order=10):
    """Integrals of g(x, log p) p over the box for each g in `functions`."""
    low, high = box_of(density)
    rules = [rule(a, b, panels, order) for a, b in zip(low, high, strict=True)]
    totals = np.zeros(len(functions))
    for rows in np.array_split(np.arange(rules[0][0].size), 16):
        axes = [rules[0][0][rows]] + [r[0] for r in rules[1:]]
        weights = [rules[0][1][rows]] + [r[1] for r in rules[1:]]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        points = points.reshape(-1, density.dim)
        weight = np.ones(1)
        for w in weights:
            weight = np.multiply.outer(weight, w)
        log_p = density.log_prob(torch.from_numpy(points)).numpy()
        mass = weight.ravel() * np.exp(log_p)
        for i, g in enumerate(functions):
            totals[i] += np.sum(mass * g(points, np.maximum(log_p, -700)))
    return totals


@pytest.mark.parametrize("name", D.available())
def test_it_is_a_torch_distribution(name):
    density = D.get(name)
    assert isinstance(density, Distribution)
    assert density.event_shape == (density.dim,)
    x = density.sample((5,), generator=seeded())
    assert x.shape == (5, density.dim)
    assert x.dtype == torch.get_default_dtype()
    assert density.log_prob(x).shape == (5,)
    assert bool(density.support.check(x).all())
    assert density.sample().shape == (density.dim,)
    assert density.sample((0,)).shape == (0, density.dim)
    assert density.sample(torch.Size([2, 3])).shape == (2, 3, density.dim)
    assert density.log_prob(density.sample((2, 3))).shape == (2, 3)
    assert repr(density).startswith(type(density).__name__ + "(")


@pytest.mark.parametrize("name", SMOOTH)
def test_integral_moments_and_entropy_by_quadrature(name):
    density = D.get(name)
    functions = [lambda x, lp: 1.0, lambda x, lp: -lp]
    functions += [lambda x, lp, j=j: x[:, j] for j in range(density.dim)]
    functions += [lambda x, lp, j=j: x[:, j] ** 2 for j in range(density.dim)]
    coarse = integrate_box(density, functions, 60)
    fine = integrate_box(density, functions, 100)
    # the quadrature's own error, seen by refining it, is far below the tolerance
    assert np.abs(fine - coarse).max() < 2e-7
    assert fine[0] == pytest.approx(1.0, abs=1e-6)
    assert float(density.entropy()) == pytest.approx(fine[1], abs=1e-6)
    mean = fine[2 : 2 + density.dim]
    assert density.mean.numpy() == pytest.approx(mean, abs=1e-6)
    if name != "two_spirals":  # its variance has no closed form and is not offered
        second = fine[2 + density.dim :]
        assert density.variance.numpy() == pytest.approx(second - mean**2, abs=1e-6)


@pytest.mark.parametrize("name", IMAGES)
def test_shipped_images_are_normalised_and_have_the_entropy_of_their_pixels(name):
    density = D.get(name)
    pixels = density.image.numpy() / density.image.numpy().sum()
    area = 4 / pixels.size
    assert pixels.shape == (200, 200)
    # one node in each pixel is exact for a piecewise constant density
    functions = [lambda x, lp: 1.0, lambda x, lp: -lp]
    total, entropy = integrate_box(density, functions, 200, order=1)
    assert total == pytest.approx(1.0, abs=1e-12)
    assert float(density.entropy()) == pytest.approx(entropy, abs=1e-12)
    assert entropy == pytest.approx(stats.entropy(pixels.ravel()) + math.log(area))


@pytest.mark.parametrize("name", D.available())
def test_samples_fall_into_cells_as_often_as_they_should(name):
    density = D.get(name)
    low, high = box_of(density)
    cells, panels, order = 20, 4, 10
    if name in IMAGES:
        panels, order = 10, 1  # exact: ten pixels a cell
    rules = [rule(a, b, cells * panels, order) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*(torch.from_numpy(r[0]) for r in rules))
    p = density.log_prob(grid.view(-1, density.dim)).exp().numpy()
    weight = rules[0][1]
    if density.dim == 2:
        weight = np.multiply.outer(rules[0][1], rules[1][1])
    block = (cells, panels * order) * density.dim
    mass = (p.reshape(weight.shape) * weight).reshape(block)
    mass = mass.sum(axis=tuple(range(1, 2 * density.dim, 2))).ravel()
    assert mass.sum() == pytest.approx(1.0, abs=1e-5)

    x = density.sample((N_SAMPLES,), generator=seeded(), dtype=torch.float64).numpy()
    edges = [np.linspace(a, b, cells + 1) for a, b in zip(low, high, strict=True)]
    seen = np.histogramdd(x, bins=edges)[0].ravel()
    expected = N_SAMPLES * mass
    large = expected >= 10
    rare = N_SAMPLES - expected[large].sum()
    seen = np.append(seen[large], N_SAMPLES - seen[large].sum())
    expected = np.append(expected[large], rare)
    if rare < 10:  # too few outside the large cells to be a class of their own
        seen, expected = seen[:-1], expected[:-1]
        expected = expected * seen.sum() / expected.sum()
    assert stats.chisquare(seen, expected, sum_check=False).pvalue > ALPHA


@pytest.mark.parametrize("name", D.available())
def test_the_log_density_of_samples_averages_to_minus_the_entropy(name):
    density = D.get(name)
    x = density.sample((N_SAMPLES,), generator=seeded(1), dtype=torch.float64)
    log_p = density.log_prob(x).numpy()
    standard_error = log_p.std() / math.sqrt(N_SAMPLES)
    z = (log_p.mean() + float(density.entropy())) / standard_error
    assert 2 * stats.norm.sf(abs(z)) > ALPHA


@pytest.mark.parametrize("name", D.available())
def test_float32_follows_float64(name):
    density = D.get(name)
    x = density.sample((2000,), generator=seeded(2), dtype=torch.float32)
    single, double = density.log_prob(x), density.log_prob(x.double())
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_differences(name):
    density = D.get(name)
    x = density.sample((6,), generator=seeded(3), dtype=torch.float64)
    assert torch.autograd.gradcheck(density.log_prob, x.requires_grad_())


def test_gradients_stay_finite_at_the_centre():
    for name in SMOOTH:
        density = D.get(name)
        x = torch.zeros(1, density.dim, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(density.log_prob(x).sum(), x)
        assert bool(torch.isfinite(gradient).all()), name


@pytest.mark.parametrize("name", D.available())
def test_the_same_seed_gives_the_same_samples_and_leaves_the_global_one_alone(name):
    density = D.get(name)
    before = torch.get_rng_state()
    first = density.sample((100,), generator=seeded(4))
    assert torch.equal(first, density.sample((100,), generator=seeded(4)))
    assert not torch.equal(first, density.sample((100,), generator=seeded(5)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "name", [name for name in D.available() if D.get(name).bounds is not None]
)
def test_outside_the_box_the_density_is_zero(name):
    density = D.get(name)
    edge = torch.full((1, density.dim), 1.0, dtype=torch.float64)
    outside = torch.cat([edge * 1.0001, -edge * 1.0001, edge * 40])
    assert bool((density.log_prob(outside) == -torch.inf).all())
    assert bool(torch.isfinite(density.log_prob(torch.cat([edge, -edge]))).all())
    strict = D.get(name, validate_args=True)
    with pytest.raises(ValueError, match="3 of 3 points lie outside"):
        strict.log_prob(outside)
    x = density.sample((20_000,), generator=seeded(6))
    assert float(x.abs().max()) <= 1.0


def test_points_without_a_density_are_refused():
    ring = D.Ring()
    with pytest.raises(TypeError, match=r"value must be a torch.Tensor, got list"):
        ring.log_prob([[0.0, 0.0]])
    with pytest.raises(TypeError, match=r"floating-point dtype .*got torch.int64"):
        ring.log_prob(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(n, 2\).*got \(3, 1\)"):
        ring.log_prob(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"got \(\)"):
        ring.log_prob(torch.tensor(0.0))
    with pytest.raises(ValueError, match=r"shape \(n, 1\).*got \(5,\)"):
        D.ThreeGaussians1D().log_prob(torch.zeros(5))
    for bad, kind in itertools.product(
        (math.nan, math.inf), (ValueError, FloatingPointError)
    ):
        with pytest.raises(kind, match=r"finite: Ring\.log_prob got NaN"):
            ring.log_prob(torch.tensor([[0.0, bad]]))


def test_bad_sample_arguments_are_refused():
    ring = D.Ring()
    with pytest.raises(TypeError, match=r"sequence of integers such as \(n,\), got 5"):
        ring.sample(5)
    with pytest.raises(TypeError, match="sequence of integers"):
        ring.sample((2.0,))
    with pytest.raises(ValueError, match="must not be negative"):
        ring.sample((-1,))
    with pytest.raises(TypeError, match=r"generator must be .*manual_seed\(seed\)"):
        ring.sample((1,), generator=0)
    with pytest.raises(TypeError, match="dtype must be a floating-point"):
        ring.sample((1,), dtype=torch.int64)


def test_names():
    assert D.available() == sorted(D.available())
    assert isinstance(D.get("TwoSpirals"), D.TwoSpirals)
    assert isinstance(D.get("three-gaussians 1D"), D.ThreeGaussians1D)
    assert D.get("ring", radius=0.5).radius == 0.5
    with pytest.raises(ValueError, match=r"unknown name 'rign'\. Did you mean 'ring'"):
        D.get("rign")
    with pytest.raises(ValueError, match=r"unknown name 'xyz'\. Allowed: 'clusters'"):
        D.get("xyz")
    with pytest.raises(TypeError, match="name must be a string"):
        D.get(3)


def test_ring_normaliser_and_entropy_against_scipy():
    for radius, sd in [(0.6, 0.05), (0.1, 0.2), (0.0, 0.3)]:
        ring = D.Ring(radius, sd)

        def mass(r, ring=ring):
            log_p = float(ring.log_prob(torch.tensor([[r, 0.0]], dtype=torch.float64)))
            return 2 * math.pi * r * math.exp(log_p), log_p

        options = {"points": [radius], "epsabs": 1e-10}
        top = radius + 12 * sd
        total = integrate.quad(lambda r: mass(r)[0], 0, top, **options)[0]
        entropy = -integrate.quad(lambda r: math.prod(mass(r)), 0, top, **options)[0]
        second = integrate.quad(lambda r: r * r * mass(r)[0], 0, top, **options)[0]
        assert total == pytest.approx(1.0, abs=1e-9)
        assert float(ring.entropy()) == pytest.approx(entropy, abs=1e-8)
        assert ring.variance.tolist() == pytest.approx([second / 2] * 2, abs=1e-9)


def test_truncated_normal_against_scipy():
    ends = torch.tensor([-1.0]), np.array([1.0])
    mixture = D.GaussianMixture(np.array([[0.9]]), 0.3, bounds=ends)
    truth = stats.truncnorm((-1 - 0.9) / 0.3, (1 - 0.9) / 0.3, loc=0.9, scale=0.3)
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]
    assert mixture.log_prob(x).numpy() == pytest.approx(truth.logpdf(x[:, 0].numpy()))
    assert float(mixture.mean) == pytest.approx(truth.mean())
    assert float(mixture.variance) == pytest.approx(truth.var())
    assert float(mixture.entropy()) == pytest.approx(float(truth.entropy()), abs=1e-8)
    sample = mixture.sample((20_000,), generator=seeded(7), dtype=torch.float64)
    assert stats.kstest(sample[:, 0].numpy(), truth.cdf).pvalue > ALPHA


def test_whole_mixture_against_scipy():
    mixture = D.GaussianMixture(
        [[0.0, 0.5], [-0.3, 0.1]], [[0.1, 0.2], [0.3, 0.15]], [1, 3]
    )
    x = np.random.default_rng(0).normal(size=(50, 2))
    truth = 0.25 * stats.multivariate_normal([0, 0.5], np.diag([0.01, 0.04])).pdf(x)
    truth += 0.75 * stats.multivariate_normal([-0.3, 0.1], np.diag([0.09, 0.0225])).pdf(
        x
    )
    assert mixture.log_prob(torch.from_numpy(x)).numpy() == pytest.approx(np.log(truth))


def test_cutting_a_star_rescales_it():
    whole, cut = D.Star(bounds=None), D.Star()
    x = 2 * torch.rand(100, 2, generator=seeded(8), dtype=torch.float64) - 1
    ratio = (cut.log_prob(x) - whole.log_prob(x)).exp()
    assert float(ratio.std()) < 1e-12
    inside = np.mean(
        [
            np.prod(stats.norm.cdf((1 - m) / 0.06) - stats.norm.cdf((-1 - m) / 0.06))
            for m in whole.means.numpy()
        ]
    )
    assert float(ratio.mean()) == pytest.approx(1 / inside, rel=1e-12)
    closest = min(
        (math.dist(a, b), tuple(a), tuple(b))
        for a, b in itertools.combinations(whole.means.tolist(), 2)
    )
    assert all(x < 0 < y for x, y in closest[1:])  # the close pair: upper left


def test_entropies_do_not_change_when_panels_are_halved():
    for density, panel in [(D.CrossLines(), 0.075), (D.TextonTexture(), 0.06)]:
        low, high = box_of(density)
        args = density._log_density, low, high
        assert float(entropy_on_box(*args, panel)) == pytest.approx(
            float(entropy_on_box(*args, panel / 2)), abs=1e-9
        )
    nodes, weights = gauss_legendre(-1, 2, 0.5)
    assert float(weights @ nodes**5) == pytest.approx((2**6 - 1) / 6)
