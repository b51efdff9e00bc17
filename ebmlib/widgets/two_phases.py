"""Maximum likelihood on the line, one half update at a time."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_between, check_choice, check_int, check_points
from ebmlib.grid import Grid, GridDensity
from ebmlib.plotting import COLOURS, style
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image

#: What the reader may choose as negative phase: a name, its label, points an update.
SOURCES: dict[str, dict[str, Any]] = {
    "exact": {"label": "exact", "samples": None},
    "many": {"label": "100 samples", "samples": 100},
    "few": {"label": "5 samples", "samples": 5},
    "none": {"label": "none", "samples": 0},
}
_RATES = (0.3, 10.0)


class TwoPhases(PageWidget):
    """Push down, pull up: maximum likelihood for a sum of bumps on an interval.

    The energy is ``E(x) = -sum_k theta_k exp(-(x - c_k)**2 / (2 a**2))`` with centres
    ``c_k`` from end to end of the interval and ``a`` their spacing. Training is plain
    gradient ascent from the flat energy. The reader takes the two halves of an update
    one after the other, and chooses the negative phase and the learning rate. Energies,
    ``log Z``, likelihood and divergence are those of a grid, in float64. Negative
    points that are sampled are drawn from the model's own cells, from a seed.

    Parameters
    ----------
    data : Tensor, shape (n, 1)
    truth : Distribution
        The true density, with ``event_shape`` (1,).
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    n_bumps : int
        Bumps, that is parameters; 2 to 100.
    low, high : float
        The interval, which holds the data.
    bins : int
        Cells of the grid, 20 to 1000.
    max_updates : int
        Length of the longest training; 1 to 1000.
    seed : int
        Of the sampled negative points.
    half, negatives, rate
        Initial values of the traits below.

    Attributes
    ----------
    half : int
        Half updates made: an odd number stands between push and pull.
    negatives : str
        ``"exact"``, ``"many"`` (100 points an update), ``"few"`` (5) or ``"none"``.
    rate : float
        Learning rate, 0.3 to 10.

    Raises
    ------
    TypeError
        If ``data`` is no tensor of floating-point numbers.
    ValueError
        If an argument is out of its range or a datum outside the interval.

    Examples
    --------
    >>> from ebmlib.distributions import ThreeGaussians1D
    >>> truth = ThreeGaussians1D()
    >>> widget = TwoPhases(truth.sample((100,)), truth, alt="Learning on a line")
    >>> widget.negatives = "none"
    """

    _module = "two_phases"
    _esm = bundle("two_phases")

    spec = traitlets.Dict().tag(sync=True, page=True)
    half = traitlets.Int(0).tag(sync=True, page=True)
    negatives = traitlets.Unicode("exact").tag(sync=True, page=True)
    rate = traitlets.Float(3.0).tag(sync=True, page=True)

    def __init__(
        self,
        data: Tensor,
        truth: Distribution,
        *,
        alt: str,
        caption: str = "",
        n_bumps: int = 40,
        low: float = -1.0,
        high: float = 1.0,
        bins: int = 200,
        max_updates: int = 200,
        seed: int = 0,
        half: int = 0,
        negatives: str = "exact",
        rate: float = 3.0,
    ) -> None:
        check_points("data", data, 1, allow_empty=False)
        for name, value, least, most in (
            ("n_bumps", n_bumps, 2, 100),
            ("bins", bins, 20, 1000),
            ("max_updates", max_updates, 1, 1000),
            ("seed", seed, 0, 2**32 - 1),
        ):
            check_int(name, value)
            check_between(name, value, least, most)
        grid = Grid(low, high, bins, dim=1)
        grid.cells(data)  # raises for points outside the interval
        spec = {
            "box": [float(low), float(high)],
            "bins": bins,
            "n_bumps": n_bumps,
            "data": encode_array(data.detach().cpu().double()),
            "truth": encode_array(GridDensity(truth, grid).log_prob),
            "max_updates": max_updates,
            "sources": SOURCES,
            "rates": _RATES,
            "seed": seed,
        }
        self._grid, self._data = grid, data.detach().cpu().double()
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            half=half,
            negatives=negatives,
            rate=float(rate),
        )

    @traitlets.validate("half")
    def _check_half(self, proposal: Any) -> int:
        check_between("half", proposal["value"], 0, 2 * self.spec["max_updates"])
        return proposal["value"]

    @traitlets.validate("negatives")
    def _check_negatives(self, proposal: Any) -> str:
        check_choice("negatives", proposal["value"], tuple(SOURCES))
        return proposal["value"]

    @traitlets.validate("rate")
    def _check_rate(self, proposal: Any) -> float:
        check_between("rate", proposal["value"], *_RATES)
        return proposal["value"]

    def _features(self, x: Tensor) -> Tensor:
        """Values of all bumps at points (n, 1), shape (n, n_bumps)."""
        low, high = self.spec["box"]
        centres = torch.linspace(low, high, self.spec["n_bumps"], dtype=torch.float64)
        return torch.exp(-0.5 * ((x - centres) / (centres[1] - centres[0])) ** 2)

    def _log_prob(self) -> Tensor:
        """Log-density on the grid after ``half`` half updates, exact negatives."""
        on_grid = self._features(self._grid.points_as(torch.float64))
        data_mean = self._features(self._data).mean(0)
        theta = torch.zeros_like(data_mean)
        for half in range(self.half):
            if half % 2 == 0:
                model_mean = torch.softmax(on_grid @ theta, 0) @ on_grid
            theta = theta + self.rate * (data_mean if half % 2 == 0 else -model_mean)
        return torch.log_softmax(on_grid @ theta, 0) - np.log(self._grid.width)

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the data, and the density as the exact negative phase makes it."""
        x = self._grid.axis.numpy()
        with style():
            figure, ax = plt.subplots()
            bars = {"bins": 40, "range": self.spec["box"], "density": True}
            ax.hist(self._data[:, 0].numpy(), color="#9cc9e6", label="data", **bars)
            ax.plot(x, self._log_prob().exp().numpy(), color=COLOURS[1], label="model")
            ax.set(xlabel="x", ylabel="density")
            ax.legend()
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            plt.close(figure)
        return encode_image(Image.open(buffer).convert("RGB")), self.alt, 506
