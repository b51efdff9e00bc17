"""The one training loop of generators against critics, whatever the loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ebmlib._checks import (
    check_choice,
    check_finite,
    check_generator,
    check_int,
    check_positive,
    check_tensor,
)
from ebmlib._memory import keep_freed_memory
from ebmlib._progress import wants_bar
from ebmlib._training import recorder
from ebmlib.fit import SCHEDULES, TrainingDiverged
from ebmlib.gan._losses import critic_values, gradient_penalty, objective
from ebmlib.gan._networks import Generator

Callback = Callable[[Generator, nn.Module, int], Any]


@dataclass
class GANHistory:
    """What happened while a generator and a critic were trained.

    Attributes
    ----------
    critic_loss, base_loss : list of float
        At each step, before the update: the critic's loss at the last of its updates,
        without a gradient penalty, and the generator's.
    critic_grad_norm, base_grad_norm : list of float
        Euclidean norms of the gradients, penalty included.
    penalty : list of float
        The gradient penalty before its factor; empty if there was none.
    records : dict of str to list
        What the callbacks returned, at the steps in ``recorded_steps``.
    recorded_steps : list of int
        Number of steps made before each record.
    seconds : float
        Time spent in the loop, callbacks not counted.
    """

    critic_loss: list[float] = field(default_factory=list)
    base_loss: list[float] = field(default_factory=list)
    critic_grad_norm: list[float] = field(default_factory=list)
    base_grad_norm: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)
    records: dict[str, list[Any]] = field(default_factory=dict)
    recorded_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n_steps(self) -> int:
        """Number of steps made."""
        return len(self.critic_loss)


def train_gan(
    base: Generator,
    critic: nn.Module,
    data: Tensor,
    loss: str,
    n_steps: int,
    *,
    critic_steps: int = 1,
    batch_size: int = 256,
    lr: float = 1e-4,
    base_lr: float | None = None,
    betas: tuple[float, float] = (0.5, 0.9),
    schedule: str = "constant",
    gradient_penalty: float | None = None,
    clip: float | None = None,
    train_base: bool = True,
    callbacks: Mapping[str, Callback] | None = None,
    record_every: int = 100,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> GANHistory:
    """Train a generator against a critic, in place.

    A step makes ``critic_steps`` updates of the critic and one of the generator, each
    with Adam on fresh batches (Goodfellow et al. 2014, algorithm 1; Gulrajani et al.
    2017, algorithm 1).

    Parameters
    ----------
    base : Generator
    critic : nn.Module
        Gives data and samples a value each, shape (n,) or (n, 1): high on data.
    data : Tensor, shape (n, d) or (n, c, h, w)
    loss : {"minimax", "non_saturating", "wasserstein", "kale"}
        See :func:`~ebmlib.gan.objective`.
    n_steps : int
    critic_steps : int
        Updates of the critic a step.
    batch_size : int
        Rows of data, drawn with replacement, and samples in each update.
    lr : float
        Learning rate of both networks.
    base_lr : float, optional
        Learning rate of the generator, if it is another.
    betas : pair of float
        Adam's decay rates.
    schedule : {"constant", "cosine"}
        Course of both learning rates.
    gradient_penalty : float, optional
        Factor of :func:`~ebmlib.gan.gradient_penalty`, added to the critic's loss.
    clip : float, optional
        The critic's parameters are clipped to ``[-clip, clip]`` after each update.
    train_base : bool
        Whether the generator is updated; the critic alone is trained otherwise.
    callbacks : mapping of str to callable, optional
        ``callback(base, critic, step)`` is recorded under its name every
        ``record_every`` steps, before the first and after the last.
    record_every : int
    generator : torch.Generator, optional
        Of the random numbers.
    progress : bool, optional
        Show a progress bar; unless given, in a live notebook only.

    Returns
    -------
    GANHistory

    Raises
    ------
    TypeError
        If ``base`` is no :class:`~ebmlib.gan.Generator`, or ``data`` no tensor of the
        networks' dtype.
    ValueError
        If an argument is out of its range, or data and samples differ in shape.
    TrainingDiverged
        A ``FloatingPointError``: a loss or a gradient is NaN or infinite.  Both
        networks hold the parameters before that update.
    """
    check_int("n_steps", n_steps, 1)
    check_int("critic_steps", critic_steps, 1)
    check_int("batch_size", batch_size, 1)
    check_int("record_every", record_every, 1)
    check_positive("lr", lr)
    for name, value in (
        ("base_lr", base_lr),
        ("gradient_penalty", gradient_penalty),
        ("clip", clip),
    ):
        if value is not None:
            check_positive(name, value)
    check_choice("schedule", schedule, tuple(SCHEDULES))
    check_generator(generator)
    losses = objective(loss)
    _check_networks(base, critic, data)
    history = GANHistory()
    base_lr = lr if base_lr is None else base_lr
    of_critic = _Player("critic", critic, lr, betas, history)
    of_base = _Player("generator", base, base_lr, betas, history)
    record = recorder((base, critic), callbacks, record_every, history)
    keep_freed_memory()
    record(0, last=False)
    for step in tqdm(range(n_steps), disable=not wants_bar(progress), desc="gan"):
        began = time.perf_counter()
        rate = SCHEDULES[schedule](step / n_steps)
        for _ in range(critic_steps):
            rows = torch.randint(len(data), (batch_size,), generator=generator)
            real, fake = data[rows], base.sample(batch_size, generator=generator)
            values = critic_values(critic, real), critic_values(critic, fake)
            of_critic.loss = losses.critic(*values)
            extra = None
            if gradient_penalty is not None:
                extra = _penalty(critic, real, fake, generator=generator)
            of_critic.update(rate, extra, gradient_penalty)
            if clip is not None:
                for p in of_critic.parameters:
                    p.data.clamp_(-clip, clip)
        history.critic_loss.append(of_critic.value)
        history.critic_grad_norm.append(of_critic.norm)
        if extra is not None:
            history.penalty.append(extra.item())
        if train_base:
            z = base.sample_latent(batch_size, generator=generator)
            of_base.loss = losses.base(critic_values(critic, base(z)))
            of_base.update(rate)
            history.base_loss.append(of_base.value)
            history.base_grad_norm.append(of_base.norm)
        history.seconds += time.perf_counter() - began
        record(step + 1, last=step + 1 == n_steps)
    return history


_penalty = gradient_penalty


class _Player:
    """A network, its optimiser, and its loss at this update."""

    loss: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        lr: float,
        betas: tuple[float, float],
        history: GANHistory,
    ) -> None:
        self.name, self.lr, self.history = name, lr, history
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"the {name} must have a parameter to train, got none")
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=lr, betas=betas, fused=True
        )
        self.value = self.norm = math.nan

    def update(
        self, rate: float, extra: Tensor | None = None, factor: float | None = None
    ) -> None:
        """One step of the optimiser, or an error before the parameters change."""
        total = self.loss if extra is None else self.loss + factor * extra
        # only this network's gradients: the other one's are not wanted
        gradients = torch.autograd.grad(total, self.parameters)
        self.value = self.loss.item()
        flat = torch.cat([g.reshape(-1) for g in gradients])
        self.norm = torch.linalg.vector_norm(flat).item()
        if not (math.isfinite(total.item()) and math.isfinite(self.norm)):
            raise TrainingDiverged(
                f"the {self.name}'s loss is {total.item()} and its gradient norm "
                f"{self.norm} at step {self.history.n_steps}; both networks hold the "
                "parameters before this update: try a smaller lr, or a penalty",
                self.history,
            )
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.param_groups[0]["lr"] = self.lr * rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _check_networks(base: Generator, critic: nn.Module, data: Tensor) -> None:
    """Networks and data must fit together."""
    if not isinstance(base, Generator):
        raise TypeError(
            f"base must be an ebmlib.gan.Generator, got {type(base).__name__}; "
            "Generator(network) makes one of a network"
        )
    if not isinstance(critic, nn.Module):
        raise TypeError(f"critic must be an nn.Module, got {type(critic).__name__}")
    check_tensor("data", data)
    check_finite("data", data, "look for missing values")
    if data.ndim < 2 or not len(data):
        raise ValueError(
            f"data must have shape (n, ...) with n > 0, got {tuple(data.shape)}"
        )
    training = base.training
    # batch normalisation must not see the one point that only shows the shape
    shown = base.eval().sample(1, generator=torch.Generator(base.device))
    base.train(training)
    if shown.shape[1:] != data.shape[1:]:
        raise ValueError(
            f"data must have the shape of the generator's samples, "
            f"(n, {', '.join(map(str, shown.shape[1:]))}), got {tuple(data.shape)}"
        )
    if (shown.dtype, shown.device) != (data.dtype, data.device):
        raise TypeError(
            f"data must have the dtype and device of the generator, {shown.dtype} on "
            f"{shown.device}, got {data.dtype} on {data.device}"
        )
