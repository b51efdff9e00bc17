"""What the training loop needs beside itself: callbacks, resuming, the bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from ebmlib.energy import EnergyModel
from ebmlib.negatives import Negatives

if TYPE_CHECKING:
    from ebmlib.fit import History

Callback = Callable[[EnergyModel, int], Any]
Penalty = Callable[[EnergyModel, Tensor, Negatives], Tensor]


class Recorded(Protocol):
    """What keeps the values of callbacks: the history of any training."""

    records: dict[str, list[Any]]
    recorded_steps: list[int]


def recorder(
    models: tuple[nn.Module, ...],
    callbacks: Mapping[str, Callable[..., Any]] | None,
    every: int,
    history: Recorded,
) -> Callable[..., None]:
    """A function that runs the callbacks in turn; one that raises leaves no gap."""
    callbacks = {} if callbacks is None else callbacks
    if not isinstance(callbacks, Mapping):
        raise TypeError(
            "callbacks must map names to functions, for example {'kl': measure}, got "
            f"{type(callbacks).__name__}"
        )
    if callbacks and history.records and set(callbacks) != set(history.records):
        raise ValueError(
            "callbacks must be none or those of the history to resume, "
            f"{list(history.records)}, got {list(callbacks)}"
        )

    def record(step: int, *, last: bool) -> None:
        if callbacks and (step % every == 0 or last):
            values = {name: call(*models, step) for name, call in callbacks.items()}
            history.recorded_steps.append(step)
            for name, value in values.items():
                history.records.setdefault(name, []).append(value)

    return record


def check_resume(history: History, parameters: list[Tensor]) -> None:
    """Refuse the history of another model: the fused optimiser trusts the shapes."""
    if not history.optimizer_state:
        return
    state = history.optimizer_state["state"]
    count = len(history.optimizer_state["param_groups"][0]["params"])
    saved = {i: tuple(entry["exp_avg"].shape) for i, entry in state.items()}
    present = {i: tuple(p.shape) for i, p in enumerate(parameters)}
    if count != len(parameters) or any(present.get(i) != s for i, s in saved.items()):
        raise ValueError(
            "resume must be the history of this model; its parameters have the shapes "
            f"{list(present.values())}, those of the history {list(saved.values())}"
        )


def checked(negative: Negatives) -> Negatives:
    """What a negative phase returned, if it can be used."""
    if not isinstance(negative, Negatives):
        raise TypeError(
            "negatives must return ebmlib.negatives.Negatives(points, weights), got "
            f"{type(negative).__name__}"
        )
    if negative.weights.shape != negative.points.shape[:1]:
        raise ValueError(
            f"negatives must give one weight a point: {len(negative.points)} points, "
            f"weights of shape {tuple(negative.weights.shape)}"
        )
    return negative
