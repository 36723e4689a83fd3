"""Fixtures that tests of several files take."""

import pytest

from tests.support import browser as pages


@pytest.fixture(scope="session")
def browser():
    """Opens pages in a real browser without network: see tests/support/browser.py."""
    with pages.running() as running:
        yield running
