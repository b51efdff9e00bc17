"""Training of restricted Boltzmann machines: one gradient, four negative phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ebmlib._checks import (
    check_between,
    check_choice,
    check_finite,
    check_generator,
    check_int,
    check_positive,
)
from ebmlib._memory import keep_freed_memory
from ebmlib._progress import wants_bar
from ebmlib._training import recorder
from ebmlib.rbm._chains import Chains, make_chains

if TYPE_CHECKING:
    from ebmlib.rbm._model import _RBM

METHODS = ("pcd", "cd", "pt", "exact")
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda fraction: 1.0,
    "linear": lambda fraction: max(0.0, 1.0 - fraction),
}


@dataclass
class RBMHistory:
    """What happened while a machine was trained, and what is needed to go on.

    Attributes
    ----------
    n_epochs : int
        Passes through the data made so far.
    records : dict of str to list
        What the callbacks returned, at the epochs in ``recorded_steps``.
    recorded_steps : list of int
        Number of epochs before each record.
    seconds : float
        Time spent in the loop, callbacks not counted.
    chains : Chains
        The negative phase, with the state of persistent chains.
    velocity : list of Tensor
        Of the weights, visible and hidden biases, when there is momentum.
    """

    n_epochs: int = 0
    records: dict[str, list[Any]] = field(default_factory=dict)
    recorded_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0
    chains: Chains | None = None
    velocity: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def fit(
    model: _RBM,
    data: Tensor,
    n_epochs: int = 10,
    *,
    method: str = "pcd",
    n_steps: int = 1,
    n_chains: int | None = None,
    temperatures: int = 10,
    batch_size: int = 100,
    lr: float = 0.05,
    schedule: str = "constant",
    horizon: int | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    centred: bool = True,
    base_rates: bool = True,
    callbacks: Mapping[str, Callable[[Any, int], Any]] | None = None,
    record_every: int = 1,
    resume: RBMHistory | None = None,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> RBMHistory:
    """Train a machine by stochastic gradient ascent on the log-likelihood.

    Each update adds ``lr`` times ``mean_data h s(v)^T - mean_model h s(v)^T`` to the
    weights, and likewise for the biases; the methods differ in where the second mean
    comes from.

    Parameters
    ----------
    model : BernoulliRBM or GaussianRBM
        Trained in place.
    data : Tensor, shape (n, n_visible)
    n_epochs : int
        Passes through the data, in a new order each time.
    method : {"pcd", "cd", "pt", "exact"}
        ``"cd"``: ``n_steps`` Gibbs steps from the rows of the batch (Hinton 2002).
        ``"pcd"``: chains that go on from where they were (Tieleman 2008).  ``"pt"``:
        persistent chains at ``temperatures`` rungs between the base rates and the
        machine, with swaps (Desjardins et al. 2010).  ``"exact"``: all hidden states
        (small machines).
    n_steps : int
        Gibbs steps an update.
    n_chains : int, optional
        Persistent chains; as many as ``batch_size`` unless given.
    temperatures : int
        Rungs of ``"pt"``.
    batch_size : int
    lr : float
        Learning rate at the first epoch.
    schedule : {"constant", "linear"}
        ``"linear"`` lets it fall to 0 over ``horizon`` epochs.
    horizon : int, optional
        Epoch at which the schedule ends; the last of this call unless given.
    momentum : float
        Share of the last update that is added to the next, in [0, 1).
    weight_decay : float
        The weights' gradient has this times the weights subtracted.
    centred : bool
        Use the centred gradient, with the mean of data and model as offsets: the
        enhanced gradient (Cho et al. 2011; Melchior et al. 2016).
    base_rates : bool
        Start visible biases that are all 0 at the data's log-odds (for Gaussian units,
        at its means), and set ``base_bias`` to them.
    callbacks : mapping of str to callable, optional
        ``callback(model, epoch)`` is recorded under its name every ``record_every``
        epochs, before the first and after the last.
    record_every : int
    resume : RBMHistory, optional
        Go on from here, with its chains and velocity.
    generator : torch.Generator, optional
    progress : bool, optional
        Show a progress bar; unless given, in a live notebook only.

    Returns
    -------
    RBMHistory

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or ``resume`` is the history of another
        machine.
    FloatingPointError
        If the weights are not finite after an epoch.
    """
    check_int("n_epochs", n_epochs, 1)
    check_choice("method", method, METHODS)
    check_int("n_steps", n_steps, 1)
    check_int("batch_size", batch_size, 1)
    count = batch_size if n_chains is None else n_chains
    check_int("n_chains", count, 1)
    check_int("temperatures", temperatures, 2)
    check_positive("lr", lr)
    check_choice("schedule", schedule, tuple(SCHEDULES))
    check_between("momentum", momentum, 0.0, 1.0)
    if momentum == 1:
        raise ValueError(f"momentum must be below 1, got {momentum}")
    check_positive("weight_decay", weight_decay, allow_zero=True)
    check_int("record_every", record_every, 1)
    check_generator(generator)
    model._check(data, "data")
    if len(data) == 0:
        raise ValueError("data is empty: it must hold at least one row")
    history = RBMHistory() if resume is None else resume
    if not isinstance(history, RBMHistory):
        raise TypeError(f"resume must be an RBMHistory, got {type(history).__name__}")
    state = getattr(history.chains, "hidden", None)
    if state is not None and state.shape[1] != model.n_hidden:
        raise ValueError(
            "resume must be the history of this machine; its chains have "
            f"{state.shape[1]} hidden units, the machine {model.n_hidden}"
        )
    keep_freed_memory()
    if base_rates and resume is None and not bool(model.visible_bias.any()):
        model.base_bias.copy_(model._biases_of(data))
        model.visible_bias.copy_(model.base_bias)
    if history.chains is None:
        history.chains = make_chains(
            model, method, count, n_steps, temperatures, generator
        )
    record = recorder((model,), callbacks, record_every, history)
    step = _Updates(model, momentum, weight_decay, centred, history.velocity)
    first, last = history.n_epochs, history.n_epochs + n_epochs
    end = last if horizon is None else horizon
    check_int("horizon", end, 1)
    if resume is None:
        record(first, last=False)
    n_batches = -(-len(data) // batch_size)
    with tqdm(total=n_epochs, disable=not wants_bar(progress), desc="epochs") as bar:
        for epoch in range(first, last):
            began = time.perf_counter()
            order = torch.randperm(len(data), generator=generator, device=data.device)
            for i, rows in enumerate(order.split(batch_size)):
                rate = lr * SCHEDULES[schedule]((epoch + i / n_batches) / end)
                step(data.index_select(0, rows), history.chains, rate, generator)
            history.n_epochs = epoch + 1
            history.seconds += time.perf_counter() - began
            check_finite(
                f"weight after epoch {epoch + 1}", model.weight, "try a smaller lr"
            )
            record(epoch + 1, last=epoch + 1 == last)
            bar.update()
    return history


class _Updates:
    """The gradient step, with the rows of data and model in one product."""

    def __init__(
        self,
        model: _RBM,
        momentum: float,
        weight_decay: float,
        centred: bool,
        velocity: list[Tensor],
    ) -> None:
        self.model, self.centred = model, centred
        self.momentum, self.weight_decay = momentum, weight_decay
        self.parameters = [model.weight, model.visible_bias, model.hidden_bias]
        self.velocity = velocity
        if momentum and not velocity:
            velocity += [torch.zeros_like(p) for p in self.parameters]

    def __call__(
        self,
        batch: Tensor,
        chains: Chains,
        rate: float,
        generator: torch.Generator | None,
    ) -> None:
        """One update of the parameters from a batch (n, n_visible)."""
        model = self.model
        weight, data_v, data_h, model_v, model_h = chains(model, batch, generator)
        visible, hidden = data_v - model_v, data_h - model_h
        if self.centred:  # the derivative of the centred parameters, in the plain ones
            centre_v, centre_h = (data_v + model_v) / 2, (data_h + model_h) / 2
            weight.addr_(hidden, centre_v, alpha=-1).addr_(centre_h, visible, alpha=-1)
            visible = visible - centre_h @ weight
            hidden = hidden - weight @ centre_v
        if self.weight_decay:
            weight.sub_(model.weight, alpha=self.weight_decay)
        for i, gradient in enumerate((weight, model._scaled_back(visible), hidden)):
            if self.momentum:
                gradient = self.velocity[i].mul_(self.momentum).add_(gradient)
            self.parameters[i].add_(gradient, alpha=rate)
