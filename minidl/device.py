"""Where arrays live: NumPy on the CPU, CuPy on a GPU. The only file that asks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from .core.context import current

NAMES = ("cpu", "gpu", "auto")  # that a command takes
INSTALL = 'pip install "cupy-cuda13x[ctk]" (with a driver for CUDA 12: "cupy-cuda12x[ctk]")'


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


def special(xp: ModuleType) -> ModuleType:
    """scipy.special for numpy, its counterpart for cupy. Imported when it is first needed: that takes 0.2 s."""
    return import_module("scipy.special" if xp is np else "cupyx.scipy.special")


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


def resolve(name: str) -> str:
    """The device that `name` means: "cpu", "gpu", or for "auto" the gpu if one answers, else the cpu.

    Raises RuntimeError in one line if the gpu is asked for and none answers.
    """
    if name not in NAMES:
        raise ValueError(f"device {name!r} is unknown: use one of {', '.join(NAMES)}")
    if name == "cpu":
        return name
    try:
        gpu()
    except RuntimeError:
        if name == "gpu":
            raise
        return "cpu"
    return "gpu"


def numbers(scalars: Iterable[Any]) -> list[float]:
    """Python numbers from arrays of one entry and numbers; all that lie on the GPU come in one transfer."""
    if (trace := current().trace) is not None:
        trace.refuse("it reads numbers that were computed")
    scalars = list(scalars)
    cupy = sys.modules.get("cupy")
    there = [i for i, s in enumerate(scalars) if isinstance(s, cupy.ndarray)] if cupy else []
    if there:
        found = cupy.stack([scalars[i].reshape(()).astype("float64") for i in there]).get().tolist()
        for i, number in zip(there, found):
            scalars[i] = number
    return [float(s.item() if hasattr(s, "item") else s) for s in scalars]


def gpu() -> ModuleType:
    """The cupy module, if it is installed and a device answers; else RuntimeError with one line."""
    try:
        import cupy
    except ModuleNotFoundError:
        raise RuntimeError(f"no GPU: CuPy is not installed; {INSTALL}, or use the cpu") from None
    except ImportError as error:  # its own message has many lines
        cause = str(error).strip().splitlines()[-1]
        raise RuntimeError(f"no GPU: CuPy cannot be imported ({cause}); {INSTALL}, or use the cpu") from None
    if not cupy.is_available():
        raise RuntimeError("no GPU: CuPy is installed but no CUDA device answers; use the cpu")
    return cupy
