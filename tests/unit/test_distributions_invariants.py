"""Properties that hold for all parameters, images, refusals and the shipped data."""

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebmlib import _data
from ebmlib import distributions as D
from ebmlib.distributions import images

lengths = st.floats(0.05, 2.0)
angles = st.floats(-10, 10)


def rotation(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def points(n=200, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, 2, generator=generator, dtype=torch.float64)


@settings(deadline=None)
@given(lengths, lengths, angles)
def test_a_ring_looks_the_same_from_all_sides(radius, sd, angle):
    ring, x = D.Ring(radius, sd), points()
    turned = ring.log_prob(x @ rotation(angle).T)
    torch.testing.assert_close(turned, ring.log_prob(x), rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(lengths, lengths, st.floats(0.2, 5))
def test_a_ring_scales_with_its_lengths(radius, sd, factor):
    small, large, x = D.Ring(radius, sd), D.Ring(factor * radius, factor * sd), points()
    expected = small.log_prob(x) - 2 * math.log(factor)
    torch.testing.assert_close(large.log_prob(factor * x), expected, rtol=1e-8, atol=0)
    assert float(large.entropy() - small.entropy()) == pytest.approx(
        2 * math.log(factor), abs=1e-9
    )


@pytest.mark.parametrize(
    ("density", "angle"),
    [
        (D.CrossLines(), math.pi / 2),
        (D.FourSpin(), math.pi / 2),
        (D.TwoSpirals(), math.pi),
        (D.Clusters(), math.pi / 4),
        (D.TwoGaussians(), math.pi),
        (D.Dots(), math.pi / 2),
    ],
)
def test_symmetric_densities_survive_their_turn(density, angle):
    x = points(scale=0.5)
    turned = density.log_prob(x @ rotation(angle).T)
    torch.testing.assert_close(turned, density.log_prob(x), rtol=1e-8, atol=1e-8)


@settings(deadline=None)
@given(st.floats(-6, 6))
def test_a_twist_changes_no_entropy_and_no_mass(twist):
    straight, spun = D.FourSpin(twist=0.0), D.FourSpin(twist=twist)
    assert float(spun.entropy()) == pytest.approx(float(straight.entropy()), abs=1e-12)
    x = straight.sample((50,), generator=torch.Generator().manual_seed(0)).double()
    y = spun.sample((50,), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(
        spun.log_prob(y), straight.log_prob(x), rtol=1e-4, atol=1e-4
    )


def test_spirals_of_every_thickness_are_normalised():
    # thin arms use the windings of the wrapped normal, thick ones its Fourier series
    t = np.linspace(0, 1.4, 3001)
    t = torch.from_numpy((t[:-1] + t[1:]) / 2)
    angle = torch.linspace(0, 2 * math.pi, 601, dtype=torch.float64)[:-1]
    for sd in (0.03, 0.12, 0.4):
        spiral = D.TwoSpirals(sd=sd)
        r, a = t.sqrt()[:, None], angle[None, :]
        x = torch.stack([r * a.cos(), r * a.sin()], dim=-1)
        mass = spiral.log_prob(x).exp().mean() * math.pi * 1.4
        assert float(mass) == pytest.approx(1.0, abs=1e-6)


grey = arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.floats(0, 1e6, allow_subnormal=False),
).filter(lambda image: image.sum() > 1e-3)
corners = st.tuples(st.floats(-5, 5), st.floats(0.1, 5))


@settings(deadline=None)
@given(grey, corners, corners)
def test_cells_of_an_image_density_have_the_mass_of_their_pixels(image, across, up):
    bounds = (across[0], up[0]), (across[0] + across[1], up[0] + up[1])
    density = D.ImageDensity(image, bounds)
    h, w = image.shape
    x = across[0] + (np.arange(w) + 0.5) * across[1] / w
    y = up[0] + (np.arange(h)[::-1] + 0.5) * up[1] / h  # row 0 is the top
    centres = np.stack(np.meshgrid(x, y), axis=-1)  # (h, w, 2)
    area = across[1] * up[1] / (h * w)
    mass = density.log_prob(torch.from_numpy(centres)).exp().numpy() * area
    np.testing.assert_allclose(mass, image / image.sum(), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(density.pixel_mass.numpy(), mass, rtol=1e-9, atol=1e-300)
    assert mass.sum() == pytest.approx(1.0, abs=1e-12)
    mean = (mass[..., None] * centres).sum(axis=(0, 1))
    assert density.mean.numpy() == pytest.approx(mean, abs=1e-9)
    square = (mass[..., None] * (centres - mean) ** 2).sum(axis=(0, 1))
    inner = np.array([across[1] / w, up[1] / h]) ** 2 / 12
    assert density.variance.numpy() == pytest.approx(square + inner, rel=1e-6, abs=1e-8)
    low, high = np.array(bounds)
    sample = density.sample(
        (200,), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert bool(density.log_prob(sample).isfinite().all())  # no black pixel is drawn
    assert np.all((sample.numpy() >= low) & (sample.numpy() <= high))


def test_orientation_and_borders_of_an_image():
    density = D.ImageDensity(np.array([[1, 2], [3, 4]], dtype=np.uint8))
    x = torch.tensor([[-0.5, 0.5], [0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    torch.testing.assert_close(density.log_prob(x).exp(), torch.arange(1, 5) / 10)
    # the border belongs to the upper and right pixel; the far ends to the box
    edge = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, -1.0]])
    torch.testing.assert_close(
        density.log_prob(edge).exp(), torch.tensor([2, 2, 3]) / 10
    )
    black = D.ImageDensity(torch.tensor([[0.0, 1.0]]))
    assert float(black.log_prob(torch.tensor([-0.5, 0.0]))) == -math.inf
    assert float(black.entropy()) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: D.Ring(-1), ValueError, "radius must be zero or positive, got -1"),
        (lambda: D.Ring(sd=0), ValueError, "sd must be positive, got 0"),
        (lambda: D.Ring(sd="a"), TypeError, "sd must be a real number, got str"),
        (lambda: D.Star(sd=math.nan), ValueError, "sd must be finite, got nan"),
        (lambda: D.Dots(1), ValueError, "per_side must be at least 2, got 1"),
        (lambda: D.Clusters(2.5), TypeError, "n_clusters must be an integer, got 2.5"),
        (lambda: D.TwoSpirals(inner=0.9), ValueError, "inner must be below outer"),
        (lambda: D.FourSpin(twist=True), TypeError, "twist must be a real number"),
        (lambda: D.TextonTexture(1.2), ValueError, "share must be between 0.0 and 1.0"),
        (lambda: D.TextonTexture(1.0), ValueError, "share must be above 0 and below 1"),
        (lambda: D.Star(bounds=1), TypeError, r"bounds must be a pair \(low, high\)"),
        (lambda: D.Star(bounds=(1, -1)), ValueError, "must be below"),
        (lambda: D.Star(bounds=((0, 0, 0), 1)), ValueError, "a number or 2 numbers"),
        (lambda: D.Star(bounds=(0, 1)), ValueError, "means must lie inside bounds"),
        (lambda: D.Star(sd=100.0), ValueError, "sds must suit the box: only"),
        (lambda: D.GaussianMixture([0.0], 1), ValueError, r"means must have shape"),
        (lambda: D.GaussianMixture("a", 1), TypeError, "means must be an array of"),
        (lambda: D.GaussianMixture([[math.inf]], 1), ValueError, "means must be finit"),
        (lambda: D.GaussianMixture([[0]], -1), ValueError, "sds must be positive"),
        (
            lambda: D.GaussianMixture([[0, 0]], [1, 1, 1]),
            ValueError,
            r"sds must have shape \(1, 2\) or broadcast to it, got \(3,\)",
        ),
        (
            lambda: D.GaussianMixture([[0], [1]], 1, [2.0]),
            ValueError,
            r"weights must have shape \(2,\)",
        ),
        (
            lambda: D.GaussianMixture([[0], [1]], 1, [1.0, 0.0]),
            ValueError,
            "weights must be positive",
        ),
        (lambda: D.ImageDensity("a"), TypeError, "image must be an array of real"),
        (lambda: D.ImageDensity(np.ones((2, 2, 3))), ValueError, "average the channel"),
        (lambda: D.ImageDensity(np.ones((0, 3))), ValueError, r"shape \(0, 3\)"),
        (lambda: D.ImageDensity([[1, -1]]), ValueError, "not hold negative values"),
        (lambda: D.ImageDensity([[0, 0]]), ValueError, "must hold some light"),
        (lambda: D.ImageDensity([[1, math.nan]]), ValueError, "image must be finite"),
    ],
)
def test_bad_arguments_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_shipped_data_is_found_and_checked(tmp_path, monkeypatch):
    for name, digest in images.CHECKSUMS.items():
        file = _data.path(name, sha256=digest)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
        assert digest in _data.path("README.md").read_text(encoding="utf-8")
    with pytest.raises(TypeError, match="name must be a string, got int"):
        _data.path(3)
    for bad in ("", "/etc/hosts", "../setup", "a//b", "a\\b"):
        with pytest.raises(ValueError, match="relative path inside the data folder"):
            _data.path(bad)
    with pytest.raises(FileNotFoundError, match=r"no shipped data 'images/no\.png'"):
        _data.path("images/no.png")

    # an installed package's own folder comes first, and a changed file is refused
    monkeypatch.setattr(_data, "_HERE", tmp_path)
    (tmp_path / "_shipped" / "images").mkdir(parents=True)
    changed = tmp_path / "_shipped" / "images" / "galaxy.png"
    changed.write_bytes(b"something else")
    assert _data.path("images/galaxy.png") == changed
    images._shipped.cache_clear()
    with pytest.raises(ValueError, match="not the file that was shipped"):
        D.Galaxy()
    images._shipped.cache_clear()


def test_the_images_are_what_their_script_makes():
    script = Path(_data.path("images/make_images.py"))
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
