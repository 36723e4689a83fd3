"""The graph that is written: nodes, arrays by name, and the numbers that depend on the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .recording import BATCH, SaveError, Size

BOOL, INT = np.dtype(bool), np.dtype(np.int64)
DTYPES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}  # sizes in bytes that ONNX has, by kind
GIVES = {  # the dtype of what an operator gives, where it is not that of its first input
    **dict.fromkeys(("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "IsInf", "IsNaN"), BOOL),
    **dict.fromkeys(("And", "Or", "Not"), BOOL),
    **dict.fromkeys(("Shape", "ArgMax", "ArgMin"), INT),
}
SMALL = 64  # entries of a constant up to which equal ones are written once


@dataclass(frozen=True)
class Value:
    """A value of the graph. The shape is known of those that the program has."""

    name: str
    dtype: np.dtype
    shape: tuple[int | Size, ...] | None = None


@dataclass
class Node:
    name: str
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    is_output: bool = False  # has it a name that the graph's user reads?


class Graph:
    """Writers make nodes as they would call functions: ``y = g.Add(a, b)``.

    Inputs are Values, arrays and numbers (constants, a number has the dtype of the first Value), None for one that is
    left out. A node is called ``module/Operator``, and so is its output.
    """

    def __init__(self, reserved: Iterable[str] = ()):
        self.nodes: list[Node] = []
        self.arrays: dict[str, np.ndarray] = {}  # weights and constants
        self.taken = set(reserved)
        self.place = ""  # the path of the module whose operations are being written
        self.out: Any = None  # Value of what the current call gives: dtype and shape; a tuple of them for several
        self.first: Value | None = None  # the input whose first axis is the batch
        self._constants: dict[tuple, Value] = {}
        self._sizes: dict[Size, Value] = {}
        self._held: list[Any] = []  # arrays whose id is a key
        self.casts: dict[str, Value] = {}  # of a cast, what was cast

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        if not operator[:1].isupper():
            raise AttributeError(operator)
        return partial(self.node, operator)

    def node(self, operator: str, *inputs: Any, outputs: int = 1, dtype: Any = None, **attributes: Any) -> Any:
        """A node of this operator, and the Value that it gives; `dtype` if not as in GIVES. Several in a tuple."""
        choices = inputs[1:] if operator == "Where" else inputs  # after the condition
        given = next((x.dtype for x in choices if isinstance(x, Value)), INT)
        names = ["" if x is None else self.value(x, given).name for x in inputs]
        while names and not names[-1]:
            names.pop()
        results = [self.unique(self._named(operator)) for _ in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(Node(results[0], operator, names, results, attributes))
        dtypes = (np.dtype(dtype or GIVES.get(operator, given)), *[INT] * (outputs - 1))  # second ones are positions
        values = tuple(map(Value, results, dtypes))
        return values[0] if outputs == 1 else values

    def value(self, x: Any, dtype: Any = None) -> Value:
        """A Value as it is, a constant for an array, a number or a Size; numbers take the dtype."""
        if isinstance(x, Value):
            return x
        if isinstance(x, Size):
            return self.cast(self.Squeeze(self._size(x), np.array([0])), dtype or INT)
        return self.constant(np.asarray(x) if hasattr(x, "dtype") else np.asarray(x, dtype))

    def cast(self, x: Any, dtype: Any) -> Value:
        """x in this dtype."""
        dtype = require_dtype(dtype)
        if not isinstance(x, Value):
            return self.value(x if isinstance(x, Size) else np.asarray(x).astype(dtype), dtype)
        if x.dtype == dtype:
            return x
        y = self.node("Cast", x, dtype=dtype, to=dtype)
        self.casts[y.name] = x
        return Value(y.name, dtype, x.shape)

    def constant(self, array: np.ndarray) -> Value:
        """An array that is written into the file; equal small ones, and large ones that are one object, once."""
        require_dtype(array.dtype)
        small = array.size <= SMALL
        key = (array.dtype, array.shape, array.tobytes()) if small else (id(array),)
        if key not in self._constants:
            self._held.append(array)
            name = self.unique("constant" if small else self._named("constant"))
            self.arrays[name] = array
            self._constants[key] = Value(name, array.dtype, array.shape)
        return self._constants[key]

    def weight(self, name: str, array: np.ndarray) -> Value:
        """A parameter or a buffer, under its own name."""
        require_dtype(array.dtype)
        self.arrays[name] = array
        return Value(name, array.dtype, array.shape)

    def ints(self, numbers: Sequence[int | Size]) -> Value:
        """A vector of whole numbers, some of which may depend on the batch."""
        if not any(isinstance(n, Size) for n in numbers):
            return self.constant(np.array(numbers, INT))
        parts, run = [], []
        for n in [*numbers, None]:
            if isinstance(n, (int, np.integer)):
                run.append(int(n))
                continue
            parts += [self.constant(np.array(run, INT))] if run else []
            parts += [self._size(n)] if n is not None else []
            run = []
        return parts[0] if len(parts) == 1 else self.Concat(*parts, axis=0)

    def shape(self, lengths: Sequence[int | Size]) -> Value:
        """The shape that Reshape is given: if one length depends on the batch, it follows from the others."""
        dependent = [a for a, n in enumerate(lengths) if isinstance(n, Size)]
        if len(dependent) == 1 and 0 not in lengths:
            return self.ints([-1 if a in dependent else n for a, n in enumerate(lengths)])
        return self.ints(lengths)

    def _size(self, size: Size) -> Value:
        """(1,): a number that depends on the batch."""
        if size not in self._sizes:
            if size == BATCH:
                self._sizes[size] = self.Shape(self.first, start=0, end=1)
            else:
                n = self._size(BATCH)
                n = n if size.slope == 1 else self.Mul(n, np.array([size.slope]))
                self._sizes[size] = self.Add(n, np.array([size.offset])) if size.offset else n
        return self._sizes[size]

    def unique(self, name: str) -> str:
        free, count = name, 1
        while free in self.taken:
            count += 1
            free = f"{name}_{count}"
        self.taken.add(free)
        return free

    def _named(self, what: str) -> str:
        return f"{self.place}/{what}" if self.place else what


def require_dtype(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype.itemsize not in DTYPES.get(dtype.kind, ()):
        raise SaveError(f"ONNX operators take no {dtype}")
    return dtype
