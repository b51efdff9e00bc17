"""Widgets as Python objects: what they encode, refuse, and hand to a page."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch import nn
from torch.distributions import (
    Gamma,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Uniform,
)

from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.widgets import DensityExplorer, FrameExplorer, _host, _network_spec

ROOT = Path(__file__).resolve().parents[2]
# The modules of widgets; what they import is inlined, and the loader is no widget.
MODULES = sorted(
    path.stem
    for path in _host.HERE.glob("*.mjs")
    if re.search(r"^export default", path.read_text("utf-8"), re.MULTILINE)
)


def decode(packed: dict[str, str]) -> np.ndarray:
    raw = base64.b64decode(packed["data"])
    return np.frombuffer(raw, dtype="<" + packed["dtype"])


def payload(widget) -> dict:
    """Return the state that the widget's page element carries."""
    found = re.search(
        r'<script type="application/json">(.*)</script>', widget.to_html()
    )
    return json.loads(found[1])


# Modules and encodings


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_one_self_contained_text(name: str) -> None:
    source = _host.bundle(name)
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    assert source.count("export default") == 1
    names = re.findall(r"^export function\*? (\w+)", source, re.MULTILINE)
    assert len(names) == len(set(names)) > 5
    assert "http" not in source.replace("http://www.w3.org", "")


def test_a_module_that_would_end_its_element_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(_host, "HERE", tmp_path)
    (tmp_path / "bad.mjs").write_text("const x = '</SCRIPT>';")
    with pytest.raises(ValueError, match="'bad' must not contain"):
        _host.bundle("bad")


def test_a_page_gets_each_module_once() -> None:
    assets = _host.page_assets([*MODULES, *MODULES])
    assert assets.count("data-ebm-module=") == len(MODULES) + 1  # one in the loader
    assert assets.count("<style>") == 1


def test_the_loader_is_small() -> None:
    assert len(_host.bundle("loader")) < 2500


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats()))
def test_numbers_survive_their_encoding(values: np.ndarray) -> None:
    found = decode(_host.encode_array(values)).astype(float)
    np.testing.assert_array_equal(found, values)


def test_float32_numbers_take_half_the_room() -> None:
    assert _host.encode_array(np.float32([0.1, 2.5]))["dtype"] == "f4"
    assert _host.encode_array([0.1, 2.5])["dtype"] == "f8"
    assert _host.encode_array([1e300])["dtype"] == "f8"


# Films


def pictures(*shape: int) -> np.ndarray:
    """Return frames that differ from each other."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (*shape, 8, 10, 3), dtype=np.uint8)


AXES = {"step": [0, 10, 100], "prior": ["uniform", "normal"]}


def test_frames_keep_their_order_however_they_are_given() -> None:
    nested = pictures(3, 2)
    flat = list(nested.reshape(6, 8, 10, 3))
    images = [[Image.fromarray(f) for f in row] for row in nested]
    films = [
        FrameExplorer(frames, AXES, alt="x", lossless=True)
        for frames in (nested, flat, images)
    ]
    for film in films:
        for uri, frame in zip(film.frames, flat, strict=True):
            raw = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
            np.testing.assert_array_equal(Image.open(io.BytesIO(raw)), frame)


def test_alt_text_and_numbers_of_each_frame() -> None:
    film = FrameExplorer(
        pictures(3, 2), AXES, alt="Fitted density.", numbers={"KL": np.arange(6) / 8}
    )
    assert film.notes[3] == "KL = 0.375"
    assert film.alts[3] == "Fitted density: step 10, prior normal, KL = 0.375"
    own = FrameExplorer(pictures(3, 2), AXES, alt=list("abcdef"))
    assert own.alts == list("abcdef")


def test_start_and_index_follow_the_labels() -> None:
    start = {"step": 100, "prior": "normal"}
    film = FrameExplorer(pictures(3, 2), AXES, alt="x", start=start)
    assert film.index == [2, 1]
    seen = []
    film.observe(lambda change: seen.append(change["new"]), "index")
    film.index = [1, 0]
    assert film.labels == {"step": "10", "prior": "uniform"}
    assert seen == [[1, 0]]
    with pytest.raises(traitlets.TraitError, match="one position on each axis"):
        film.index = [3, 0]
    with pytest.raises(traitlets.TraitError, match="one position on each axis"):
        film.index = [0]


def test_films_from_a_function_close_their_figures() -> None:
    def draw(step: int, prior: str):
        colour = (step / 100, float(prior == "normal"), 0.5)
        return plt.figure(figsize=(1, 1), dpi=40, facecolor=colour)

    before = plt.get_fignums()
    film = FrameExplorer.from_function(draw, AXES, alt="Colours")
    assert len(set(film.frames)) == 6
    assert plt.get_fignums() == before


def test_transparent_frames_lie_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert _host_image(clear) == (255, 255, 255)


def _host_image(image: Image.Image) -> tuple[int, ...]:
    film = FrameExplorer([image, image], {"a": [0, 1]}, alt="x", lossless=True)
    raw = base64.b64decode(film.frames[0].split(",")[1])
    return Image.open(io.BytesIO(raw)).getpixel((0, 0))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"frames": pictures(5)}, ValueError, "3 x 2 = 6 combinations, got 5 frames"),
        ({"frames": 3}, TypeError, "frames must be a sequence, got int"),
        ({"frames": pictures(6) / 255}, TypeError, "a uint8 array of shape"),
        ({"frames": ["a"] * 6}, TypeError, "frame 0 must be a matplotlib figure"),
        ({"axes": {}}, ValueError, "axes must map at least one name"),
        ({"axes": {"a": [1]}}, ValueError, "'a' needs two or more different labels"),
        ({"axes": {"a": [1, 1]}}, ValueError, "'a' needs two or more different"),
        ({"alt": " "}, ValueError, "alt must say what the picture shows"),
        ({"alt": ["a", "b"]}, ValueError, "6 non-empty texts, got 2"),
        ({"caption": 3}, TypeError, "caption must be a string, got int"),
        ({"numbers": {"KL": [1.0]}}, ValueError, r"'KL' must have shape \(3, 2\)"),
        ({"numbers": {"KL": [np.nan] * 6}}, FloatingPointError, "not finite"),
        ({"play": "stop"}, ValueError, "did you mean 'step'"),
        ({"start": {"steps": 0}}, ValueError, "did you mean 'step'"),
        ({"start": {"prior": "norml"}}, ValueError, "did you mean 'normal'"),
        ({"seconds_per_frame": 0.0}, ValueError, "at least 0.05, got 0.0"),
        ({"max_bytes": 100}, ValueError, "more than max_bytes=100"),
    ],
)
def test_bad_films_are_refused(change: dict, error: type, message: str) -> None:
    good = {"frames": pictures(3, 2), "axes": AXES, "alt": "x"}
    with pytest.raises(error, match=message):
        FrameExplorer(**{**good, **change})


def test_frames_of_different_sizes_are_refused() -> None:
    frames = [Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))]
    with pytest.raises(ValueError, match=r"one size, got \[\(4, 4\), \(4, 5\)\]"):
        FrameExplorer(frames, {"a": [0, 1]}, alt="x")


# Densities


def net(*widths: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    return mlp(widths, generator=generator)


def test_weights_are_embedded_exactly() -> None:
    network = net(2, 5, 3, 1).double()
    network[0].weight.data += 1e-12
    explorer = DensityExplorer({"m": network}, alt="x")
    spec = payload(explorer)["spec"]["models"][0]["network"]
    assert spec["widths"] == [2, 5, 3, 1]
    expected = torch.cat([p.detach().ravel() for p in network.parameters()])
    np.testing.assert_array_equal(decode(spec["weights"]), expected)


def test_layers_without_bias_and_nested_layers() -> None:
    inner = nn.Sequential(nn.Linear(2, 3, bias=False), nn.LeakyReLU(0.3))
    spec = _network_spec.network_spec(nn.Sequential(inner, nn.Linear(3, 1)))
    assert spec["activations"] == [{"kind": "leaky_relu", "slope": 0.3}]
    np.testing.assert_array_equal(decode(spec["weights"])[6:9], 0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1)), "got Sigmoid"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), "layer 1 of the network"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "Linear first and last"),
        (nn.Sequential(nn.Linear(3, 1)), "from two inputs"),
        (nn.Sequential(nn.Linear(2, 2)), "one output"),
        (nn.Sequential(), "from two inputs"),
        (nn.Bilinear(2, 2, 1), "got Bilinear"),
    ],
)
def test_networks_of_another_form_are_refused(network, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DensityExplorer({"m": network}, alt="x")


def test_weights_that_are_not_finite_are_refused() -> None:
    network = net(2, 3, 1)
    network[0].bias.data[0] = torch.nan
    with pytest.raises(FloatingPointError, match="weights that are not finite"):
        DensityExplorer({"m": network}, alt="x")


@pytest.mark.parametrize(
    "prior",
    [
        Independent(Uniform(-2 * torch.ones(2), torch.ones(2)), 1),
        Independent(Normal(torch.tensor([0.1, 0.2]), torch.tensor([0.5, 2.0])), 1),
        MultivariateNormal(
            torch.tensor([0.2, 0.1]), torch.tensor([[0.3, 0.1], [0.1, 0.2]])
        ),
    ],
)
def test_priors_are_described_so_that_their_density_follows(prior) -> None:
    spec = _network_spec.prior_spec(prior, -1.0, 1.0)
    x = torch.tensor([[0.3, -0.4], [-1.0, 0.9]])
    away = x.double().numpy() - spec.get("mean", [0, 0])
    precision = np.array(spec.get("precision", np.zeros((2, 2))))
    found = spec["log_density"] - 0.5 * np.einsum("ni,ij,nj->n", away, precision, away)
    # PyTorch computes these in float32, whose eps is 1.2e-7.
    np.testing.assert_allclose(found, prior.log_prob(x), rtol=2e-6)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (Gamma(torch.ones(2), torch.ones(2)), "got Gamma"),
        (Normal(0.0, 1.0), "on the plane, got shape"),
        (MultivariateNormal(torch.zeros(3), torch.eye(3)), "on the plane"),
        (Independent(Uniform(torch.zeros(2), torch.ones(2)), 1), "must cover"),
        (
            MixtureSameFamily(
                torch.distributions.Categorical(torch.ones(2)),
                Independent(Normal(torch.zeros(2, 2), torch.ones(2, 2)), 1),
            ),
            "got MixtureSameFamily",
        ),
    ],
)
def test_other_priors_are_refused(prior, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DensityExplorer({"m": net(2, 3, 1)}, alt="x", prior=prior)


def test_a_true_density_is_read_on_the_grid() -> None:
    truth = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    spec = _network_spec.truth_spec(truth, -1.0, 1.0, 4)
    axis = [-0.75, -0.25, 0.25, 0.75]
    expected = [[-np.log(2 * np.pi) - (a * a + b * b) / 2 for b in axis] for a in axis]
    assert spec["bins"] == 4
    np.testing.assert_allclose(decode(spec["log_density"]), np.ravel(expected), 1e-6)
    again = _network_spec.truth_spec(np.array(expected), -1.0, 1.0, 99)
    assert again == spec


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros(5), "a square grid, got shape"),
        (np.zeros((2, 8)), "a square grid, got shape"),
        (np.full(4, np.nan), "must be log densities"),
        (np.full(4, -np.inf), "must be log densities"),
        (np.array([0, 0, 0, np.inf]), "must be log densities"),
    ],
)
def test_bad_true_densities_are_refused(truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DensityExplorer({"m": net(2, 3, 1)}, alt="x", truth=truth)


def two_by_two(**options) -> DensityExplorer:
    """Return an explorer with incomplete combinations of two axes."""
    models = {
        ("ring", "3"): net(2, 3, 1),
        ("ring", "4"): TiltedEnergy(net(2, 4, 1)),
        ("star", "5-2"): net(2, 5, 2, 1),
    }
    return DensityExplorer(models, alt="x", model_axes=("data", "net"), **options)


def test_models_data_and_truths_are_matched_by_name() -> None:
    data = {"ring": np.ones((5, 2)), ("star", "5-2"): np.zeros((7, 2))}
    explorer = two_by_two(data=data, truth={"star": np.zeros(16)}, max_points=4)
    spec = explorer.spec
    assert [model["data"] for model in spec["models"]] == [0, 0, 1]
    assert [model["truth"] for model in spec["models"]] == [None, None, 0]
    assert [decode(points).size for points in spec["datasets"]] == [8, 8]
    assert spec["axes"][0]["labels"] == ["ring", "star"]
    assert [axis["kind"] for axis in spec["axes"]] == ["choice", "choice"]


def test_traits_can_be_set_observed_and_linked() -> None:
    explorer, other = two_by_two(), two_by_two()
    traitlets.link((explorer, "probe"), (other, "probe"))
    explorer.probe = [0.5, -0.25]
    explorer.model = ["star", "5-2"]
    explorer.temperature = 2.5
    assert other.probe == [0.5, -0.25]
    state = payload(explorer)
    assert (state["model"], state["temperature"]) == (["star", "5-2"], 2.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", ["ring", "5"], "model must be one of"),
        ("show", "densty", "did you mean 'density'"),
        ("show", "truth", "show must be one of"),
        ("temperature", 0.0, "temperature must lie in 0.1 to 10.0, got 0.0"),
        ("temperature", float("nan"), "temperature must lie in"),
        ("resolution", 7, "resolution must be one of"),
        ("probe", [0.0, 1.5], r"probe must lie in \[-1.0, 1.0\]\^2"),
        ("probe", [0.0], "probe"),
        ("boundaries", 3, "boundaries must be 0 to 2 layers, got 3"),
    ],
)
def test_traits_refuse_what_cannot_be_shown(name: str, value, message: str) -> None:
    explorer = two_by_two()
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(explorer, name, value)
    assert getattr(explorer, name) == before
    if name != "resolution":  # which offers the one it starts with
        with pytest.raises(traitlets.TraitError, match=message):
            two_by_two(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": {}}, "models must map at least one name"),
        ({"models": {("a", "b"): net(2, 3, 1)}}, "a label for each axis"),
        ({"low": 1.0, "high": 1.0}, "low must be less than high"),
        ({"low": -np.inf}, "low must be less than high"),
        ({"resolution": 5}, "resolutions must lie in 10 to 400"),
        ({"data": np.zeros((3, 3))}, r"data must have shape \(n, 2\)"),
        ({"data": np.zeros((0, 2))}, r"n >= 1, got \(0, 2\)"),
        ({"data": np.full((1, 2), np.inf)}, "data must be finite"),
        ({"data": {"rng": np.zeros((3, 2))}}, "data: name must be one of"),
        ({"alt": ""}, "alt must say"),
    ],
)
def test_bad_explorers_are_refused(options: dict, message: str) -> None:
    good = {"models": {"ring": net(2, 3, 1)}, "alt": "x"}
    with pytest.raises(ValueError, match=message):
        DensityExplorer(**{**good, **options})


def test_the_still_picture_is_the_density() -> None:
    prior = Independent(Normal(torch.tensor([0.5, 0.5]), torch.ones(2) / 10), 1)
    network = net(2, 3, 1)
    for parameter in network.parameters():
        parameter.data.zero_()
    explorer = DensityExplorer({"m": network}, alt="A spot", prior=prior)
    uri, alt, _ = explorer._fallback()
    raw = base64.b64decode(uri.split(",")[1])
    image = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), dtype=int)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert alt == "A spot"
    # x = 0.5 is three quarters to the right, y = 0.5 a quarter from the top.
    assert abs(column - 300) < 12
    assert abs(row - 100) < 12


# What a page gets


def test_the_bundle_of_formats_has_a_page_form_and_a_live_form() -> None:
    film = FrameExplorer(pictures(3, 2), AXES, alt='A "film" & <more>', caption="a < b")
    formats, _ = film._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in formats
    html = formats["text/html"]
    assert 'alt="A &quot;film&quot; &amp; &lt;more&gt;: step 0' in html
    assert "<figcaption>a &lt; b</figcaption>" in html
    assert html.count("</script>") == 1
    assert payload(film)["caption"] == "a < b"
    assert film.nbytes == len(html.encode())


@pytest.fixture(scope="module")
def extension():
    spec = importlib.util.spec_from_file_location(
        "ebm_widgets", ROOT / "book/_ext/ebm_widgets.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_extension_adds_only_what_a_page_uses(extension) -> None:
    html = FrameExplorer(pictures(3, 2), AXES, alt="x").to_html()
    context = {"body": html + html}
    extension.add_assets(None, "p", "page.html", context, None)
    tag = 'type="text/plain" data-ebm-module='
    assert context["body"].count(tag) == 1
    assert f'{tag}"frame_explorer"' in context["body"]
    plain = {"body": "<p>no widget</p>"}
    extension.add_assets(None, "p", "page.html", plain, None)
    assert plain["body"] == "<p>no widget</p>"


def test_the_extension_drops_the_state_of_widgets(extension) -> None:
    scripts = {"ipywidgets_state": 1, "ipywidgets_0": 2, "other": 3}
    env = SimpleNamespace(docname="p", nb_metadata={"p": {"js_files": scripts}})
    extension.drop_widget_state(SimpleNamespace(env=env), None)
    assert scripts == {"other": 3}
    bare = SimpleNamespace(env=SimpleNamespace(docname="q"))
    extension.drop_widget_state(bare, None)


def test_the_extension_warns_of_controls_that_need_a_kernel(
    extension, monkeypatch
) -> None:
    said = []
    monkeypatch.setattr(
        extension.logger, "warning", lambda text, **kw: said.append((text, kw))
    )
    body = '<script type="application/vnd.jupyter.widget-view+json">{}</script>'
    extension.add_assets(None, "p", "page.html", {"body": body}, None)
    ((text, keywords),) = said
    assert "does nothing without a kernel" in text
    assert keywords["location"] == "p"
