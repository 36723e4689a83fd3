"""What CuPy has, as far as this project needs it: names, and the parameters of each function.

Kept by hand; test_stand_in.py compares it with CuPy itself. A name that is missing here is missing from the stand-in.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


UFUNCS = _names("""
    abs absolute add arctan
    arctan2 bitwise_and bitwise_or bitwise_xor ceil conj conjugate copysign cos cosh divide equal exp
    exp2 expm1 floor floor_divide fmax fmin greater greater_equal hypot invert isfinite isinf isnan left_shift less
    less_equal log log10 log1p log2 logical_and logical_not logical_or logical_xor maximum minimum mod multiply negative
    not_equal positive power reciprocal remainder right_shift rint sign sin sinh sqrt square subtract tan tanh
    true_divide trunc
""")
UFUNC_KEYWORDS = "out casting dtype"
SCATTERED = {  # the ufuncs that have .at, and the types that the hardware's atomics take
    "add": _names("int32 int64 uint32 uint64 float16 float32 float64"),
    "maximum": _names("int32 int64 uint32 uint64 float32 float64"),
    "minimum": _names("int32 int64 uint32 uint64 float32 float64"),
}
LINALG = {"det": "a", "inv": "a"}
FUNCTIONS = {
    "all": "a axis out keepdims",
    "allclose": "a b rtol atol equal_nan",
    "amax": "a axis out keepdims",
    "amin": "a axis out keepdims",
    "any": "a axis out keepdims",
    "argmax": "a axis dtype out keepdims",
    "argmin": "a axis dtype out keepdims",
    "argsort": "a axis kind",
    "array_equal": "a1 a2 equal_nan",
    "ascontiguousarray": "a dtype",
    "atleast_1d": "*arys",
    "broadcast_to": "array shape",
    "clip": "a a_min a_max out",
    "concatenate": "tup axis out dtype casting",
    "copy": "a order",
    "cumsum": "a axis dtype out",
    "dot": "a b out",
    "einsum": "*operands dtype",
    "expand_dims": "a axis",
    "flip": "a axis",
    "imag": "val",
    "ix_": "*args",
    "matmul": "x1 x2 out dtype",
    "max": "a axis out keepdims",
    "mean": "a axis dtype out keepdims",
    "min": "a axis out keepdims",
    "moveaxis": "a source destination",
    "nonzero": "a",
    "prod": "a axis dtype out keepdims",
    "ravel": "a order",
    "real": "val",
    "repeat": "a repeats axis",
    "reshape": "a newshape order",
    "roll": "a shift axis",
    "searchsorted": "a v side sorter",
    "sort": "a axis kind",
    "squeeze": "a axis",
    "stack": "tup axis out dtype casting",
    "std": "a axis dtype out ddof keepdims",
    "sum": "a axis dtype out keepdims",
    "swapaxes": "a axis1 axis2",
    "take": "a indices axis out",
    "take_along_axis": "a indices axis",
    "tensordot": "a b axes",
    "tile": "A reps",
    "transpose": "a axes",
    "unique": "ar return_index return_inverse return_counts axis equal_nan",
    "var": "a axis dtype out ddof keepdims",
    "where": "condition x y",
}
CREATORS = {  # of new arrays
    "arange": "start stop step dtype",
    "eye": "N M k dtype order",
    "full": "shape fill_value dtype order",
    "full_like": "a fill_value dtype order subok shape",
    "linspace": "start stop num endpoint retstep dtype axis",
    "ones": "shape dtype order",
    "ones_like": "a dtype order subok shape",
    "zeros": "shape dtype order",
    "zeros_like": "a dtype order subok shape",
}
QUESTIONS = {  # whose answers stay on the host
    "may_share_memory": "a b max_work",
    "ndim": "a",
    "result_type": "*arrays_and_dtypes",
    "shape": "a",
    "size": "a axis",
}
CONSTANTS = _names("""
    bool_ complex128 complex64 dtype e finfo float16 float32 float64 floating generic iinfo inf int16 int32 int64 int8
    integer intp nan newaxis pi uint16 uint32 uint64 uint8
""")
METHODS = {
    "all": "axis out keepdims",
    "any": "axis out keepdims",
    "argmax": "axis out dtype keepdims",
    "argmin": "axis out dtype keepdims",
    "argsort": "axis kind",
    "astype": "dtype order casting subok copy",
    "clip": "min max out",
    "conj": "",
    "copy": "order",
    "cumsum": "axis dtype out",
    "dot": "b out",
    "flatten": "order",
    "max": "axis out keepdims",
    "mean": "axis dtype out keepdims",
    "min": "axis out keepdims",
    "nonzero": "",
    "prod": "axis dtype out keepdims",
    "ravel": "order",
    "repeat": "repeats axis",
    "reshape": "*shape order",
    "squeeze": "axis",
    "std": "axis dtype out ddof keepdims",
    "sum": "axis dtype out keepdims",
    "swapaxes": "axis1 axis2",
    "take": "indices axis out",
    "transpose": "*axes",
    "var": "axis dtype out ddof keepdims",
    "view": "dtype",
}
KEEPS_ORDER = _names("astype copy empty_like full_like ones_like view zeros_like")  # the memory order of the argument
TAKES_LISTS = _names("concatenate ix_ stack")  # of arrays; other functions take no list for an array
TYPES = frozenset("?bhilqBHILQefdFD")  # the characters of the dtypes there are
