"""Learning: layer by layer first, then all layers together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from ebmlib.dbm._model import DBM, Layers, flip, log_odds

_OFFSET_RATE = 0.05  # of the running means that centre the units
_SCHEDULES = ("constant", "linear")


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
    mean_field_steps: int = 25,
    centred: bool = True,
    weight_decay: float = 0.0,
    callbacks: Mapping[str, Callable[[DBM, int], Any]] | None = None,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> dict[str, list[Any]]:
    """Train all layers together, in place (Salakhutdinov and Hinton 2009, section 3).

    The gradient is the course's: products of neighbouring units averaged over the data,
    minus the same under the model.  Over the data the hidden units take their mean
    field; under the model, persistent chains are moved by ``n_steps`` block Gibbs
    sweeps an update.  ``centred`` takes the weight gradients from units with their
    running means subtracted and moves the biases accordingly (Montavon and Mueller
    2012): the same machine, better conditioned.

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
    mean_field_steps : int
        Sweeps at most for each batch; fewer once no probability moves by 0.001.
    centred : bool
    weight_decay : float
        Multiple of the weights that is subtracted from their gradient.
    callbacks : mapping of str to callable, optional
        ``call(model, epoch)``, before the first epoch and after each.
    generator : torch.Generator, optional
    progress : bool, optional
        Whether to show a bar; in a live notebook unless given.

    Returns
    -------
    dict of str to list
        What the callbacks returned.

    Raises
    ------
    FloatingPointError
        If the parameters have diverged.
    """
    check_choice("schedule", schedule, _SCHEDULES)
    _check_run(data, n_epochs, lr, batch_size, generator, width=model.sizes[0])
    for name, value in {"n_chains": n_chains, "n_steps": n_steps}.items():
        check_int(name, value, 1)
    check_int("mean_field_steps", mean_field_steps, 1)
    check_positive("weight_decay", weight_decay, allow_zero=True)
    callbacks = {} if callbacks is None else callbacks
    data = data.to(model.visible_bias)
    chains = model.random_states(n_chains, generator=generator)
    offsets = [data.mean(0), *(data.new_full((k,), 0.5) for k in model.sizes[1:])]
    records = {name: [call(model, 0)] for name, call in callbacks.items()}
    n_batches = -(-len(data) // batch_size)
    for epoch in _epochs(n_epochs, progress):
        for i, batch in enumerate(_batches(data, batch_size, generator)):
            left = 1 - (epoch + i / n_batches) / n_epochs
            found = model.mean_field(
                batch, max_steps=mean_field_steps, tolerance=1e-3, strict=False
            )
            chains = model.gibbs(chains, n_steps, generator=generator)
            positive = Layers(batch, found.hidden1, found.hidden2)
            negative = _means_beside(model, chains)
            if centred:
                for old, rows in zip(offsets[1:], positive[1:], strict=True):
                    old.lerp_(rows.mean(0), _OFFSET_RATE)
            rate = lr * (left if schedule == "linear" else 1.0)
            shifts = offsets if centred else [torch.zeros_like(o) for o in offsets]
            _ascend(model, positive, negative, shifts, rate, weight_decay)
        check_finite(f"weights after epoch {epoch + 1}", model.weight1, "lower lr")
        for name, call in callbacks.items():
            records[name].append(call(model, epoch + 1))
    return records


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
        first = Twins(model.weight1, model.visible_bias, model.hidden1_bias)
        first.fit(data.to(model.weight1), "outer", *run)
        hidden1 = flip(first.centre_mean(data.to(model.weight1), data), generator)
        bias = log_odds(hidden1)
        second = Twins(model.weight2.T, model.hidden2_bias, bias)
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
        chain = flip(data.new_full((batch_size, n_centre), 0.5), generator)
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
                pair = flip(mean, generator), flip(mean, generator)
                chain = flip(self.centre_mean(*pair), generator)
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
        return v.T @ h1 / len(h1), h1.T @ h2 / len(h1)

    up, down = products(positive), products(negative)
    step1 = rate * (up[0] - down[0] - weight_decay * model.weight1)
    step2 = rate * (up[1] - down[1] - weight_decay * model.weight2)
    v, h1, h2 = (
        rate * (p.mean(0) - n.mean(0)) for p, n in zip(positive, negative, strict=True)
    )
    at_v, at_h1, at_h2 = offsets
    model.weight1.add_(step1)
    model.weight2.add_(step2)
    model.visible_bias.add_(v - step1 @ at_h1)
    model.hidden1_bias.add_(h1 - at_v @ step1 - step2 @ at_h2)
    model.hidden2_bias.add_(h2 - at_h1 @ step2)


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
