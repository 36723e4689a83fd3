"""Arrays in few words: a number, a short list, or a shape and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..page import number

FEW = 6  # entries that a line of text shows
WHOLE = 1000  # entries of an array that JSON shows whole


def brief(array: np.ndarray) -> str:
    """The number, the entries of a short vector, or the shape, smallest, largest and norm."""
    array = np.asarray(array)
    if not array.ndim:
        return number(array.item())
    if is_short(array):
        return f"[{', '.join(number(v) for v in array.tolist())}]"
    return f"{shape_text(array.shape)} {statistics_text(array)}"


def is_short(array: np.ndarray) -> bool:
    """A number, or a vector of few entries?"""
    return array.ndim < 2 and array.size <= FEW


def size(array: np.ndarray) -> str:
    """As `brief`, and of a larger array the norm alone."""
    return brief(array) if is_short(array) else f"(norm {number(statistics(array)['norm'] or 0)})"


def statistics_text(array: np.ndarray) -> str:
    """min -1, max 2, norm 3.4; and how many entries are not finite."""
    found = statistics(array)
    text = ", ".join(f"{name} {number(found[name])}" for name in ("min", "max", "norm") if found[name] is not None)
    bad = f"{found['not_finite']} of {array.size} not finite"
    return f"{text}, {bad}".lstrip(", ") if found["not_finite"] else text or "empty"


def statistics(array: np.ndarray) -> dict[str, Any]:
    """The smallest, the largest and the Euclidean norm of the finite entries (sizes, of complex ones), and how many
    are not finite. None where there is no finite entry."""
    array = magnitudes(array)
    fine = array[np.isfinite(array)]
    values = {"min": fine.min(), "max": fine.max(), "norm": np.linalg.norm(fine.astype(float))} if fine.size else {}
    found: dict[str, Any] = {name: float(values[name]) if values else None for name in ("min", "max", "norm")}
    return found | {"not_finite": int(array.size - fine.size)}


def magnitudes(array: np.ndarray) -> np.ndarray:
    """The array itself, or the sizes of complex entries."""
    array = np.asarray(array)
    return np.abs(array) if array.dtype.kind == "c" else array


def is_finite(array: Any) -> bool:
    array = np.asarray(array)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def shape_text(shape: tuple[int, ...]) -> str:
    """4x3, or "scalar"."""
    return "x".join(map(str, shape)) or "scalar"


def shape_label(shape: tuple[int, ...]) -> str:
    """shape 4x3, or "scalar": where a 3 alone would read as a number."""
    return f"shape {shape_text(shape)}" if shape else "scalar"


def parameter_text(value: Any) -> str:
    """A parameter of a primitive in one line: arrays by dtype and shape."""
    if isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "ndim") and value.ndim:
        return f"{value.dtype} array {shape_text(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(parameter_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, slice):
        parts = ["" if part is None else str(part) for part in (value.start, value.stop, value.step)]
        return ":".join(parts if parts[2] else parts[:2])
    return value.__name__ if isinstance(value, type) else str(value)


def as_json(array: np.ndarray) -> dict[str, Any]:
    """shape, dtype, statistics, and the values (nested lists) of an array of at most 1000 entries, else None."""
    array = np.asarray(array)
    values = array if array.size <= WHOLE else None
    if values is not None and array.dtype.kind == "c":
        values = np.vectorize(str, otypes=[object])(array)
    return {"shape": array.shape, "dtype": str(array.dtype), **statistics(array), "values": values}
