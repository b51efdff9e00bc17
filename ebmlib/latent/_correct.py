"""Three ways to draw from a generator corrected by its discriminator, chains apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebmlib._checks import check_finite, check_generator, check_int, check_number
from ebmlib.gan import critic_values
from ebmlib.latent._energy import Logit, check_base, check_logit
from ebmlib.samplers import ImportanceSample, Samples, State, sample
from ebmlib.samplers._direct import uniform
from ebmlib.samplers._importance import weigh

_CHUNK = 1 << 14  # points of the generator at once: bounds the memory


def reweight(
    base: Any, logit: Logit, n: int, *, generator: torch.Generator | None = None
) -> ImportanceSample:
    """Draw from the generator and weight by ``exp(d(x))``.

    The samples with their weights stand for ``p_g exp(d) / Z_0``; ``log_partition``
    estimates ``log Z_0``, which is 0 for the exact log-ratio.
    `ebmlib.samplers.resample` turns them into samples of equal weight.

    Parameters
    ----------
    base : Generator
    logit : callable
        d, from points (n, d) to (n,) or (n, 1).
    n : int
        At least 2.
    generator : torch.Generator, optional

    Returns
    -------
    ImportanceSample
        ``samples`` are points, not latent points.

    Raises
    ------
    FloatingPointError
        If a logit is NaN or ``+inf``, or every weight is zero.
    """
    check_int("n", n, 2)
    x, d = _propose(base, logit, n, generator)
    return weigh(x, d)


class DiscriminatorRejection(NamedTuple):
    """What rejection by a discriminator found.

    Attributes
    ----------
    samples : Tensor, shape (n, d)
    acceptance : float
        Share of the proposals that were kept.
    log_bound : float
        The largest logit seen in the end.
    n_raised : int
        How often a proposal exceeded the largest logit seen before it: each one says
        that the points kept until then were kept with too large a probability.
    n_proposed : int
        The proposals that the bound was estimated from are not counted.
    """

    samples: Tensor
    acceptance: float
    log_bound: float
    n_raised: int
    n_proposed: int


def discriminator_rejection(
    base: Any,
    logit: Logit,
    n: int,
    *,
    gamma: float | None = None,
    n_bound: int = 10_000,
    max_proposals: int = 10_000_000,
    generator: torch.Generator | None = None,
) -> DiscriminatorRejection:
    """Keep a generator's point with probability ``exp(d(x) - d_max)``.

    Discriminator rejection sampling (Azadi et al. 2019).  The largest logit is not
    known; it is estimated from a first batch and raised whenever a proposal exceeds
    it.  With the exact log-ratio and the true maximum the samples are exact.

    Parameters
    ----------
    base : Generator
    logit : callable
        d, from points (n, d) to (n,) or (n, 1).
    n : int
        Samples wanted.
    gamma : float, optional
        Shift of the acceptance's own logit ``F = d - d_max - log(1 - exp(d - d_max))``:
        a point is kept with probability ``sigmoid(F - gamma)``.  ``None`` and 0 are the
        rule above; a positive one keeps fewer points and better ones, a negative one
        keeps more, and neither draws from ``p_g exp(d)`` any longer.
    n_bound : int
        Points that the first estimate of the largest logit is made from.
    max_proposals : int
        Give up after so many.
    generator : torch.Generator, optional

    Returns
    -------
    DiscriminatorRejection

    Raises
    ------
    RuntimeError
        If ``max_proposals`` do not suffice.
    FloatingPointError
        If a logit is NaN or ``+inf``.
    """
    check_int("n", n, 1)
    check_int("n_bound", n_bound, 1)
    check_int("max_proposals", max_proposals, n)
    check_number("gamma", gamma := 0.0 if gamma is None else gamma)
    bound = _propose(base, logit, n_bound, generator)[1].max()
    kept: list[Tensor] = []
    accepted = proposed = raised = 0
    while accepted < n:
        if proposed >= max_proposals:
            raise RuntimeError(
                f"only {accepted} of n={n} samples after max_proposals={max_proposals} "
                "proposals; a larger d than any other makes all the others rare: "
                "calibrate the logits, or use gamma < 0 and lose exactness"
            )
        guess = (accepted + 1) / (proposed + 1)
        size = min(int(1.1 * (n - accepted) / guess) + 32, _CHUNK)
        x, d = _propose(base, logit, min(size, max_proposals - proposed), generator)
        before = torch.cat([bound[None], d]).cummax(0).values[:-1]
        log_keep = d - torch.maximum(before, d)
        # sigmoid(F - gamma), with F as above, is a / (a + (1 - a) exp(gamma))
        keep = log_keep.exp() / (
            log_keep.exp() - torch.expm1(log_keep) * math.exp(gamma)
        )
        place = (uniform(len(d), generator).to(d.device) < keep).nonzero()
        place = place[: n - accepted, 0]
        accepted += len(place)
        used = int(place[-1]) + 1 if accepted == n else len(d)
        kept.append(x[place])
        proposed += used
        raised += int((d > before)[:used].sum())
        bound = torch.maximum(bound, d[:used].max())
    return DiscriminatorRejection(
        torch.cat(kept), accepted / proposed, float(bound), raised, proposed
    )


def mh_acceptance(logit: Tensor, proposed: Tensor) -> Tensor:
    """Probability that a chain at a point with one logit moves to one with another.

    ``min(1, (1/D - 1) / (1/D' - 1))`` with ``D = sigmoid(d)`` (Turner et al. 2019),
    computed as ``min(1, exp(d' - d))``, which is the same and keeps its digits where
    D is 0 or 1 to the last one.

    Parameters
    ----------
    logit, proposed : Tensor, shape (...)
        d where the chain is, d' at the proposal.

    Returns
    -------
    Tensor, shape (...)
    """
    return (proposed - logit).clamp(max=0).exp()


@dataclass(frozen=True)
class _Independence:
    """A kernel of `ebmlib.samplers` whose proposals come from a generator."""

    base: Any

    def init(self, positions: Tensor, energy: Any) -> State:
        moved = torch.zeros(len(positions), dtype=torch.bool)
        return State(positions, energy(positions), None, moved)

    def step(
        self, state: State, energy: Any, *, generator: torch.Generator | None = None
    ) -> State:
        x = self.base(self.base.sample_latent(len(state.energy), generator=generator))
        e = energy(x)
        accepted = uniform(len(e), generator) < mh_acceptance(-state.energy, -e)
        return State(
            torch.where(accepted[:, None], x, state.positions),
            torch.where(accepted, e, state.energy),
            None,
            accepted,
        )


def mh_gan(
    base: Any,
    logit: Logit,
    n_chains: int,
    n_steps: int,
    *,
    initial: Tensor | None = None,
    trajectory: bool = False,
    generator: torch.Generator | None = None,
) -> Samples:
    """Metropolis-Hastings with proposals from the generator (Turner et al. 2019).

    Every step proposes a new point of the generator, whatever the chain's place, and
    moves with probability :func:`mh_acceptance`.  ``p_g exp(d)`` is invariant.

    Parameters
    ----------
    base : Generator
    logit : callable
        d, from points (n, d) to (n,) or (n, 1); calibrated, if it is to be believed.
    n_chains, n_steps : int
    initial : Tensor, shape (n_chains, d), optional
        Where the chains start: data points as in the paper, which need no burn-in
        where d is exact, or points of the generator, which is the default.
    trajectory : bool
        Whether to keep all positions, ``n_steps * n_chains * d`` numbers.
    generator : torch.Generator, optional

    Returns
    -------
    Samples
        Of :func:`ebmlib.samplers.sample`, with ``energy`` the logits' negative.  A
        chain with ``acceptance`` 0 never left its start: started from the data, it is
        a data point, and not a sample.

    Raises
    ------
    ValueError
        If ``initial`` has another number of rows than ``n_chains``.
    FloatingPointError
        If a logit is NaN or ``+inf``.
    """
    check_int("n_chains", n_chains, 1)
    check_base(base)
    check_logit(logit)
    check_generator(generator)
    if initial is None:
        initial = _propose(base, logit, n_chains, generator)[0]
    if len(initial) != n_chains:
        raise ValueError(
            f"initial must have n_chains={n_chains} rows, got {len(initial)}"
        )
    with torch.no_grad():
        return sample(
            _Independence(base),
            lambda x: -_checked(critic_values(logit, x)),
            initial,
            n_steps,
            trajectory=trajectory,
            progress=False,
            generator=generator,
        )


def _propose(
    base: Any, logit: Logit, n: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Points of the generator (n, d) and their logits (n,), float64; no graph."""
    check_base(base)
    check_logit(logit)
    check_generator(generator)
    with torch.no_grad():
        z = base.sample_latent(n, generator=generator)
        parts = [(x, critic_values(logit, x)) for x in map(base, z.split(_CHUNK))]
    x, d = (torch.cat(part) for part in zip(*parts, strict=True))
    return x, _checked(d)


def _checked(d: Tensor) -> Tensor:
    """Logits in float64; ``-inf``, never kept, is fine, NaN and ``+inf`` are not."""
    d = d.double()
    finite = torch.where(d == -math.inf, 0.0, d)
    check_finite(f"logit at {len(d)} points", finite, "train or calibrate it again")
    return d
