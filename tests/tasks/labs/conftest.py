"""Each lab draws its figure once."""

import pytest


@pytest.fixture(autouse=True)
def sketched() -> None:
    """Not here: see tests/tasks/conftest.py."""
