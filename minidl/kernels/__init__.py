"""Speed: arrays in, arrays out. Each kernel equals the definition of its operation in `minidl.ops`, which knows none.

There is one table {operation: kernel} per device, in ``cpu/__init__.py`` and ``gpu/__init__.py``. A kernel is imported
when its operation first runs on its device.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..core.array_function import ArrayFunction, operations
from . import cpu, gpu


def _imported_at_first_call(operation: ArrayFunction, device: str, path: str) -> Callable:
    """What takes the kernel's place until then."""

    def first_call(*arrays: Any, **parameters: Any) -> Any:
        module, name = path.rsplit(".", 1)
        kernel = getattr(import_module(f".{module}", __name__), name)
        setattr(operation, device, kernel)
        return kernel(*arrays, **parameters)

    return first_call


def attach() -> None:
    """Give the operations that are defined by now their kernels."""
    for device, table in (("cpu", cpu.KERNELS), ("gpu", gpu.KERNELS)):
        for name, path in table.items():
            if name in operations and getattr(operations[name], device) is None:
                setattr(operations[name], device, _imported_at_first_call(operations[name], device, path))


attach()
