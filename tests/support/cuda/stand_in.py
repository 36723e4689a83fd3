"""A strict stand-in for CuPy, on the CPU.

It computes with NumPy and refuses what CuPy refuses: names and keywords that CuPy lacks, arrays of the host mixed with
arrays of the device, a silent conversion to NumPy. Where the two libraries differ it does as CuPy: reductions give
arrays without axes, what is computed lies in memory in C order, new memory holds rubbish, nothing warns. Its
`RawModule` runs CUDA source on the CPU (raw_module.py).
"""

from __future__ import annotations

import operator
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy.special

from . import cupy_names as cupy_has
from .one_device import Device, Event, MemoryPool, Stream
from .raw_module import RawModule, allocation


def _refuse_keywords(name: str, parameters: str, args: tuple, keywords: dict) -> None:
    names = parameters.split()
    if len(args) > len(names) and not any(n.startswith("*") for n in names):
        raise TypeError(f"cupy: {name}() takes {len(names)} arguments, got {len(args)}")
    unknown = keywords.keys() - set(names)
    if unknown:
        raise TypeError(f"cupy: {name}() has no argument {', '.join(sorted(unknown))}; it has {parameters}")


def _require_dtype(dtype: Any) -> None:
    if np.dtype(dtype).char not in cupy_has.TYPES:
        raise ValueError(f"Unsupported dtype {np.dtype(dtype)}")


# --- in and out of the stand-in


def _inside(x: Any) -> Any:
    """The NumPy arrays within arrays of the stand-in, lists and tuples; TypeError for an array of the host."""
    if isinstance(x, ndarray):
        return x._array
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: an array of the host among arrays of the device")
    if type(x) in (tuple, list):
        return type(x)(_inside(part) for part in x)
    return x


def _found(x: Any) -> list[ndarray]:
    if isinstance(x, ndarray):
        return [x]
    return [a for part in x for a in _found(part)] if isinstance(x, (tuple, list)) else []


def _outside(result: Any, sources: list[ndarray], keeps_order: bool = False) -> Any:
    """What NumPy has computed from these arrays, as arrays of the stand-in."""
    if isinstance(result, (tuple, list)):
        return type(result)(_outside(part, sources, keeps_order) for part in result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    for source in sources:
        if source._array is result:
            return source
    result = np.asarray(result)
    _require_dtype(result.dtype)
    is_view = any(np.may_share_memory(result, source._array) for source in sources)
    return _wrap(result if is_view or keeps_order or result.flags.c_contiguous else result.copy(order="C"))


def _run(name: str, function: Any, args: tuple, keywords: dict) -> Any:
    out = keywords.get("out")
    if out is not None and not isinstance(out, ndarray):
        raise TypeError(f"cupy: {name}: out must be an array of cupy, got {type(out)}")
    sources = _found([*args, *keywords.values()])
    with np.errstate(all="ignore"):
        result = function(*_inside(args), **{k: _inside(v) for k, v in keywords.items()})
    return _outside(result, sources, name in cupy_has.KEEPS_ORDER)


def _function(name: str, parameters: str, module: Any = np) -> Any:
    compute = getattr(module, name)

    def function(*args: Any, **keywords: Any) -> Any:
        _refuse_keywords(name, parameters, args, keywords)
        if name not in cupy_has.TAKES_LISTS and args and isinstance(args[0], (list, tuple)):
            raise TypeError(f"cupy: {name}() needs an array, got a {type(args[0]).__name__}")
        if name == "where" and not hasattr(args[0], "astype"):
            raise TypeError(f"cupy: where() needs a condition that is an array, got {args[0]!r}")
        return _run(name, compute, args, keywords)

    function.__name__ = name
    return function


def _creator(name: str, parameters: str) -> Any:
    def function(*args: Any, **keywords: Any) -> ndarray:
        _refuse_keywords(name, parameters, args, keywords)
        return _run(name, getattr(np, name), args, keywords)

    return function


def _question(name: str, parameters: str) -> Any:
    def function(*args: Any, **keywords: Any) -> Any:
        _refuse_keywords(name, parameters, args, keywords)
        return getattr(np, name)(*_inside(args), **keywords)

    return function


class Ufunc:
    """A function entry by entry."""

    def __init__(self, name: str, source: ModuleType = np):
        self.name = name
        self._compute = getattr(source, name)
        self.nin, self.nout = self._compute.nin, self._compute.nout

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        _refuse_keywords(self.name, cupy_has.UFUNC_KEYWORDS, (), keywords)
        for x in args:
            if not isinstance(x, (ndarray, bool, int, float, complex, np.generic)):
                raise TypeError(f"Unsupported type {type(x)}: cupy.{self.name} takes arrays of cupy, and numbers")
        return _run(self.name, self._compute, args, keywords)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """a[indices] op= b, entries that are named twice included."""
        if self.name not in cupy_has.SCATTERED:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if a.dtype.name not in cupy_has.SCATTERED[self.name]:
            known = ", ".join(sorted(cupy_has.SCATTERED[self.name]))
            raise TypeError(f"cupy.{self.name}.at only supports {known} as data type, got {a.dtype}")
        self._compute.at(a._array, _index(indices), np.asarray(_value(b)).astype(a.dtype))


def _index(index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(np.asarray(p) if isinstance(p, list) and p else _inside(p) for p in parts)
    return parts if isinstance(index, tuple) else parts[0]


def _value(value: Any) -> Any:
    if not isinstance(value, (ndarray, bool, int, float, complex, np.generic)):
        raise TypeError(f"Unsupported type {type(value)}: what is assigned must be an array of cupy, or a number")
    return _inside(value)


# --- arrays


class Flags:
    """How an array lies in memory."""

    def __init__(self, array: np.ndarray):
        self.c_contiguous, self.f_contiguous = array.flags.c_contiguous, array.flags.f_contiguous
        self.owndata = array.base is None

    forc = property(lambda self: self.f_contiguous or self.c_contiguous)
    fnc = property(lambda self: self.f_contiguous and not self.c_contiguous)


class ndarray:
    """An array of the stand-in: a NumPy array that only the stand-in may touch."""

    __module__ = "cupy"
    __slots__ = ("__weakref__", "_array")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape: Any, dtype: Any = float, memptr: None = None, strides: None = None, order: str = "C"):
        _require_dtype(dtype)
        self._array = np.empty(shape, dtype, order)
        spoil(self._array)

    shape = property(lambda self: self._array.shape)
    strides = property(lambda self: self._array.strides)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    dtype = property(lambda self: self._array.dtype)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    flags = property(lambda self: Flags(self._array))
    data = property(lambda self: SimpleNamespace(ptr=self._array.ctypes.data))
    device = property(lambda self: Device())
    base = property(lambda self: _wrap(self._array.base) if isinstance(self._array.base, np.ndarray) else None)
    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))
    real = property(lambda self: _outside(self._array.real, [self]))
    imag = property(lambda self: _outside(self._array.imag, [self]))

    # --- to the host, always asked for

    def get(self, stream: None = None, order: str = "C", out: None = None, blocking: bool = True) -> np.ndarray:
        return self._array.copy(order=order)

    def item(self) -> Any:
        return self._array.item()

    def tolist(self) -> Any:
        return self._array.tolist()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __repr__(self) -> str:
        return repr(self._array)

    def __str__(self) -> str:
        return str(self._array)

    def __reduce__(self) -> tuple:
        return asarray, (self.get(),)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: dict) -> ndarray:
        return self.copy()

    # --- entries

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        return _outside(np.asarray(self._array[_index(index)]), [self])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[_index(index)] = _value(value)

    def fill(self, value: Any) -> None:
        self._array.fill(_value(value))

    def sort(self, axis: int = -1, kind: None = None) -> None:
        self._array.sort(axis)

    # --- NumPy's functions, called on this array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if ufunc.__name__ not in cupy_has.UFUNCS | {"matmul"} or method not in ("__call__", "at"):
            return NotImplemented
        if "out" in keywords:
            (keywords["out"],) = keywords["out"]
        function = getattr(make(), ufunc.__name__)
        return (function if method == "__call__" else function.at)(*inputs, **keywords)

    def __array_function__(self, function: Any, types: Any, args: tuple, keywords: dict) -> Any:
        names = {**cupy_has.FUNCTIONS, **cupy_has.CREATORS, **cupy_has.QUESTIONS}
        if function.__module__ != "numpy" or function.__name__ not in names:
            return NotImplemented
        return getattr(make(), function.__name__)(*args, **keywords)


def _method(name: str, parameters: str) -> Any:
    def method(self: ndarray, *args: Any, **keywords: Any) -> Any:
        _refuse_keywords(name, parameters, args, keywords)
        return _run(name, getattr(np.ndarray, name), (self, *args), keywords)

    return method


def _operator(name: str, reflected: bool = False) -> Any:
    compute = Ufunc(name) if name in cupy_has.UFUNCS else _function(name, cupy_has.FUNCTIONS[name])

    def method(self: ndarray, other: Any) -> Any:
        if getattr(other, "__array_ufunc__", self) is None:  # it asks to be asked, as a Tensor does
            return NotImplemented
        return compute(other, self) if reflected else compute(self, other)

    return method


def _in_place(name: str) -> Any:
    def method(self: ndarray, other: Any) -> ndarray:
        return Ufunc(name)(self, other, out=self)

    return method


OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
SIGNS = {"neg": operator.neg, "pos": operator.pos, "abs": operator.abs, "invert": operator.invert}

for _type in (bool, int, float, complex):
    setattr(ndarray, f"__{_type.__name__}__", lambda self, type_=_type: type_(self._array.item()))
for _name, _parameters in cupy_has.METHODS.items():
    setattr(ndarray, _name, _method(_name, _parameters))
for _name, _ufunc in OPERATORS.items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))
    setattr(ndarray, f"__r{_name}__", _operator(_ufunc, reflected=True))
    if _name != "matmul":
        setattr(ndarray, f"__i{_name}__", _in_place(_ufunc))
for _name, _ufunc in COMPARISONS.items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))
for _name, _sign in SIGNS.items():
    setattr(ndarray, f"__{_name}__", lambda self, sign=_sign: _run("sign", sign, (self,), {}))


def _wrap(array: np.ndarray) -> ndarray:
    wrapper = object.__new__(ndarray)
    wrapper._array = array
    return wrapper


# --- new arrays


def spoil(array: np.ndarray) -> None:
    """Rubbish, as in memory that nobody has written to yet: NaN, or -93 in every byte."""
    array.fill(np.nan) if array.dtype.kind in "fc" else array.view(f"V{array.itemsize}").fill(b"\xa3" * array.itemsize)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def empty_like(
    prototype: ndarray, dtype: Any = None, order: str = "K", subok: None = None, shape: Any = None
) -> ndarray:
    made = np.empty_like(_inside(prototype), dtype, order, shape=shape)
    spoil(made)
    return _wrap(made)


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", subok: bool = False, ndmin: int = 0) -> Any:
    """A copy on the device of anything that NumPy makes an array of, or of an array of the device."""
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype, order=order, copy=copy)
    host = np.array(obj, dtype, ndmin=ndmin)
    _require_dtype(host.dtype)
    return _wrap(host.copy(order="F" if host.flags.f_contiguous and order in "KAF" else "C"))


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> ndarray:
    return array(a, dtype, copy=bool(copy), order=order or "K")


def asnumpy(a: Any, stream: None = None, order: str = "C", out: None = None, *, blocking: bool = True) -> np.ndarray:
    return a.get(order=order) if isinstance(a, ndarray) else np.asarray(a)


def as_strided(x: ndarray, shape: Any = None, strides: Any = None) -> ndarray:
    view = np.lib.stride_tricks.as_strided(x._array, shape, strides)
    bounds, whole = np.lib.array_utils.byte_bounds(view), np.lib.array_utils.byte_bounds(allocation(x._array))
    if view.size and not (whole[0] <= bounds[0] and bounds[1] <= whole[1]):
        raise ValueError(f"as_strided: shape {shape} and strides {strides} leave the memory of the array {x.shape}")
    return _wrap(view)


# --- the modules


special = SimpleNamespace(**{name: Ufunc(name, scipy.special) for name in ("erf", "erfc")})  # cupyx.scipy.special


@cache
def make(order: str = "ascending") -> ModuleType:
    """The module to put in the place of `cupy`; its kernels run their threads in this order."""

    class OrderedModule(RawModule):
        def __init__(self, *, code: str, options: tuple[str, ...] = ()):
            super().__init__(code, order, options)

    module = ModuleType("cupy", __doc__)
    module.__dict__.update(
        ndarray=ndarray, RawModule=OrderedModule, empty=empty, empty_like=empty_like, array=array, asarray=asarray,
        asnumpy=asnumpy, is_available=lambda: True, get_default_memory_pool=MemoryPool,
        linalg=SimpleNamespace(**{n: _function(n, p, np.linalg) for n, p in cupy_has.LINALG.items()}),
        lib=SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=as_strided)),
        cuda=SimpleNamespace(
            Device=Device, Stream=Stream, Event=Event, is_available=lambda: True,
            get_elapsed_time=lambda start, end: 0.0, get_current_stream=lambda: Stream.null,
            runtime=SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda i: {"name": b"stand-in"}),
        ),
    )  # fmt: skip
    module.__dict__.update({name: getattr(np, name) for name in cupy_has.CONSTANTS})
    module.__dict__.update({name: Ufunc(name) for name in cupy_has.UFUNCS})
    makers = ((cupy_has.FUNCTIONS, _function), (cupy_has.CREATORS, _creator), (cupy_has.QUESTIONS, _question))
    for names, made in makers:
        module.__dict__.update({name: made(name, parameters) for name, parameters in names.items()})

    def missing(name: str) -> Any:
        raise AttributeError(f"the stand-in for cupy has no {name!r}; if CuPy has it, add it to stand_in.py")

    module.__getattr__ = missing
    return module
