"""Write and check ``requirements.lock``: one exact set of versions for the book.

``python -m tools.lock --update`` resolves the ranges of ``pyproject.toml`` in a
throw-away environment and writes what came out; ``--check`` says whether the lock,
``pyproject.toml`` and ``environment.yml`` still agree.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("book", "test")

# What the channel calls a package that the index knows by another name. A second
# name is a package that brings the first with it.
CONDA_NAMES = {
    "matplotlib-base": "matplotlib",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
}
# In environment.yml for the reader's sake only: nothing here imports them.
CONDA_ONLY = {"python", "pip", "jupyterlab"}

HEADER = """\
# Exact versions of everything that builds and tests the book, also of what is only
# needed by something else. Written by `make lock`; do not edit by hand.
# Installed without a build tag after the version, so that each system takes its own
# build; packages that one system alone needs are resolved when it installs.
"""


def read_lock(text: str) -> dict[str, str]:
    """Return the pinned version of every package in a lock.

    Parameters
    ----------
    text : str
        The contents of ``requirements.lock``.

    Returns
    -------
    dict
        Canonical package name to version.

    Raises
    ------
    ValueError
        A line is not ``name==version``, or it carries a local build tag.
    """
    pins: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
        if match is None:
            raise ValueError(
                f"requirements.lock, line {number}: {line!r} is not 'name==version' "
                "with a version that every system can install"
            )
        pins[canonicalize_name(match[1])] = match[2]
    return pins


def read_pyproject(text: str) -> dict[str, SpecifierSet]:
    """Return the version range of every direct dependency, extras included."""
    project = tomllib.loads(text)["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r.specifier for r in requirements}


def read_environment(text: str) -> dict[str, SpecifierSet]:
    """Return the version range of every package named in ``environment.yml``."""
    ranges: dict[str, SpecifierSet] = {}
    for entry in yaml.safe_load(text)["dependencies"]:
        lines = entry["pip"] if isinstance(entry, dict) else [entry]
        for line in lines:
            if line.startswith(("-e", ".")):
                continue
            match = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", line)
            if match is None:
                raise ValueError(f"environment.yml: cannot read {line!r}")
            name = canonicalize_name(CONDA_NAMES.get(match[1], match[1]))
            spec = re.sub(r"^=(?!=)(\S+)$", r"==\1.*", match[2].strip())
            ranges[name] = SpecifierSet(spec)
    return ranges


def disagreements(pyproject: str, lock: str, environment: str) -> list[str]:
    """Say where the three files that name versions contradict each other.

    Parameters
    ----------
    pyproject, lock, environment : str
        The contents of ``pyproject.toml``, ``requirements.lock``, ``environment.yml``.

    Returns
    -------
    list of str
        One sentence for each contradiction; empty when they agree.
    """
    wanted, pins = read_pyproject(pyproject), read_lock(lock)
    conda = read_environment(environment)
    needed = tomllib.loads(pyproject)["project"]
    runtime = {canonicalize_name(Requirement(r).name) for r in needed["dependencies"]}
    book = {
        canonicalize_name(Requirement(r).name)
        for r in needed["optional-dependencies"]["book"]
    }
    found = []
    for name, spec in wanted.items():
        if name not in pins:
            found.append(f"{name} is in pyproject.toml but not in requirements.lock")
        elif not spec.contains(pins[name], prereleases=True):
            found.append(
                f"{name}: the lock has {pins[name]}, pyproject.toml wants {spec}"
            )
    for name in sorted((runtime | book) - set(conda)):
        found.append(f"{name} is in pyproject.toml but not in environment.yml")
    for name, spec in conda.items():
        if name in CONDA_ONLY:
            continue
        if name not in wanted:
            found.append(f"{name} is in environment.yml but not in pyproject.toml")
        elif spec != wanted[name]:
            found.append(
                f"{name}: environment.yml wants {spec or 'anything'}, "
                f"pyproject.toml wants {wanted[name] or 'anything'}"
            )
    return found


def resolve(root: Path = ROOT) -> str:
    """Resolve the ranges in a new environment and return the lock's text."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        # A torch that is already chosen stays: its newest build is several
        # gigabytes, and changing it is a decision of its own (edit the lock first).
        pins = read_lock((root / "requirements.lock").read_text("utf-8"))
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, f"torch=={pins['torch']}"], check=True)
        target = f"{root}[{','.join(EXTRAS)}]"
        subprocess.run([*install, target], check=True)
        frozen = subprocess.run(
            [str(python), "-m", "pip", "freeze", "--exclude", "ebmlib"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return HEADER + re.sub(r"\+[\w.]+$", "", frozen, flags=re.MULTILINE)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="compare the three files")
    action.add_argument("--update", action="store_true", help="resolve and write")
    arguments = parser.parse_args(argv)
    if arguments.update:
        text = resolve()
        temporary = ROOT / "requirements.lock.tmp"
        temporary.write_text(text, "utf-8")
        temporary.replace(ROOT / "requirements.lock")
        print(f"requirements.lock: {len(read_lock(text))} packages")
    names = ("pyproject.toml", "requirements.lock", "environment.yml")
    found = disagreements(*((ROOT / name).read_text("utf-8") for name in names))
    for line in found:
        print(f"versions: {line}", file=sys.stderr)
    if not found:
        print(f"versions: {', '.join(names)} agree")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
