"""One browser for all tests of pages: Playwright allows one at a time in a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[object]:
    """Return a running browser with a new profile."""
    browser = pytest.importorskip("tests.site.browser")
    with browser.launch(chromium) as running:
        yield running
