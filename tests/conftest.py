"""What all tests share: one thread, the built site, and a browser where there is one.

Three settings of the environment turn a skip into a failure, for runs that must not
miss anything: ``EBM_REQUIRE_SITE=1`` (``make test`` has just built the site),
``EBM_REQUIRE_BROWSER=1`` and ``EBM_REQUIRE_NODE=1`` (``.ci/run`` has just installed
Chromium and node).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Before torch is imported: threads that wait for each other are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")


def missing(reason: str, variable: str) -> None:
    """Skip a test for a reason, or fail it when the environment forbids that."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable}=1 forbids skipping)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def site() -> Path:
    """Return the folder of the built site."""
    folder = ROOT / "_build" / "html"
    if not (folder / "index.html").is_file():
        missing("no site in _build/html: run `make book` first", "EBM_REQUIRE_SITE")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium; ``EBM_CHROMIUM`` names one explicitly."""
    named = os.environ.get("EBM_CHROMIUM")
    found = next(filter(None, map(shutil.which, [named] if named else BROWSERS)), None)
    if found is None:
        missing(
            "no Chromium: the pages were not tested in a browser", "EBM_REQUIRE_BROWSER"
        )
    return str(found)


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of node, which runs the tests of the EBM Lab's core."""
    found = shutil.which("node")
    if found is None:
        missing("no node: the core of the EBM Lab was not tested", "EBM_REQUIRE_NODE")
    return str(found)


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in the repository's root and return it."""
    monkeypatch.chdir(ROOT)
    return ROOT


def pytest_configure(config: pytest.Config) -> None:
    """Keep nbval from starting coverage in the chapters' kernels, where it hangs.

    With ``--cov`` it asks every kernel to measure itself, and waits in vain for the
    answer. What the chapters cover is no test of the library anyway.
    """
    plugin = config.pluginmanager.get_plugin("nbval")
    for name in ("setup_coverage", "teardown_coverage"):
        if hasattr(plugin, name):
            setattr(plugin, name, lambda *arguments, **options: None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that the browser tests were skipped, if they were."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any("no Chromium" in str(report.longrepr) for report in skipped):
        terminalreporter.write_sep("!", "NOT TESTED IN A BROWSER", red=True, bold=True)
        terminalreporter.write_line(
            "No Chromium was found, so nobody moved a control on the built pages. "
            "Install chromium, or name one in EBM_CHROMIUM."
        )
    if any("no node" in str(report.longrepr) for report in skipped):
        terminalreporter.write_sep("!", "CORE OF THE LAB NOT TESTED", red=True)
        terminalreporter.write_line(
            "The arithmetic of the EBM Lab is JavaScript: install node 18 or newer, "
            "and run `make lab-tools`."
        )
    passed = terminalreporter.stats.get("passed", [])
    measured = [
        line
        for report in passed
        for name, line in report.user_properties
        if name == "lab"
    ]
    if measured:
        terminalreporter.write_sep("-", "EBM Lab, as measured")
        terminalreporter.write_line("\n".join(measured))
