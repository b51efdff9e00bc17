"""pyproject.toml, requirements.lock and environment.yml name the same versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import lock

PYPROJECT = """\
[project]
dependencies = ["torch>=2.4", "numpy>=1.26"]
[project.optional-dependencies]
book = ["jupyter-book>=1.0.4,<2"]
test = ["pytest>=8"]
"""
LOCK = "torch==2.13.0\nnumpy==2.4.6\njupyter-book==1.0.4.post1\npytest==9.2.0\n"
ENVIRONMENT = """\
dependencies:
  - python >=3.11
  - pip
  - jupyterlab >=4
  - pytorch-cpu >=2.4
  - numpy >=1.26
  - pip:
      - jupyter-book>=1.0.4,<2
      - -e .
"""


def test_the_files_of_the_project_agree(at_root: Path) -> None:
    names = ("pyproject.toml", "requirements.lock", "environment.yml")
    assert lock.disagreements(*(Path(name).read_text("utf-8") for name in names)) == []


def test_the_lock_suits_every_system(at_root: Path) -> None:
    text = Path("requirements.lock").read_text("utf-8")
    pins = lock.read_lock(text)
    assert pins["torch"] == "2.13.0", "without the tag of one system's build"
    assert "ebmlib" not in pins
    assert not any(name.startswith(("nvidia", "triton")) for name in pins)
    assert len(pins) > 100, "what is needed by something else is pinned as well"


def test_agreement_is_found() -> None:
    assert lock.disagreements(PYPROJECT, LOCK, ENVIRONMENT) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torch==2.13.0\n", "", "torch is in pyproject.toml but not in req"),
        ("torch==2.13.0", "torch==2.3.0", "the lock has 2.3.0, pyproject.toml wants"),
        (
            "pytorch-cpu >=2.4",
            "pytorch-cpu >=2.5",
            "torch: environment.yml wants >=2.5",
        ),
        ("  - numpy >=1.26\n", "", "numpy is in pyproject.toml but not in environment"),
        ("  - pip\n", "  - pip\n  - pandas\n", "pandas is in environment.yml but not"),
        (
            '"pytest>=8"',
            '"pytest>=10"',
            "the lock has 9.2.0, pyproject.toml wants >=10",
        ),
    ],
)
def test_disagreement_is_found(old: str, new: str, message: str) -> None:
    texts = [text.replace(old, new) for text in (PYPROJECT, LOCK, ENVIRONMENT)]
    assert texts != [PYPROJECT, LOCK, ENVIRONMENT]
    (found,) = lock.disagreements(*texts)
    assert message in found


@pytest.mark.parametrize(
    "line", ["torch==2.13.0+cpu", "torch>=2", "-e .", "torch @ file:///torch.whl"]
)
def test_a_lock_holds_exact_versions_alone(line: str) -> None:
    with pytest.raises(ValueError, match=r"requirements\.lock, line 2"):
        lock.read_lock(f"# comment\n{line}\n")


def test_an_unreadable_environment_is_named() -> None:
    with pytest.raises(ValueError, match=r"environment\.yml: cannot read '!!'"):
        lock.read_environment("dependencies:\n  - '!!'\n")


def test_a_channels_own_pin_is_read() -> None:
    (found,) = lock.read_environment("dependencies:\n  - numpy =1.26\n").values()
    assert found.contains("1.26.4")
    assert not found.contains("1.27")


def test_the_command_line(at_root: Path, capsys: pytest.CaptureFixture) -> None:
    assert lock.main(["--check"]) == 0
    assert "agree" in capsys.readouterr().out
