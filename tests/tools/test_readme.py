"""The commands and the example of README.md do what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest


def test_the_example_learns_the_ring(at_root: Path) -> None:
    (source,) = re.findall(
        r"^```python\n(.*?)^```", Path("README.md").read_text("utf-8"), re.M | re.S
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {})
    # The recipe that the book measures reaches 0.05 nats long before its last step.
    assert 0 < float(printed.getvalue()) < 0.05


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_target_that_is_named_exists(name: str, at_root: Path) -> None:
    makefile = Path("Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    named = set(re.findall(r"`make ([a-z-]+)`", Path(name).read_text("utf-8")))
    assert named
    assert named <= targets


def test_every_file_that_is_linked_exists(at_root: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", Path("README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not Path(link).exists()] == []
