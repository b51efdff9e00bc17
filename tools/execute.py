"""Execute the chapters side by side, into a cache that the build reads.

A chapter is executed again when its code changed, or ``ebmlib``, ``data/``, the lock,
the Python version, or an installed package that the library depends on. Each chapter
runs in a kernel of its own with one thread, two at a time by default.

``python -m tools.execute`` prints the seconds and the peak memory of every chapter.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import single_nb_execution
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
# A chapter's budget is 90 s (the style guide's, so that Binder can run it); past it
# the tool says so. At the limit, which a loaded machine should not reach, it fails.
BUDGET_SECONDS = 90
LIMIT_SECONDS = 300
# Threads that spin while they wait make small tensors many times slower; and a
# progress bar in a page is noise.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
RUNTIME = ("anywidget", "ipywidgets", "matplotlib", "numpy", "pillow", "scipy", "torch")


@dataclass(frozen=True)
class Run:
    """What executing one chapter came to.

    Attributes
    ----------
    path : Path
        The chapter.
    seconds : float
        Wall-clock time of its execution, now or when it was cached.
    megabytes : float
        Peak resident memory of its kernel; 0 when it came from the cache.
    cached : bool
        Whether nothing had to be executed.
    error : str
        The traceback that stopped it; empty when it ran through.
    """

    path: Path
    seconds: float
    megabytes: float = 0.0
    cached: bool = False
    error: str = ""


def chapters(root: Path = ROOT) -> list[Path]:
    """Return the notebooks of the table of contents, in its order."""
    toc = parse_toc_yaml(root / "_toc.yml")
    paths = (root / f"{name}.ipynb" for name in toc)
    return [path for path in paths if path.is_file()]


def source_files(folders: Iterable[Path]) -> list[Path]:
    """Return the files below some folders in a fixed order, without by-products."""
    skip = {"__pycache__", ".ipynb_checkpoints"}
    files = (p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file())
    return [p for p in files if not skip & set(p.parts) and p.suffix != ".tmp"]


def digest(root: Path, files: Iterable[Path], *extra: str) -> str:
    """Return a hash of the names and contents of files, and of some more strings."""
    total = hashlib.sha256("\n".join(extra).encode())
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()[:16]


def installed_versions() -> list[str]:
    """Return ``name==version`` of Python and of what the chapters import."""
    found = [f"python=={platform.python_version()}"]
    for name in RUNTIME:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return found


def cache_folder(root: Path = ROOT) -> Path:
    """Return the cache folder for the present state of the library and its data."""
    files = source_files([root / "ebmlib", root / "data"])
    files += [p for p in (root / "requirements.lock",) if p.is_file()]
    return caches(root) / digest(root, files, *installed_versions())


def caches(root: Path) -> Path:
    """Return the folder that holds the caches of all states."""
    return root / "_build" / ".jupyter_cache"


def prune(root: Path = ROOT) -> int:
    """Delete the caches of other states than the present one; return their number."""
    keep = cache_folder(root)
    old = [p for p in caches(root).glob("*") if p != keep]
    for path in old:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(old)


def last_lines(error: str, count: int = 40) -> str:
    """Return the end of a traceback without the colours of the terminal."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", error)
    return "\n".join(plain.rstrip().splitlines()[-count:])


def run_one(path: Path, timeout: int) -> tuple[nbformat.NotebookNode, Run]:
    """Execute one chapter in this process's first and only kernel.

    Parameters
    ----------
    path : Path
        The chapter; its kernel starts in its folder.
    timeout : int
        Seconds that one cell may take.
    """
    os.environ.update(KERNEL_ENVIRONMENT)
    notebook = nbformat.read(path, as_version=4)
    result = single_nb_execution(
        notebook,
        cwd=str(path.parent),
        timeout=timeout,
        allow_errors=False,
        meta_override=False,
        store_widget_state=False,
        # Errors only: at every start it warns that it talks over a local socket.
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    scale = 2**20 if sys.platform == "darwin" else 2**10
    error = last_lines(result.exc_string or "")
    return notebook, Run(path, result.time, peak / scale, error=error)


def find_cached(cache: JupyterCacheAbstract, path: Path) -> Run | None:
    """Return what the cache knows of a chapter's execution, or None."""
    try:
        record = cache.match_cache_notebook(nbformat.read(path, as_version=4))
    except KeyError:
        return None
    return Run(path, record.data.get("execution_seconds", 0.0), cached=True)


def describe(run: Run, root: Path) -> str:
    """Return the line that is printed for one chapter."""
    name = run.path.relative_to(root).as_posix()
    if run.cached:
        return f"{name}: unchanged (took {run.seconds:.1f} s when it was executed)"
    state = "FAILED after" if run.error else "executed in"
    line = f"{name}: {state} {run.seconds:.1f} s, peak {run.megabytes:.0f} MB"
    if run.seconds > BUDGET_SECONDS:
        line += f" -- over the budget of {BUDGET_SECONDS} s"
    return line


def execute(
    root: Path = ROOT,
    *,
    workers: int = WORKERS,
    limit: float = LIMIT_SECONDS,
) -> list[Run]:
    """Execute every chapter that the cache does not hold, and cache the outputs.

    Parameters
    ----------
    root : Path
        The repository's root, where ``_toc.yml`` is.
    workers : int
        How many chapters run at the same time.
    limit : float
        Seconds after which a chapter, or one cell of it, counts as failed.

    Returns
    -------
    list of Run
        One for each chapter. Those with an ``error`` are not cached.

    Raises
    ------
    ValueError
        `workers` or `limit` is not positive.
    """
    if workers < 1 or limit <= 0:
        raise ValueError(f"workers and limit must be positive, got {workers}, {limit}")
    cache = get_cache(str(cache_folder(root)))
    runs = [found for p in chapters(root) if (found := find_cached(cache, p))]
    for run in runs:
        print(f"  {describe(run, root)}", flush=True)
    todo = [p for p in chapters(root) if p not in {run.path for run in runs}]
    if not todo:
        return runs
    pool = ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1,
    )
    with pool:
        pending = {pool.submit(run_one, path, int(limit) or 1): path for path in todo}
        for future in as_completed(pending):
            run = store(cache, future, pending[future], limit)
            print(f"  {describe(run, root)}", flush=True)
            if run.error:
                print(run.error, file=sys.stderr, flush=True)
            runs.append(run)
    return runs


def store(
    cache: JupyterCacheAbstract,
    future: Future[tuple[nbformat.NotebookNode, Run]],
    path: Path,
    limit: float,
) -> Run:
    """Put the outputs of one finished execution into the cache, unless it failed."""
    try:
        notebook, run = future.result()
    except Exception as error:  # whatever went wrong in the worker, report it
        return Run(path, 0.0, error=f"{type(error).__name__}: {error}")
    if not run.error and run.seconds > limit:
        error = f"took {run.seconds:.0f} s; a chapter may take {limit:.0f} s"
        run = Run(path, run.seconds, run.megabytes, error=error)
    if not run.error:
        bundle = CacheBundleIn(
            notebook, str(path), data={"execution_seconds": run.seconds}
        )
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return run


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="where _toc.yml is")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    runs = execute(
        arguments.root.resolve(), workers=arguments.workers, limit=arguments.limit
    )
    failed = [run for run in runs if run.error]
    print(
        f"{len(runs)} chapters, {len(failed)} failed, "
        f"{time.perf_counter() - start:.1f} s"
    )
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
