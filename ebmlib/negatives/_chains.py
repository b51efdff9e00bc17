"""Negative phases made of Markov chains: a few steps, from one start or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import check_between, check_int, check_points
from ebmlib.energy import EnergyModel
from ebmlib.negatives._phase import Negatives
from ebmlib.samplers import Kernel, TemperedState
from ebmlib.samplers._direct import check_proposal, draw
from ebmlib.samplers._energies import frozen, outside

Schedule = Callable[[float], Kernel]
Start = Distribution | Tensor


class _Chains:
    """A kernel, and how many of its steps an update of the model costs."""

    def __init__(self, kernel: Kernel | Schedule, n_steps: int) -> None:
        check_int("n_steps", n_steps, 1)
        if not (hasattr(kernel, "step") or callable(kernel)):
            raise TypeError(
                "kernel must be a kernel, such as Langevin(0.01), or a function from "
                f"the fraction of the steps made to one, got {type(kernel).__name__}"
            )
        self.kernel, self.n_steps = kernel, n_steps

    def check_data(self, data: Tensor) -> None:
        """Require data in the kernel's box, which no chain leaves.

        Raises
        ------
        ValueError
            If a point of ``data`` (n, d) lies outside.
        """
        check_points("data", data)
        kernel = _kernel(self.kernel, 0.0)
        bounds = getattr(getattr(kernel, "kernel", kernel), "bounds", None)
        if bounds is not None and (out := outside(data, bounds)).any():
            first = int(out.nonzero()[0])
            raise ValueError(
                f"data must lie in the kernel's box [{bounds[0]}, {bounds[1]}], got "
                f"{int(out.sum())} points outside it, the first in row {first}: "
                f"{data[first].tolist()}"
            )

    def _run(
        self, model: EnergyModel, state: Any, generator: torch.Generator | None
    ) -> Any:
        """The state after ``n_steps``, from a state or from positions (n, d)."""
        with frozen(model):
            for i in range(self.n_steps):
                kernel = _kernel(self.kernel, i / self.n_steps)
                try:
                    if i == 0:
                        state = _begin(kernel, state, model)
                    state = kernel.step(state, model, generator=generator)
                except FloatingPointError as error:
                    raise FloatingPointError(
                        f"step {i + 1} of {self.n_steps} of the negative chains: "
                        f"{error}; a smaller lr helps when the energy grows"
                    ) from error
        return state


class ShortRunNegatives(_Chains):
    """K steps from fresh noise, at every update (Nijkamp et al. 2019).

    The chains do not converge, and are not meant to.  Where such learning comes to
    rest, the law of the K-th step has the same mean of ``dE/dtheta`` as the data: it is
    that law which fits the data, and not ``exp(-E) / Z``.

    Parameters
    ----------
    kernel : kernel or callable
        For example ``Langevin(0.01, bounds=(-1.0, 1.0))``; or a function from the
        fraction of the steps already made, in [0, 1), to a kernel, for a step size or a
        temperature that changes along the way.
    n_steps : int
        K.
    initial : torch.distributions.Distribution or Tensor
        Where the chains start: drawn anew each time from a distribution with
        ``event_shape`` (d,), or always the points (m, d).
    n_chains : int
        Chains, when ``initial`` is a distribution.
    """

    def __init__(
        self,
        kernel: Kernel | Schedule,
        n_steps: int,
        initial: Start,
        *,
        n_chains: int = 500,
    ) -> None:
        super().__init__(kernel, n_steps)
        _check_start(initial, n_chains)
        self.initial, self.n_chains = initial, n_chains

    def __call__(
        self, model: EnergyModel, *, generator: torch.Generator | None = None
    ) -> Negatives:
        """Where the chains are after K steps, all with the same weight."""
        start = _starts(self.initial, self.n_chains, model, generator)
        return _equal(self._run(model, start, generator).positions)


class PersistentNegatives(_Chains):
    """Chains that go on from one update to the next (Younes 1988; Tieleman 2008).

    While the model changes slowly the chains stay close to its own law, though each
    update pays for a few steps only.  In restricted Boltzmann machines this is called
    persistent contrastive divergence.

    Parameters
    ----------
    kernel : kernel or callable
        As for :class:`ShortRunNegatives`; ``ParallelTempering`` keeps its replicas.
    n_steps : int
        Steps at each update.
    initial : torch.distributions.Distribution or Tensor
        Where the chains begin, and begin again: a distribution with ``event_shape``
        (d,), or the points (m, d).
    n_chains : int
        Chains, when ``initial`` is a distribution.
    restart : float
        Share of the chains that begin again at each update, chosen at random (Du and
        Mordatch 2019 use 0.05).

    Attributes
    ----------
    state : State or None
        Of the chains after the last call.  ``None`` makes them begin again.
    """

    def __init__(
        self,
        kernel: Kernel | Schedule,
        n_steps: int,
        initial: Start,
        *,
        n_chains: int = 500,
        restart: float = 0.0,
    ) -> None:
        super().__init__(kernel, n_steps)
        _check_start(initial, n_chains)
        check_between("restart", restart, 0.0, 1.0)
        self.initial, self.n_chains, self.restart = initial, n_chains, restart
        self.state: Any = None

    def __call__(
        self, model: EnergyModel, *, generator: torch.Generator | None = None
    ) -> Negatives:
        """Where the chains are ``n_steps`` after the last call, equally weighted."""
        if self.state is None or self.restart == 1:
            self.state = _starts(self.initial, self.n_chains, model, generator)
        elif self.restart > 0:
            fresh = _starts(self.initial, self.n_chains, model, generator)
            again = torch.rand(len(fresh), generator=generator) < self.restart
            self.state = _restarted(self.state, fresh, again.to(fresh.device))
        self.state = self._run(model, self.state, generator)
        return _equal(self.state.positions)


class ContrastiveNegatives(_Chains):
    """K steps from the data: contrastive divergence (Hinton 2002).

    Each chain starts at a point of this step's data term, the minibatch or all the
    data.  Its mean gradient differs from zero only where the kernel moves the data:
    what lies far from all data is never seen.

    Parameters
    ----------
    kernel : kernel or callable
        As for :class:`ShortRunNegatives`.
    n_steps : int
        K, as in CD-K.
    """

    uses_data = True

    def __call__(
        self,
        model: EnergyModel,
        *,
        data: Tensor,
        generator: torch.Generator | None = None,
    ) -> Negatives:
        """Where chains from the points ``data`` (n, d) are after K steps."""
        return _equal(self._run(model, data, generator).positions)


def _kernel(kernel: Kernel | Schedule, fraction: float) -> Kernel:
    return kernel if hasattr(kernel, "step") else kernel(fraction)


def _begin(kernel: Kernel, state: Any, model: EnergyModel) -> Any:
    """A state whose energies are those of the model as it is now."""
    if isinstance(state, TemperedState):
        cold = kernel.kernels[0]  # energies do not depend on the temperature
        fresh = tuple(cold.init(r.positions, model) for r in state.replicas)
        return state._replace(replicas=fresh)
    positions = state if isinstance(state, Tensor) else state.positions
    return kernel.init(positions, model)


def _restarted(state: Any, fresh: Tensor, again: Tensor) -> Any:
    """Some chains, all their replicas with them, put at fresh points."""
    if isinstance(state, TemperedState):
        replicas = tuple(_restarted(r, fresh, again) for r in state.replicas)
        return state._replace(replicas=replicas)
    return state._replace(positions=torch.where(again[:, None], fresh, state.positions))


def _check_start(initial: Start, n_chains: int) -> None:
    check_int("n_chains", n_chains, 1)
    if isinstance(initial, Tensor):
        check_points("initial", initial, allow_empty=False)
    else:
        check_proposal("initial", initial)


def _starts(
    initial: Start, n: int, model: EnergyModel, generator: torch.Generator | None
) -> Tensor:
    """Starting points in the dtype of the model, (n, d)."""
    if not isinstance(initial, Tensor):
        initial = draw(initial, n, generator)
    return initial.to(next(model.parameters(), initial))


def _equal(points: Tensor) -> Negatives:
    return Negatives(points, points.new_full((len(points),), 1 / len(points)))
