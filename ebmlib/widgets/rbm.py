"""A pad to draw on, and a restricted Boltzmann machine that carries the drawing on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor

from ebmlib._checks import check_between, check_choice, check_finite, check_number
from ebmlib.widgets._host import PageWidget, bundle, encode_array, encode_image
from ebmlib.widgets.density import _encode_palette

BRUSHES = ("ink", "erase", "free", "hold")
VIEWS = ("sample", "probability")
_MAX_STEPS, _KEPT, _SEEDS = 10_000, 400, 1000


class Machine(Protocol):
    """What the pad reads of a machine: an `ebmlib.rbm.BernoulliRBM` has it."""

    weight: Tensor  # (n_hidden, n_visible)
    visible_bias: Tensor
    hidden_bias: Tensor


class RBMPad(PageWidget):
    """Draw an image and let a Bernoulli RBM carry it on by block Gibbs steps.

    Left the drawing, right the chain that starts from it. Pixels can be held, and the
    chain then fills in the others. Below, each hidden unit's weights and its chance to
    be on, and the free energies of drawing and chain beside those of real images.
    Everything is computed in the browser, in float64 and from a seed.

    Parameters
    ----------
    models : mapping
        Name -> machine with ``weight`` (n_hidden, n_visible), ``visible_bias`` and
        ``hidden_bias``, for square images of at least 4 x 4 pixels in rows.
    alt : str
        What the picture shows.
    images : mapping
        Label -> image (n_visible,) of zeros and ones to start from, offered with every
        machine of its size. A blank sheet is added at the end.
    caption : str
        Plain text under the figure.
    reference : mapping, optional
        Model's name -> images (m, n_visible), or their free energies (m,): what the
        drawing's free energy is compared with.
    log_partition : mapping, optional
        Model's name -> exact ``log Z``; log-likelihoods are shown with it.
    model, drawing, free, brush, show, steps, seed, cursor
        Initial values of the traits below. ``model`` and ``drawing`` are the first by
        default; the latter may be a label of ``images``.

    Attributes
    ----------
    model : str
        The machine on show.
    drawing : str
        The pixels in rows, ``"0"`` or ``"1"`` each.
    free : str
        ``"1"`` where the chain may change a pixel, in the same order.
    brush : str
        ``"ink"``, ``"erase"``, ``"free"`` or ``"hold"``.
    show : str
        On the right: the ``"sample"``, or each pixel's ``"probability"`` given the
        hidden units it is drawn from.
    steps : int
        Gibbs steps taken from the drawing, at most 10,000.
    seed : int
        Of the chain's noise, 0 to 999.
    cursor : list of int
        Row and column of the brush.
    playing : bool
        Whether the chain is running.

    Raises
    ------
    ValueError
        If a machine, image or reference cannot be used, or a value is out of range.
    FloatingPointError
        If a weight or a free energy is not finite.
    """

    _module = "rbm_pad"
    _esm = bundle("rbm_pad")

    spec = traitlets.Dict().tag(sync=True, page=True)
    model = traitlets.Unicode().tag(sync=True, page=True)
    drawing = traitlets.Unicode().tag(sync=True, page=True)
    free = traitlets.Unicode().tag(sync=True, page=True)
    brush = traitlets.Unicode("ink").tag(sync=True, page=True)
    show = traitlets.Unicode("sample").tag(sync=True, page=True)
    steps = traitlets.Int(10).tag(sync=True, page=True)
    seed = traitlets.Int(0).tag(sync=True, page=True)
    cursor = traitlets.List(traitlets.Int(), minlen=2, maxlen=2).tag(
        sync=True, page=True
    )
    playing = traitlets.Bool(False).tag(sync=True, page=True)

    def __init__(
        self,
        models: Mapping[str, Machine],
        *,
        alt: str,
        images: Mapping[str, Any],
        caption: str = "",
        reference: Mapping[str, Tensor] | None = None,
        log_partition: Mapping[str, float] | None = None,
        model: str | None = None,
        drawing: str | None = None,
        free: str | None = None,
        brush: str = "ink",
        show: str = "sample",
        steps: int = 10,
        seed: int = 0,
        cursor: tuple[int, int] = (0, 0),
    ) -> None:
        if not isinstance(models, Mapping) or not models:
            raise ValueError(
                f"models must map at least one name to a machine, got {models!r}"
            )
        reference, log_partition = dict(reference or {}), dict(log_partition or {})
        for argument, value in (
            ("reference", reference),
            ("log_partition", log_partition),
        ):
            for name in value:
                check_choice(f"{argument}: name", name, list(models))
        drawn = {label: _image(label, value) for label, value in images.items()}
        self._pictures = drawn
        spec = {
            "models": [
                _model_spec(
                    str(name),
                    machine,
                    drawn,
                    reference.get(name),
                    log_partition.get(name),
                )
                for name, machine in models.items()
            ],
            "max_steps": _MAX_STEPS,
            "interval": 160,
            "palette": _encode_palette("RdBu_r"),
        }
        chosen = next(iter(models)) if model is None else model
        check_choice("model", chosen, list(models))
        self._sides = {entry["name"]: entry["side"] for entry in spec["models"]}
        starts = next(e["starts"] for e in spec["models"] if e["name"] == chosen)
        first = starts[0]["bits"] if drawing is None else drawn.get(drawing, drawing)
        super().__init__(
            alt=alt,
            caption=caption,
            spec=spec,
            model=chosen,
            drawing=first,
            free="1" * self._sides[chosen] ** 2 if free is None else free,
            brush=brush,
            show=show,
            steps=steps,
            seed=seed,
            cursor=[int(place) for place in cursor],
        )

    @traitlets.validate("model")
    def _check_model(self, proposal: Any) -> str:
        check_choice("model", proposal["value"], list(self._sides))
        return proposal["value"]

    @traitlets.validate("drawing", "free")
    def _check_bits(self, proposal: Any) -> str:
        name, value = proposal["trait"].name, proposal["value"]
        sizes = sorted({side**2 for side in self._sides.values()})
        if set(value) - {"0", "1"} or len(value) not in sizes:
            raise ValueError(
                f"{name} must have {' or '.join(map(str, sizes))} characters '0' or "
                f"'1', got {len(value)}: {value[:20]!r}"
            )
        return value

    @traitlets.validate("brush")
    def _check_brush(self, proposal: Any) -> str:
        check_choice("brush", proposal["value"], BRUSHES)
        return proposal["value"]

    @traitlets.validate("show")
    def _check_show(self, proposal: Any) -> str:
        check_choice("show", proposal["value"], VIEWS)
        return proposal["value"]

    @traitlets.validate("steps")
    def _check_steps(self, proposal: Any) -> int:
        check_between("steps", proposal["value"], 0, _MAX_STEPS)
        return proposal["value"]

    @traitlets.validate("seed")
    def _check_seed(self, proposal: Any) -> int:
        check_between("seed", proposal["value"], 0, _SEEDS - 1)
        return proposal["value"]

    @traitlets.validate("cursor")
    def _check_cursor(self, proposal: Any) -> list[int]:
        for value in proposal["value"]:
            check_between("cursor", value, 0, max(self._sides.values()) - 1)
        return proposal["value"]

    def _fallback(self) -> tuple[str, str, int]:
        """The drawing as it stands, and beside it each hidden unit's weights."""
        entry = next(e for e in self.spec["models"] if e["name"] == self.model)
        side = math.isqrt(len(self.drawing))
        grey = 255 - 233 * np.array([int(bit) for bit in self.drawing])
        picture = Image.fromarray(grey.astype("u1").reshape(side, side))
        scale = 320 // entry["side"] * entry["side"]
        picture = picture.resize((scale, scale), Image.Resampling.NEAREST)
        return encode_image(picture, lossless=True), self.alt, scale


def _image(label: str, value: Any) -> str:
    """An image of zeros and ones as a string of them."""
    pixels = torch.as_tensor(value).detach().reshape(-1)
    if not ((pixels == 0) | (pixels == 1)).all():
        raise ValueError(f"images: {label!r} must hold zeros and ones only")
    return "".join(str(int(pixel)) for pixel in pixels)


def _model_spec(
    name: str,
    machine: Machine,
    images: Mapping[str, str],
    reference: Tensor | None,
    log_partition: float | None,
) -> dict[str, Any]:
    """What the browser needs of one machine."""
    b, c = machine.visible_bias.detach(), machine.hidden_bias.detach()
    weight, side = machine.weight.detach(), math.isqrt(len(b))
    if side**2 != len(b) or side < 4 or weight.shape != (len(c), len(b)):
        raise ValueError(
            f"models: {name!r} must have weight (n_hidden, n_visible), and square "
            "images of at least 4 x 4 pixels, got weight "
            f"{tuple(weight.shape)} and biases ({len(b)},), ({len(c)},)"
        )
    for part, tensor in (("weight", weight), ("visible_bias", b), ("hidden_bias", c)):
        check_finite(f"models: {name!r} {part}", tensor)
    if log_partition is not None:
        check_number(f"log_partition of {name!r}", log_partition)
    starts = [
        {"name": label, "bits": bits}
        for label, bits in images.items()
        if len(bits) == len(b)
    ]
    return {
        "name": name,
        "side": side,
        "hidden": len(c),
        "weight": encode_array(weight.T.cpu()),
        "visible_bias": encode_array(b.cpu()),
        "hidden_bias": encode_array(c.cpu()),
        "reference": None
        if reference is None
        else encode_array(_reference(name, reference, weight, b, c)),
        "log_partition": None if log_partition is None else float(log_partition),
        "starts": [*starts, {"name": "a blank sheet", "bits": "0" * len(b)}],
        "radius": side / 28 * 1.2 if side > 12 else 0.5,
    }


def _reference(
    name: str, values: Tensor, weight: Tensor, b: Tensor, c: Tensor
) -> np.ndarray:
    """Sorted free energies, at most 400 of them, evenly chosen by rank."""
    if values.ndim == 2 and values.shape[1] == len(b):
        x = values.detach().double()
        drive = c.double() + x @ weight.T.double()
        values = -x @ b.double() - torch.logaddexp(drive, 0 * drive).sum(1)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"reference of {name!r} must hold images (m, {len(b)}) or free energies "
            f"(m,), got shape {tuple(values.shape)}"
        )
    check_finite(f"reference of {name!r}", values)
    ordered = np.sort(values.detach().cpu().double().numpy())
    ranks = np.linspace(0, len(ordered) - 1, min(_KEPT, len(ordered)))
    return ordered[np.rint(ranks).astype(int)]
