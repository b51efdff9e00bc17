"""EBM Lab: train an energy-based model in the page, with the exact answer beside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor

from ebmlib._checks import check_between, check_choice, check_inside, check_points
from ebmlib.checkpoint import architecture, prior_sd
from ebmlib.distributions import ImageDensity, get
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.fit import fit
from ebmlib.grid import Grid, GridDensity
from ebmlib.negatives import GridNegatives
from ebmlib.plotting import plot_density, plot_points, style
from ebmlib.widgets import _lab_options as lab_options
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_WIDEST, _MOST_UPDATES = 64, 50_000


class EBMLab(PageWidget):
    """Train one or two energies live: data, negative phase, network, exact answers.

    Everything runs in the browser, in float64 and from a seed, with no kernel. In a
    notebook the traits follow what happens there, and `models` returns the trained
    energies.

    Parameters
    ----------
    preset : str, optional
        One of `EBMLab.presets`: a surprise to find within a minute.
    config : mapping, optional
        Options on top of the preset or the Lab's own, for example
        ``{"data": "star", "a": {"method": "shortrun", "steps": 20}}``; with a ``"b"``,
        two models learn side by side. `EBMLab.options` has the names.
    model : TiltedEnergy, optional
        Start model A from this one: a network of `ebmlib.energy.mlp` with one or two
        hidden layers of at most 64 neurons, and a flat or a `gaussian` prior.
    data : Tensor, shape (n, 2), optional
        Points in the square [-1, 1]^2 to learn from. Their density is not known, so
        there is no divergence, and the likelihood is that of these points.
    small : bool
        Fewer controls, for a place in a chapter, and a link to the whole Lab.
    controls : iterable of str
        The options that a small Lab offers.
    playing : bool
        Whether it starts by itself, where readers have not asked for less motion.
    href : str
        Where the whole Lab is, for the link of a small one.
    alt : str, optional
        What the still picture shows; made from the configuration by default.
    caption : str
        Plain text under the Lab.

    Attributes
    ----------
    config : dict
        Everything that can be set, as in the address of the page.
    count : int
        Updates made. Setting it goes back, or trains on.
    playing : bool
        Whether it is training.
    metrics : list of dict
        For each model the exact ``kl`` and ``log_likelihood`` in nats, mean energies
        and the gradient's norm; filled by the browser, about once a second.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or not allowed, a point lies outside the square, or the
        model is of another kind.

    Examples
    --------
    >>> lab = EBMLab(config={"data": "star", "a": {"width1": 64}})
    >>> lab.count = 300
    >>> compared = EBMLab("short-run", small=True)
    """

    _module = "ebm_lab"
    _esm = bundle("ebm_lab")

    spec = traitlets.Dict().tag(sync=True, page=True)
    given = traitlets.Dict().tag(sync=True, page=True)
    config = traitlets.Dict().tag(sync=True, page=True)
    count = traitlets.Int(0).tag(sync=True, page=True)
    playing = traitlets.Bool(False).tag(sync=True, page=True)
    metrics = traitlets.List(traitlets.Dict()).tag(sync=True)
    weights = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        preset: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        model: TiltedEnergy | None = None,
        data: Tensor | None = None,
        small: bool = False,
        controls: Iterable[str] = ("method",),
        playing: bool = False,
        href: str = "lab.html",
        alt: str | None = None,
        caption: str = "",
    ) -> None:
        base = None
        if preset is not None:
            known = lab_options.presets()
            check_choice("preset", preset, known)
            base = known[preset]["config"]
        offered = [n for p in ("shared", "side") for n in lab_options.options()[p]]
        controls = list(controls)
        for name in controls:
            check_choice("controls", name, offered)
        if data is not None:
            config = {**(config or {}), "data": "given"}
        whole = lab_options.complete(config, base)
        if whole["data"] == "given" and data is None:
            raise ValueError("config['data'] 'given' needs data=...")
        super().__init__(
            alt=_describe(whole) if alt is None else alt,
            caption=caption,
            spec={
                "small": bool(small),
                "controls": controls,
                "preset": preset,
                "href": str(href),
            },
            given=_given(model, data),
            config=whole,
            playing=bool(playing),
        )

    @staticmethod
    def presets() -> dict[str, str]:
        """Return the presets by name, each with the sentence that it shows."""
        return {n: p["sentence"] for n, p in lab_options.presets().items()}

    @staticmethod
    def options() -> dict[str, list[str]]:
        """Return the names of all options: shared, of a side, and of the view."""
        return lab_options.options()

    def send(
        self, model: TiltedEnergy | None = None, data: Tensor | None = None
    ) -> None:
        """Put another model or other data, as for the constructor, into a live Lab."""
        given = {**self.given, **_given(model, data)}
        self.given = given
        if data is not None:
            self.config = {**self.config, "data": "given"}

    @property
    def models(self) -> list[TiltedEnergy]:
        """The energies as they stood when training last paused, in float64.

        Raises
        ------
        RuntimeError
            If no browser has sent any yet.
        """
        if not self.weights:
            raise RuntimeError(
                "no browser has sent weights yet: show the Lab in a notebook, train, "
                "and pause"
            )
        return [_rebuild(json.loads(text)) for text in self.weights]

    @traitlets.validate("config")
    def _check_config(self, proposal: Any) -> dict[str, Any]:
        try:
            config = lab_options.complete(proposal["value"])
        except (TypeError, ValueError) as error:
            raise traitlets.TraitError(str(error)) from error
        if config["data"] == "given" and "points" not in self.given:
            raise traitlets.TraitError("config['data'] 'given' needs data=...")
        return config

    @traitlets.validate("count")
    def _check_count(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] <= _MOST_UPDATES:
            raise traitlets.TraitError(
                f"count must lie in 0 to {_MOST_UPDATES}, got {proposal['value']}"
            )
        return proposal["value"]

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the data's density and what exact learning makes of it."""
        picture = _still(
            json.dumps(self.config, sort_keys=True),
            json.dumps(self.given, sort_keys=True),
        )
        return picture, self.alt, 640


def _describe(config: Mapping[str, Any]) -> str:
    """Say what the still picture shows."""
    name = config["data"].replace("_", " ")
    data = {"drawn": "a drawn density", "given": "the data"}.get(name, f"the {name}")
    return f"Left {data}, right the density of a small network that has learned it."


def _given(model: TiltedEnergy | None, data: Tensor | None) -> dict[str, Any]:
    """Encode a model and data exactly."""
    given: dict[str, Any] = {}
    if data is not None:
        check_points("data", data, 2, allow_empty=False)
        check_inside("data", data, -1.0, 1.0)
        given["points"] = encode_array(data.detach().cpu().double())
    if model is not None:
        if not isinstance(model, TiltedEnergy):
            raise TypeError(f"model must be a TiltedEnergy, got {type(model).__name__}")
        widths, activation = architecture(model.network)
        hidden = widths[1:-1]
        if (widths[0], widths[-1]) != (2, 1) or not 1 <= len(hidden) <= 2:
            raise ValueError(
                "model: the network must lead from 2 inputs over one or two hidden "
                f"layers to 1 output, got widths {widths}"
            )
        check_between("model: the widest layer", max(hidden), 1, _WIDEST)
        weights = torch.cat(
            [p.detach().cpu().double().ravel() for p in model.network.parameters()]
        )
        if not bool(torch.isfinite(weights).all()):
            raise FloatingPointError(
                "model: the network has weights that are not finite"
            )
        given["network"] = json.dumps(
            {
                "kind": "ebm-lab",
                "widths": widths,
                "activation": activation,
                "prior_sd": prior_sd(model),
                "weights": weights.tolist(),
            }
        )
    return given


def _rebuild(network: Mapping[str, Any]) -> TiltedEnergy:
    """Make the energy that the Lab describes."""
    widths, sd = network["widths"], network["prior_sd"]
    # its initial weights are overwritten: they must not cost the global generator
    net = mlp(widths, network["activation"], generator=torch.Generator()).double()
    weights = torch.tensor(network["weights"], dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(weights, net.parameters())
    prior = None if sd is None else gaussian(sd=sd, dtype=torch.float64)
    return TiltedEnergy(net, prior)


def decode_drawing(text: str) -> Tensor:
    """Return the grey levels 0 to 3 of a drawing, (24, 24), row 0 at the top."""
    levels = [
        level
        for letter in text
        for code in [_LETTERS.index(letter)]
        for level in (code >> 4, code >> 2 & 3, code & 3)
    ]
    return torch.tensor(levels).reshape(24, 24)


@lru_cache(maxsize=64)
def _still(config_text: str, given_text: str) -> str:
    """Return a picture of the data and of a model that exact learning has trained."""
    config, given = json.loads(config_text), json.loads(given_text)
    generator = torch.Generator().manual_seed(config["seed"])
    truth, side = None, config["a"]
    if config["data"] == "given":
        packed = given["points"]
        values = np.frombuffer(
            base64.b64decode(packed["data"]), dtype="<" + packed["dtype"]
        )
        raw = torch.tensor(values, dtype=torch.float32).reshape(-1, 2)
    else:
        truth = (
            ImageDensity(decode_drawing(config["drawing"]))
            if config["data"] == "drawn"
            else get(config["data"])
        )
        raw = truth.sample((2 * config["points"],), generator=generator)
        raw = raw[(raw.abs() <= 1).all(1)][: config["points"]]
    grid = Grid(bins=48)
    if "network" in given:
        model = _rebuild(json.loads(given["network"]))
    else:
        widths = [2, side["width1"], *[w for w in [side["width2"]] if w], 1]
        network = mlp(widths, side["activation"], generator=generator)
        model = TiltedEnergy(
            network, gaussian(sd=side["prior"]) if side["prior"] else None
        )
        options = {"lr": 0.03, "data_term": "cells", "progress": False}
        fit(model, raw, GridNegatives(grid), 150, generator=generator, **options)
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(5.8, 2.9), layout="constrained")
        fine = Grid(bins=100)
        if truth is None:
            plot_points(raw[:1000], axes[0])
            axes[0].set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
        else:
            plot_density(truth, fine, axes[0])
        plot_density(GridDensity(model, fine), ax=axes[1])
        axes[0].set_xlabel("data")
        axes[1].set_xlabel("model")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        plt.close(figure)
    return encode_image(Image.open(buffer).convert("RGB"))
