"""How torch prints a tensor: four digits, one width for all."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes

OPTIONS = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}


def set_printoptions(**options: Any) -> None:
    """``precision=``, ``threshold=``, ``edgeitems=``, ``linewidth=``, ``sci_mode=``."""
    profile = options.pop("profile", None)
    if profile == "full":
        OPTIONS["threshold"] = np.inf
    OPTIONS.update(options)


def shown(tensor: Any) -> str:
    """``tensor([1., 2.], requires_grad=True)``."""
    kind, array = type(tensor).__name__, tensor.value.data
    prefix = "Parameter containing:\ntensor(" if kind == "Parameter" else "tensor("
    body = "[]" if not array.size else _body(array, len("tensor("))
    tail = ""
    if not array.size and array.shape != (0,):
        tail += f", size={tuple(array.shape)}"
    if array.dtype not in (dtypes.default(), np.dtype("int64"), np.dtype(bool)):
        tail += f", dtype={tensor.dtype}"
    if tensor.grad_fn is not None:
        tail += f", grad_fn={tensor.grad_fn}"
    elif tensor.requires_grad:
        tail += ", requires_grad=True"
    return f"{prefix}{body}{tail})"


def _body(array: np.ndarray, indent: int) -> str:
    options: dict[str, Any] = {}
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array) & (array != 0)].astype(float)
        size = np.abs(finite)
        science, digits = OPTIONS["sci_mode"], OPTIONS["precision"]
        if np.all(finite == np.trunc(finite)):
            science = len(size) > 0 and size.max() >= 1e8 if science is None else science
            text = f"{{:.{digits}e}}" if science else "{:.0f}."
        else:
            extreme = size.max() / size.min() > 1000 or size.max() > 1e8 or size.min() < 1e-4
            science = extreme if science is None else science
            text = f"{{:.{digits}{'e' if science else 'f'}}}"

        def write(x: float) -> str:
            return (text if np.isfinite(x) else "{}").format(x)

        shown = array if array.size <= OPTIONS["threshold"] else _ends(array)
        width = max(len(write(x)) for x in shown.reshape(-1))
        options["formatter"] = {"float_kind": lambda x: write(x).rjust(width) if array.ndim else write(x)}
    elif array.dtype.kind == "b":
        options["formatter"] = {"bool": lambda x: str(x).rjust(5) if array.ndim and not array.all() else str(x)}
    names = ("threshold", "edgeitems")
    return np.array2string(
        array, separator=", ", prefix=" " * indent, max_line_width=OPTIONS["linewidth"] + indent,
        **{name: OPTIONS[name] for name in names}, **options,
    )  # fmt: skip


def _ends(array: np.ndarray) -> np.ndarray:
    """The entries that a summary shows."""
    n = OPTIONS["edgeitems"]
    for axis, length in enumerate(array.shape):
        if length > 2 * n:
            array = np.take(array, [*range(n), *range(length - n, length)], axis)
    return array
