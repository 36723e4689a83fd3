"""Tensors from data, ranges and random numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..nn import init
from . import dtypes
from .dtypes import as_numpy, default
from .tensor import Tensor, unwrap, wrap
from .values import Plain

DEVICES = ("device", "layout", "pin_memory", "memory_format")


def made(array: Any, options: dict[str, Any]) -> Tensor:
    """A tensor of a fresh array, with torch's options: dtype, requires_grad, and those that change nothing here."""
    unknown = set(options) - {"dtype", "requires_grad", "out", "generator", "size", *DEVICES}
    if unknown:
        raise TypeError(
            f"no option {', '.join(sorted(unknown))}: those of a new tensor are dtype, device, requires_grad"
        )
    kind = as_numpy(options.get("dtype"))
    array = np.asarray(array) if kind is None else np.asarray(array).astype(kind, copy=False)
    if (out := options.get("out")) is not None:
        return out.change(array)
    t = wrap(Plain(array))
    return t.requires_grad_() if options.get("requires_grad") else t


def tensor(data: Any, **options: Any) -> Tensor:
    """A copy of `data`; Python's floats become the default dtype."""
    return made(_array(data, options.get("dtype")).copy(), options)


def _array(data: Any, kind: Any = None) -> np.ndarray:
    if isinstance(data, Tensor | Value):
        return unwrap(data).data
    if isinstance(data, np.ndarray | np.generic):
        return np.asarray(data)
    array = np.asarray(_plain(data), as_numpy(kind))
    if array.dtype.kind in "fc" and array.itemsize > 4 and kind is None and not _has_arrays(data):
        array = array.astype(default() if array.dtype.kind == "f" else np.result_type(default(), "c8"))
    return array


def _plain(data: Any) -> Any:
    """Lists with tensors in them, as lists of arrays and numbers."""
    if isinstance(data, list | tuple):
        return [_plain(x) for x in data]
    return data.value.data if isinstance(data, Tensor) else data


def _has_arrays(data: Any) -> bool:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, np.ndarray | np.float64) or (
        isinstance(data, Tensor) and data.value.data.dtype == np.float64
    )


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` itself if it is a tensor of that dtype; an array keeps its memory."""
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    return made(_array(data, dtype), {"dtype": dtype})


def asarray(data: Any, *, dtype: Any = None, copy: bool | None = None, **options: Any) -> Tensor:
    return tensor(data, dtype=dtype) if copy else as_tensor(data, dtype)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of the array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if any(s < 0 for s in array.strides):
        raise ValueError("At least one stride in the given numpy array is negative; use array.copy()")
    return wrap(Plain(array))


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0) -> Tensor:
    return wrap(Plain(np.frombuffer(buffer, as_numpy(dtype), count, offset)))


def _sizes(size: tuple, options: dict[str, Any]) -> tuple[int, ...]:
    size = options.pop("size", size)
    size = size[0] if len(size) == 1 and isinstance(size[0], Sequence | np.ndarray) else size
    return tuple([int(n) for n in size])


def _filled(value: float) -> Callable:
    def function(*size: Any, **options: Any) -> Tensor:
        shape = _sizes(size, options)
        return made(np.full(shape, value, as_numpy(options.get("dtype")) or default()), options)

    return function


zeros, ones, empty = _filled(0), _filled(1), _filled(0)


def full(size: Any, fill_value: Any, **options: Any) -> Tensor:
    fill_value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return made(np.full(_sizes((size,) if isinstance(size, int) else tuple(size), {}), fill_value,
                        as_numpy(options.get("dtype")) or dtypes.result_type(fill_value)), options)  # fmt: skip


def _like(function: Callable) -> Callable:
    def of_input(input: Tensor, *more: Any, **options: Any) -> Tensor:
        options = {"dtype": input.dtype, **{n: v for n, v in options.items() if v is not None}}
        return function(tuple(input.shape), *more, **options)

    return of_input


def _new(function: Callable) -> Callable:
    def of_self(self: Tensor, *size: Any, **options: Any) -> Tensor:
        return function(*size, **{"dtype": self.dtype, **{n: v for n, v in options.items() if v is not None}})

    return of_self


def arange(start: Any, end: Any = None, step: Any = 1, **options: Any) -> Tensor:
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    start, end = (0, start) if end is None else (start, end)
    whole = all(isinstance(x, int | np.integer) for x in (start, end, step))
    n = max(0, math.ceil((end - start) / step))
    kind = as_numpy(options.get("dtype")) or (np.dtype("int64") if whole else default())
    return made((start + np.arange(n) * step).astype(kind), options)


def linspace(start: Any, end: Any, steps: int, **options: Any) -> Tensor:
    kind = as_numpy(options.get("dtype")) or default()
    return made(np.linspace(float(start), float(end), steps).astype(kind), options)


def logspace(start: float, end: float, steps: int, base: float = 10.0, **options: Any) -> Tensor:
    kind = as_numpy(options.get("dtype")) or default()
    return made(np.logspace(start, end, steps, base=base).astype(kind), options)


def eye(n: int, m: int | None = None, **options: Any) -> Tensor:
    return made(np.eye(n, m, dtype=as_numpy(options.get("dtype")) or default()), options)


def complex(real: Tensor, imag: Tensor) -> Tensor:
    return wrap(Plain(real.value.data + 1j * imag.value.data))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple:
    """Of each tensor a grid whose entries vary along its own dimension; "xy" swaps the first two dimensions."""
    tensors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    order = list(range(len(tensors)))
    if indexing == "xy" and len(tensors) > 1:
        order[:2] = 1, 0
    shape = [0] * len(tensors)
    for t, axis in zip(tensors, order):
        shape[axis] = t.numel()
    return tuple([t.reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape).contiguous()
                  for t, axis in zip(tensors, order)])  # fmt: skip


def cartesian_prod(*tensors: Tensor) -> Tensor:
    columns = [wrap(g.value.reshape(-1, 1)) for g in meshgrid(*tensors)]
    return columns[0].view(-1) if len(columns) == 1 else wrap(F.concat([c.value for c in columns], 1))


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """The choices of r entries, in the order of their places."""
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(input.numel()), r)), int).reshape(-1, r)
    return wrap(input.value[places])


def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    return made(np.stack(np.tril_indices(row, offset, col)), {})


def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    return made(np.stack(np.triu_indices(row, offset, col)), {})


def _window(weights: Callable) -> Callable:
    def function(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
        return made(weights(window_length + periodic)[:window_length].astype(default()), options)

    return function


hann_window, hamming_window = _window(np.hanning), _window(np.hamming)
blackman_window, bartlett_window = _window(np.blackman), _window(np.bartlett)


def range_(start: Any, end: Any, step: Any = 1, **options: Any) -> Tensor:
    """As arange, in the default dtype and with the end."""
    n = math.floor((end - start) / step) + 1
    return made((start + np.arange(n) * step).astype(as_numpy(options.get("dtype")) or default()), options)


# --- random numbers


class Generator:
    """A stream of random numbers: NumPy's PCG64, whose numbers are not those of torch."""

    def __init__(self, device: Any = "cpu"):
        self.manual_seed(np.random.SeedSequence().entropy % 2**63)

    def manual_seed(self, seed: int) -> Generator:
        self.first, self.rng = seed, np.random.default_rng(abs(seed))
        return self

    def initial_seed(self) -> int:
        return self.first

    def seed(self) -> int:
        return self.manual_seed(np.random.SeedSequence().entropy % 2**63).first


_first_seed = 0


class _Default(Generator):
    """The engine's generator."""

    def __init__(self) -> None:
        pass

    rng = property(lambda self: init.generator())

    def manual_seed(self, seed: int) -> Generator:
        return manual_seed(seed)

    def initial_seed(self) -> int:
        return _first_seed


default_generator = _Default()


def manual_seed(seed: int) -> Generator:
    """Restart the engine's default generator, from which weights and all random tensors are drawn."""
    global _first_seed
    _first_seed = int(seed)
    init.manual_seed(abs(_first_seed))
    return default_generator


def initial_seed() -> int:
    return _first_seed


def seed() -> int:
    manual_seed(np.random.SeedSequence().entropy % 2**63)
    return _first_seed


def rng_of(generator: Any = None) -> np.random.Generator:
    return init.generator() if generator is None else generator.rng


def get_rng_state() -> Tensor:
    """The state of the default generator as bytes."""
    return tensor(np.frombuffer(repr(init.generator().bit_generator.state).encode(), np.uint8).copy())


def set_rng_state(state: Tensor) -> None:
    import ast

    init.generator().bit_generator.state = ast.literal_eval(bytes(state.value.data).decode())


def _random(draw: Callable) -> Callable:
    def function(*size: Any, **options: Any) -> Tensor:
        shape = _sizes(size, options)
        kind = as_numpy(options.get("dtype")) or default()
        wide = kind if kind in (np.float32, np.float64) else np.dtype("float32")
        return made(draw(rng_of(options.get("generator")), shape, wide).astype(kind, copy=False), options)

    return function


rand = _random(lambda rng, shape, kind: np.asarray(rng.random(shape, kind)))
randn = _random(lambda rng, shape, kind: np.asarray(rng.standard_normal(shape, kind)))


def randint(low: int, high: Any = None, size: Any = None, **options: Any) -> Tensor:
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    numbers = rng_of(options.get("generator")).integers(low, high, tuple(size))
    return made(numbers.astype(as_numpy(options.get("dtype")) or np.int64), options)


def randperm(n: int, **options: Any) -> Tensor:
    return made(rng_of(options.get("generator")).permutation(n), options)


def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, **options: Any) -> Tensor:
    mean, std = (x.value.data if isinstance(x, Tensor) else x for x in (mean, std))
    shape = np.broadcast_shapes(np.shape(mean), np.shape(std)) if size is None else tuple(size)
    return made(np.asarray(mean + std * rng_of(generator).standard_normal(shape)).astype(default()), options)


def bernoulli(input: Tensor, *, generator: Any = None) -> Tensor:
    p = input.value.data
    return made((rng_of(generator).random(p.shape) < p).astype(p.dtype), {})


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    p = np.atleast_2d(input.value.data).astype(float)
    rows = [rng_of(generator).choice(p.shape[1], num_samples, replacement, row / row.sum()) for row in p]
    return made(np.stack(rows) if input.ndim > 1 else rows[0], {})


def poisson(input: Tensor, generator: Any = None) -> Tensor:
    return made(rng_of(generator).poisson(input.value.data).astype(input.value.data.dtype), {})


FUNCTIONS: tuple[Callable, ...] = (
    tensor, as_tensor, asarray, from_numpy, frombuffer, full, arange, linspace, logspace, eye, complex, meshgrid,
    cartesian_prod, combinations, tril_indices, triu_indices, manual_seed, initial_seed, seed, get_rng_state,
    set_rng_state,
    randint, randperm, normal, bernoulli, multinomial, poisson,
)  # fmt: skip
PUBLIC: dict[str, Any] = {f.__name__: f for f in FUNCTIONS}
PUBLIC |= {
    "zeros": zeros, "ones": ones, "empty": empty, "rand": rand, "randn": randn, "Generator": Generator, "range": range_,
    "hann_window": hann_window, "hamming_window": hamming_window, "blackman_window": blackman_window,
    "bartlett_window": bartlett_window, "default_generator": default_generator,
    "zeros_like": _like(zeros), "ones_like": _like(ones), "empty_like": _like(empty), "full_like": _like(full),
    "rand_like": _like(rand), "randn_like": _like(randn), "scalar_tensor": tensor,
    "randint_like": lambda input, low, high=None, **options: randint(
        *((0, low) if high is None else (low, high)), tuple(input.shape), **{"dtype": input.dtype, **options}
    ),
}  # fmt: skip
METHODS: dict[str, Callable] = {
    "new_tensor": _new(tensor), "new_zeros": _new(zeros), "new_ones": _new(ones), "new_empty": _new(empty),
    "new_full": _new(full), "bernoulli": bernoulli, "multinomial": multinomial,
}  # fmt: skip
