"""Values that no rule needs are not saved for the backward pass, and are computed anew when somebody asks for them."""

import gc
import weakref

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.check.rules import load
from minidl.check.samples import SAMPLES
from minidl.core.primitive import registry
from minidl.core.tensor import Placeholder, Tensor

load()
SIDE = 160  # SIDE * SIDE float64 are large


def leaf(seed=0, side=SIDE):
    return md.Tensor(np.random.default_rng(seed).normal(size=(side, side)), requires_grad=True)


def test_the_sum_before_a_relu_is_not_saved():
    a, b = leaf(0), leaf(1)
    total = a + b
    alive = weakref.ref(total.data)
    y = F.relu(total)
    del total
    gc.collect()
    assert alive() is None
    y.sum().backward()
    expected = (a.data + b.data > 0).astype(float)
    assert np.array_equal(a.grad.data, expected) and np.array_equal(b.grad.data, expected)


def test_small_values_and_those_that_rules_need_are_saved():
    a = leaf(0, side=4)
    assert type(F.relu(a + 1).node.inputs[0]) is Tensor
    a = leaf(0)
    assert type(F.relu(a).node.inputs[0]) is Tensor  # a leaf's array is there anyway
    e = F.exp(a)
    array = e.data
    y = F.relu(e)
    del e
    assert y.node.inputs[0].data is array  # exp saves its output for its own rule
    assert type((a + 1).node.inputs[0]) is Tensor
    assert type(F.relu(a + 1).node.inputs[0]) is Placeholder


def test_a_rule_of_the_user_may_read_what_was_not_saved():
    a = leaf(0)
    y = F.relu(a + 1)
    with md.override(F.relu, x=lambda g, y, x: g * x):
        y.sum().backward()
    assert np.array_equal(a.grad.data, a.data + 1)


def test_a_placeholder_tells_its_form_without_computing(monkeypatch):
    x = F.relu(leaf(0) + 1).node.inputs[0]
    monkeypatch.setattr(type(x.node.primitive), "run", None)
    assert (x.shape, x.ndim, x.size, x.dtype, x.requires_grad) == ((SIDE, SIDE), 2, SIDE**2, np.float64, True)
    assert x.form.strides == (0, 0)


def test_after_release_the_value_is_gone_and_says_so():
    y = F.relu(leaf(0) + 1)
    x = y.node.inputs[0]
    y.sum().backward()
    with pytest.raises(RuntimeError, match="the value that 'add' gave was released"):
        x.numpy()


def test_a_graph_may_be_walked_twice_and_differentiated_twice():
    a = leaf(0)
    y = (F.relu(a * a + a) ** 2).sum()
    y.backward(retain_graph=True)
    first = a.grad.data
    a.grad = None
    y.backward()
    assert np.array_equal(first, a.grad.data)
    small = md.Tensor(a.data[:3, :3].copy(), requires_grad=True)
    for x in (a, small):
        (g,) = md.grad((F.relu(x * x + x) ** 2).sum(), [x], create_graph=True)
        (h,) = md.grad((g * g).sum(), [x])
        if x is a:
            large = h
    np.testing.assert_allclose(large.data[:3, :3], h.data, rtol=1e-12)


def test_batch_norm_before_relu_saves_its_input_only():
    x = md.Tensor(np.random.default_rng(0).normal(size=(4, 8, 20, 20)), requires_grad=True)
    w, b = md.Parameter(np.ones(8)), md.Parameter(np.zeros(8))
    y = F.relu(F.batch_norm(x + 0, None, None, w, b, training=True))
    normalised = y.node.inputs[0]
    assert type(normalised) is Placeholder
    with md.definitions():
        expected = F.relu(F.batch_norm(x, None, None, w, b, training=True))
    cotangent = np.random.default_rng(1).normal(size=y.shape)
    for got, wanted in zip(*(md.grad(v, [x, w, b], grad_output=cotangent) for v in (y, expected))):
        np.testing.assert_allclose(got.data, wanted.data, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, p in registry.items() if {*p.arguments, "y"} - {*p.saves}])
def test_rules_need_no_more_than_what_the_primitive_saves(name):
    """They give the same with NaN in place of all that is not saved."""
    primitive = registry[name]
    for sample in SAMPLES[name].draw(np.random.default_rng(0)):
        names = primitive.arguments[-1:] * len(sample.inputs) if primitive.variadic else primitive.arguments
        inputs = [Tensor(x, requires_grad=True) if hasattr(x, "dtype") else x for x in sample.inputs]
        y = primitive(*inputs, **sample.parameters)
        g = Tensor(np.random.default_rng(1).normal(size=y.shape))
        results = []
        for poisoned in (False, True):
            y = primitive(*inputs, **sample.parameters)
            if poisoned:
                y.node.inputs = tuple(
                    x if label in primitive.saves or not isinstance(x, Tensor) else _poisoned(x)
                    for label, x in zip(names, inputs)
                )
                if "y" not in primitive.saves:
                    node, y = y.node, Tensor(np.full_like(y.data, np.nan))
                    y.node = node
            with md.no_grad():
                results.append([gx.data for _, gx in primitive.pullback(g, y, None)])
        for a, b in zip(*results, strict=True):
            assert np.array_equal(a, b, equal_nan=True), (name, sample)


def _poisoned(x):
    bad = Tensor(np.full_like(x.data, np.nan) if x.dtype.kind in "fc" else x.data)
    bad.node = x.node
    return bad
