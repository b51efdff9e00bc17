"""The linear regions of a ReLU energy under the reader's finger, cut in the browser."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image, ImageDraw

from ebmlib.grid import Grid
from ebmlib.partition import ReLUPartition
from ebmlib.widgets._host import (
    PageWidget,
    axis_label,
    bundle,
    encode_image,
    suggest,
)
from ebmlib.widgets._network_spec import network_spec, prior_spec
from ebmlib.widgets.density import _encode_palette, _palette

FILLS = {
    "density": "density p",
    "active": "active neurons",
    "fineness": "fineness",
}


class PartitionExplorer(PageWidget):
    """The exact linear regions of small ReLU networks on a square.

    The browser cuts the square from the networks' weights, layer by layer, in float64.
    The reader moves a point and sees its region, the neurons that are active there, the
    lines of those that bound it, and the local plane: its gradient, or under a Gaussian
    prior the centre of the local Gaussian and whether it lies in the region.

    Parameters
    ----------
    models : mapping
        Name -> model, or name -> mapping of training step -> model, which makes a
        slider.  A model is a plain `nn.Sequential` or anything with such a ``network``
        and a ``prior``; activations are ReLU or leaky ReLU.
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    low, high : float
        The square is [low, high] x [low, high].
    model, step, depth, fill, probe
        Initial values of the traits below: by default the first model, its last step,
        all layers.

    Attributes
    ----------
    model : str
        Name of the model on show.
    step : int
        Position on its slider of training steps.
    depth : int
        How many hidden layers cut the square.
    fill : str
        What the colours show: ``"density"``, ``"active"`` (how many neurons are) or
        ``"fineness"`` (minus the decimal logarithm of a region's area).
    probe : list of float
        The point whose region is shown.

    Raises
    ------
    ValueError
        If a model or a prior cannot be used, or a name is unknown.
    """

    _module = "partition_explorer"
    _esm = bundle("partition_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    model = traitlets.Unicode().tag(sync=True, page=True)
    step = traitlets.Int(0).tag(sync=True, page=True)
    depth = traitlets.Int(1).tag(sync=True, page=True)
    fill = traitlets.Unicode("density").tag(sync=True, page=True)
    probe = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(
        sync=True, page=True
    )

    def __init__(
        self,
        models: Mapping[str, Any],
        *,
        alt: str,
        caption: str = "",
        low: float = -1.0,
        high: float = 1.0,
        model: str | None = None,
        step: int | None = None,
        depth: int | None = None,
        fill: str = "density",
        probe: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low must be less than high, got {low} and {high}")
        if not isinstance(models, Mapping) or not models:
            raise ValueError(
                f"models must map at least one name to a model, got {models!r}"
            )
        films = {str(name): _film(name, value) for name, value in models.items()}
        spec = {
            "box": [float(low), float(high)],
            "models": [
                _film_spec(name, film, low, high) for name, film in films.items()
            ],
            "fills": FILLS,
            "palette": _encode_palette("viridis"),
        }
        self._films = {
            name: [copy.deepcopy(value) for value in film.values()]
            for name, film in films.items()
        }
        model = next(iter(films)) if model is None else model
        if model not in films:
            raise ValueError(suggest("model", model, films))
        hidden = len(spec["models"][list(films).index(model)]["networks"][0]["widths"])
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            model=model,
            step=len(films[model]) - 1 if step is None else step,
            depth=hidden - 2 if depth is None else depth,
            fill=fill,
            probe=[float(value) for value in probe],
        )

    @traitlets.validate("model")
    def _check_model(self, proposal: Any) -> str:
        names = [entry["name"] for entry in self.spec["models"]]
        if proposal["value"] not in names:
            raise traitlets.TraitError(suggest("model", proposal["value"], names))
        return proposal["value"]

    @traitlets.validate("step")
    def _check_step(self, proposal: Any) -> int:
        most = max(len(entry["steps"]) for entry in self.spec["models"]) - 1
        return _within("step", proposal["value"], 0, most)

    @traitlets.validate("depth")
    def _check_depth(self, proposal: Any) -> int:
        networks = [entry["networks"][0] for entry in self.spec["models"]]
        most = max(len(network["activations"]) for network in networks)
        return _within("depth", proposal["value"], 1, most)

    @traitlets.validate("fill")
    def _check_fill(self, proposal: Any) -> str:
        if proposal["value"] not in FILLS:
            raise traitlets.TraitError(suggest("fill", proposal["value"], FILLS))
        return proposal["value"]

    @traitlets.validate("probe")
    def _check_probe(self, proposal: Any) -> list[float]:
        low, high = self.spec["box"]
        if not all(low <= value <= high for value in proposal["value"]):
            raise traitlets.TraitError(
                f"probe must lie in [{low}, {high}]^2, got {proposal['value']}"
            )
        return proposal["value"]

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the density of the model on show and the borders of its regions."""
        low, high = self.spec["box"]
        film = self._films[self.model]
        value = film[min(self.step, len(film) - 1)]
        network = copy.deepcopy(getattr(value, "network", value)).double().cpu()
        prior = getattr(value, "prior", None)
        points = Grid(low, high, 200).points_as(torch.float64)
        with torch.no_grad():
            log_p = network(points).squeeze(-1)
            if prior is not None:
                log_p = log_p + prior.log_prob(points.float()).double()
        p = torch.exp(log_p - log_p.max()).numpy().reshape(200, 200).T[::-1]
        colours = _palette("viridis")[np.rint(p * 255).astype(int)]
        picture = Image.fromarray(colours).resize((800, 800), Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(picture)
        for polygon in ReLUPartition.from_network(network, low, high).polygons:
            corners = (polygon - low) / (high - low) * 800
            draw.polygon([(x, 800 - y) for x, y in corners.tolist()], outline="#e8e8e8")
        picture = picture.resize((400, 400), Image.Resampling.LANCZOS)
        return encode_image(picture), self.alt, 400


def _film(name: Any, value: Any) -> dict[Any, Any]:
    """Training step -> model; one entry for a model that stands alone."""
    if not isinstance(value, Mapping):
        return {"": value}
    if not value:
        raise ValueError(f"models: {name!r} must hold at least one training step")
    return dict(value)


def _film_spec(
    name: str, film: Mapping[Any, Any], low: float, high: float
) -> dict[str, Any]:
    """Describe one model's networks, step by step, and its prior."""
    networks = [network_spec(getattr(v, "network", v)) for v in film.values()]
    for network in networks:
        kinds = {activation["kind"] for activation in network["activations"]}
        if not kinds or not kinds <= {"relu", "leaky_relu"}:
            raise ValueError(
                f"models: {name!r} must have hidden layers of ReLU or leaky ReLU, "
                f"whose regions are polygons, got {sorted(kinds) or 'no hidden layer'}"
            )
        if network["widths"] != networks[0]["widths"]:
            raise ValueError(f"models: {name!r} must have one architecture throughout")
    priors = [prior_spec(getattr(v, "prior", None), low, high) for v in film.values()]
    if any(prior != priors[0] for prior in priors):
        raise ValueError(f"models: {name!r} must have one prior throughout")
    return {
        "name": name,
        "steps": [axis_label(step) for step in film],
        "networks": networks,
        "prior": priors[0],
    }


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise traitlets.TraitError(f"{name} must be {least} to {most}, got {value}")
    return value
