"""Layer-wise sampling of deep Boltzmann machines, computed in the browser."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor

from ebmlib.dbm import DBM
from ebmlib.dbm._layers import LAYERS
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image, suggest

VIEWS = ("states", "chances")
_MAX_MOVES = 6000


class DBMExplorer(PageWidget):
    """Three layers of a deep Boltzmann machine, drawn one at a time or in sweeps.

    Each panel is a layer: the image, and the hidden units as squares, white when on. A
    layer is drawn from its conditional given its neighbours; a kept one is left out of
    the sweeps. Everything is computed in the browser in float64, from a seed.

    Parameters
    ----------
    machines : mapping
        Name -> :class:`ebmlib.dbm.DBM` whose visible layer is a square image in rows.
    alt : str
        What the picture shows.
    images : mapping, optional
        Label -> image (n_visible,) of zeros and ones to start from, offered with every
        machine of its size.
    caption : str
        Plain text under the figure.
    machine, start, moves, keep, show, seed
        Initial values of the traits below; ``machine`` is the first by default.

    Attributes
    ----------
    machine : str
        The machine on show.
    start : str
        ``"noise"`` (fair coin flips), or the label of an image; hidden units always
        start as coin flips.
    moves : str
        The layers drawn so far, a digit each: 0 the image, 1 and 2 the hidden ones.
    keep : list of str
        Layers that sweeps leave alone: ``"visible"``, ``"hidden1"``, ``"hidden2"``.
    show : str
        ``"states"``, or the ``"chances"`` from which they were drawn.
    seed : int
        Of the chain, 0 to 999.
    playing : bool
        Whether the chain is running.

    Raises
    ------
    ValueError
        If a machine is of another kind or its image not square, or no image fits.
    """

    _module = "dbm_explorer"
    _esm = bundle("dbm_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    machine = traitlets.Unicode().tag(sync=True, page=True)
    start = traitlets.Unicode("noise").tag(sync=True, page=True)
    moves = traitlets.Unicode("").tag(sync=True, page=True)
    keep = traitlets.List(traitlets.Unicode()).tag(sync=True, page=True)
    show = traitlets.Unicode("states").tag(sync=True, page=True)
    seed = traitlets.Int(0, min=0, max=999).tag(sync=True, page=True)
    playing = traitlets.Bool(False).tag(sync=True, page=True)

    def __init__(
        self,
        machines: Mapping[str, DBM],
        *,
        alt: str,
        images: Mapping[str, Tensor] | None = None,
        caption: str = "",
        machine: str | None = None,
        start: str = "noise",
        moves: str = "",
        keep: tuple[str, ...] = (),
        show: str = "states",
        seed: int = 0,
    ) -> None:
        if not isinstance(machines, Mapping) or not machines:
            raise ValueError(f"machines must map a name to a DBM, got {machines!r}")
        pixels = {label: _pixels(label, x) for label, x in (images or {}).items()}
        widths = {model.sizes[0] for model in machines.values() if _is_dbm(model)}
        for label, image in pixels.items():
            if len(image) not in widths:
                raise ValueError(
                    f"images: {label!r} has {len(image)} pixels, the machines {widths}"
                )
        spec = {
            "machines": {
                name: _machine_spec(model, pixels) for name, model in machines.items()
            },
            "max_moves": _MAX_MOVES,
        }
        first = next(iter(machines)) if machine is None else machine
        self._machines = dict(machines)
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            machine=first,
            start=start,
            moves=moves,
            keep=list(keep),
            show=show,
            seed=seed,
        )

    @traitlets.validate("machine", "show", "start")
    def _check_name(self, proposal: Any) -> str:
        name, value = proposal["trait"].name, proposal["value"]
        machines = self.spec["machines"]
        labels = {label for spec in machines.values() for label in spec["images"]}
        allowed = {"machine": machines, "show": VIEWS, "start": ["noise", *labels]}
        if value not in allowed[name]:
            raise traitlets.TraitError(suggest(name, value, allowed[name]))
        return value

    @traitlets.validate("keep")
    def _check_keep(self, proposal: Any) -> list[str]:
        for name in proposal["value"]:
            if name not in LAYERS:
                raise traitlets.TraitError(suggest("keep", name, LAYERS))
        return proposal["value"]

    @traitlets.validate("moves")
    def _check_moves(self, proposal: Any) -> str:
        value = proposal["value"]
        if not set(value) <= set("012") or len(value) > _MAX_MOVES:
            raise traitlets.TraitError(
                f"moves must be at most {_MAX_MOVES} digits 0, 1, 2, got {value[:20]!r}"
            )
        return value

    def _fallback(self) -> tuple[str, str, int]:
        """Draw three layers after some sweeps of the machine on show."""
        model = self._machines[self.machine]
        generator = torch.Generator().manual_seed(self.seed)
        states = model.random_states(1, generator=generator)
        clamp = []
        image = self.spec["machines"][self.machine]["images"].get(self.start)
        if image is not None:
            row = torch.tensor([[float(c) for c in image]]).to(states.visible)
            states, clamp = states._replace(visible=row), ["visible"]
        states = model.gibbs(states, 200, clamp=clamp, generator=generator)
        sheet = Image.new("L", (620, 200), 255)
        for i, layer in enumerate(states):
            values = layer[0].cpu().numpy()
            across = int(np.ceil(np.sqrt(len(values))))
            cells = np.zeros(across * -(-len(values) // across))
            cells[: len(values)] = 40 + 215 * values
            tile = Image.fromarray(cells.reshape(-1, across).astype(np.uint8))
            height = 200 * cells.size // across // across
            tile = tile.resize((200, height), Image.Resampling.NEAREST)
            sheet.paste(0, (210 * i, 0, 210 * i + 200, 200))
            sheet.paste(tile, (210 * i, (200 - height) // 2))
        return encode_image(sheet, lossless=True), self.alt, 620


def _is_dbm(model: object) -> bool:
    if not isinstance(model, DBM):
        raise ValueError(f"machines must be DBMs, got {type(model).__name__}")
    side = round(model.sizes[0] ** 0.5)
    if side * side != model.sizes[0]:
        raise ValueError(f"machines must see square images, got {model.sizes[0]} units")
    return True


def _pixels(label: str, image: Tensor) -> str:
    """An image as digits in rows."""
    values = torch.as_tensor(image).flatten().tolist()
    if not set(values) <= {0, 1}:
        raise ValueError(f"images: {label!r} must hold zeros and ones only")
    if label == "noise":
        raise ValueError("images: 'noise' is the name of the start by coin flips")
    return "".join(str(int(value)) for value in values)


def _machine_spec(model: DBM, pixels: Mapping[str, str]) -> dict[str, Any]:
    biases = model.visible_bias, model.hidden1_bias, model.hidden2_bias
    return {
        "sizes": list(model.sizes),
        "weight1": _encode(model.weight1),
        "weight2": _encode(model.weight2),
        "biases": [_encode(bias) for bias in biases],
        "images": {k: p for k, p in pixels.items() if len(p) == model.sizes[0]},
    }


def _encode(values: Tensor) -> dict[str, str]:
    """Numbers in the shortest of half, single and double precision that is exact."""
    wide = values.detach().cpu().double().numpy().ravel()
    with np.errstate(over="ignore"):
        half = wide.astype("<f2")
    if np.array_equal(half.astype("<f8"), wide):
        text = base64.b64encode(half.tobytes()).decode("ascii")
        return {"dtype": "f2", "data": text}
    return encode_array(wide)
