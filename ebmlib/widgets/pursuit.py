"""Filter pursuit under the reader's hand: KL, and the mismatch of a whole pool."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import torch
import traitlets
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_between, check_choice, check_int, check_interval
from ebmlib.grid import Grid, GridDensity
from ebmlib.plotting import plot_density, style
from ebmlib.pursuit import Filters, Pursuit, filter_pool, pursue
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image
from ebmlib.widgets._network_spec import prior_spec
from ebmlib.widgets.density import _encode_palette

CRITERIA = {
    "mismatch": "mismatch",
    "normalised": "mismatch / standard deviation",
    "gain": "exact gain, nats",
}
_MOST = 12


class PursuitExplorer(PageWidget):
    """Add ReLU filters one by one, by hand or by the greedy rule, and watch KL fall.

    Left the model's density with contours of the data and, for each chosen filter
    ``max(0, w . x - b)``, the line on which the matched expectation lies. Right a map
    over the pool of all filters, angle by offset: the mismatch of expectations, data
    minus model, or what else the greedy rule looks at. After each filter all
    coefficients are fitted again by Newton's method, in the browser, in float64; the
    numbers agree with :func:`ebmlib.pursuit.pursue` on the same grid.

    Parameters
    ----------
    densities : mapping
        Name -> density of the data. Its logarithm at the grid's points is handed over,
        rounded to float32, and normalised there.
    prior : Distribution or None
        The reference ``p0``, normal or uniform; ``None`` is the flat one.
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    low, high : float
        The square is [low, high] x [low, high].
    bins : int
        Cells of the grid a side, 20 to 200.
    n_angles, n_offsets : int
        The pool is :func:`~ebmlib.pursuit.filter_pool` of these numbers, up to 360 and
        200.
    n_filters : int
        How many filters the greedy rule has added to begin with, 0 to 12.
    density, criterion
        Initial values of the traits below; ``density`` is the first by default.
    angle, offset : float
        The filter that is asked about to begin with: the nearest of the pool, the
        angle in degrees.

    Attributes
    ----------
    density : str
        Name of the data's density.
    criterion : str
        ``"mismatch"``, ``"normalised"`` or ``"gain"``: see
        :func:`ebmlib.pursuit.filter_scores`. The gain is sought among coefficients up
        to 160, or to 12 divided by the step of the offsets where that is less.
    filters : list of int
        The chosen filters, by their number in :attr:`pool`, at most 12.
    candidate : int
        The filter that is asked about.
    former : list of float
        KL of the run before, drawn beneath for comparison.

    Raises
    ------
    TypeError
        If a density is no distribution.
    ValueError
        If a density or the prior cannot be used, or a value is out of its range.

    Examples
    --------
    >>> from ebmlib.distributions import TwoGaussians
    >>> widget = PursuitExplorer({"two Gaussians": TwoGaussians()}, None, alt="Pursuit")
    >>> len(widget.filters)
    2
    """

    _module = "pursuit_explorer"
    _esm = bundle("pursuit_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    density = traitlets.Unicode().tag(sync=True, page=True)
    criterion = traitlets.Unicode("mismatch").tag(sync=True, page=True)
    filters = traitlets.List(traitlets.Int()).tag(sync=True, page=True)
    candidate = traitlets.Int(0).tag(sync=True, page=True)
    former = traitlets.List(traitlets.Float()).tag(sync=True, page=True)

    def __init__(
        self,
        densities: Mapping[str, Distribution],
        prior: Distribution | None,
        *,
        alt: str,
        caption: str = "",
        low: float = -1.0,
        high: float = 1.0,
        bins: int = 100,
        n_angles: int = 72,
        n_offsets: int = 41,
        n_filters: int = 2,
        density: str | None = None,
        criterion: str = "mismatch",
        angle: float = 0.0,
        offset: float = 0.4,
    ) -> None:
        check_interval(low, high)
        for name, value, least, most in (
            ("bins", bins, 20, 200),
            ("n_angles", n_angles, 2, 360),
            ("n_offsets", n_offsets, 2, 200),
            ("n_filters", n_filters, 0, _MOST),
        ):
            check_int(name, value)
            check_between(name, value, least, most)
        if not isinstance(densities, Mapping) or not densities:
            raise ValueError(
                f"densities must map at least one name to a density, got {densities!r}"
            )
        for name, value in densities.items():
            if not isinstance(value, Distribution):
                raise TypeError(
                    f"densities: {name!r} must be a distribution, got "
                    f"{type(value).__name__}"
                )
        reference = prior_spec(prior, low, high)
        self._densities = {str(name): value for name, value in densities.items()}
        self._grid, self._prior = Grid(low, high, bins), prior
        # offsets as far as the corners of the square, wherever it lies
        reach = math.sqrt(2) * max(abs(low), abs(high))
        self.pool: Filters = filter_pool(n_angles, n_offsets, reach=reach)
        density = next(iter(self._densities)) if density is None else density
        check_choice("density", density, self._densities)
        check_choice("criterion", criterion, CRITERIA)
        greedy = self._pursue(
            n_filters, self.pool, density=density, criterion=criterion
        )
        offsets = self.pool.offsets[:n_offsets].tolist()
        spec = {
            "box": [float(low), float(high)],
            "bins": bins,
            "pool": {
                "angles": [360 * i / n_angles for i in range(n_angles)],
                "offsets": [round(b, 15) + 0.0 for b in offsets],
            },
            "densities": [
                {"name": name, "log_density": _at_cells(value, self._grid)}
                for name, value in self._densities.items()
            ],
            "prior": reference,
            "criteria": CRITERIA,
            "most": _MOST,
            "palettes": {
                "sequential": _encode_palette("viridis"),
                "diverging": _encode_palette("RdBu_r"),
            },
        }
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            density=density,
            criterion=criterion,
            filters=[
                _number(self.pool, float(a), float(b))
                for a, b in zip(
                    greedy.filters.angles, greedy.filters.offsets, strict=True
                )
            ],
            candidate=_number(self.pool, math.radians(angle), offset),
            former=[],
        )

    def fitted(self) -> Pursuit:
        """The model on show, as the library fits it: its filters in their order.

        Raises
        ------
        StatisticsNotMatched
            If the chosen filters cannot be matched together.
        """
        pursuit: Pursuit | None = None
        for number in self.filters:
            pursuit = self._pursue(1, self.pool[number : number + 1], resume=pursuit)
        return self._pursue(0, self.pool) if pursuit is None else pursuit

    def _pursue(self, n: int, pool: Filters, **options: Any) -> Pursuit:
        data = self._densities[options.pop("density", None) or self.density]
        return pursue(data, self._prior, n, pool=pool, grid=self._grid, **options)

    @traitlets.validate("density")
    def _check_density(self, proposal: Any) -> str:
        check_choice("density", proposal["value"], self._densities)
        return proposal["value"]

    @traitlets.validate("criterion")
    def _check_criterion(self, proposal: Any) -> str:
        check_choice("criterion", proposal["value"], CRITERIA)
        return proposal["value"]

    @traitlets.validate("candidate")
    def _check_candidate(self, proposal: Any) -> int:
        check_between("candidate", proposal["value"], 0, len(self.pool) - 1)
        return proposal["value"]

    @traitlets.validate("filters")
    def _check_filters(self, proposal: Any) -> list[int]:
        filters = proposal["value"]
        if len(filters) > _MOST or len(set(filters)) < len(filters):
            raise ValueError(
                f"filters must be at most {_MOST} different ones, got {filters}"
            )
        for number in filters:
            check_between("filters", number, 0, len(self.pool) - 1)
        return filters

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the density with the lines of what it matches, and the mismatches."""
        pursuit = self.fitted()
        model = GridDensity(pursuit.model, self._grid)
        data = GridDensity(self._densities[self.density], self._grid)
        offsets = self.spec["pool"]["offsets"]
        gap = self._expect(data.prob - model.prob).reshape(-1, len(offsets))
        with style():
            figure, (plane, pool) = plt.subplots(1, 2, figsize=(8.4, 3.9))
            plot_density(model, ax=plane)
            for step, sign in zip(
                pursuit.history, pursuit.coefficients.sign(), strict=True
            ):
                c, s = math.cos(step.angle), math.sin(step.angle)
                distance = step.offset + step.statistic
                x, y = c * distance, s * distance
                colour, dash = ("#e69f00", "-") if sign > 0 else ("#56b4e9", "--")
                plane.axline((x, y), (x - s, y + c), color=colour, ls=dash)
            plane.set(xlim=self.spec["box"], ylim=self.spec["box"])
            top = float(gap.abs().max())
            extent = (0, 360, offsets[0], offsets[-1])
            options = {"cmap": "RdBu_r", "vmin": -top, "vmax": top, "aspect": "auto"}
            pool.imshow(gap.T.numpy(), origin="lower", extent=extent, **options)
            turn = [360 * i / len(gap) for i in range(len(gap))]
            for number in self.filters:
                pool.plot(
                    turn[number // len(offsets)], offsets[number % len(offsets)], "ok"
                )
            pool.set(xlabel="angle of w, degrees", ylabel="offset b")
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100)
            plt.close(figure)
        return encode_image(Image.open(buffer).convert("RGB")), self.alt, 840

    def _expect(self, weight: Tensor) -> Tensor:
        """Sums of all filters over the grid's points with these weights."""
        points = self._grid.points_as(torch.float64)
        size = len(self.spec["pool"]["offsets"])
        starts = range(0, len(self.pool), size)
        sums = [weight @ self.pool[i : i + size].values(points) for i in starts]
        return torch.cat(sums)


def _number(pool: Filters, angle: float, offset: float) -> int:
    """The filter of the pool that is nearest, by the direction first."""
    turn = torch.remainder(pool.angles - angle + math.pi, 2 * math.pi) - math.pi
    near = turn.abs() <= turn.abs().min() + 1e-9
    gap = torch.where(near, (pool.offsets - offset).abs(), math.inf)
    return int(gap.argmin())


def _at_cells(density: Distribution, grid: Grid) -> dict[str, str]:
    """Log-density at the grid's points, as it goes to the browser."""
    return encode_array(GridDensity(density, grid).log_prob.numpy().astype("<f4"))
