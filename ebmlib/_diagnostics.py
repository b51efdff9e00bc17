"""Have the chains mixed, and how many independent draws are they worth?

Rank-normalised split R-hat and effective sample sizes after Vehtari et al. (2021), in
the definitions of ArviZ, with which they agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import fft, stats
from torch import Tensor

from ebmlib._checks import check_choice

_TAILS = (0.05, 0.95)


def split_rhat(draws: Any) -> Tensor:
    """Rank-normalised split R-hat: 1 when the chains agree, larger when they do not.

    Every chain is cut in two, all draws are replaced by normal scores of their ranks,
    and the variance between the pieces is compared with that within them; the same is
    done for the distances from the median, and the larger of the two is returned
    (Vehtari et al. 2021, section 4).  Values above 1.01 are a warning.  It sees
    only what the chains have seen: if none has found a mode, it cannot know.

    Parameters
    ----------
    draws : array_like, shape (m, n) or (m, n, d)
        ``m >= 4`` draws of each of ``n >= 2`` chains, as in ``Samples.trajectory``.

    Returns
    -------
    Tensor, shape () or (d,), float64
        Infinite when no chain moves and they stand at different places; NaN when all
        draws are equal.

    Raises
    ------
    ValueError
        If the shape is wrong, or there are too few draws or chains.
    FloatingPointError
        If a draw is NaN or infinite.
    """

    def of_column(column: np.ndarray) -> float:
        halves = _halves(column)
        folded = np.abs(halves - np.median(halves))
        return np.fmax(_rhat(_normal_scores(halves)), _rhat(_normal_scores(folded)))

    return _by_column(of_column, draws, 2)


def effective_sample_size(draws: Any, kind: str = "bulk") -> Tensor:
    """Number of independent draws that would tell as much as these dependent ones.

    ``"bulk"``: for the mean of the rank-normalised draws, from the autocorrelations of
    the split chains, truncated where pairs of them turn negative (Geyer 1992).
    ``"tail"``: the smaller of those for the 5 % and 95 % quantiles (Vehtari et al.
    2021, sections 3 and 4).

    Parameters
    ----------
    draws : array_like, shape (m, n) or (m, n, d)
        ``m >= 4`` draws of each of ``n`` chains, as in ``Samples.trajectory``.
    kind : {"bulk", "tail"}

    Returns
    -------
    Tensor, shape () or (d,), float64
        Between 0 and ``m n log10(m n)``.

    Raises
    ------
    ValueError
        If the shape is wrong, there are too few draws, or ``kind`` is unknown.
    FloatingPointError
        If a draw is NaN or infinite.
    """
    check_choice("kind", kind, ("bulk", "tail"))

    def of_bulk(column: np.ndarray) -> float:
        return _ess(_normal_scores(_halves(column)))

    def of_tail(column: np.ndarray) -> float:
        edges = stats.mstats.mquantiles(column, _TAILS, alphap=1, betap=1)
        return min(_ess(_halves(column <= edge).astype(float)) for edge in edges)

    return _by_column(of_bulk if kind == "bulk" else of_tail, draws, 1)


def _by_column(
    statistic: Callable[[np.ndarray], float], draws: Any, min_chains: int
) -> Tensor:
    """Apply a statistic of draws (n, m), one chain a row, to each coordinate."""
    if isinstance(draws, Tensor):
        draws = draws.detach().cpu()
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim not in (2, 3) or values.shape[0] < 4 or values.shape[1] < min_chains:
        raise ValueError(
            f"draws must have shape (m, n) or (m, n, d): at least 4 draws of at least "
            f"{min_chains} chain(s), got {values.shape}"
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise FloatingPointError(
            f"draws must be finite, got NaN or infinity in {bad} of {values.size}"
        )
    if values.ndim == 2:
        return torch.tensor(float(statistic(values.T)), dtype=torch.float64)
    columns = [float(statistic(values[:, :, j].T)) for j in range(values.shape[2])]
    return torch.tensor(columns, dtype=torch.float64)


def _halves(chains: np.ndarray) -> np.ndarray:
    """First and second half of every chain as chains of their own."""
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the average ranks (Blom 1958)."""
    ranks = stats.rankdata(values, method="average").reshape(values.shape)
    return stats.norm.ppf((ranks - 3 / 8) / (values.size + 1 / 4))


def _rhat(chains: np.ndarray) -> float:
    """Square root of the pooled variance over the variance within."""
    n_draws = chains.shape[1]
    between = n_draws * chains.mean(1).var(ddof=1)
    moves = np.ptp(chains, axis=1).any()  # else rounding would pass for a variance
    within = chains.var(axis=1, ddof=1).mean() if moves else np.float64(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that do not move
        return np.sqrt((between / within + n_draws - 1) / n_draws)


def _ess(chains: np.ndarray) -> float:
    """Effective sample size for the mean (Vehtari et al. 2021, equations 10 to 13)."""
    n_chains, n_draws = chains.shape
    if np.ptp(chains) < np.finfo(float).resolution:
        return float(chains.size)
    covariance = _autocovariances(chains).mean(0)
    within = covariance[0] * n_draws / (n_draws - 1)
    pooled = covariance[0]
    if n_chains > 1:
        pooled = pooled + chains.mean(1).var(ddof=1)
    rho = 1 - (within - covariance) / pooled
    rho[0] = 1.0
    pairs = rho[: n_draws // 2 * 2].reshape(-1, 2).sum(1)
    # pairs while they are positive, made to fall: Geyer's initial monotone sequence
    positive = pairs[: max(0, (n_draws - 3) // 2)] > 0
    n_pairs = len(positive) if positive.all() else int(positive.argmin())
    fallen = np.minimum.accumulate(pairs[:n_pairs]).sum()
    # of the first pair that is left out, the even lag counts once
    edge = rho[2 * n_pairs]
    tau = -1 + 2 * fallen + (edge if edge > 0 or pairs[n_pairs] >= 0 else 0.0)
    return chains.size / max(tau, 1 / np.log10(chains.size))


def _autocovariances(chains: np.ndarray) -> np.ndarray:
    """Autocovariance of each chain at every lag, by the fast Fourier transform."""
    n_draws = chains.shape[1]
    centred = chains - chains.mean(1, keepdims=True)
    power = fft.rfft(centred, n=fft.next_fast_len(2 * n_draws), axis=1)
    power = (power * power.conj()).real
    full = fft.irfft(power, n=fft.next_fast_len(2 * n_draws), axis=1)
    return full[:, :n_draws] / n_draws
