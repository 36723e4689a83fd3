"""torch's dtypes, devices and sizes, as names of NumPy's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..core.tensor import Tensor as Value


class dtype:
    """A name such as ``torch.float32``; NumPy takes it for its own dtype of that name."""

    def __init__(self, name: str):
        self.name = name
        self.dtype = np.dtype(name)  # what numpy.dtype(torch.float32) looks for

    @property
    def is_floating_point(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def is_complex(self) -> bool:
        return self.dtype.kind == "c"

    @property
    def is_signed(self) -> bool:
        return self.dtype.kind not in "ub"

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple:
        return named, (self.name,)


NAMES = (
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128"
)  # fmt: skip
BY_NUMPY = {np.dtype(name): dtype(name) for name in NAMES}
SHORT = {
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16",
    "cfloat": "complex64", "cdouble": "complex128",
}  # fmt: skip
_default = np.dtype("float32")


def named(name: str) -> dtype:
    """``torch.float32`` of "float32"."""
    return BY_NUMPY[np.dtype(name)]


def of(array: Any) -> dtype:
    """torch's name of the dtype of an array."""
    return BY_NUMPY[array.dtype]


def as_numpy(kind: Any) -> np.dtype | None:
    """The NumPy dtype of torch's, NumPy's or Python's; None of None."""
    return None if kind is None else np.dtype(kind)


def default() -> np.dtype:
    """The dtype of what is made of Python's floats: float32, until `set_default_dtype`."""
    return _default


def set_default_dtype(kind: Any) -> None:
    global _default
    if np.dtype(kind).kind != "f":
        raise TypeError(f"set_default_dtype needs a floating-point dtype, got {kind}")
    _default = np.dtype(kind)


def get_default_dtype() -> dtype:
    return BY_NUMPY[_default]


ORDER = "biufc"  # bool, then integers, then real, then complex numbers
CATEGORY = dict(zip(ORDER, (0, 1, 1, 2, 3)))


def result_type(*parts: Any) -> np.dtype:
    """torch's common dtype: tensors with axes decide, those without and then numbers only by a higher kind of number.

    Source: torch.result_type, "type promotion" in the documentation of torch.Tensor attributes.
    """
    groups: list[list[np.dtype]] = [[], [], []]  # tensors with axes, tensors without, numbers
    for x in parts:
        if hasattr(x, "dtype"):
            groups[0 if x.ndim else 1].append(as_numpy(x.dtype))
        elif x is not None:
            of_number = {bool: np.dtype(bool), int: np.dtype("int64"), complex: np.result_type(_default, "c8")}
            groups[2].append(of_number.get(type(x), _default))
    best = None
    for dtypes in groups:
        for kind in dtypes[:1]:
            for other in dtypes[1:]:
                kind = promoted(kind, other)
            if best is None or CATEGORY[kind.kind] > CATEGORY[best.kind]:
                best = kind
    return best


def promoted(a: np.dtype, b: np.dtype) -> np.dtype:
    """The common dtype of two tensors with axes: floats beat integers of any width."""
    if a == b or CATEGORY[a.kind] == CATEGORY[b.kind]:
        return np.promote_types(a, b)
    a, b = sorted((a, b), key=lambda d: CATEGORY[d.kind])
    return np.promote_types(np.float16, b) if a.kind == "f" and b.kind == "c" and a.itemsize < 8 else b


class device(str):
    """Where a tensor is: the "cpu". Other names are accepted, so that scripts run, and mean the same."""

    __slots__ = ()

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> device:
        if isinstance(type, int):
            type, index = "cuda", type
        return super().__new__(cls, type if index is None else f"{type}:{index}")

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:
        number = self.partition(":")[2]
        return int(number) if number else None

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __enter__(self) -> device:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Size(tuple):
    """A shape."""

    __slots__ = ()

    def numel(self) -> int:
        return int(np.prod(self, dtype=int))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return Size(part) if isinstance(index, slice) else part

    def __add__(self, other: Any) -> Size:
        return Size((*self, *other))

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


def finfo(kind: Any = None) -> SimpleNamespace:
    """The limits of a floating-point dtype."""
    limits = np.finfo(_default if kind is None else np.dtype(kind))
    names = ("eps", "max", "min", "tiny", "smallest_normal", "resolution")
    named = {name: float(getattr(limits, name)) for name in names}
    return SimpleNamespace(**named, bits=limits.bits, dtype=limits.dtype.name)


def iinfo(kind: Any) -> np.iinfo:
    """The limits of an integer dtype."""
    return np.iinfo(np.dtype(kind))


def to_float(x: Any) -> Any:
    """Integers in the default dtype, in which torch computes functions of real numbers; other values as they are."""
    return x.astype(_default) if isinstance(x, Value) and x.data.dtype.kind in "iub" else x
