"""A trained density in the plane that the reader can probe, in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image

from ebmlib.grid import Grid
from ebmlib.widgets._host import (
    PageWidget,
    axis_label,
    axis_spec,
    bundle,
    encode_array,
    encode_image,
    suggest,
)
from ebmlib.widgets._network_spec import (
    network_spec,
    prior_spec,
    truth_spec,
)

SHOWN = {
    "density": "density p",
    "log_density": "log density",
    "f": "f",
    "energy": "energy E",
    "truth": "true density",
    "difference": "p − true density",
}
_RANGE = (0.1, 10.0)


@cache
def _palette(name: str) -> np.ndarray:
    """Return 256 colours of a matplotlib map, (256, 3) uint8."""
    from matplotlib import colormaps

    return colormaps[name](np.arange(256), bytes=True)[:, :3]


def _encode_palette(name: str) -> str:
    return "".join(f"{r:02x}{g:02x}{b:02x}" for r, g, b in _palette(name))


class DensityExplorer(PageWidget):
    """Small trained densities on a square, evaluated in the browser from their weights.

    The picture shows p(x) = exp(-E(x) / T) / Z, or f, E, or the true density beside it;
    the reader moves a probe, the temperature T, and switches model. Every number is
    computed in float64 from the exact weights and agrees with PyTorch to 1e-10.

    Parameters
    ----------
    models : mapping
        Name -> model. A model is a plain `nn.Sequential` (see `network_spec`) or
        anything with such a ``network`` and a ``prior``. A name is a label or a tuple
        of labels, one for each of ``model_axes``; not every combination need exist.
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    model_axes : iterable of str
        Names of the labels' axes. Numbers as labels make a slider.
    prior : Distribution, optional
        Reference density of bare networks (E = -f - log p0); None: log p0 = 0.
    data : array_like or mapping, optional
        Points (n, 2) for all models, or by a model's name or its first label.
    truth : Distribution, array_like or mapping, optional
        The true density (see `truth_spec`), for all models or by name as for ``data``.
    low, high : float
        The square is [low, high] x [low, high].
    resolution : int
        Grid cells a side at first, and of the true density's grid.
    resolutions : iterable of int
        What the reader may choose from.
    max_points : int
        At most so many of the first points of each data set are drawn.
    show, temperature, probe, points, boundaries, model
        Initial values of the traits below; ``model`` is the first by default.

    Attributes
    ----------
    model : list of str
        Labels of the model on show.
    show : str
        ``"density"``, ``"log_density"``, ``"f"``, ``"energy"``, and with a true density
        ``"truth"`` and ``"difference"``.
    temperature : float
        T, from 0.1 to 10.
    resolution : int
        Cells a side.
    probe : list of float
        The point at which numbers are read off.
    points : bool
        Whether data points are drawn.
    boundaries : int
        Draw the lines on which a neuron's input is zero, up to this layer.

    Raises
    ------
    ValueError
        If a model, prior, data set or true density cannot be used, or a name is
        unknown.

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> explorer = DensityExplorer({"untrained": network}, alt="An untrained density")
    >>> explorer.temperature = 2.0
    """

    _module = "density_explorer"
    _esm = bundle("density_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    model = traitlets.List(traitlets.Unicode()).tag(sync=True, page=True)
    show = traitlets.Unicode("density").tag(sync=True, page=True)
    temperature = traitlets.Float(1.0).tag(sync=True, page=True)
    resolution = traitlets.Int(100).tag(sync=True, page=True)
    probe = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(
        sync=True, page=True
    )
    points = traitlets.Bool(False).tag(sync=True, page=True)
    boundaries = traitlets.Int(0).tag(sync=True, page=True)

    def __init__(
        self,
        models: Mapping[Any, Any],
        *,
        alt: str,
        caption: str = "",
        model_axes: Iterable[str] = ("model",),
        prior: torch.distributions.Distribution | None = None,
        data: Any = None,
        truth: Any = None,
        low: float = -1.0,
        high: float = 1.0,
        resolution: int = 100,
        resolutions: Iterable[int] = (50, 100, 200),
        max_points: int = 1000,
        show: str = "density",
        temperature: float = 1.0,
        probe: tuple[float, float] = (0.0, 0.0),
        points: bool = False,
        boundaries: int = 0,
        model: Any = None,
    ) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low must be less than high, got {low} and {high}")
        resolutions = sorted({*resolutions, resolution})
        if resolutions[0] < 10 or resolutions[-1] > 400:
            raise ValueError(f"resolutions must lie in 10 to 400, got {resolutions}")
        keys = _model_keys(models, tuple(model_axes))
        box = (float(low), float(high))
        data_of, datasets = _by_model("data", data, keys)
        truth_of, truths = _by_model("truth", truth, keys)
        spec = {
            "axes": _model_axes(keys, tuple(model_axes)),
            "box": box,
            "models": [
                {
                    "key": [axis_label(part) for part in key],
                    "network": network_spec(getattr(value, "network", value)),
                    "prior": prior_spec(getattr(value, "prior", prior), *box),
                    "data": data_of[key],
                    "truth": truth_of[key],
                }
                for key, value in keys.items()
            ],
            "datasets": [_data_spec(value, max_points) for value in datasets],
            "truths": [truth_spec(value, *box, resolution) for value in truths],
            "resolutions": resolutions,
            "temperatures": _RANGE,
            "shown": SHOWN if truths else dict(list(SHOWN.items())[:4]),
            "palettes": {
                "sequential": _encode_palette("viridis"),
                "diverging": _encode_palette("RdBu_r"),
            },
        }
        self._networks = {
            tuple(map(axis_label, key)): (
                copy.deepcopy(getattr(value, "network", value)).double().cpu(),
                getattr(value, "prior", prior),
            )
            for key, value in keys.items()
        }
        first = next(iter(keys)) if model is None else model
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            model=[axis_label(part) for part in _as_key(first)],
            show=show,
            temperature=float(temperature),
            resolution=resolution,
            probe=[float(value) for value in probe],
            points=bool(points),
            boundaries=int(boundaries),
        )

    @traitlets.validate("model")
    def _check_model(self, proposal: Any) -> list[str]:
        allowed = [entry["key"] for entry in self.spec["models"]]
        if proposal["value"] not in allowed:
            names = [", ".join(key) for key in allowed]
            raise traitlets.TraitError(
                suggest("model", ", ".join(proposal["value"]), names)
            )
        return proposal["value"]

    @traitlets.validate("show")
    def _check_show(self, proposal: Any) -> str:
        if proposal["value"] not in self.spec["shown"]:
            raise traitlets.TraitError(
                suggest("show", proposal["value"], self.spec["shown"])
            )
        return proposal["value"]

    @traitlets.validate("resolution")
    def _check_resolution(self, proposal: Any) -> int:
        if proposal["value"] not in self.spec["resolutions"]:
            raise traitlets.TraitError(
                suggest("resolution", proposal["value"], self.spec["resolutions"])
            )
        return proposal["value"]

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal: Any) -> float:
        if not _RANGE[0] <= proposal["value"] <= _RANGE[1]:
            raise traitlets.TraitError(
                f"temperature must lie in {_RANGE[0]} to {_RANGE[1]}, "
                f"got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("probe")
    def _check_probe(self, proposal: Any) -> list[float]:
        low, high = self.spec["box"]
        if not all(low <= value <= high for value in proposal["value"]):
            raise traitlets.TraitError(
                f"probe must lie in [{low}, {high}]^2, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("boundaries")
    def _check_boundaries(self, proposal: Any) -> int:
        deepest = max(len(m["network"]["activations"]) for m in self.spec["models"])
        if not 0 <= proposal["value"] <= deepest:
            raise traitlets.TraitError(
                f"boundaries must be 0 to {deepest} layers, got {proposal['value']}"
            )
        return proposal["value"]

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the model's density as it stands, whatever else is on show."""
        low, high = self.spec["box"]
        network, prior = self._networks[tuple(self.model)]
        points = Grid(low, high, self.resolution).points_as(torch.float64)
        with torch.no_grad():
            log_p = network(points).squeeze(-1)
            if prior is not None:
                log_prior = prior.log_prob(points.to(prior.mean.dtype)).double()
                log_p = log_p + (
                    log_prior if log_prior.ndim == 1 else log_prior.sum(-1)
                )
        p = torch.exp((log_p - log_p.max()) / self.temperature).numpy()
        cells = p.reshape(self.resolution, self.resolution).T[::-1]
        colours = _palette("viridis")[np.rint(cells * 255).astype(int)]
        picture = Image.fromarray(colours).resize((400, 400), Image.Resampling.BILINEAR)
        return encode_image(picture), self.alt, 400


def _as_key(name: object) -> tuple:
    return name if isinstance(name, tuple) else (name,)


def _model_keys(models: Mapping[Any, Any], axes: tuple[str, ...]) -> dict[tuple, Any]:
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            f"models must map at least one name to a model, got {models!r}"
        )
    keys = {_as_key(name): value for name, value in models.items()}
    for key in keys:
        if len(key) != len(axes):
            raise ValueError(
                f"models: name {key} must have a label for each axis of {axes}"
            )
    return keys


def _model_axes(
    keys: Mapping[tuple, Any], axes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Describe each axis with its labels in the order in which they first occur."""
    columns = [list(dict.fromkeys(key[i] for key in keys)) for i in range(len(axes))]
    return [axis_spec(name, column) for name, column in zip(axes, columns, strict=True)]


def _by_model(
    argument: str, value: Any, keys: Mapping[tuple, Any]
) -> tuple[dict[tuple, int | None], list[Any]]:
    """Return each model's place in a list of distinct values, and that list."""
    if value is None:
        return dict.fromkeys(keys), []
    if not isinstance(value, Mapping):
        return dict.fromkeys(keys, 0), [value]
    names = list(value)
    known = {name for key in keys for name in (key, key[0])}
    for name in names:
        if name not in known:
            raise ValueError(
                suggest(f"{argument}: name", name, [str(k) for k in known])
            )
    place = {}
    for key in keys:
        found = [name for name in (key, key[0]) if name in value]
        place[key] = names.index(found[0]) if found else None
    return place, list(value.values())


def _data_spec(data: Any, max_points: int) -> dict[str, str]:
    values = torch.as_tensor(data).detach().cpu().numpy()
    if values.ndim != 2 or values.shape[1] != 2 or not len(values):
        raise ValueError(f"data must have shape (n, 2), n >= 1, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("data must be finite")
    return encode_array(values[:max_points].astype("<f4"))
