"""Particles on an energy in the plane, under a Markov kernel of the reader's choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_between, check_choice, check_int, check_interval
from ebmlib.energy import EnergyModel
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image
from ebmlib.widgets.density import _encode_palette, _palette

#: What the reader may choose as kernel: its label, and what the browser needs to know.
KERNELS: dict[str, dict[str, Any]] = {
    "metropolis": {"label": "Metropolis", "kind": "metropolis"},
    "langevin": {"label": "Langevin", "kind": "langevin"},
    "mala": {"label": "MALA", "kind": "hamiltonian", "leapfrogs": 1},
    "hmc": {"label": "HMC", "kind": "hamiltonian", "leapfrogs": 10},
    "tempering": {
        "label": "tempering",
        "kind": "hamiltonian",
        "leapfrogs": 1,
        "ladder": [1, 2, 4, 8, 16],
    },
}
_STEPS, _TEMPERATURES, _COUNTS = (0.005, 0.5), (0.25, 4.0), (1, 200)
_BINS, _FIRST, _MAX = 32, 100, 10_000


class ParticleExplorer(PageWidget):
    """Drop particles on an energy, choose a kernel, and watch the histogram.

    Left the exact density and the particles, right where they have been; between the
    two stands their total variation, beside what as many independent draws would have.
    The energies are bilinear between nodes, and the exact density is that of this
    energy, by quadrature. All kernels are reflected at the walls. Everything is
    computed in the browser, from a seed: the same settings give the same picture.

    Parameters
    ----------
    energies : mapping
        Name -> energy: an :class:`~ebmlib.energy.EnergyModel`, a distribution (then
        E = -log p), or a function from points (n, 2) to energies (n,). It must be
        finite on the square.
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    low, high : float
        The square is [low, high] x [low, high].
    nodes : int
        Places a side at which the energies are kept, 11 to 201.
    seed : int
        Of the particles' noise.
    energy, kernel, step_size, temperature, count, probe, steps
        Initial values of the traits below; ``energy`` is the first by default.

    Attributes
    ----------
    energy : str
        Name of the energy on show.
    kernel : str
        ``"metropolis"``, ``"langevin"``, ``"mala"``, ``"hmc"`` (10 leapfrog steps) or
        ``"tempering"`` (MALA at T, 2T, 4T, 8T and 16T).
    step_size : float
        In the units of ``x``, 0.005 to 0.5.
    temperature : float
        T, 0.25 to 4.
    count : int
        Particles: 1 or 200.
    probe : list of float
        Where they are dropped.
    steps : int
        Steps taken so far, at most 10,000.
    playing : bool
        Whether the particles are moving.

    Raises
    ------
    ValueError
        If an energy cannot be used, or a value is out of its range.
    FloatingPointError
        If an energy is not finite at a node.

    Examples
    --------
    >>> from ebmlib import distributions
    >>> widget = ParticleExplorer({"star": distributions.get("star")}, alt="The star")
    >>> widget.kernel = "hmc"
    """

    _module = "particle_explorer"
    _esm = bundle("particle_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    energy = traitlets.Unicode().tag(sync=True, page=True)
    kernel = traitlets.Unicode("mala").tag(sync=True, page=True)
    step_size = traitlets.Float(0.05).tag(sync=True, page=True)
    temperature = traitlets.Float(1.0).tag(sync=True, page=True)
    count = traitlets.Int(200).tag(sync=True, page=True)
    probe = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(
        sync=True, page=True
    )
    steps = traitlets.Int(_FIRST).tag(sync=True, page=True)
    playing = traitlets.Bool(False).tag(sync=True, page=True)

    def __init__(
        self,
        energies: Mapping[str, Any],
        *,
        alt: str,
        caption: str = "",
        low: float = -1.0,
        high: float = 1.0,
        nodes: int = 81,
        seed: int = 0,
        energy: str | None = None,
        kernel: str = "mala",
        step_size: float = 0.05,
        temperature: float = 1.0,
        count: int = 200,
        probe: tuple[float, float] = (0.0, 0.0),
        steps: int = _FIRST,
    ) -> None:
        check_interval(low, high)
        for name, value, least, most in (
            ("nodes", nodes, 11, 201),
            ("seed", seed, 0, 2**32 - 2),
        ):
            check_int(name, value)
            check_between(name, value, least, most)
        if not isinstance(energies, Mapping) or not energies:
            raise ValueError(
                f"energies must map at least one name to an energy, got {energies!r}"
            )
        box = [float(low), float(high)]
        values = {
            str(name): _at_nodes(str(name), value, box, nodes)
            for name, value in energies.items()
        }
        spec = {
            "box": box,
            "nodes": nodes,
            "energies": [
                {"name": name, "values": encode_array(value.astype("<f4"))}
                for name, value in values.items()
            ],
            "kernels": KERNELS,
            "steps": _STEPS,
            "temperatures": _TEMPERATURES,
            "counts": _COUNTS,
            "bins": _BINS,
            "spread": 0.02 * (box[1] - box[0]),
            "seed": seed,
            "first_steps": _FIRST,
            "max_steps": _MAX,
            "steps_per_frame": 10,
            "palette": _encode_palette("viridis"),
        }
        self._values = values
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            energy=next(iter(values)) if energy is None else energy,
            kernel=kernel,
            step_size=float(step_size),
            temperature=float(temperature),
            count=count,
            probe=[float(value) for value in probe],
            steps=steps,
        )

    @traitlets.validate("energy")
    def _check_energy(self, proposal: Any) -> str:
        names = [entry["name"] for entry in self.spec["energies"]]
        check_choice("energy", proposal["value"], names)
        return proposal["value"]

    @traitlets.validate("kernel")
    def _check_kernel(self, proposal: Any) -> str:
        check_choice("kernel", proposal["value"], KERNELS)
        return proposal["value"]

    @traitlets.validate("step_size")
    def _check_step_size(self, proposal: Any) -> float:
        check_between("step_size", proposal["value"], *_STEPS)
        return proposal["value"]

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal: Any) -> float:
        check_between("temperature", proposal["value"], *_TEMPERATURES)
        return proposal["value"]

    @traitlets.validate("count")
    def _check_count(self, proposal: Any) -> int:
        if proposal["value"] not in _COUNTS:
            raise ValueError(
                f"count must be one of {list(_COUNTS)}, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("probe")
    def _check_probe(self, proposal: Any) -> list[float]:
        for value in proposal["value"]:
            check_between("probe", value, *self.spec["box"])
        return proposal["value"]

    @traitlets.validate("steps")
    def _check_steps(self, proposal: Any) -> int:
        check_between("steps", proposal["value"], 0, _MAX)
        return proposal["value"]

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the exact density of the energy as it stands."""
        values = self._values[self.energy] / self.temperature
        p = np.exp(values.min() - values)
        colours = _palette("viridis")[np.rint(p.T[::-1] * 255).astype(int)]
        picture = Image.fromarray(colours).resize((400, 400), Image.Resampling.BILINEAR)
        return encode_image(picture), self.alt, 400


def _at_nodes(
    name: str,
    energy: EnergyModel | Distribution | Callable[[Tensor], Tensor],
    box: list[float],
    nodes: int,
) -> np.ndarray:
    """Energies (nodes, nodes) from wall to wall, the lowest at zero."""
    axis = torch.linspace(*box, nodes, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        if isinstance(energy, EnergyModel):
            points = points.to(next(energy.parameters(), points))
            value = energy.energy(points)
        elif isinstance(energy, Distribution):
            value = -energy.log_prob(points)
        elif callable(energy):
            value = energy(points)
        else:
            raise TypeError(
                f"energies: {name!r} must be an EnergyModel, a distribution or a "
                f"function, got {type(energy).__name__}"
            )
    if value.shape != (nodes**2,):
        raise ValueError(
            f"energies: {name!r} must give one number a point, shape ({nodes**2},), "
            f"got {tuple(value.shape)}"
        )
    bad = int((~value.isfinite()).sum())
    if bad:
        raise FloatingPointError(
            f"energies: {name!r} is not finite at {bad} of {nodes**2} nodes; mix in a "
            "little of a uniform density, or choose a smaller square"
        )
    values = value.double().cpu().numpy().reshape(nodes, nodes)
    values = values - values.min()
    if values.max() > np.finfo(np.float32).max:
        raise FloatingPointError(f"energies: {name!r} does not fit into float32")
    return values
