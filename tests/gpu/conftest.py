"""The module `cupy` that a test works with: the stand-in in both orders of threads, and the real one on a device."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.cuda import stand_in as fake

ORDERS = ("ascending", "descending")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that g++ compiles is slow."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("slow")


def _stand_in(order: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed: the stand-in for CuPy compiles CUDA sources with it")
    module = fake.make(order)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", fake.special)
    return module


@pytest.fixture(params=[*(f"stand-in {order}" for order in ORDERS), "device"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`cupy`, or what stands in for it."""
    if request.param != "device":
        yield _stand_in(request.param.removeprefix("stand-in "), monkeypatch)
        return
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("no CUDA device answers")
    yield cupy


@pytest.fixture(params=ORDERS)
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stand-in alone: for what a device would not report, such as a planted fault."""
    return _stand_in(request.param, monkeypatch)
