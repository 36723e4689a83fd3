"""Array functions that are computed in another way on one device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import device
from .context import mode

DEVICES = ("cpu", "gpu")

_modules = sys.modules  # CuPy is asked for only once somebody has imported it


def namespace(arrays: Any) -> Any:
    """numpy or cupy: where these arrays live. As `device.namespace`, at once where nobody has imported CuPy."""
    return np if "cupy" not in _modules else device.namespace(arrays)


class ArrayFunction:
    """A function of arrays, ``f(xp, *arrays, **parameters)``, and what runs instead of it on a device.

    `f` is the definition: short, and right for NumPy and CuPy alike. Where it is too slow, a *twin* for one device,
    ``f(*arrays, **parameters)`` from `minidl.kernels`, is registered by `on`. A twin equals the definition; one that
    does not take the arrays it is given (their dtype, say) returns NotImplemented, and the definition runs.
    """

    def __init__(self, definition: Callable):
        self.forward = definition
        self.cpu: Callable | None = None
        self.gpu: Callable | None = None
        self.__doc__ = definition.__doc__

    def on(self, device: str) -> Callable[[Callable], Callable]:
        """Decorator: register the twin ``f(*arrays, **parameters)`` for "cpu" or "gpu"."""
        if device not in DEVICES:
            raise ValueError(f"a twin runs on one of {', '.join(DEVICES)}, not on {device!r}")

        def register(function: Callable) -> Callable:
            setattr(self, device, function)
            return function

        return register

    def run(self, xp: Any, arrays: Any, parameters: dict) -> Any:
        """The value, by the twin for this device if there is one; inside `definitions()`, by the definition."""
        twin = self.cpu if xp is np else self.gpu
        if twin is None or mode.definitions:
            return self.forward(xp, *arrays, **parameters)
        y = twin(*arrays, **parameters)
        return y if y is not NotImplemented else self.forward(xp, *arrays, **parameters)

    def __call__(self, *arrays: Any, **parameters: Any) -> Any:
        return self.run(namespace(arrays), arrays, parameters)
