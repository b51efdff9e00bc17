"""The wheel holds the library and its data, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the names of the files in a wheel of the working tree."""
    root = Path(__file__).resolve().parent.parent.parent
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run([*command, "-d", str(folder)], cwd=root, check=True)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_library_is_in_the_wheel(names: list[str], at_root: Path) -> None:
    for path in Path("ebmlib").rglob("*"):
        if path.suffix in {".py", ".mjs", ".css"}:
            assert path.as_posix() in names


def test_the_data_are_in_the_wheel(names: list[str], at_root: Path) -> None:
    for path in Path("data").rglob("*"):
        if path.suffix in {".npz", ".png", ".safetensors", ".json"}:
            assert f"ebmlib/_shipped/{path.relative_to('data').as_posix()}" in names


def test_nothing_else_is_in_the_wheel(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"ebmlib", next(top for top in tops if top.endswith(".dist-info"))}
    assert not any("__pycache__" in name for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
