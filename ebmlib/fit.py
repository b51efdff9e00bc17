"""The one training loop.

Every model of the course is trained by :func:`fit`; the chapters differ only in the
negative phase that they hand to it (see :mod:`ebmlib.negatives`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ebmlib._checks import (
    check_choice,
    check_generator,
    check_int,
    check_points,
    check_positive,
)
from ebmlib._memory import keep_freed_memory
from ebmlib._positive import positive_phase
from ebmlib._progress import wants_bar
from ebmlib._training import (
    Callback,
    Penalty,
    check_resume,
    checked,
    recorder,
)
from ebmlib.energy import EnergyModel
from ebmlib.grid import Grid
from ebmlib.negatives import GridNegatives, NegativePhase


@dataclass
class History:
    """What happened while a model was trained, and what is needed to go on.

    Attributes
    ----------
    loss : list of float
        At each step, before the update: the negative log-likelihood in nats a point
        when the negative phase knows ``log Z``; else the difference of mean energies
        ``mean_data E - sum_i w_i E(x_i)``, whose gradient is the same.
    grad_norm : list of float
        Euclidean norm of the gradient at each step.
    records : dict of str to list
        What the callbacks returned, at the steps in ``recorded_steps``.
    recorded_steps : list of int
        Number of updates made before each record.
    seconds : float
        Time spent in the loop, callbacks not counted.
    optimizer_state : dict
        State of the optimiser after the last step, also when the run was interrupted;
        empty after a divergence, so that Adam's averages start afresh.
    """

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    records: dict[str, list[Any]] = field(default_factory=dict)
    recorded_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0
    optimizer_state: dict[str, Any] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """Number of updates made so far."""
        return len(self.loss)


class TrainingDiverged(FloatingPointError):
    """A loss or gradient was not finite; the model holds its last good parameters.

    Attributes
    ----------
    history : History
        Up to the last good step; ``fit(..., resume=history)`` goes on from there.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


# the learning rate's factor at a fraction of the horizon; the cosine is that of
# Loshchilov and Hutter (2017), without restarts
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda fraction: 1.0,
    "cosine": lambda fraction: 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0))),
}


def fit(
    model: EnergyModel,
    data: Tensor,
    negatives: NegativePhase,
    n_steps: int,
    *,
    lr: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.99),
    schedule: str = "cosine",
    horizon: int | None = None,
    data_term: str = "points",
    batch_size: int | None = None,
    penalty: Penalty | None = None,
    callbacks: Mapping[str, Callback] | None = None,
    record_every: int = 10,
    resume: History | None = None,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> History:
    """Train a model by maximum likelihood: push the data down, pull the samples up.

    Each step follows the gradient of ``mean_data E(x) - sum_i w_i E(x_i)`` with Adam
    (Kingma and Ba 2015).

    Parameters
    ----------
    model : EnergyModel
        Trained in place.
    data : Tensor, shape (n, d)
    negatives : callable
        The negative phase, for example :class:`~ebmlib.negatives.GridNegatives`.
    n_steps : int
        Updates to make.
    lr : float
        Learning rate at the first step.
    betas : pair of float
        Adam's decay rates.
    schedule : {"cosine", "constant"}
        Course of the learning rate over ``horizon`` steps.
    horizon : int, optional
        Step at which the schedule ends; the last of this call unless given.  A run cut
        in two needs the whole length here in both calls.
    data_term : {"points", "cells"}
        ``"points"``: the mean energy of the data themselves.  ``"cells"``: the data are
        counted on the grid of ``GridNegatives`` and each counts as the centre of its
        cell.  It shifts the mean of a function with Lipschitz constant ``L`` by at most
        ``L * width * sqrt(d) / 2``, and makes the data term free.
    batch_size : int, optional
        Rows drawn with replacement at each step; all the data unless given.
    penalty : callable, optional
        ``penalty(model, points, negatives)``, a scalar that is added to what is
        minimised and not to the loss that is reported.  ``points`` (n, d) are those of
        this step's data term.
    callbacks : mapping of str to callable, optional
        ``callback(model, step)`` is recorded under its name every ``record_every``
        steps, before the first and after the last.
    record_every : int
    resume : History, optional
        Go on from here: the history is extended and the optimiser takes up its state.
    generator : torch.Generator, optional
        For minibatches and for the negative phase.
    progress : bool, optional
        Show a progress bar; unless given, in a live notebook only.

    Returns
    -------
    History

    Raises
    ------
    TypeError
        If ``model`` is no energy model, ``negatives`` is not callable, or the data have
        another dtype or device than the model.
    TrainingDiverged
        A ``FloatingPointError``: the loss, a gradient, or an energy in the negative
        phase is NaN or infinite.  The model is left with its last good parameters.
    ValueError
        If an argument is out of its range, nothing is to be trained, or the data are
        empty, not finite, of the wrong shape, off the grid, or where the prior is zero,
        or ``resume`` is the history of another model.

    Notes
    -----
    Without its bookkeeping ``fit`` is ::

        for step in range(n_steps):
            points, weights, *_ = negatives(model)
            loss = model.energy(data).mean() - (weights * model.energy(points)).sum()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
    """
    check_int("n_steps", n_steps, 1)
    check_int("record_every", record_every, 1)
    check_positive("lr", lr)
    if len(betas) != 2:
        raise ValueError(f"betas must be a pair of decay rates, got {betas}")
    check_choice("schedule", schedule, tuple(SCHEDULES))
    check_choice("data_term", data_term, ("points", "cells"))
    check_generator(generator)
    parameters = _trainable(model, data)
    if not callable(negatives):
        raise TypeError(
            "negatives must be callable, for example GridNegatives(grid), got "
            f"{type(negatives).__name__}"
        )
    history = History() if resume is None else resume
    if not isinstance(history, History):
        raise TypeError(
            f"resume must be the History that fit returned, got {type(resume).__name__}"
        )
    check_resume(history, parameters)
    start, stop = history.n_steps, history.n_steps + n_steps
    horizon = stop if horizon is None else horizon
    check_int("horizon", horizon, 1)
    draw, loss_of = positive_phase(model, data, negatives, data_term, batch_size)
    if penalty is not None and data_term == "cells":
        raise ValueError("penalty needs points, got data_term='cells'")
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True)
    if history.optimizer_state:
        optimizer.load_state_dict(history.optimizer_state)
        optimizer.param_groups[0]["betas"] = betas
    guard = _Guard(parameters, history)
    record = recorder((model,), callbacks, record_every, history)
    keep_freed_memory()
    if start == 0:
        record(0, last=False)
    for step in tqdm(range(start, stop), disable=not wants_bar(progress), desc="fit"):
        began = time.perf_counter()
        points = draw(generator)
        known = {"data": points} if getattr(negatives, "uses_data", False) else {}
        try:
            negative = checked(negatives(model, generator=generator, **known))
        except FloatingPointError as error:
            guard.go_back(f"the negative phase failed: {error},", error)
        loss, reported = loss_of(points, negative)
        if penalty is not None:
            loss = loss + penalty(model, points, negative)
        for p in parameters:
            p.grad = None
        loss.backward()
        guard.check(float(reported))
        optimizer.param_groups[0]["lr"] = lr * SCHEDULES[schedule](step / horizon)
        optimizer.step()
        history.seconds += time.perf_counter() - began
        if step == start:
            history.optimizer_state = optimizer.state_dict()  # updated in place
        record(step + 1, last=step + 1 == stop)
    return history


def fit_coarse_to_fine(
    model: EnergyModel,
    data: Tensor,
    grids: Sequence[Grid] = (Grid(bins=50), Grid(bins=200)),
    n_steps: Sequence[int] = (1000, 50),
    **options: Any,
) -> History:
    """Train on a coarse grid, then on finer ones: the default recipe.

    A step costs as much as its grid has points, and a coarse grid is enough to find the
    modes; the fine grid then repairs what the coarse one cannot see.

    Parameters
    ----------
    model : EnergyModel
    data : Tensor, shape (n, d)
    grids : sequence of Grid
    n_steps : sequence of int
        Updates on each grid.
    **options
        Passed to :func:`fit`; the data are counted on cells unless ``data_term`` says
        otherwise.

    Returns
    -------
    History
        Of all stages together.
    """
    if not (isinstance(grids, Sequence) and isinstance(n_steps, Sequence)):
        raise TypeError(
            "grids and n_steps must be sequences with one entry a stage, got "
            f"{type(grids).__name__} and {type(n_steps).__name__}"
        )
    if len(grids) != len(n_steps) or not grids:
        raise ValueError(
            "grids and n_steps must have one entry a stage, "
            f"got {len(grids)} grids and {len(n_steps)} numbers of steps"
        )
    history = options.pop("resume", None)
    done = 0 if history is None else history.n_steps
    options = {"data_term": "cells", "horizon": done + sum(n_steps)} | options
    for grid, steps in zip(grids, n_steps, strict=True):
        history = fit(
            model, data, GridNegatives(grid), steps, resume=history, **options
        )
    return history


def _trainable(model: EnergyModel, data: Tensor) -> list[Tensor]:
    """The parameters to train; model and data must fit together."""
    if not isinstance(model, EnergyModel):
        raise TypeError(
            f"model must be an EnergyModel, got {type(model).__name__}; "
            "TiltedEnergy(network) makes one of a network"
        )
    check_points("data", data, allow_empty=False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "model must have a parameter that requires a gradient, got none"
        )
    like = parameters[0]
    if (data.dtype, data.device) != (like.dtype, like.device):
        raise TypeError(
            f"data must have the dtype and device of the model, {like.dtype} on "
            f"{like.device}, got {data.dtype} on {data.device}; "
            f"convert with data.to({str(like.device)!r}, {like.dtype})"
        )
    return parameters


class _Guard:
    """Keeps the last parameters that gave a finite loss and gradient."""

    def __init__(self, parameters: list[Tensor], history: History) -> None:
        self.parameters, self.history = parameters, history
        self.now = [p.detach() for p in parameters]  # the same memory, without a graph
        self.good = [p.clone() for p in self.now]

    def check(self, loss: float) -> None:
        """Record this step's loss and gradient norm, or go back and raise."""
        gradients = [p.grad.ravel() for p in self.parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.cat(gradients)).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.go_back(f"loss is {loss} and its gradient norm {norm}")
        torch._foreach_copy_(self.good, self.now)
        self.history.loss.append(loss)
        self.history.grad_norm.append(norm)

    def go_back(self, what: str, cause: Exception | None = None) -> NoReturn:
        """Restore the last good parameters, and raise."""
        torch._foreach_copy_(self.now, self.good)
        self.history.optimizer_state = {}
        raise TrainingDiverged(
            f"{what} at step {self.history.n_steps}; the model holds the last "
            "parameters with a finite loss, or those it came with: try a smaller lr, "
            "or a prior that covers the data",
            self.history,
        ) from cause
