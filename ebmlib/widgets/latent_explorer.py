"""A generator corrected by its critic: the latent square beside the plane."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Distribution, Uniform

from ebmlib._checks import (
    check_between,
    check_choice,
    check_finite,
    check_int,
    check_interval,
    check_points,
)
from ebmlib.gan import GeneratorDensity, push_forward
from ebmlib.grid import Grid, GridDensity
from ebmlib.plotting import style
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image
from ebmlib.widgets._network_spec import network_spec
from ebmlib.widgets.density import _encode_palette

SHOWN = {
    "corrected": "corrected density",
    "generator": "generator's density",
    "data": "data density",
    "critic": "critic d(x)",
}
_TEMPERATURES, _STEPS, _MAX = (0.1, 10.0), (0.01, 1.0), 1000


class LatentExplorer(PageWidget):
    """Drag a latent particle, see where the generator maps it, and tilt by the critic.

    Left the latent square with the posterior density ``p_0(z) exp(d(B(z)) / T) / Z_0``,
    as a multiple of the uniform prior. Right the plane with the density that samples of
    it have there, ``p_g(x) exp(d(x) / T) / Z_0``, or the generator's own ``p_g``, the
    data's density, or the critic. The particle may also walk by itself, by MALA on the
    posterior, reflected at the sides of the square; its way is drawn in both panels.

    The particle, the chain and the mesh are computed in the browser, in float64, from
    the networks' weights. The critic's values at the centres of all cells travel as
    float32. The generator's masses on the cells of the plane are exact where it is a
    ReLU network (:class:`~ebmlib.gan.GeneratorDensity`), and counted with a fine latent
    grid otherwise; the critic tilts them by its value at each cell's centre.

    Parameters
    ----------
    base : Generator
        From the latent square [-1, 1]^2, uniform, to the plane: a plain network.
    logit : nn.Sequential, or a module that has one as ``network``
        The critic d, high on data, from the plane to one number.
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    low, high : float
        The plane is shown on [low, high] x [low, high].
    bins, resolution : int
        Cells a side of the plane and of the latent square, 20 to 200.
    truth : Distribution, optional
        The density of the data, to be shown and compared with.
    samples : Tensor, shape (n, 2), optional
        Data points to be drawn; the first 500.
    seed : int
        Of the chain's noise.
    show, temperature, step_size, probe, mesh, points
        Initial values of the traits below.

    Attributes
    ----------
    show : str
        What the plane shows: ``"corrected"``, ``"generator"``, ``"data"`` (where
        ``truth`` is given) or ``"critic"``.
    temperature : float
        T of the critic alone, 0.1 to 10.
    step_size : float
        Of MALA, in the units of the latent square, 0.01 to 1.
    probe : list of float
        The latent particle.
    mesh : bool
        Whether lines of equal latent coordinates are drawn, left straight and right as
        the generator bends them.
    points : bool
        Whether the data points are drawn.
    path : list of float
        The chain's places, the last 300, as ``z1, z2, z1, z2, ...``.
    refused : list of float
        The last proposal, where it was refused; else empty.
    steps, accepted : int
        Steps since the particle was moved by hand, at most 1,000, and how many of the
        proposals were taken.
    playing : bool
        Whether the chain is running.

    Raises
    ------
    TypeError
        If ``base`` is no generator, or ``truth`` no distribution.
    ValueError
        If the latent space is not the uniform square, a network is not plain, or a
        value is out of its range.
    FloatingPointError
        If a weight, or an image of a latent point, is not finite.

    Examples
    --------
    >>> from ebmlib.energy import mlp
    >>> from ebmlib.gan import Generator
    >>> base = Generator(mlp([2, 8, 2], init="torch"))
    >>> widget = LatentExplorer(base, mlp([2, 8, 1], init="torch"), alt="A generator")
    >>> widget.temperature = 0.5
    """

    _module = "latent_explorer"
    _esm = bundle("latent_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    show = traitlets.Unicode("corrected").tag(sync=True, page=True)
    temperature = traitlets.Float(1.0).tag(sync=True, page=True)
    step_size = traitlets.Float(0.1).tag(sync=True, page=True)
    probe = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(
        sync=True, page=True
    )
    mesh = traitlets.Bool(False).tag(sync=True, page=True)
    points = traitlets.Bool(False).tag(sync=True, page=True)
    path = traitlets.List(traitlets.Float()).tag(sync=True, page=True)
    refused = traitlets.List(traitlets.Float()).tag(sync=True, page=True)
    steps = traitlets.Int(0).tag(sync=True, page=True)
    accepted = traitlets.Int(0).tag(sync=True, page=True)
    playing = traitlets.Bool(False).tag(sync=True, page=True)

    def __init__(
        self,
        base: nn.Module,
        logit: nn.Module,
        *,
        alt: str,
        caption: str = "",
        low: float = -1.0,
        high: float = 1.0,
        bins: int = 100,
        resolution: int = 100,
        truth: Distribution | None = None,
        samples: Tensor | None = None,
        seed: int = 0,
        show: str = "corrected",
        temperature: float = 1.0,
        step_size: float = 0.1,
        probe: tuple[float, float] = (0.0, 0.0),
        mesh: bool = False,
        points: bool = False,
    ) -> None:
        check_interval(low, high)
        for name, value, least, most in (
            ("bins", bins, 20, 200),
            ("resolution", resolution, 20, 200),
            ("seed", seed, 0, 2**31),
        ):
            check_int(name, value)
            check_between(name, value, least, most)
        critic = getattr(logit, "network", logit)
        networks = {
            "base": network_spec(
                getattr(base, "network", base), n_outputs=2, name="base"
            ),
            "critic": network_spec(critic, name="logit"),
        }
        self._base = base
        self._grid = Grid(low, high, bins)
        self._masses = _masses(base, self._grid).numpy().astype("<f4")
        square = Grid(-1.0, 1.0, resolution).points_as(torch.float64)
        with torch.no_grad():
            images = base.network(square.to(_dtype(base)))
        self._latent = _values(critic, images)
        self._tilt = _values(critic, self._grid.points_as(torch.float64))
        self._truth = None if truth is None else _truth(truth, self._grid)
        if samples is not None:
            check_points("samples", samples, dim=2, allow_empty=False)
            samples = samples[:500].detach().cpu().numpy().astype("<f4")
        known = [self._masses] if self._truth is None else [self._masses, self._truth]
        spec = {
            "box": [-1.0, 1.0],
            "plane": [float(low), float(high)],
            "bins": bins,
            "resolution": resolution,
            **networks,
            "latent": encode_array(self._latent),
            "tilt": encode_array(self._tilt),
            "masses": encode_array(self._masses),
            "truth": None if truth is None else encode_array(self._truth),
            "data": None if samples is None else encode_array(samples),
            # one scale for all densities of the plane, on which both can be seen
            "top": min(map(_level, known)) / self._grid.cell_volume,
            "shown": {k: v for k, v in SHOWN.items() if truth or k != "data"},
            "temperatures": _TEMPERATURES,
            "steps": _STEPS,
            "max_steps": _MAX,
            "seed": seed,
            "palettes": {
                "sequential": _encode_palette("viridis"),
                "diverging": _encode_palette("RdBu_r"),
            },
        }
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            show=show,
            temperature=float(temperature),
            step_size=float(step_size),
            probe=[float(value) for value in probe],
            mesh=bool(mesh),
            points=bool(points),
        )

    @traitlets.validate("show")
    def _check_show(self, proposal: Any) -> str:
        check_choice("show", proposal["value"], self.spec["shown"])
        return proposal["value"]

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal: Any) -> float:
        check_between("temperature", proposal["value"], *_TEMPERATURES)
        return proposal["value"]

    @traitlets.validate("step_size")
    def _check_step_size(self, proposal: Any) -> float:
        check_between("step_size", proposal["value"], *_STEPS)
        return proposal["value"]

    @traitlets.validate("probe", "path", "refused")
    def _check_places(self, proposal: Any) -> list[float]:
        name, value = proposal["trait"].name, proposal["value"]
        for each in value:
            check_between(name, each, *self.spec["box"])
        if len(value) % 2:
            raise ValueError(f"{name} must hold pairs, got {len(value)} numbers")
        return value

    @traitlets.validate("steps", "accepted")
    def _check_counts(self, proposal: Any) -> int:
        check_between(proposal["trait"].name, proposal["value"], 0, _MAX)
        return proposal["value"]

    def fields(self) -> tuple[Tensor, Tensor]:
        """The two densities of the panels at the present temperature.

        Returns
        -------
        ratio : Tensor, shape (resolution**2,), float64
            Posterior over prior density at the centres of the latent cells.
        prob : Tensor, shape (bins**2,), float64
            Masses of the plane's cells under the corrected density; they sum to 1.
        """
        d, tilt, masses = (
            torch.from_numpy(values).double()
            for values in (self._latent, self._tilt, self._masses)
        )
        log_ratio = torch.log_softmax(d / self.temperature, 0) + np.log(len(d))
        return log_ratio.exp(), torch.softmax(masses.log() + tilt / self.temperature, 0)

    def _fallback(self) -> tuple[str, str, int]:
        """Draw both panels as they begin, with the particle."""
        ratio, prob = self.fields()
        z = torch.tensor([self.probe], dtype=_dtype(self._base))
        with torch.no_grad():
            x = self._base.network(z)
        low, high = self.spec["plane"]
        top = self.spec["top"] * self._grid.cell_volume
        with style():
            figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.2), layout="constrained")
            for axis, values, box, limit, point, name in (
                (axes[0], ratio, (-1, 1), None, z, "latent square z"),
                (axes[1], prob, (low, high), top, x, "plane x = B(z)"),
            ):
                side = round(len(values) ** 0.5)
                axis.imshow(
                    values.reshape(side, side).T.numpy(),
                    origin="lower",
                    extent=(*box, *box),
                    vmin=0,
                    vmax=limit,
                )
                axis.plot(*point[0].tolist(), "o", mfc="#e69f00", mec="k", ms=9)
                axis.set(xlabel=name, xlim=box, ylim=box)
                axis.locator_params(nbins=4)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100)
            plt.close(figure)
        return encode_image(Image.open(buffer).convert("RGB")), self.alt, 840


def _values(critic: nn.Module, x: Tensor) -> np.ndarray:
    """The critic's values at points (n, 2), shape (n,), float32."""
    with torch.no_grad():
        values = critic(x.to(_dtype(critic)))[:, 0]
    check_finite("critic at the cells' centres", values, "its training diverged")
    return values.cpu().numpy().astype("<f4")


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype


def _masses(base: nn.Module, grid: Grid) -> Tensor:
    """Masses of cells under the generator: exact for ReLU networks, else counted."""
    latent = getattr(base, "latent", None)
    uniform = getattr(latent, "base_dist", latent)
    square = isinstance(uniform, Uniform) and tuple(latent.event_shape) == (2,)
    if not square or not (uniform.low == -1).all() or not (uniform.high == 1).all():
        raise ValueError(
            "base must have a latent distribution uniform on [-1, 1]^2, got "
            f"{type(base).__name__} with latent {latent}"
        )
    kinds = [type(module) for module in base.network if not _affine(module)]
    if all(issubclass(kind, nn.ReLU | nn.LeakyReLU) for kind in kinds):
        return GeneratorDensity.from_generator(base).cell_probabilities(grid).prob
    return push_forward(base, grid, n_side=1000).prob


def _affine(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def _truth(truth: Distribution, grid: Grid) -> np.ndarray:
    if not isinstance(truth, Distribution):
        raise TypeError(
            f"truth must be a torch Distribution, got {type(truth).__name__}"
        )
    return GridDensity(truth, grid).prob.numpy().astype("<f4")


def _level(masses: np.ndarray) -> float:
    """The mass of a cell such that those with more hold a tenth of all."""
    descending = np.sort(masses.astype(float))[::-1]
    place = np.searchsorted(descending.cumsum(), 0.1 * descending.sum())
    return float(descending[place])
