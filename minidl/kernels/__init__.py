"""Speed: arrays in, arrays out. Each kernel equals the definition of its operation in `minidl.ops`, which knows none.

There is one table {operation: kernel} per device, in ``cpu/__init__.py`` and ``gpu/__init__.py``. A kernel is imported
when its operation first runs on its device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction, operations
from . import cpu, gpu


def _imported_at_first_call(operation: ArrayFunction, device: str, path: str) -> Callable:
    """What takes the kernel's place until then."""

    def first_call(*arrays: Any, **parameters: Any) -> Any:
        kernel = _imported(path)
        setattr(operation, device, kernel)
        return kernel(*arrays, **parameters)

    return first_call


def _imported(path: str) -> Callable:
    module, name = path.rsplit(".", 1)
    return getattr(import_module(f".{module}", __name__), name)


@contextmanager
def replaced(others: Mapping[str, Callable[[Callable], Callable]]) -> Iterator[None]:
    """Inside the block, other functions run in the place of kernels for the CPU, in all threads.

    others: by the name of the operation, what makes the other function of ours, ``ours(*arrays, **parameters)``: the
    kernel, or the definition where there is none or it does not take the arrays. They are kernels like ours: see
    `ArrayFunction`. Steps that were recorded before, and their plans, do not call them.
    """
    before = {name: operations[name].cpu for name in others}
    try:
        for name, make in others.items():
            operation, path = operations[name], cpu.KERNELS.get(name)
            kernel = before[name] = _imported(path) if path else before[name]
            operation.cpu = make(_with_definition(operation, kernel))
        yield
    finally:
        for name, kernel in before.items():
            operations[name].cpu = kernel


def _with_definition(operation: ArrayFunction, kernel: Callable | None) -> Callable:
    def ours(*arrays: Any, **parameters: Any) -> Any:
        y = NotImplemented if kernel is None else kernel(*arrays, **parameters)
        return operation.forward(np, *arrays, **parameters) if y is NotImplemented else y

    return ours


def attach() -> None:
    """Give the operations that are defined by now their kernels."""
    for device, table in (("cpu", cpu.KERNELS), ("gpu", gpu.KERNELS)):
        for name, path in table.items():
            if name in operations and getattr(operations[name], device) is None:
                setattr(operations[name], device, _imported_at_first_call(operations[name], device, path))


attach()
