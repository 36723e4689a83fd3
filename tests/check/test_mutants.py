"""The checker under test: rules, forwards and kernels that are wrong on purpose. All are caught, and named."""

from contextlib import contextmanager

import numpy as np
import pytest

from minidl.check.rules import check_primitive, find, load
from minidl.core.array_function import ArrayFunction
from minidl.core.primitive import registry
from minidl.core.tensor import Tensor
from minidl.ops.elementwise import sign
from minidl.ops.indexing import flip, getitem_p, put, where
from minidl.ops.shape import broadcast_to_p, reshape_p, transpose_p

load()


@contextmanager
def planted(name, forward=None, backward=None, **rules):
    """The primitive with some of its parts replaced, put back at the end."""
    p = find(name)
    before = dict(p.__dict__)
    p.rules = {**p.rules, **rules}
    if forward:
        p.forward, p.cpu = forward, None  # else the twin for the CPU would run instead
    if backward:
        p.reverse = ArrayFunction(backward)
    try:
        yield p
    finally:
        p.__dict__.update(before)


MUTANTS = {}  # name -> (primitive, the mistakes that describe it, the replaced parts)


def rule(primitive, argument, *kinds):
    """Decorator: a wrong rule for one argument, and the diagnoses that are right for it."""

    def register(function):
        MUTANTS[f"{primitive}-{function.__name__}"] = (primitive, kinds, lambda: {argument: function})
        return function

    return register


def parts(primitive, *kinds):
    """Decorator of a function that gives the parts to replace, made anew for each test."""

    def register(function):
        MUTANTS[f"{primitive}-{function.__name__}"] = (primitive, kinds, function)
        return function

    return register


# --- sign, factor, zero


@rule("tanh", "x", "sign")
def wrong_sign(g, y, x):
    return -g * (1 - y * y)


@rule("tanh", "x", "factor")
def twice_too_large(g, y, x):
    return 2 * g * (1 - y * y)


@rule("sqrt", "x", "factor")
def forgotten_half(g, y, x):
    return g / y


@rule("softmax", "x", "factor")
def thirty_seven_times(g, y, x, *, axis):
    return 37 * y * (g - (g * y).sum(axis, keepdims=True))  # a cotangent of ones would not see it


@rule("sum", "x", "factor")
def mean_for_sum(g, y, x, *, axis, keepdims):
    shape = tuple(1 if a in axis else n for a, n in enumerate(x.shape))
    return broadcast_to_p(reshape_p(g, shape=shape), shape=x.shape) * (max(y.size, 1) / max(x.size, 1))


@rule("broadcast_to", "x", "factor")
def mean_over_repeated(g, y, x, *, shape):
    return g.sum_to(x.shape) * (x.size / max(g.size, 1))


@rule("exp", "x", "zero")
def never_arrives(g, y, x):
    return g * 0.0


@rule("subtract", "b", "sign")
def plus_for_minus(g, y, a, b):
    return g


@rule("divide", "b", "sign")
def quotient_sign(g, y, a, b):
    return g * y / b


# --- a part left out


@rule("tanh", "x", "missing term", "missing factor")
def square_left_out(g, y, x):
    return g * 1.0


@rule("divide", "a", "missing factor")
def factor_left_out(g, y, a, b):
    return g


@rule("log", "x", "missing factor")
def division_left_out(g, y, x):
    return g * 1.0


@rule("relu", "x", "missing factor")
def mask_left_out(g, y, x):
    return g * 1.0


@rule("power", "a", "missing term", "missing factor")
def exponent_not_lowered(g, y, a, b):
    return g * b * y


@rule("softmax", "x", "missing term")
def softmax_without_sum(g, y, x, *, axis):
    return y * g


@rule("log_softmax", "x", "missing term")
def log_softmax_without_sum(g, y, x, *, axis):
    return g * 1.0


@rule("broadcast_to", "x", "missing term")
def dropped_broadcast_sum(g, y, x, *, shape):
    lead = g.ndim - x.ndim
    index = (0,) * lead + tuple(slice(0, 1) if n == 1 else slice(None) for n in x.shape)
    return getitem_p(g, index=index) if g.size else g.sum_to(x.shape)


@rule("getitem", "x", "missing term")
def repeated_entries_overwrite(g, y, x, *, index):
    flat = np.zeros(x.shape, g.dtype)
    flat[index] = g.data
    repeats = any(getattr(p, "dtype", None) == np.intp for p in index)
    return Tensor(flat) if repeats else put(g, index=index, shape=x.shape)


@rule("window_sum", "x", "missing term", "border")
def one_tap_left_out(g, y, x, *, window):
    right = find("window_spread")(g, window=window)
    keep = np.ones(x.shape)
    keep[..., -1] = 0
    return right * Tensor(keep.astype(right.dtype))


@rule("where", "a", "extra term")
def condition_left_out(g, y, a, b, *, condition):
    return g


@rule("max", "x", "extra term")
def everyone_is_largest(g, y, x, *, axis, keepdims):
    shape = tuple(1 if a in axis else n for a, n in enumerate(x.shape))
    return broadcast_to_p(reshape_p(g, shape=shape), shape=x.shape)


# --- moved


@rule("matmul", "a", "transposed")
def right_factor_not_transposed(g, y, a, b):
    return find("matmul")(g, b)


@rule("matmul", "b", "transposed")
def result_transposed(g, y, a, b):
    return find("matmul")(a.swapaxes(-1, -2), g).swapaxes(-1, -2)


@rule("transpose", "x", "transposed", "shape")
def axes_not_inverted(g, y, x, *, axes):
    return transpose_p(g, axes=axes)


@rule("multiply", "a", "another input")
def own_factor(g, y, a, b):
    return g * a


@rule("concat", "tensors", "shifted")
def slice_off_by_one(g, y, *tensors, axis, index):
    start = sum(t.shape[axis] for t in tensors[:index])
    stop = start + tensors[index].shape[axis]
    by = 1 if start > 0 and stop > start else 0
    return getitem_p(g, index=(slice(None),) * axis + (slice(start - by, stop - by),))


@rule("identity", "x", "shifted")
def rolled(g, y, x):
    return Tensor(np.roll(g.data, 1, -1))


@rule("identity", "x", "border")
def border_cleared(g, y, x):
    mask = np.ones(g.shape, g.dtype)
    mask[..., :1] = 0
    mask[..., -1:] = 0
    return g * Tensor(mask)


def backwards(w):
    return flip(w, range(2, w.ndim))


@rule("conv", "x", "flipped")
def kernel_flipped(g, y, x, w, **geometry):
    return find("conv_transpose")(g, backwards(w), **geometry)


@rule("conv", "w", "flipped")
def weight_gradient_flipped(g, y, x, w, **geometry):
    return backwards(find("conv_weight")(x, g, **geometry))


@rule("conv_transpose", "w", "flipped")
def transposed_weight_gradient_flipped(g, y, u, w, **geometry):
    return backwards(find("conv_weight")(g, u, **geometry))


@rule("conv", "x", "shifted", "border")
def padding_off_by_one(g, y, x, w, **geometry):
    right = find("conv_transpose")(g, w, **geometry)
    return Tensor(np.roll(right.data, 1, -1))


@rule("conv", "w", "missing term")
def first_sample_only(g, y, x, w, **geometry):
    mask = np.zeros((len(x), *(1,) * (x.ndim - 1)), x.dtype)
    mask[:1] = 1
    return find("conv_weight")(x, g * Tensor(mask), **geometry)


# --- the value, and fused kernels


@parts("tanh", "forward")
def another_function():
    return {"forward": lambda xp, x: xp.sin(x), "x": lambda g, y, x: g * Tensor(np.cos(x.data))}


@parts("relu", "forward")
def leaking_relu():
    return {
        "forward": lambda xp, x: xp.maximum(x, 0.1 * x),
        "x": lambda g, y, x: g * where(x > 0, 1.0, 0.1),
    }


@parts("sum", "forward")
def constant_in_the_value():
    return {"forward": lambda xp, x, *, axis, keepdims: xp.sum(x, axis=axis, keepdims=keepdims) + 1}  # no slope sees it


@parts("batch_norm", "definition", "term of a sum")
def mean_left_out_of_the_kernel():
    right = find("batch_norm").reverse.forward

    def backward(xp, g, y, x, weight, bias, *, needed, eps, **options):
        gx, *rest = right(xp, g, y, x, weight, bias, needed=needed, eps=eps, **options)
        if gx is not None:
            per_channel = 1 if weight is None else weight.reshape(1, -1, *(1,) * (x.ndim - 2))
            gx = gx + (g * per_channel).mean((0, *range(2, x.ndim)), keepdims=True)
        return gx, *rest

    return {"backward": backward}


@parts("cross_entropy", "definition", "factor")
def mean_taken_twice():
    right = find("cross_entropy").reverse.forward

    def backward(xp, g, y, x, **options):
        return tuple(gx / max(len(x), 1) for gx in right(xp, g, y, x, **options))

    return {"backward": backward}


@parts("cross_entropy", "definition", "forward")
def kernel_off_its_definition():
    right = find("cross_entropy").forward
    return {"forward": lambda xp, *arrays, **options: right(xp, *arrays, **options) * 1.001}


# --- the contract


@rule("exp", "x", "nonlinear")
def square_of_g(g, y, x):
    return g * g * y


@rule("exp", "x", "nonlinear")
def clipped_gradient(g, y, x):
    return Tensor(np.clip(g.data, -1, 1)) * y


@rule("multiply", "a", "nonlinear")
def constant_added(g, y, a, b):
    return g * b + 0.125


@parts("exp", "stale")
def value_of_the_first_call():
    kept = {}
    return {"x": lambda g, y, x: g * kept.setdefault(x.shape, y.detach())}


@parts("conv", "stale")
def forward_of_the_first_call():
    kept, right = {}, find("conv").forward

    def forward(xp, x, w, **geometry):
        key = x.shape, w.shape, x.dtype, w.dtype, str(geometry)
        return right(xp, x, kept.setdefault(key, w.copy()), **geometry)

    return {"forward": forward}


@parts("sigmoid", "dtype")
def widened_forward():
    right = find("sigmoid").forward
    return {"forward": lambda xp, x: right(xp, x) * np.ones((), np.float64).reshape(1)[0]}


@parts("sigmoid", "dtype")
def widened_rule():
    return {"x": lambda g, y, x: g * (y * (1 - y)) * Tensor(np.ones(x.shape))}


@parts("exp", "mutated")
def input_overwritten():
    return {"forward": lambda xp, x: xp.exp(x, out=x) if x.dtype.kind == "f" else xp.exp(x)}


@parts("exp", "mutated")
def cotangent_overwritten():
    def wrong(g, y, x):
        g.data[...] *= 1.5
        return g * y

    return {"x": wrong}


@parts("exp", "nondeterministic", "nonlinear")
def noise_added():
    rng = np.random.default_rng(0)
    return {"x": lambda g, y, x: g * y * (1 + 1e-14 * rng.standard_normal())}


@parts("reshape", "layout")
def memory_order():
    return {"forward": lambda xp, x, *, shape: x.ravel("K").reshape(shape)}


@rule("tanh", "x", "zero", "missing term")
def right_once_only(g, y, x):
    return g * Tensor(1 - y.data**2)  # the first order is right, the second is lost


@rule("absolute", "x", "error", "dtype", "shape")
def not_a_tensor(g, y, x):
    return (g * sign(x)).data


@parts("multiply", "formula")
def formula_of_another():
    p = find("multiply")
    p.formula, p.rule_formulas = "a / b", {"a": "g / b", "b": "-g * y / b"}
    return {}


@parts("multiply", "metadata")
def declared_linear():
    find("multiply").kind = "linear"
    return {"forward": lambda xp, a, b: a * b + a * a * b, "a": lambda g, y, a, b: g * (b + 2 * a * b)}


@parts("relu", "metadata")
def without_kink():
    find("relu").kink = None
    return {}


@parts("maximum", "kink")
def everything_near_a_kink():
    find("maximum").kink = lambda a, b: abs(a - b) % 1e-6
    return {}


def state():
    """All that the primitives are made of: their attributes, and what is in those."""

    def parts(p):
        copied = {name: dict(value) if isinstance(value, dict) else value for name, value in p.__dict__.items()}
        return copied | {"cpu": p.cpu is not None}  # a kernel is imported at its first call

    return {name: parts(p) for name, p in registry.items()}


RIGHT = state()
CASES = [pytest.param(*case, id=name) for name, case in MUTANTS.items()]


@pytest.mark.parametrize("name, kinds, make", CASES)
def test_mutant_is_caught_and_named(name, kinds, make):
    p = find(name)
    before = dict(p.__dict__)
    try:
        with planted(name, **make()):
            outcome = check_primitive(p)
    finally:
        p.__dict__.update(before)
    assert outcome.verdict != "PASS", f"{name} survived"
    found = {outcome.findings[0].kind}
    assert found & set(kinds), [f.text() for f in outcome.findings]


def test_there_are_enough_mutants_and_they_leave_nothing_behind():
    assert len(CASES) >= 25
    assert len({case.values[0] for case in CASES}) >= 15
    assert state() == RIGHT, "the primitives that tests/check/test_rules.py proves"
