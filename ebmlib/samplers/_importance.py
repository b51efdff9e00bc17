"""Weighted draws: importance sampling, what it knows about itself, resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from ebmlib._checks import (
    check_choice,
    check_finite,
    check_generator,
    check_int,
    check_tensor,
)
from ebmlib.samplers._direct import (
    Target,
    check_proposal,
    draw,
    log_density,
    uniform,
)

RESAMPLING = ("systematic", "multinomial")


class ImportanceSample(NamedTuple):
    """Points from a proposal, weighted so that they stand for the target.

    Attributes
    ----------
    samples : Tensor, shape (n, d)
        Drawn from the proposal.
    log_weights : Tensor, shape (n,), float64
        ``-E(x) - log r(x)``: logarithms of unbiased estimates of ``Z``.
    weights : Tensor, shape (n,), float64
        The same, scaled to sum to 1.
    effective_sample_size : float
        ``1 / sum(weights**2)`` (Kong 1992), from 1 to n.
    log_partition : float
        ``log`` of the mean weight.  The mean is unbiased for ``Z``; its logarithm is
        low on average (Jensen).
    standard_error : float
        Of ``log_partition`` by the delta method, ``sqrt((n / ess - 1) / (n - 1))``.
        It means nothing when the weights have no variance: see ``pareto_k``.
    largest_weight : float
        The largest share that one point has.
    pareto_k : float
        Shape of the weights' tail, see :func:`pareto_k`: the variance is infinite above
        0.5, the mean is out of reach above about 0.7.
    """

    samples: Tensor
    log_weights: Tensor
    weights: Tensor
    effective_sample_size: float
    log_partition: float
    standard_error: float
    largest_weight: float
    pareto_k: float

    def expectation(
        self, g: Callable[[Tensor], Tensor] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Self-normalised estimate of the target's mean of ``g``, and its error.

        Parameters
        ----------
        g : callable or Tensor
            Maps the samples (n, d) to values (n, ...), or these values.

        Returns
        -------
        mean, standard_error : Tensor, Tensor, shape (...), float64
            The error is that of the delta method (Owen 2013, section 9.2):
            ``sqrt(sum(weights**2 (g - mean)**2))``.

        Raises
        ------
        ValueError
            If there is not one value a sample.
        FloatingPointError
            If the mean is NaN or infinite.
        """
        values = g if isinstance(g, Tensor) else g(self.samples)
        if values.shape[:1] != self.weights.shape:
            raise ValueError(
                f"g must give {len(self.weights)} rows, one a sample, got shape "
                f"{tuple(values.shape)}"
            )
        values = values.double()
        mean = torch.tensordot(self.weights, values, dims=1)
        check_finite("expectation of g", mean, "g must be finite at every sample")
        gap = (values - mean).square()
        return mean, torch.tensordot(self.weights.square(), gap, dims=1).sqrt()


def importance_sample(
    target: Target,
    proposal: Distribution,
    n: int,
    *,
    generator: torch.Generator | None = None,
) -> ImportanceSample:
    """Draw from a proposal and weight by ``exp(-E(x)) / r(x)``, kept as logarithms.

    Integrals run over the points that r can propose: where r is zero and the target is
    not, nothing is seen and nothing warns.

    Parameters
    ----------
    target : EnergyModel, Distribution or callable
        A model, a density, or an energy ``x (n, d) -> (n,)``, low where likely.
    proposal : torch.distributions.Distribution
        ``r``, with ``event_shape`` (d,).
    n : int
        At least 2.
    generator : torch.Generator, optional

    Returns
    -------
    ImportanceSample

    Raises
    ------
    FloatingPointError
        If an energy is NaN or ``-inf``, or the target is zero at every sample.
    """
    check_proposal("proposal", proposal)
    check_int("n", n, 2)
    check_generator(generator)
    x = draw(proposal, n, generator)
    log_weights = log_density(target, x) - log_density(proposal, x)
    return weigh(x, log_weights)


def weigh(x: Tensor, log_weights: Tensor) -> ImportanceSample:
    """Points and the logarithms of their weights, with everything derived from them."""
    if bool((log_weights == -math.inf).all()):
        raise FloatingPointError(
            f"every one of {len(x)} weights is zero: the target has no mass where the "
            "proposal puts its points"
        )
    n = len(log_weights)
    weights = torch.softmax(log_weights, 0)
    ess = 1 / float(weights.square().sum())
    return ImportanceSample(
        x,
        log_weights,
        weights,
        ess,
        float(torch.logsumexp(log_weights, 0)) - math.log(n),
        math.sqrt(max(0.0, n / ess - 1) / (n - 1)),
        float(weights.max()),
        pareto_k(log_weights),
    )


def pareto_k(log_weights: Tensor) -> float:
    """Shape k of the generalised Pareto tail of importance weights.

    A tail with shape k has moments of order below 1/k only: no variance above k = 0.5,
    no mean above k = 1.  The fit is that of Zhang and Stephens (2009) to the largest
    ``min(n / 5, 3 sqrt(n))`` weights, drawn towards 0.5 as if ten more of them had said
    so (Vehtari et al. 2024).

    Parameters
    ----------
    log_weights : Tensor, shape (n,)
        Minus infinity is a weight of zero.

    Returns
    -------
    float
        NaN where there is nothing to fit: fewer than 5 weights in the tail (n below
        about 25), or a tail of equal weights.
    """
    check_tensor("log_weights", log_weights)
    n = log_weights.numel()
    size = math.ceil(min(n / 5, 3 * math.sqrt(n)))
    if size < 5:
        return math.nan
    top = (log_weights - log_weights.max()).double().topk(size + 1).values.flip(0).exp()
    excess = (top[1:] - top[0]).cpu()
    quarter = excess[math.floor(size / 4 + 0.5) - 1]
    if excess[-1] == excess[0] or quarter <= 0:
        return math.nan
    m = 30 + math.floor(math.sqrt(size))
    steps = torch.arange(1, m + 1, dtype=torch.float64)
    b = (1 - (m / (steps - 0.5)).sqrt()) / (3 * quarter) + 1 / excess[-1]
    k = torch.log1p(-b[:, None] * excess).mean(1)
    log_profile = size * ((-b / k).log() - k - 1)
    b_mean = float(torch.softmax(log_profile, 0) @ b)
    fitted = float(torch.log1p(-b_mean * excess).mean())
    return (size * fitted + 10 * 0.5) / (size + 10)


def resample(
    weights: Tensor,
    n: int,
    *,
    method: str = "systematic",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Indices drawn in proportion to weights.

    Parameters
    ----------
    weights : Tensor, shape (m,)
        Non-negative, in any scale.
    n : int
    method : {"systematic", "multinomial"}
        ``"systematic"``: one random number, then equal steps through the cumulative
        weights; each index comes ``n w`` times, rounded up or down, so the noise is
        small, but the indices depend on each other and come in order.
        ``"multinomial"``: n independent draws.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor of int64, shape (n,)

    Raises
    ------
    ValueError
        If a weight is negative, none is positive, or the shape is wrong.
    """
    check_tensor("weights", weights)
    check_int("n", n, 1)
    check_choice("method", method, RESAMPLING)
    check_generator(generator)
    if weights.ndim != 1 or not bool((weights >= 0).all()) or not bool(weights.any()):
        raise ValueError(
            f"weights must have shape (m,), none negative or NaN and one positive, got "
            f"shape {tuple(weights.shape)}"
        )
    check_finite("weights", weights, "subtract the largest log-weight first")
    cumulative = weights.double().cpu().cumsum(0)
    if method == "systematic":
        offset = uniform(1, generator).cpu()
        u = (torch.arange(n, dtype=torch.float64) + offset) / n
    else:
        u = uniform(n, generator).cpu()
    index = torch.searchsorted(cumulative, u * cumulative[-1], right=True)
    return index.clamp_(max=int(weights.nonzero()[-1]))


class Resampled(NamedTuple):
    """Points of equal weight, made from weighted ones.

    Attributes
    ----------
    samples : Tensor, shape (n, d)
    n_distinct : int
        How many different proposals are among them.
    proposals : ImportanceSample
        The weighted points that they were chosen from.
    """

    samples: Tensor
    n_distinct: int
    proposals: ImportanceSample


def sampling_importance_resampling(
    target: Target,
    proposal: Distribution,
    n: int,
    *,
    n_proposals: int | None = None,
    method: str = "systematic",
    generator: torch.Generator | None = None,
) -> Resampled:
    """Draw weighted points, then n of them in proportion to their weights.

    The result follows the target only as ``n_proposals`` grows (Rubin 1987): it is
    never exact, repeats points, and cannot be better than the weights are.

    Parameters
    ----------
    target, proposal
        As in :func:`importance_sample`.
    n : int
        Points wanted.
    n_proposals : int, optional
        Points weighted; ten times n unless given.
    method : {"systematic", "multinomial"}
        See :func:`resample`.
    generator : torch.Generator, optional

    Returns
    -------
    Resampled
        In random order.

    Raises
    ------
    FloatingPointError
        As in :func:`importance_sample`.
    """
    check_int("n", n, 1)
    check_choice("method", method, RESAMPLING)
    size = max(2, 10 * n) if n_proposals is None else n_proposals
    weighted = importance_sample(target, proposal, size, generator=generator)
    index = resample(weighted.weights, n, method=method, generator=generator)
    shuffled = index[uniform(n, generator).cpu().argsort()]
    chosen = weighted.samples[shuffled.to(weighted.samples.device)]
    return Resampled(chosen, int(index.unique().numel()), weighted)
