"""Where arrays live: NumPy on the CPU, CuPy on a GPU. The only file that asks."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np


def namespace(arrays: Any) -> ModuleType:
    """The module (numpy or cupy) whose functions work on these arrays.

    Raises TypeError if the arrays live on two devices.
    """
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return np
    on_gpu = [isinstance(a, cupy.ndarray) for a in arrays if hasattr(a, "ndim")]
    if not any(on_gpu):
        return np
    if not all(on_gpu):
        raise TypeError("arrays on two devices: some on the cpu, some on the gpu; move one with .to(...)")
    return cupy


def device_of(array: Any) -> str:
    """ "cpu" for a NumPy array, "gpu" for a CuPy one."""
    return "cpu" if isinstance(array, np.ndarray) else "gpu"


def to_device(array: Any, device: str) -> Any:
    """The array on the named device; the same array if it is there already."""
    if device == "cpu":
        return array if isinstance(array, np.ndarray) else array.get()
    if device == "gpu":
        return gpu().asarray(array)
    raise ValueError(f'device {device!r} is unknown: use "cpu" or "gpu"')


def as_dtype(target: Any) -> np.dtype:
    """The dtype that `target` names. Raises ValueError for what is neither a dtype nor a device."""
    try:
        return np.dtype(target)
    except TypeError:
        raise ValueError(f'{target!r} is neither a device, "cpu" or "gpu", nor a dtype') from None


def gpu() -> ModuleType:
    """The cupy module, if it is installed and a device answers; else RuntimeError with one line."""
    try:
        import cupy
    except ImportError:
        raise RuntimeError('no GPU: CuPy is not installed; pip install "cupy-cuda13x[ctk]", or use the cpu') from None
    if not cupy.is_available():
        raise RuntimeError("no GPU: CuPy is installed but no CUDA device answers; use the cpu")
    return cupy
