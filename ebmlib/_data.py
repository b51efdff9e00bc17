"""Where the shipped data is: inside an installed package, else in the source tree."""

from __future__ import annotations

import hashlib
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def roots() -> list[Path]:
    """Folders that are searched, in this order: the wheel's own, the repository's."""
    return [_HERE / "_shipped", _HERE.parent / "data"]


def path(name: str, *, sha256: str | None = None) -> Path:
    """Find a shipped file or folder, and check a file's contents if asked.

    Parameters
    ----------
    name : str
        Path below the data folder, with forward slashes: "images/galaxy.png".
    sha256 : str, optional
        The checksum (hexadecimal) that the file must have.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError
        If `name` is not a string.
    ValueError
        If `name` leaves the data folder, or the file's checksum is another.
    FileNotFoundError
        If it is in neither place.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {type(name).__name__}")
    parts = name.split("/")
    if not name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(
            f"name must be a relative path inside the data folder, such as "
            f"'images/galaxy.png', got {name!r}"
        )
    for root in roots():
        found = root.joinpath(*parts)
        if found.exists():
            if sha256 is not None:
                _check(found, sha256)
            return found
    places = " nor ".join(str(root) for root in roots())
    raise FileNotFoundError(
        f"no shipped data {name!r}: it is neither in {places}. Reinstall ebmlib, or "
        f"run from a complete copy of the repository"
    )


def _check(found: Path, sha256: str) -> None:
    actual = hashlib.sha256(found.read_bytes()).hexdigest()
    if actual != sha256.lower():
        raise ValueError(
            f"{found} is not the file that was shipped: its SHA-256 is {actual}, "
            f"expected {sha256}. Restore it from the repository"
        )
