"""Build the site: check the sources, execute the chapters, make the pages.

``python -m tools.build`` is what ``make book`` runs. Every warning is an error. When
nothing that the site is made from changed since the last good build, it says so and
is done.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools import notebooks
from tools.execute import (
    ROOT,
    cache_folder,
    chapters,
    digest,
    execute,
    installed_versions,
    prune,
    source_files,
)


def state(root: Path) -> str:
    """Return a hash of everything that the site is made from."""
    names = ("_config.yml", "_toc.yml", "requirements.lock", "CHANGELOG.md")
    files = [root / name for name in names if (root / name).is_file()]
    files += source_files(root / name for name in ("book", "ebmlib", "data", "tools"))
    origin = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    return digest(root, files, origin, repository, *installed_versions())


def step(title: str, action: Callable[[], bool]) -> bool:
    """Run one step of the build; print its name, its result and its time."""
    print(f"-- {title}", flush=True)
    start = time.perf_counter()
    good = action()
    word = "done" if good else "FAILED"
    print(f"   {word} in {time.perf_counter() - start:.1f} s", flush=True)
    return good


def sources_good(root: Path) -> bool:
    """Check the chapters' sources; print what is wrong with them."""
    found = [line for path in chapters(root) for line in notebooks.check(path)]
    for line in found:
        print(line, file=sys.stderr)
    return not found


def executed(root: Path, workers: int) -> bool:
    """Execute what the cache does not hold; say whether all of it ran through."""
    if old := prune(root):
        print(f"  dropped the outputs of {old} earlier states")
    return not any(run.error for run in execute(root, workers=workers))


def pages_built(root: Path) -> bool:
    """Make the pages from the cache, in a new folder, with warnings as errors."""
    for folder in ("html", ".doctrees", "jupyter_execute"):
        shutil.rmtree(root / "_build" / folder, ignore_errors=True)
    command = ["from jupyter_book.cli.main import main; main()"]
    command += ["build", str(root), "-W", "--keep-going", "--all", "-q"]
    before = len(list(cache_folder(root).rglob("base.ipynb")))
    # Warnings and errors go to stderr; the rest, which says little, to a file.
    with (root / "_build" / "pages.log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", *command], cwd=root, check=False, stdout=log
        )
    if len(list(cache_folder(root).rglob("base.ipynb"))) != before:
        print("  a chapter was executed again: the cache did not hold it")
        return False
    return done.returncode == 0


def build(root: Path = ROOT, *, workers: int = 2, force: bool = False) -> bool:
    """Build the site in ``_build/html``.

    Parameters
    ----------
    root : Path
        The repository's root.
    workers : int
        How many chapters are executed at the same time.
    force : bool
        Make the pages even when nothing changed.

    Returns
    -------
    bool
        Whether there is now a site that shows the present sources.
    """
    start = time.perf_counter()
    page = root / "_build" / "html" / "index.html"
    stamp = root / "_build" / ".state"
    present = state(root)
    last = stamp.read_text("utf-8") if stamp.is_file() and page.is_file() else ""
    if present == last and not force:
        print(f"Nothing changed. The book is at {page.as_uri()}")
        return True
    stamp.unlink(missing_ok=True)
    good = (
        step("checking the sources of the chapters", lambda: sources_good(root))
        and step("executing the chapters", lambda: executed(root, workers))
        and step("building the pages", lambda: pages_built(root))
    )
    seconds = time.perf_counter() - start
    if not good:
        print(f"The book was not built ({seconds:.0f} s).", file=sys.stderr)
        return False
    stamp.write_text(present, "utf-8")
    print(f"Built in {seconds:.0f} s. The book is at {page.as_uri()}")
    print("`make serve` shows it at an address of this machine.")
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository's root")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="build in any case")
    arguments = parser.parse_args(argv)
    root = arguments.root.resolve()
    return not build(root, workers=arguments.workers, force=arguments.force)


if __name__ == "__main__":
    raise SystemExit(main())
