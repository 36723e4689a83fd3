"""Faults planted in the text of a kernel: is there an order of threads in which a check sees them?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from minidl.kernels.gpu import source
from tests.support.cuda import stand_in
from tests.support.cuda.raw_module import KernelFault

from . import conftest


def is_caught(
    check: Callable[[Any], None], file: str, old: str, new: str, which: int = 0, suffix: str = "cu"
) -> bool:
    """Does ``check(cupy)`` fail once the occurrence number `which` of `old` in ``{file}.cu`` has become `new`?"""
    text = source._read(file, suffix)
    before = text.split(old)
    assert len(before) > which + 1, f"{file}.{suffix} has no {old!r} number {which}"
    edited = old.join(before[: which + 1]) + new + old.join(before[which + 1 :])
    return any(_fails(check, {(file, suffix): edited}, order) for order in conftest.ORDERS)


def passes(check: Callable[[Any], None], file: str) -> bool:
    """Does the check pass in every order, with the text as it is?"""
    return not any(_fails(check, {}, order) for order in conftest.ORDERS)


def _fails(check: Callable[[Any], None], edited: dict[tuple[str, str], str], order: str) -> bool:
    cupy, read = stand_in.make(order), source._read

    def faulty(file: str, suffix: str = "cu") -> str:
        return edited.get((file, suffix)) or read(file, suffix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", cupy)
        patch.setattr(source, "_read", faulty)
        try:
            _forget()
            check(cupy)
        except (AssertionError, KernelFault):
            return True
        finally:
            _forget()
    return False


def _forget() -> None:
    """Compiled kernels are remembered by the name of their file."""
    source._compiled.cache_clear()
    source._module.cache_clear()
