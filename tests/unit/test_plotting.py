"""Figures hold what they were given, refuse what they cannot show, and can be read."""

import base64
import io
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torch import nn

from ebmlib import distributions as D
from ebmlib import plotting as P
from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.grid import Grid, GridDensity


@pytest.fixture(autouse=True)
def headless():
    mpl.use("agg")
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    mpl.rcParams.update(before)


@pytest.fixture
def grid():
    return Grid(bins=40)


def network(widths=(2, 6, 4, 1), seed=0):
    return mlp(list(widths), generator=torch.Generator().manual_seed(seed))


def shown(ax):
    """The values of the image on an Axes, [row, column] from the bottom left."""
    return ax.images[0].get_array().data


def test_a_density_map_has_x_to_the_right_and_y_upwards(grid):
    ax = P.plot_density(D.GaussianMixture([[0.5, -0.5]], 0.1), grid)
    row, column = np.unravel_index(shown(ax).argmax(), grid.shape)
    assert grid.axis[column] == pytest.approx(0.5, abs=0.05)
    assert grid.axis[row] == pytest.approx(-0.5, abs=0.05)
    assert ax.get_aspect() == 1
    assert ax.images[0].origin == "lower"
    assert ax.images[0].cmap.name == "viridis"
    assert ax.images[0].get_extent() == [-1, 1, -1, 1]


def test_all_ways_to_give_a_density_agree(grid):
    star = D.Star()
    known = star.log_prob(grid.points_as(torch.float64)).exp()
    by_hand = P.plot_density(known, grid)
    np.testing.assert_allclose(shown(P.plot_density(star, grid)), shown(by_hand))
    on_grid = GridDensity(star, grid)
    np.testing.assert_allclose(
        shown(P.plot_density(on_grid)), shown(by_hand) / np.exp(on_grid.log_partition)
    )
    model = TiltedEnergy(network())
    np.testing.assert_allclose(
        shown(P.plot_density(model, grid)),
        shown(P.plot_density(GridDensity(model, grid))),
    )
    square = known.reshape(40, 40).numpy()
    np.testing.assert_allclose(shown(P.plot_density(square, grid)), shown(by_hand))


def test_a_density_of_a_line_is_a_curve():
    line = Grid(bins=50, dim=1)
    ax = P.plot_density(D.ThreeGaussians1D(), line, label="p", color="red")
    x, y = ax.lines[0].get_data()
    truth = D.ThreeGaussians1D().log_prob(torch.from_numpy(x)[:, None]).exp()
    np.testing.assert_allclose(y, truth)
    assert ax.get_ylabel() == "p"
    assert ax.get_ylim()[0] == 0


def test_one_scale_for_several_panels(grid):
    figure, axes = P.panels(3, columns=2)
    assert len(axes) == 3
    assert not figure.axes[3].axison  # the unused place
    for ax in axes:
        P.plot_density(D.Ring(), grid, ax, top=5.0)
        assert ax.images[0].get_clim() == (0, 5)
    bar = P.plot_density(D.Ring(), grid, axes[0], colorbar=True).figure.axes[-1]
    assert bar.get_ylabel() == "density"


def test_a_signed_map_has_its_middle_at_zero(grid):
    values = grid.points[:, 0] * 2 + 1
    ax = P.plot_signed(values, grid)
    low, high = ax.images[0].get_clim()
    assert low == -high == -float(values.abs().max())
    assert ax.images[0].cmap(0.5) == pytest.approx((0.97, 0.97, 0.97, 1), abs=0.01)
    assert P.plot_signed(values, grid, limit=7).images[0].get_clim() == (-7, 7)
    zero = P.plot_signed(torch.zeros(1600), grid, colorbar=False)
    assert zero.images[0].get_clim() == (-1, 1)


def test_every_point_is_drawn():
    x = D.Ring().sample((300,), generator=torch.Generator().manual_seed(0))
    ax = P.plot_points(x, category=2)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), x.numpy())
    assert to_rgb(P.COLOURS[2]) == tuple(ax.collections[0].get_facecolor()[0][:3])
    assert P.plot_points(x, ax) is ax
    assert ax.get_xlim() == (-1, 1)


def test_curves_show_the_median_and_the_spread():
    x = np.arange(5)
    runs = np.arange(15.0).reshape(3, 5) ** 2
    ax = P.plot_curves(x, {"a": runs, "b": runs[0]})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), runs[1])
    (band,) = ax.collections  # one run alone has no spread
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (runs.min(), runs.max())
    looks = [(ln.get_color(), ln.get_linestyle(), ln.get_marker()) for ln in ax.lines]
    assert all(one != other for one, other in zip(*looks, strict=True))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    narrow = P.plot_curves(x, {"a": runs}, spread="quartiles").collections[0]
    assert narrow.get_paths()[0].vertices[:, 1].max() < runs.max()


def test_more_curves_than_colours_do_not_fail():
    ax = P.plot_curves([0.0, 1.0], {str(i): [i, i] for i in range(9)})
    assert len(ax.lines) == 9


def test_first_layer_lines_are_the_zero_lines():
    layers = network((2, 20, 1), seed=3)
    with torch.no_grad():
        layers[0].weight[:4] = torch.tensor([[0.0, 1], [1, 0], [0, 0], [0, 1]])
        layers[0].bias[:4] = torch.tensor([0.5, -0.25, 1.0, 3.0])
    ax = P.plot_partition_lines(layers)
    segments = np.array(ax.collections[0].get_segments())
    flat, upright = segments[0], segments[1]
    np.testing.assert_allclose(np.sort(flat, axis=0), [[-1, -0.5], [1, -0.5]])
    np.testing.assert_allclose(np.sort(upright, axis=0), [[0.25, -1], [0.25, 1]])
    # every end is on the border, and on the zero line of some unit
    assert np.abs(np.abs(segments).max(axis=2) - 1).max() < 1e-6
    value = layers[0](torch.from_numpy(segments.reshape(-1, 2)).float())
    assert float(value.abs().min(dim=1).values.max().detach()) < 1e-5
    # as many lines as units whose sign changes among the corners of the square
    corners = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    sign = layers[0](corners) > 0
    assert len(segments) == int((sign.any(0) & ~sign.all(0)).sum())


def test_later_lines_are_zeros_of_their_units():
    layers = network((2, 8, 3, 1), seed=5)
    ax = P.plot_partition_lines(layers, resolution=300)
    inner = nn.Sequential(*layers[:3])
    for contour in ax.collections[1:]:
        vertices = contour.get_paths()[0].vertices
        value = inner(torch.from_numpy(vertices).float()).abs().min(dim=1).values
        assert float(value.max().detach()) < 0.02  # linear between grid points
    colours = {tuple(c.get_edgecolor()[0]) for c in ax.collections}
    assert len(colours) == min(2, len(ax.collections))


def test_style_is_put_on_and_taken_off():
    before = mpl.rcParams["font.size"], mpl.rcParams["interactive"]
    with P.style():
        assert mpl.rcParams["axes.facecolor"] == "white"
        mpl.rcParams["interactive"] = True  # as a notebook's display does
    assert mpl.rcParams["font.size"] == before[0]
    assert mpl.rcParams["interactive"] is True
    P.use_style()
    assert mpl.rcParams["font.size"] == P.STYLE["font.size"]
    assert len(P.COLOURS) == len(P.LINES) == len(P.MARKERS) == len(set(P.COLOURS))


class FirstImage(HTMLParser):
    attributes = None

    def handle_starttag(self, tag, attrs):
        assert tag == "img"
        self.attributes = dict(attrs)


def test_alternative_text_travels_with_the_picture(grid):
    text = 'A ring: radius < 1 & "round"'
    ax = P.plot_density(D.Ring(), grid)
    figure = P.with_alt(ax, text.replace(": ", ":\n  "))
    assert not plt.fignum_exists(ax.figure.number)  # shown once, by the result alone
    bundle, metadata = figure._repr_mimebundle_()
    parser = FirstImage()
    parser.feed(bundle["text/html"])
    assert parser.attributes["alt"] == text
    assert bundle["text/plain"] == text
    assert metadata["image/png"]["alt"] == text
    assert repr(figure) == f"AltFigure({text!r})"
    prefix, data = parser.attributes["src"].split(",")
    assert prefix == "data:image/png;base64"
    assert data == bundle["image/png"]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.width >= int(parser.attributes["width"])
    # an opaque light card, so that it is legible on a dark page
    pixels = np.asarray(picture.convert("RGBA"))
    assert pixels[..., 3].min() == 255
    assert pixels[0, 0].tolist() == [255, 255, 255, 255]


def test_words_for_densities_and_curves(grid):
    flat = GridDensity(D.ImageDensity([[1.0]]), grid)
    assert P.describe_density(flat).endswith("half of the mass on 50 % of the box")
    peak = GridDensity(D.GaussianMixture([[0.46, -0.54]], 0.1), Grid(bins=50))
    words = P.describe_density(peak)
    # p = 1 / (2 pi sd^2) at the centre; half of the mass within r^2 = 2 ln 2 sd^2
    assert words.startswith("highest 15.9 at (0.46, -0.54)")
    assert words.endswith("on 1.1 % of the box")
    curves = {"a": [[1, 2.0], [3, 4], [5, 6]], "b": [0.5, 0.25]}
    assert P.describe_curves([0, 10], curves) == (
        "a: from 3 at 0 to 4 at 10; b: from 0.5 at 0 to 0.25 at 10"
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda g: P.plot_density(D.Ring()), TypeError, "grid must be an ebmlib.grid"),
        (lambda g: P.plot_density("a", g), TypeError, "density must be an array of"),
        (
            lambda g: P.plot_density(torch.zeros(7), g),
            ValueError,
            r"one value for each of the grid's \(40, 40\) cells, got shape \(7,\)",
        ),
        (
            lambda g: P.plot_density(torch.full((1600,), torch.nan), g),
            FloatingPointError,
            "density is not finite at 1600 of 1600 grid points",
        ),
        (
            lambda g: P.plot_density(torch.zeros(1000), Grid(bins=10, dim=3)),
            ValueError,
            "grid must have dimension 1 or 2, got 3",
        ),
        (
            lambda g: P.plot_signed(torch.zeros(9), Grid(bins=9, dim=1)),
            ValueError,
            "grid must have dimension 2, got 1",
        ),
        (
            lambda g: P.plot_density(D.Ring(), g, "left"),
            TypeError,
            "ax must be a Matplotlib Axes, got str",
        ),
        (lambda g: P.plot_points(torch.zeros(3)), ValueError, r"x must have shape"),
        (lambda g: P.panels(0), ValueError, "n must be at least 1"),
        (
            lambda g: P.plot_curves([0, 1], {"a": [1, 2, 3]}),
            ValueError,
            r"curve 'a' must have shape \(2,\) or \(seeds, 2\)",
        ),
        (
            lambda g: P.plot_curves([0], {"a": [1]}, spread="rang"),
            ValueError,
            "Did you mean 'range'",
        ),
        (
            lambda g: P.plot_partition_lines(nn.Linear(2, 1)),
            TypeError,
            "network must be an nn.Sequential",
        ),
        (
            lambda g: P.plot_partition_lines(network((3, 4, 1))),
            ValueError,
            "affine layer of two inputs",
        ),
        (
            lambda g: P.plot_partition_lines(network(), low=1.0),
            ValueError,
            "low must be below high",
        ),
        (lambda g: P.with_alt("fig", "a"), TypeError, "figure must be a Matplotlib"),
        (lambda g: P.with_alt(plt.figure(), 3), TypeError, "alt must be a string"),
        (lambda g: P.with_alt(plt.figure(), " "), ValueError, "an empty text"),
        (lambda g: P.describe_density(D.Ring()), TypeError, "must be a GridDensity"),
    ],
)
def test_bad_arguments_are_refused(grid, call, kind, message):
    with pytest.raises(kind, match=message):
        call(grid)
