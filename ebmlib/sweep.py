"""Claims about training are made over seeds: run a function over many settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from joblib import Parallel, delayed

Result = TypeVar("Result")


def sweep(
    run: Callable[..., Result],
    settings: Iterable[Mapping[str, Any]],
    *,
    n_jobs: int = 2,
) -> list[Result]:
    """Call ``run(**setting)`` for every setting, in parallel processes.

    Each process uses one torch thread: threads that spin on a busy core make small
    operations many times slower.  The results do not depend on ``n_jobs``.

    Parameters
    ----------
    run : callable
        Must draw its randomness from a seed in its setting.
    settings : iterable of mapping
        Keyword arguments of each call.
    n_jobs : int
        Processes; -1 for all cores.  Inside ``joblib.parallel_config(backend=...)`` the
        calls go to that backend instead, Dask or Ray on a cluster for example.

    Returns
    -------
    list
        One result a setting, in their order.
    """
    calls = (delayed(_one_thread)(run, dict(setting)) for setting in settings)
    return Parallel(n_jobs=n_jobs)(calls)


def _one_thread(run: Callable[..., Result], setting: dict[str, Any]) -> Result:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(**setting)
    finally:
        torch.set_num_threads(threads)
