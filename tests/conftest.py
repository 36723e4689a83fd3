"""How the suite runs, and fixtures that tests of several files take.

The whole suite runs in as many processes as there are cores (pytest-xdist), each with one thread of ours; what is named
on the command line runs in one process, as ``-n 0`` has it. ``-n 2`` chooses otherwise.

Tests marked slow (whole runs, more examples of what others show, kernels of a GPU compiled for the CPU) run
where tests are named, or asked for by ``-m``: ``pytest tests -m slow -n 2`` is what CI runs after the others.
"""

import gc
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support import browser as pages

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("MINIDL_NUM_THREADS", "1")  # tests of threads set their own number


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """0, no other process, where tests are named; else what -n auto means."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else None


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what is slow, unless tests are named or chosen by their marks."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS and not config.option.markexpr:
        config.option.markexpr = "not slow"


def pytest_collection_finish() -> None:
    """The tests and modules stay to the end: no garbage collection needs to walk over them each time."""
    gc.freeze()


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
