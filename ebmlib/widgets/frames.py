"""A film with several labelled axes: training step by setting, say."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from PIL import Image

from ebmlib.widgets._host import PageWidget, axis_spec, bundle, encode_image, suggest

Frame = Any  # a matplotlib Figure, a PIL image, or a uint8 array


def _to_image(frame: Frame, place: str) -> Image.Image:
    """Return any accepted frame as an RGB picture on white."""
    if isinstance(frame, Image.Image):
        picture = frame
    elif hasattr(frame, "savefig"):
        buffer = io.BytesIO()
        frame.savefig(buffer, format="png", dpi=frame.dpi)
        picture = Image.open(buffer)
    else:
        values = np.asarray(frame)
        coloured = values.ndim == 3 and values.shape[2] in (3, 4)
        if values.dtype != np.uint8 or not (values.ndim == 2 or coloured):
            raise TypeError(
                f"frames: {place} must be a matplotlib figure, a PIL image or a uint8 "
                f"array of shape (h, w), (h, w, 3) or (h, w, 4); got "
                f"{type(frame).__name__} of shape {values.shape}, dtype {values.dtype}"
            )
        picture = Image.fromarray(values)
    if picture.mode == "RGBA":
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture)
    return picture.convert("RGB")


def _flatten(frames: Any, depth: int) -> list[Frame]:
    """Return nested sequences (or an array) of frames as one list in C order."""
    if depth == 0:
        return [frames]
    if isinstance(frames, (str, bytes)) or not hasattr(frames, "__len__"):
        raise TypeError(f"frames must be a sequence, got {type(frames).__name__}")
    return [frame for part in frames for frame in _flatten(part, depth - 1)]


def _is_nested(frames: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether frames are nested as the axes are, rather than one flat list."""
    for size in shape:
        if isinstance(frames, Image.Image) or not hasattr(frames, "__len__"):
            return False
        if len(frames) != size:
            return False
        frames = frames[0]
    return True


def _encode_frames(
    pictures: list[Image.Image], quality: int, lossless: bool, max_bytes: int
) -> list[str]:
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        raise ValueError(f"frames must all have one size, got {sorted(sizes)}")
    encoded = [encode_image(p, quality=quality, lossless=lossless) for p in pictures]
    total = sum(map(len, encoded))
    if total > max_bytes:
        raise ValueError(
            f"frames take {total} bytes, more than max_bytes={max_bytes}: show fewer "
            f"or smaller frames, lower quality, or raise max_bytes"
        )
    return encoded


class FrameExplorer(PageWidget):
    """A film that the reader steers along several labelled axes.

    Parameters
    ----------
    frames : sequence
        One picture for each combination of labels: a flat sequence in C order (the last
        axis fastest), or nested as the axes are. A picture is a matplotlib figure, a
        PIL image or a uint8 array; all of one size.
    axes : mapping of str to sequence
        Name and ordered labels of each axis. Numbers make a slider, words make buttons.
    alt : str or sequence of str
        What the pictures show. One string is completed by the labels and the numbers of
        each frame; a sequence (C order) is taken as it is.
    caption : str
        Plain text under the figure: what to look at.
    numbers : mapping of str to array_like, optional
        Numbers shown beside each frame, of the axes' shape (or flat, in C order), for
        example ``{"KL": kl}``.
    number_format : str
        How the numbers are written.
    play : str, optional
        The axis that the play button runs along; the first slider by default.
    start : mapping of str to label, optional
        Where to begin; elsewhere the axis begins at its first label.
    seconds_per_frame : float
        Pace of the film.
    width : int, optional
        Width in CSS pixels at which frames are shown (less on a narrow screen); the
        frames' own width, at most 640, by default.
    quality : int
        WebP quality, 1 to 100.
    lossless : bool
        Encode without loss (smaller for scatter plots, larger for images).
    max_bytes : int
        Refuse films whose encoded frames take more.

    Attributes
    ----------
    index : list of int
        Position on each axis (a trait: set it, observe it, link it).
    playing : bool
        Whether the film runs.

    Raises
    ------
    ValueError
        If frames, alt texts or numbers do not match the axes, sizes differ, or a
        name is unknown.
    TypeError
        If a frame is no picture.
    FloatingPointError
        If a number is not finite.

    Examples
    --------
    >>> frames = np.zeros((3, 2, 40, 40, 3), dtype=np.uint8)
    >>> film = FrameExplorer(
    ...     frames, {"step": [0, 10, 100], "prior": ["uniform", "normal"]},
    ...     alt="The fitted density", numbers={"KL": np.ones((3, 2))},
    ...     start={"step": 100},
    ... )
    >>> film.index, film.labels
    ([2, 0], {'step': '100', 'prior': 'uniform'})
    """

    _module = "frame_explorer"
    _esm = bundle("frame_explorer")

    axes = traitlets.List().tag(sync=True, page=True)
    frames = traitlets.List().tag(sync=True, page=True)
    alts = traitlets.List().tag(sync=True, page=True)
    notes = traitlets.List().tag(sync=True, page=True)
    index = traitlets.List(traitlets.Int()).tag(sync=True, page=True)
    playing = traitlets.Bool(False).tag(sync=True)
    play_axis = traitlets.Int().tag(sync=True, page=True)
    interval = traitlets.Float().tag(sync=True, page=True)
    width = traitlets.Int().tag(sync=True, page=True)

    def __init__(
        self,
        frames: Sequence[Frame],
        axes: Mapping[str, Sequence[object]],
        *,
        alt: str | Sequence[str],
        caption: str = "",
        numbers: Mapping[str, Any] | None = None,
        number_format: str = ".3f",
        play: str | None = None,
        start: Mapping[str, object] | None = None,
        seconds_per_frame: float = 0.35,
        width: int | None = None,
        quality: int = 85,
        lossless: bool = False,
        max_bytes: int = 3_000_000,
    ) -> None:
        specs = _axis_specs(axes)
        shape = tuple(len(spec["labels"]) for spec in specs)
        if not (math.isfinite(seconds_per_frame) and seconds_per_frame >= 0.05):
            raise ValueError(
                f"seconds_per_frame must be at least 0.05, got {seconds_per_frame}"
            )
        nested = _is_nested(frames, shape)
        flat = _flatten(frames, len(shape) if nested else 1)
        if len(flat) != math.prod(shape):
            raise ValueError(
                f"frames: the axes have {' x '.join(map(str, shape))} = "
                f"{math.prod(shape)} combinations, got {len(flat)} frames"
            )
        pictures = [_to_image(frame, f"frame {i}") for i, frame in enumerate(flat)]
        notes = _notes(numbers or {}, shape, number_format)
        first = alt if isinstance(alt, str) else " ".join(list(alt)[:1])
        super().__init__(
            alt=first,
            caption=caption,
            axes=specs,
            frames=_encode_frames(pictures, quality, lossless, max_bytes),
            alts=_alts(alt, specs, notes, shape),
            notes=notes,
            index=_start_index(start or {}, axes, specs),
            play_axis=_play_axis(play, specs),
            interval=float(seconds_per_frame),
            width=int(width or min(640, pictures[0].width)),
        )

    @classmethod
    def from_function(
        cls,
        draw: Callable[..., Frame],
        axes: Mapping[str, Sequence[object]],
        **options: Any,
    ) -> FrameExplorer:
        """Make a film by calling ``draw`` with each combination of labels.

        Parameters
        ----------
        draw : callable
            Takes one label of each axis, in the axes' order; returns a picture.
            Matplotlib figures are closed once they are encoded.
        axes : mapping of str to sequence
            As for the class.
        **options
            As for the class.
        """
        labels = [list(values) for values in axes.values()]
        shape = tuple(map(len, labels))
        pictures = []
        for place in np.ndindex(shape):
            picked = [values[i] for values, i in zip(labels, place, strict=True)]
            frame = draw(*picked)
            pictures.append(_to_image(frame, f"draw{tuple(picked)}"))
            if hasattr(frame, "savefig"):
                import matplotlib.pyplot as plt

                plt.close(frame)
        return cls(pictures, axes, **options)

    @property
    def labels(self) -> dict[str, str]:
        """The label at the present position of each axis."""
        return {
            spec["name"]: spec["labels"][i]
            for spec, i in zip(self.axes, self.index, strict=True)
        }

    @traitlets.validate("index")
    def _check_index(self, proposal: Any) -> list[int]:
        index, shape = proposal["value"], [len(spec["labels"]) for spec in self.axes]
        inside = len(index) == len(shape) and all(
            0 <= i < n for i, n in zip(index, shape, strict=True)
        )
        if not inside:
            raise traitlets.TraitError(
                f"index must be one position on each axis of {shape}, got {index}"
            )
        return index

    def _fallback(self) -> tuple[str, str, int]:
        shape = [len(spec["labels"]) for spec in self.axes]
        number = int(np.ravel_multi_index(self.index, shape))
        return self.frames[number], self.alts[number], self.width


def _axis_specs(axes: Mapping[str, Sequence[object]]) -> list[dict[str, Any]]:
    if not isinstance(axes, Mapping) or not axes:
        raise ValueError(f"axes must map at least one name to labels, got {axes!r}")
    specs = [axis_spec(name, labels) for name, labels in axes.items()]
    for spec in specs:
        labels = spec["labels"]
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(
                f"axes: {spec['name']!r} needs two or more different labels, "
                f"got {labels}"
            )
    return specs


def _start_index(
    start: Mapping[str, object],
    axes: Mapping[str, Sequence[object]],
    specs: list[dict[str, Any]],
) -> list[int]:
    for name in start:
        if name not in axes:
            raise ValueError(suggest("start: axis", name, axes))
    index = []
    for spec, (name, labels) in zip(specs, axes.items(), strict=True):
        labels = list(labels)
        label = start.get(name, labels[0])
        if label not in labels:
            raise ValueError(suggest(f"start: {name}", label, spec["labels"]))
        index.append(labels.index(label))
    return index


def _play_axis(play: str | None, specs: list[dict[str, Any]]) -> int:
    names = [spec["name"] for spec in specs]
    if play is None:
        kinds = [spec["kind"] for spec in specs]
        return kinds.index("slider") if "slider" in kinds else 0
    if play not in names:
        raise ValueError(suggest("play: axis", play, names))
    return names.index(play)


def _notes(
    numbers: Mapping[str, Any], shape: tuple[int, ...], number_format: str
) -> list[str]:
    """Return each frame's numbers as text, in C order."""
    columns = {}
    for name, values in numbers.items():
        values = np.asarray(values, dtype=float)
        if values.shape not in (shape, (math.prod(shape),)):
            raise ValueError(
                f"numbers: {name!r} must have shape {shape}, got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise FloatingPointError(
                f"numbers: {name!r} holds values that are not finite"
            )
        columns[name] = values.ravel()
    return [
        ", ".join(
            f"{name} = {values[i]:{number_format}}" for name, values in columns.items()
        )
        for i in range(math.prod(shape))
    ]


def _alts(
    alt: str | Sequence[str],
    specs: list[dict[str, Any]],
    notes: list[str],
    shape: tuple[int, ...],
) -> list[str]:
    """Return the alt text of each frame, in C order."""
    if not isinstance(alt, str):
        texts = [str(text).strip() for text in alt]
        if len(texts) != len(notes) or not all(texts):
            raise ValueError(
                f"alt must be one text or {len(notes)} non-empty texts, got "
                f"{len(texts)}"
            )
        return texts
    texts = []
    for place, note in zip(np.ndindex(shape), notes, strict=True):
        words = [
            f"{s['name']} {s['labels'][i]}" for s, i in zip(specs, place, strict=True)
        ]
        words += [note] if note else []
        texts.append(f"{alt.strip().rstrip('.')}: {', '.join(words)}")
    return texts
