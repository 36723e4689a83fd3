"""Figures in the tests of the tasks: drawn in full where a test is about them, else without layout and pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.fixture
def figures() -> None:
    """Figures are laid out and written as users get them."""


@pytest.fixture(autouse=True)
def sketched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they are made, but the file is a picture of one pixel: layout and writing take longest by far."""
    if "figures" in request.fixturenames:
        return
    try:
        from matplotlib.figure import Figure
        from PIL import Image
    except ImportError:
        return

    def savefig(self: Figure, file: Any, *, format: str, **options: Any) -> None:
        Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(file, format)

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(Figure, "tight_layout", lambda self, **options: None)
