"""Fixtures that tests of several files take."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support import browser as pages


@pytest.fixture(scope="session")
def browser():
    """Opens pages in a real browser without network: see tests/support/browser.py."""
    with pages.running() as running:
        yield running


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Presses Ctrl-C. It counts, here and in processes started here, even where the tests run in the background, where
    shells have SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)
