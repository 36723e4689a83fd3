"""Array functions, each with a kernel per device where its definition is too slow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import numpy as np

from .. import device
from .context import current, setting

operations: dict[str, ArrayFunction] = {}  # every array function there is, by name

_modules = sys.modules  # CuPy is asked for only once somebody has imported it


def namespace(arrays: Any) -> Any:
    """numpy or cupy: where these arrays live. As `device.namespace`, at once where nobody has imported CuPy."""
    return np if "cupy" not in _modules else device.namespace(arrays)


def made_once(function: Callable) -> Callable:
    """Decorator of a function from plain numbers to an array, which is made once for each of them. Nobody writes to it.

    Being one object, it counts as a constant where steps are recorded.
    """

    @lru_cache(maxsize=256)
    def make(*arguments: Any, **options: Any) -> np.ndarray:
        with setting(trace=None):  # a recorded step that is the first to ask for it does not repeat how it is made
            array = function(*arguments, **options)
        array.flags.writeable = False
        return array

    return wraps(function)(make)


class ArrayFunction:
    """A function of arrays, ``f(xp, *arrays, **parameters)``: short, and right for NumPy (xp) and CuPy alike.

    Where that is too slow, `minidl.kernels` puts a *kernel* for one device, ``k(*arrays, **parameters)``, into ``cpu``
    or ``gpu``. A kernel equals the definition; one that does not take the arrays it is given (their dtype, say)
    returns NotImplemented, and the definition runs.
    """

    def __init__(self, definition: Callable, name: str | None = None):
        self.name = name or definition.__name__
        self.forward = definition
        self.cpu: Callable | None = None
        self.gpu: Callable | None = None
        self.__doc__ = definition.__doc__
        operations[self.name] = self

    def run(self, xp: Any, arrays: Any, parameters: dict) -> Any:
        """The value, by the kernel for this device if there is one; inside `definitions()`, by the definition."""
        now = current()
        if now.trace is not None:
            return now.trace.call(self, xp, arrays, parameters)
        kernel = self.cpu if xp is np else self.gpu
        if kernel is None or not now.kernels:
            return self.forward(xp, *arrays, **parameters)
        y = kernel(*arrays, **parameters)
        return y if y is not NotImplemented else self.forward(xp, *arrays, **parameters)

    def kernel(self, xp: Any) -> Callable | None:
        """What `run` asks first."""
        return (self.cpu if xp is np else self.gpu) if current().kernels else None

    def __call__(self, *arrays: Any, **parameters: Any) -> Any:
        return self.run(namespace(arrays), arrays, parameters)
