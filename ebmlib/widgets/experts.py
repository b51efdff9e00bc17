"""Products of experts in the plane, with a slider for every part of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor

from ebmlib.energy import EnergyModel, GaussianRBM, LogisticExperts, StudentTExperts
from ebmlib.grid import Grid, GridDensity
from ebmlib.widgets._host import PageWidget, bundle, encode_image, suggest
from ebmlib.widgets.density import _encode_palette, _palette

FAMILIES = {
    "gaussian": "product of Gaussians",
    "student_t": "product of Student-t",
    "logistic": "logistic, no bowl",
    "logistic_bowl": "logistic in a bowl",
    "rbm": "Gaussian RBM",
}
SHOWN = {"density": "density on the box", "log_density": "log density", "energy": "E"}
HALVES = (1, 2, 4, 8, 16, 32)
VALUES = {
    "direction": tuple(range(0, 360, 15)),
    "strength": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0),
    "width": (0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0),
    "position": tuple(i / 4 for i in range(-8, 9)),
    "bowl": (0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0),
}
DEFAULTS = (
    {"direction": 0, "strength": 0.6, "width": 0.5, "position": 0.0},
    {"direction": 90, "strength": 0.6, "width": 0.5, "position": 0.5},
    {"direction": 45, "strength": 0.4, "width": 0.5, "position": -0.5},
)


class ExpertsExplorer(PageWidget):
    """Up to three experts in the plane: their density, and whether Z is finite.

    An expert looks along a direction; its coordinate is
    ``u = (cos t x_1 + sin t x_2 - position) / width``. Everything is computed in the
    browser in float64 and agrees with :meth:`model` to 1e-10.

    Parameters
    ----------
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    experts : iterable of mapping, optional
        Three experts, each with ``direction`` (degrees, a whole multiple of 15),
        ``strength``, ``width`` and ``position``.
    family, count, bowl, half, show, selected
        Initial values of the traits below.

    Attributes
    ----------
    family : str
        ``"gaussian"``: energy ``strength u**2 / 2`` an expert; ``"student_t"``:
        ``strength log(1 + u**2 / 2)``; ``"logistic"``: ``-softplus(u)``;
        ``"logistic_bowl"``: the same, and ``|x|**2 / bowl**2`` once; ``"rbm"``: the
        free energy of a Gaussian RBM with standard deviation ``bowl`` whose weights
        have length ``strength``.
    count : int
        How many of the experts take part, 1 to 3.
    bowl : float
        Width of the bowl.
    half : int
        R: the picture shows ``[-R, R]**2``; 1, 2, 4, ..., 32.
    show : str
        ``"density"``, ``"log_density"`` or ``"energy"``.
    selected : int
        Which expert the sliders move, from 0.

    Raises
    ------
    ValueError
        If an expert lacks a number, or one is outside its range.
    """

    _module = "experts_explorer"
    _esm = bundle("experts_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    family = traitlets.Unicode("student_t").tag(sync=True, page=True)
    experts = traitlets.List(traitlets.Dict()).tag(sync=True, page=True)
    count = traitlets.Int(2).tag(sync=True, page=True)
    bowl = traitlets.Float(1.0).tag(sync=True, page=True)
    half = traitlets.Int(4).tag(sync=True, page=True)
    show = traitlets.Unicode("density").tag(sync=True, page=True)
    selected = traitlets.Int(0).tag(sync=True, page=True)

    def __init__(
        self,
        *,
        alt: str,
        caption: str = "",
        experts: Iterable[Mapping[str, float]] = DEFAULTS,
        family: str = "student_t",
        count: int = 2,
        bowl: float = 1.0,
        half: int = 4,
        show: str = "density",
        selected: int = 0,
    ) -> None:
        spec = {
            "families": FAMILIES,
            "shown": SHOWN,
            "halves": list(HALVES),
            "values": {name: list(values) for name, values in VALUES.items()},
            "palette": _encode_palette("viridis"),
        }
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            experts=[dict(expert) for expert in experts],
            family=family,
            count=count,
            bowl=float(bowl),
            half=half,
            show=show,
            selected=selected,
        )

    def model(self) -> EnergyModel:
        """The energy on show, float64, as the library's own class."""
        active = self.experts[: self.count]
        column = {
            name: torch.tensor([expert[name] for expert in active], dtype=torch.float64)
            for name in DEFAULTS[0]
        }
        angle = torch.deg2rad(column["direction"])
        unit = torch.stack([angle.cos(), angle.sin()], dim=1)
        if self.family == "rbm":
            bias = -column["strength"] * column["position"] / self.bowl**2
            return GaussianRBM(unit * column["strength"][:, None], bias, sd=self.bowl)
        weight = unit / column["width"][:, None]
        bias = -column["position"] / column["width"]
        if self.family == "student_t":
            return StudentTExperts(weight, column["strength"], bias)
        if self.family == "gaussian":
            return _Gaussians(weight, column["strength"], bias)
        sigma = self.bowl if self.family == "logistic_bowl" else math.inf
        return LogisticExperts(weight, bias, sigma=sigma)

    @traitlets.validate("family", "show", "half")
    def _check_name(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        allowed = {"family": FAMILIES, "show": SHOWN, "half": HALVES}[name]
        if value not in allowed:
            raise traitlets.TraitError(suggest(name, value, allowed))
        return value

    @traitlets.validate("bowl")
    def _check_bowl(self, proposal: Any) -> float:
        _check_range("bowl", proposal["value"])
        return proposal["value"]

    @traitlets.validate("experts")
    def _check_experts(self, proposal: Any) -> list[dict[str, float]]:
        experts = proposal["value"]
        if len(experts) != 3:
            raise traitlets.TraitError(f"experts must be 3, got {len(experts)}")
        for expert in experts:
            if set(expert) != set(DEFAULTS[0]):
                raise traitlets.TraitError(
                    f"experts need {sorted(DEFAULTS[0])}, got {sorted(expert)}"
                )
            for name, value in expert.items():
                _check_range(name, value)
        return experts

    @traitlets.validate("count", "selected")
    def _check_count(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low = 1 if name == "count" else 0
        if not low <= value <= low + 2:
            raise traitlets.TraitError(
                f"{name} must be {low} to {low + 2}, got {value}"
            )
        return value

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the density on the box as it stands, whatever else is on show."""
        grid = Grid(-self.half, self.half, bins=128)
        p = GridDensity(self.model(), grid).log_prob.exp().numpy()
        cells = (p / p.max()).reshape(grid.shape).T[::-1]
        colours = _palette("viridis")[np.rint(cells * 255).astype(int)]
        picture = Image.fromarray(colours).resize((400, 400), Image.Resampling.BILINEAR)
        return encode_image(picture), self.alt, 400


class _Gaussians(EnergyModel):
    """Product of Gaussian experts on projections: ``sum_i strength_i u_i**2 / 2``."""

    def __init__(self, weight: Tensor, strength: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.strength, self.bias = weight, strength, bias

    def energy(self, x: Tensor) -> Tensor:
        projected = x.to(self.weight) @ self.weight.T + self.bias
        return projected**2 @ self.strength / 2


def _check_range(name: str, value: float) -> None:
    low, high = min(VALUES[name]), max(VALUES[name])
    if not low <= value <= high:
        raise traitlets.TraitError(f"{name} must lie in {low} to {high}, got {value}")
