"""The methods and operators of Tensor: from the tables, and those that change it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from . import creation, dtypes, entries, linalg, pointwise, reductions, shaping
from .parts import BLOCK, with_block
from .tensor import Tensor, lifted, unwrap, wrap
from .values import last_write, owner, written

TABLES = (pointwise.TABLE, reductions.TABLE, shaping.TABLE, entries.TABLE, linalg.TABLE)
IN_PLACE = (  # functions that have a form which changes its tensor, with the name and "_"
    *pointwise.TABLE, "tril", "triu", "scatter", "scatter_add", "index_add", "index_copy", "index_fill", "index_put",
    "masked_fill", "masked_scatter", "scatter_reduce", "put", "renorm", "cumsum", "softmax", "addmm",
)  # fmt: skip


# --- indexing


def _index(index: Any) -> tuple:
    """torch's index as NumPy's: tensors as arrays, one of no dimensions as an int."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple([_part(p) for p in parts])


def _part(p: Any) -> Any:
    if isinstance(p, Tensor):
        array = p.value.data
        if array.dtype == np.uint8:
            return array.astype(bool)
        return array if array.ndim or array.dtype == bool else int(array)
    if isinstance(p, slice):
        if p.step is not None and p.step < 0:
            raise ValueError("step must be greater than zero; use x.flip(dim)")
        return slice(*[int(x) if isinstance(x, Tensor) else x for x in (p.start, p.stop, p.step)])
    if isinstance(p, list):
        return np.asarray([int(x) if isinstance(x, Tensor) else x for x in p] if p else np.zeros(0, int))
    return p


OPERANDS = (int, float, complex, np.ndarray, np.generic, Value)
BASIC = (int, slice, type(None), type(Ellipsis))


def _getitem(self: Tensor, index: Any) -> Tensor:
    index = _index(index)
    if all(isinstance(p, BASIC) for p in index):
        full = (*index, Ellipsis) if len(index) == self.ndim and Ellipsis not in index else index  # not a copy
        return self.view_by(lambda value: value[full])
    return wrap(self.value[index])


def _setitem(self: Tensor, index: Any, new: Any) -> None:
    where, index, new, x = index, _index(index), unwrap(new), self.value
    places = None if isinstance(new, int | float) else np.empty(x.shape, bool)[index]
    if isinstance(new, Value) and new.ndim > places.ndim:  # leading dimensions of length 1
        new = new.reshape(new.shape[new.ndim - places.ndim :])
    if self.writable(new, "x[i] = ..."):
        self.value.data[index] = getattr(new, "data", new) if isinstance(new, Value) else new
        written(self.value.data)
        return
    number = type(new) in (int, float, bool)
    new = new if number or isinstance(new, Value) else Value(np.asarray(new, x.dtype))
    if (number or not new.ndim) and isinstance(where, Tensor) and where.value.dtype == bool:  # by the mask itself
        mask = where.value.reshape(where.shape + (1,) * (x.ndim - where.ndim))
        self.change(F.where(mask, new, x).astype(x.dtype), "x[mask] = ...")
        return
    if all(isinstance(p, BLOCK) for p in index):
        self.change(with_block(x, index, new), "x[i] = ...")
        return
    places = np.arange(x.size).reshape(x.shape)[index]
    new = Value(np.asarray(new, x.dtype)) if number else new
    source = new.astype(x.dtype).broadcast_to(places.shape).reshape(-1)
    self.change(F.scatter(x.reshape(-1), 0, np.ravel(places), source).reshape(x.shape), "x[i] = ...")


# --- dtypes and devices


def _cast(self: Tensor, kind: Any, copy: bool = False) -> Tensor:
    kind = np.dtype(kind)
    return self if self.value.data.dtype == kind and not copy else wrap(self.value.astype(kind))


def to(self: Tensor, *targets: Any, **options: Any) -> Tensor:
    """In a dtype, or as another tensor; devices are all the cpu."""
    copy = options.get("copy", False)
    for target in [*targets, options.get("dtype")]:
        if isinstance(target, Tensor):
            return _cast(self, target.value.dtype, copy)
        if isinstance(target, dtypes.dtype | np.dtype | type):
            return _cast(self, target, copy)
    return self.clone() if copy else self


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    if dtype is None:
        return TYPES[self.value.dtype.name]
    names = {name: kind for kind, name in TYPES.items()}
    dtype = getattr(dtype, "dtype", dtype)  # of torch.FloatTensor
    return _cast(self, names[dtype.replace("cuda.", "")] if isinstance(dtype, str) else dtype)


TYPES = {
    "float32": "torch.FloatTensor", "float64": "torch.DoubleTensor", "float16": "torch.HalfTensor",
    "int64": "torch.LongTensor", "int32": "torch.IntTensor", "int16": "torch.ShortTensor", "int8": "torch.CharTensor",
    "uint8": "torch.ByteTensor", "bool": "torch.BoolTensor",
}  # fmt: skip
CASTS = {**dtypes.SHORT, "bool": "bool", "byte": "uint8", "char": "int8"}


# --- changes


def _changing(function: Callable, name: str) -> Callable:
    """The function as a change of its first argument."""

    @wraps(function)
    def method(self: Tensor, *inputs: Any, **options: Any) -> Tensor:
        inputs = [unwrap(x) for x in inputs]
        return self.change(function(self.value, *inputs, **{n: unwrap(x) for n, x in options.items()}), f"x.{name}_()")

    return method


def _drawn(draw: Callable) -> Callable:
    """Random numbers in the place of the tensor's."""

    def method(self: Tensor, *arguments: Any, generator: Any = None, **options: Any) -> Tensor:
        return self.change(np.asarray(draw(creation.rng_of(generator), self.shape, *arguments, **options)))

    return method


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    src = unwrap(src)
    if isinstance(src, Value) and src.data.dtype != self.value.data.dtype:
        src = src.astype(self.value.data.dtype)
    return self.change(src, "x.copy_(...)")


def set_data(self: Tensor, source: Tensor) -> Tensor:
    self.data = source
    return self


def _integers(rng: Any, shape: Any, low: Any = 0, to: Any = None) -> Any:
    return rng.integers(*((low, to) if to is not None else (0, low or 2**24)), shape)


CHANGES: dict[str, Callable] = {
    "zero_": lambda self: self.change(0, "x.zero_()"),
    "fill_": lambda self, value: self.change(unwrap(value), "x.fill_(...)"),
    "copy_": copy_,
    "set_": set_data,
    "normal_": _drawn(lambda rng, shape, mean=0.0, std=1.0: mean + std * rng.standard_normal(shape)),
    "uniform_": _drawn(lambda rng, shape, a=0.0, b=1.0: rng.uniform(a, b, shape)),
    "random_": _drawn(_integers),
    "bernoulli_": _drawn(lambda rng, shape, p=0.5: rng.random(shape) < unwrap(p)),
    "exponential_": _drawn(lambda rng, shape, lambd=1.0: rng.exponential(1 / lambd, shape)),
    "detach_": lambda self: self._replace(self.value.detach()) or self,
    "unsqueeze_": lambda self, dim: _reshaped(self, shaping.unsqueeze(self.value, dim)),
    "squeeze_": lambda self, dim=None: _reshaped(self, shaping.squeeze(self.value, dim)),
    "t_": lambda self: _reshaped(self, shaping.t(self.value)),
    "transpose_": lambda self, dim0, dim1: _reshaped(self, shaping.transpose(self.value, dim0, dim1)),
    "resize_": lambda self, *sizes: _reshaped(self, Value(np.resize(self.value.data, shaping._flat(sizes)))),
    "requires_grad_": Tensor.requires_grad_,
    "share_memory_": lambda self: self,
    "fill_diagonal_": lambda self, value: self.change(
        np.where(np.eye(*self.shape, dtype=bool), value, self.value.data), "x.fill_diagonal_()"
    ),
}


def _reshaped(self: Tensor, value: Value) -> Tensor:
    self.value, self.family, self.path = wrap(value).value, None, None
    return self


def _strides(self: Tensor, dim: int | None = None) -> Any:
    strides = tuple(n // self.value.data.itemsize for n in self.value.data.strides)
    return strides if dim is None else strides[dim]


def _contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    return self if self.is_contiguous() else wrap(shaping.contiguous(self.value))


QUERIES: dict[str, Callable] = {
    "dim": lambda self: self.value.data.ndim,
    "ndimension": lambda self: self.value.data.ndim,
    "numel": lambda self: self.value.data.size,
    "nelement": lambda self: self.value.data.size,
    "element_size": lambda self: self.value.data.itemsize,
    "data_ptr": lambda self: self.value.data.ctypes.data,
    "stride": _strides,
    "storage_offset": lambda self: (self.data_ptr() - owner(self.value.data).ctypes.data) // self.element_size(),
    "is_contiguous": lambda self, memory_format=None: self.value.data.flags.c_contiguous,
    "is_floating_point": lambda self: self.value.data.dtype.kind == "f",
    "is_complex": lambda self: self.value.data.dtype.kind == "c",
    "is_signed": lambda self: self.value.data.dtype.kind not in "ub",
    "is_shared": lambda self: False,
    "get_device": lambda self: -1,
    "tolist": lambda self: self.value.tolist(),
    "is_set_to": lambda self, other: self.value is other.value,
    "sum_to_size": lambda self, *sizes: wrap(self.value.sum_to(shaping._flat(sizes))),
    "allclose": lambda self, other, *args, **options: reductions.allclose(self.value, unwrap(other), *args, **options),
    "new": lambda self, *sizes: self.new_empty(*sizes),
    "is_same_size": lambda self, other: self.shape == other.shape,
    "is_conj": lambda self: False,
    "resolve_conj": lambda self: self,
    "vsplit": lambda self, sections: self.tensor_split(sections, dim=0),
    "hsplit": lambda self, sections: self.tensor_split(sections, dim=min(1, self.ndim - 1)),
    "dsplit": lambda self, sections: self.tensor_split(sections, dim=2),
    "type_as": lambda self, other: _cast(self, other.value.dtype),
    "contiguous": _contiguous,
    "where": lambda self, condition, other: lifted(pointwise.where)(condition, self, other),
}
PROPERTIES: dict[str, Callable] = {
    "nbytes": lambda self: self.value.data.nbytes,
    "itemsize": lambda self: self.value.data.itemsize,
    "layout": lambda self: "torch.strided",
    "names": lambda self: (None,) * self.ndim,
    "_version": lambda self: last_write(self.value.data),
    "T": lambda self: self.permute(*range(self.ndim)[::-1]),
    "mT": lambda self: self.transpose(-1, -2),
    "H": lambda self: self.transpose(-1, -2),
    "real": lambda self: wrap(Value(self.value.data.real)) if self.is_complex() else self,
    "imag": lambda self: wrap(Value(self.value.data.imag)),
    **{
        f"is_{kind}": lambda self: False
        for kind in ("cuda", "sparse", "quantized", "meta", "mps", "xpu", "nested", "mkldnn")
    },
}


# --- attaching them


def _view(function: Callable) -> Callable:
    @wraps(function)
    def method(self: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return self.view_by(lambda value: function(value, *map(unwrap, arguments), **options))

    return method


def _views(places: Callable) -> Callable:
    @wraps(places)
    def method(self: Tensor, *arguments: Any, **options: Any) -> tuple:
        dim = options.get("dim", arguments[-1] if len(arguments) > (places is not shaping.SPLITS["unbind"]) else 0)
        before = (slice(None),) * (dim % max(self.ndim, 1))
        return tuple([_getitem(self, (*before, part)) for part in places(self.value, *arguments, **options)])

    return method


for _table in TABLES:
    for _name, _function in _table.items():
        if _name not in ("where",):
            setattr(Tensor, _name, lifted(_function))
for _name, _function in shaping.METHODS_ONLY.items():
    setattr(Tensor, _name, lifted(_function))
for _name in IN_PLACE:
    _function = next(table[_name] for table in TABLES if _name in table)
    setattr(Tensor, f"{_name}_", _changing(_function, _name))
for _name, _function in shaping.VIEWS.items():
    setattr(Tensor, _name, _view(_function))
for _name, _function in shaping.SPLITS.items():
    setattr(Tensor, _name, _views(_function))
for _name, _function in {**CHANGES, **creation.METHODS}.items():
    setattr(Tensor, _name, _function)
for _name, _kind in CASTS.items():
    setattr(Tensor, _name, lambda self, memory_format=None, kind=_kind: _cast(self, kind))

for _name, _function in QUERIES.items():
    setattr(Tensor, _name, _function)
for _name, _function in PROPERTIES.items():
    setattr(Tensor, _name, property(_function))
for _name in ("cuda", "cpu", "pin_memory"):
    setattr(Tensor, _name, lambda self, *device, **options: self)
Tensor.to, Tensor.type = to, type_
Tensor.__getitem__, Tensor.__setitem__ = _getitem, _setitem
for _name, _function in {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}.items():  # fmt: skip
    _on_values = {**pointwise.TABLE, **linalg.TABLE}[_function]

    def _left(self: Tensor, other: Any, f: Callable = _on_values) -> Any:
        if isinstance(other, Tensor):
            return wrap(f(self.value, other.value))
        return wrap(f(self.value, other)) if isinstance(other, OPERANDS) else NotImplemented

    def _right(self: Tensor, other: Any, f: Callable = _on_values) -> Any:
        return wrap(f(other, self.value)) if isinstance(other, OPERANDS) else NotImplemented

    setattr(Tensor, f"__{_name}__", _left)
    setattr(Tensor, f"__r{_name}__", _right)
    if _name != "matmul":
        setattr(Tensor, f"__i{_name}__", _changing(_on_values, f"{_function}"))
for _name in pointwise.COMPARISONS:

    def _compared(self: Tensor, other: Any, f: Callable = pointwise.TABLE[_name]) -> Any:
        if other is None or isinstance(other, str):
            return NotImplemented
        return wrap(f(self.value, unwrap(other)))

    setattr(Tensor, f"__{_name}__", _compared)
Tensor.__neg__ = lambda self: wrap(-self.value)
Tensor.__pos__ = lambda self: self
Tensor.__abs__ = lambda self: wrap(abs(self.value))
Tensor.__contains__ = lambda self, x: unwrap(x) in self.value
Tensor.__invert__ = lambda self: wrap(Value(~self.value.data))
