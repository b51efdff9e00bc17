"""Learning: layer by layer first, then all layers together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ebmlib._checks import (
    check_choice,
    check_finite,
    check_generator,
    check_int,
    check_positive,
)
from ebmlib._progress import wants_bar
from ebmlib._training import recorder
from ebmlib.dbm._layers import Layers, log_odds
from ebmlib.dbm._model import DBM
from ebmlib.rbm._chains import coin

_OFFSET_RATE = 0.05  # of the running means that centre the units
_SCHEDULES = ("constant", "linear")
_POSTERIORS = ("mean_field", "gibbs")


@dataclass
class DBMHistory:
    """What happened while a machine was trained.

    Attributes
    ----------
    records : dict of str to list
        What the callbacks returned, at the epochs in ``recorded_steps``.
    recorded_steps : list of int
        Epochs finished before each record.
    seconds : float
        Time spent in the loop, callbacks not counted.
    """

    records: dict[str, list[Any]] = field(default_factory=dict)
    recorded_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    model: DBM,
    data: Tensor,
    n_epochs: int,
    *,
    lr: float = 0.02,
    schedule: str = "linear",
    batch_size: int = 100,
    n_chains: int = 100,
    n_steps: int = 1,
    posterior: str = "mean_field",
    posterior_steps: int = 25,
    centred: bool = True,
    weight_decay: float = 0.0,
    callbacks: Mapping[str, Callable[[DBM, int], Any]] | None = None,
    record_every: int = 1,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> DBMHistory:
    """Train all layers together, in place (Salakhutdinov and Hinton 2009, section 3).

    The gradient is the course's: products of neighbouring units averaged over the data,
    minus the same under the model.  Over the data the hidden units take their mean
    field, or samples; under the model, persistent chains are moved by ``n_steps`` block
    Gibbs sweeps an update.  ``centred`` takes the gradients of the weights from units
    with their running means subtracted, and moves the biases accordingly (Montavon and
    Mueller 2012): the same machine, better conditioned.

    Parameters
    ----------
    model : DBM
    data : Tensor, shape (n, n_visible)
        Zeros and ones.
    n_epochs : int
    lr : float
        Learning rate at first.
    schedule : {"linear", "constant"}
        ``"linear"`` falls to zero at the end.
    batch_size, n_chains, n_steps : int
    posterior : {"mean_field", "gibbs"}
        How the hidden units of the data are found.  ``"gibbs"``: chains with the
        visible units clamped, from fair coin flips; noisier, but no bound.
    posterior_steps : int
        Sweeps over the hidden layers for each batch; of the mean field at most so many,
        fewer once no probability moves by 0.001.
    centred : bool
    weight_decay : float
        Multiple of the weights that is subtracted from their gradient.
    callbacks : mapping of str to callable, optional
        ``call(model, epoch)`` is recorded under its name every ``record_every`` epochs,
        before the first and after the last.
    record_every : int
    generator : torch.Generator, optional
    progress : bool, optional
        Whether to show a bar; in a live notebook unless given.

    Returns
    -------
    DBMHistory

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    FloatingPointError
        If the parameters have diverged.
    """
    check_choice("schedule", schedule, _SCHEDULES)
    _check_run(data, n_epochs, lr, batch_size, generator, width=model.sizes[0])
    for name, value in {"n_chains": n_chains, "n_steps": n_steps}.items():
        check_int(name, value, 1)
    check_choice("posterior", posterior, _POSTERIORS)
    check_int("posterior_steps", posterior_steps, 1)
    check_positive("weight_decay", weight_decay, allow_zero=True)
    check_int("record_every", record_every, 1)
    history = DBMHistory()
    record = recorder((model,), callbacks, record_every, history)
    record(0, last=False)
    data = data.to(model.visible_bias)
    chains = model.random_states(n_chains, generator=generator)
    offsets = [data.mean(0), *(data.new_full((k,), 0.5) for k in model.sizes[1:])]
    n_batches = -(-len(data) // batch_size)
    for epoch in _epochs(n_epochs, progress):
        began = time.perf_counter()
        for i, batch in enumerate(_batches(data, batch_size, generator)):
            left = 1 - (epoch + i / n_batches) / n_epochs
            positive = complete(model, batch, posterior, posterior_steps, generator)
            chains = model.gibbs(chains, n_steps, generator=generator)
            negative = _means_beside(model, chains)
            if centred:
                for old, rows in zip(offsets[1:], positive[1:], strict=True):
                    old.lerp_(rows.mean(0), _OFFSET_RATE)
            rate = lr * (left if schedule == "linear" else 1.0)
            shifts = offsets if centred else [torch.zeros_like(o) for o in offsets]
            _ascend(model, positive, negative, shifts, rate, weight_decay)
        check_finite(f"weights after epoch {epoch + 1}", model.weight1, "lower lr")
        history.seconds += time.perf_counter() - began
        record(epoch + 1, last=epoch + 1 == n_epochs)
    return history


def pretrain(
    data: Tensor,
    n_hidden1: int,
    n_hidden2: int,
    n_epochs: int,
    *,
    lr: float = 0.02,
    batch_size: int = 100,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> DBM:
    """A machine whose layers were trained one after the other, as twin RBMs.

    The first RBM sees the data twice, with the same weights: its hidden units get twice
    the input from below that they will have in the machine, in place of the layer above
    that is still missing.  The second one has its hidden layer twice, and learns the
    first one's hidden states (Salakhutdinov and Hinton 2009, section 3.1).  Of each
    pair one copy is kept.  Then the machine's distribution of the first hidden layer is
    the normalised geometric mean of those of the two RBMs, which fixes its biases.

    Parameters
    ----------
    data : Tensor, shape (n, n_visible)
        Zeros and ones.
    n_hidden1, n_hidden2 : int
    n_epochs : int
        For each RBM.
    lr : float
        Learning rate at first; it falls to zero in a straight line.
    batch_size : int
    generator : torch.Generator, optional
    progress : bool, optional

    Returns
    -------
    DBM
    """
    _check_run(data, n_epochs, lr, batch_size, generator)
    model = DBM(data.shape[1], n_hidden1, n_hidden2, data=data, generator=generator)
    run = (n_epochs, lr, batch_size, generator, progress)
    with torch.no_grad():
        first = Twins(model.weight1.T, model.visible_bias, model.hidden1_bias)
        first.fit(data.to(model.weight1), "outer", *run)
        hidden1 = coin(first.centre_mean(data.to(model.weight1), data), generator)
        bias = log_odds(hidden1)
        second = Twins(model.weight2, model.hidden2_bias, bias)
        second.fit(hidden1, "centre", *run)
        model.hidden1_bias.add_(bias).div_(2)
    return model


class Twins:
    """An RBM with its outer layer twice, tied: ``E = -c'z - sum_i (a'y_i + y_i'W z)``.

    It is a deep Boltzmann machine too, with ``W2 = W1'``, and its parameters are
    changed in place.
    """

    def __init__(self, weight: Tensor, outer_bias: Tensor, centre_bias: Tensor) -> None:
        self.weight, self.outer_bias, self.centre_bias = weight, outer_bias, centre_bias

    def centre_mean(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.sigmoid(self.centre_bias + (first + second) @ self.weight)

    def outer_mean(self, centre: Tensor) -> Tensor:
        return torch.sigmoid(self.outer_bias + centre @ self.weight.T)

    def fit(
        self,
        data: Tensor,
        given: str,
        n_epochs: int,
        lr: float,
        batch_size: int,
        generator: torch.Generator | None,
        progress: bool | None,
    ) -> None:
        """Persistent contrastive divergence; data on both outer copies, or centre."""
        n_outer, n_centre = self.weight.shape
        chain = coin(data.new_full((batch_size, n_centre), 0.5), generator)
        offset_outer, offset_centre = (
            (data.mean(0), data.new_full((n_centre,), 0.5))
            if given == "outer"
            else (data.new_full((n_outer,), 0.5), data.mean(0))
        )
        n_batches = -(-len(data) // batch_size)
        for epoch in _epochs(n_epochs, progress):
            for i, batch in enumerate(_batches(data, batch_size, generator)):
                if given == "outer":
                    outer, centre = batch, self.centre_mean(batch, batch)
                    offset_centre.lerp_(centre.mean(0), _OFFSET_RATE)
                else:
                    outer, centre = self.outer_mean(batch), batch
                    offset_outer.lerp_(outer.mean(0), _OFFSET_RATE)
                mean = self.outer_mean(chain)
                pair = coin(mean, generator), coin(mean, generator)
                chain = coin(self.centre_mean(*pair), generator)
                model_outer = self.outer_mean(chain)
                rate = lr * (1 - (epoch + i / n_batches) / n_epochs)
                up = (outer - offset_outer).T @ (centre - offset_centre) / len(batch)
                down = (model_outer - offset_outer).T @ (chain - offset_centre)
                step = 2 * rate * (up - down / len(chain))  # two copies, one weight
                outer_step = 2 * rate * (outer.mean(0) - model_outer.mean(0))
                centre_step = rate * (centre.mean(0) - chain.mean(0))
                self.weight.add_(step)
                self.outer_bias.add_(outer_step - step @ offset_centre)
                self.centre_bias.add_(centre_step - 2 * offset_outer @ step)
            check_finite("weights of a pretrained layer", self.weight, "lower lr")


def complete(
    model: DBM,
    visible: Tensor,
    posterior: str,
    n_steps: int,
    generator: torch.Generator | None,
) -> Layers:
    """Data with their hidden units: means of the mean field, or samples."""
    if posterior == "mean_field":
        found = model.mean_field(
            visible, max_steps=n_steps, tolerance=1e-3, strict=False
        )
        return Layers(visible, found.hidden1, found.hidden2)
    _, *hidden = model.random_states(len(visible), generator=generator)
    states = Layers(visible, *hidden)
    states = model.gibbs(states, n_steps, clamp=["visible"], generator=generator)
    return states._replace(hidden2=model.hidden2_mean(states.hidden1))


def _means_beside(model: DBM, chains: Layers) -> Layers:
    """The chains' outer layers as means given the middle one: less noise, same mean."""
    h1 = chains.hidden1
    return Layers(model.visible_mean(h1), h1, model.hidden2_mean(h1))


@torch.no_grad()
def _ascend(
    model: DBM,
    positive: Layers,
    negative: Layers,
    offsets: list[Tensor],
    rate: float,
    weight_decay: float,
) -> None:
    """One step up the gradient of the centred machine, in the plain parameters."""

    def products(states: Layers) -> tuple[Tensor, Tensor]:
        v, h1, h2 = (s - o for s, o in zip(states, offsets, strict=True))
        return h1.T @ v / len(h1), h2.T @ h1 / len(h1)

    up, down = products(positive), products(negative)
    step1 = rate * (up[0] - down[0] - weight_decay * model.weight1)
    step2 = rate * (up[1] - down[1] - weight_decay * model.weight2)
    v, h1, h2 = (
        rate * (p.mean(0) - n.mean(0)) for p, n in zip(positive, negative, strict=True)
    )
    at_v, at_h1, at_h2 = offsets
    model.weight1.add_(step1)
    model.weight2.add_(step2)
    model.visible_bias.add_(v - at_h1 @ step1)
    model.hidden1_bias.add_(h1 - step1 @ at_v - at_h2 @ step2)
    model.hidden2_bias.add_(h2 - step2 @ at_h1)


def _epochs(n_epochs: int, progress: bool | None) -> Iterator[int]:
    return tqdm(range(n_epochs), unit="epoch", disable=not wants_bar(progress))


def _batches(
    data: Tensor, size: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    order = torch.randperm(len(data), generator=generator)
    return (data[rows] for rows in order.split(size))


def _check_run(
    data: Tensor,
    n_epochs: int,
    lr: float,
    batch_size: int,
    generator: torch.Generator | None,
    *,
    width: int | None = None,
) -> None:
    log_odds(data, width)  # zeros and ones of that width
    check_int("n_epochs", n_epochs, 1)
    check_positive("lr", lr)
    check_int("batch_size", batch_size, 1)
    check_generator(generator)
