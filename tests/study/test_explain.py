"""explain: the trace of a backward pass is that of the engine, to the bit, and leaves everything as it was."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.check.rules import load
from minidl.check.samples import SAMPLES
from minidl.core.primitive import Primitive
from minidl.study.explain.examples import EXAMPLES

load()
UNARY = (F.tanh, F.exp, F.sigmoid, F.relu, F.softplus, lambda x: -x, lambda x: x * x, lambda x: 2 - x)
BINARY = (lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b, F.maximum)
SHAPES = ((), (3,), (2, 1), (2, 3))


@st.composite
def graphs(draw, shapes=SHAPES, steps=8):
    """A loss built by random operations on leaves of random shapes; the leaves and all tensors on the way."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    leaves = [md.tensor(rng.normal(size=shape), requires_grad=True) for shape in draw(st.lists(
        st.sampled_from(shapes), min_size=1, max_size=3))]  # fmt: skip
    made = list(leaves)
    for _ in range(draw(st.integers(1, steps))):
        a, b = (made[draw(st.integers(0, len(made) - 1))] for _ in range(2))
        f = draw(st.sampled_from(UNARY + BINARY))
        made.append(f(a) if f in UNARY else f(a, b))
    loss = sum((x.sum() for x in made[1:]), made[0].sum()).tanh()
    return loss, leaves, made


def small():
    a, b = md.tensor(0.3, requires_grad=True), md.tensor(-2.0, requires_grad=True)
    return (a * b + a.tanh()) ** 2 * a, {"a": a, "b": b}


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_gradients_of_leaves_and_of_everything_between_are_those_of_grad_to_the_bit(drawn):
    loss, leaves, made = drawn
    trace = md.explain(loss, names={f"t{i}": x for i, x in enumerate(made)})
    by_name = {v.name: v.gradient for v in trace.vertices}
    wanted = md.grad(loss, made, retain_graph=True, allow_unused=True)
    for i, g in enumerate(wanted):
        assert np.array_equal(by_name[f"t{i}"], g.data) and by_name[f"t{i}"].dtype == g.dtype
    assert set(trace.gradients) == {f"t{i}" for i in range(len(leaves))}


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)  # exp(exp(exp(x))) overflows


@given(graphs())
@settings(deadline=None, max_examples=30)
def test_steps_are_in_the_order_of_the_walk_and_each_adds_up(drawn):
    loss, *_ = drawn
    order = []
    pullback = Primitive.pullback
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Primitive, "pullback", lambda self, g, y, useful: order.append(y.node.order) or
                      pullback(self, g, y, useful))  # fmt: skip
        loss.backward(retain_graph=True)
    trace = md.explain(loss)
    assert [step.vertex.order for step in trace.steps] == order
    arrived = {trace.output: trace.seed}
    for step in trace.steps:
        assert same(step.gradient, arrived[step.vertex])
        for c in step.contributions:
            before = arrived.get(c.input)
            assert (before is None) == (c.before is None) and (before is None or same(c.before, before))
            assert same(c.after, c.value if before is None else before + c.value)
            assert c.value.shape == c.input.value.shape
            arrived[c.input] = c.after
    assert all(same(arrived[v], v.gradient) for v in trace.leaves)


def test_nothing_is_changed():
    loss, leaves = small()
    leaves["a"].grad = md.tensor(7.0)
    for _ in range(2):
        trace = md.explain(loss, names=leaves)
        trace.text(), trace.svg(), trace.json(), trace.html()
    assert leaves["a"].grad.item() == 7.0 and leaves["b"].grad is None
    loss.backward()
    assert leaves["a"].grad.item() == 7.0 + trace.gradients["a"].item()
    with md.anomaly():  # a look at a NaN is no reason to stop
        assert np.isnan(md.explain(**EXAMPLES["nan"]()).gradients["x"][1])


def test_what_is_updated_later_stays_as_it_was_in_the_trace():
    layer = nn.Linear(2, 2, rng=0)
    before = layer.weight.data.copy()
    trace = md.explain(F.relu(layer(md.tensor(np.ones((1, 2), "f4")))).sum(), model=layer)
    layer.weight.data[...] = 0
    assert np.array_equal(next(v for v in trace.vertices if v.name == "weight").value, before)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_primitive_can_be_explained(name):
    entry = SAMPLES[name]
    sample = next(s for s in entry.draw(np.random.default_rng(0)) if all(np.size(x) for x in s.inputs))
    wanted = sample.differentiate
    inputs = [
        md.tensor(x, requires_grad=x.dtype.kind == "f" and (wanted is None or i in wanted))
        if isinstance(x, np.ndarray) else x
        for i, x in enumerate(sample.inputs)
    ]  # fmt: skip
    y = entry.primitive(*inputs, **sample.parameters)
    leaves = [x for x in inputs if isinstance(x, md.Tensor) and x.requires_grad]
    v = np.random.default_rng(1).normal(size=y.shape)
    trace = md.explain(y, v, names={f"in{i}": x for i, x in enumerate(leaves)})
    for i, g in enumerate(md.grad(y, leaves, v, retain_graph=True)):
        assert np.array_equal(trace.gradients[f"in{i}"], g.data, equal_nan=True)
    assert name in trace.text() and entry.primitive.formula in trace.text()
    if trace.steps[0].fused:
        for c in trace.steps[0].contributions:
            assert np.allclose(trace.steps[0].inside.gradients[c.argument], c.value, rtol=1e-9, atol=1e-11)
    assert trace.html() and trace.svg() and json.loads(trace.json())


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("make", [
    lambda x: (x * (1 + 2j)).sum(),  # complex
    lambda x: md.tensor(np.zeros((0, 3)), requires_grad=True).sum() + x.sum(),  # empty
    lambda x: F.concat([x, x * 2, x], axis=0).sum(),  # any number of inputs, one twice
    lambda x: F.where(np.array([True, False, True]), x, 0.0).sum() ** 2,
    lambda x: (x.astype("f4") * x.astype("f4")).sum(),
])  # fmt: skip
def test_odd_graphs(make):
    x = md.tensor([1.0, -2.0, 0.5], requires_grad=True)
    loss = make(x)
    trace = md.explain(loss, names={"x": x})
    assert np.array_equal(trace.gradients["x"], md.grad(loss, x, retain_graph=True)[0].data)
    assert trace.text() and trace.html() and trace.svg() and json.loads(trace.json())


def test_a_parameter_that_was_frozen_since_the_forward_pass_is_a_leaf():
    def text(freeze):
        w = md.Parameter([2.0], name="w")
        y = (w * w).sum()
        if freeze:
            w.requires_grad = False
            w.requires_grad = True
        return md.explain(y).text()

    assert text(freeze=True) == text(freeze=False)
