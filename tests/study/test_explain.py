"""explain: the trace of a backward pass is that of the engine, to the bit, and leaves everything as it was."""

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.__main__ import main
from minidl.check.formulas import evaluate
from minidl.check.rules import load
from minidl.check.samples import SAMPLES
from minidl.core.primitive import Primitive
from minidl.core.tensor import Shadow
from minidl.study.explain.examples import EXAMPLES
from minidl.study.explain.expression import forward_numbers, rule_numbers
from minidl.study.explain.layout import GAP_X, layout
from minidl.study.explain.shown import MOST, shown
from minidl.study.explain.trace import first_not_finite
from tasks.denoise.model import LectureDenoiser

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


# --- what the engine does, and no more


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
        assert np.array_equal(step.gradient, arrived[step.vertex])
        for c in step.contributions:
            before = arrived.get(c.input)
            assert (before is None) == (c.before is None) and (before is None or np.array_equal(c.before, before))
            assert np.array_equal(c.after, c.value if before is None else before + c.value)
            assert c.value.shape == c.input.value.shape
            arrived[c.input] = c.after
    assert all(np.array_equal(arrived[v], v.gradient) for v in trace.leaves)


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


# --- formulas and numbers


@given(graphs(shapes=((),)))
@settings(deadline=None, max_examples=40)
def test_formulas_with_numbers_put_in_compute_what_is_there(drawn):
    trace = md.explain(drawn[0])
    assert trace.scalar
    for step in trace.steps:
        if (text := forward_numbers(step.vertex)) is not None:
            assert evaluate(text, {}) == pytest.approx(step.vertex.value, rel=1e-3, abs=1e-4)
        for c in step.contributions:
            if (text := rule_numbers(step, c)) is not None and not step.kink:
                assert evaluate(text, {}) == pytest.approx(c.value, rel=1e-3, abs=1e-4)


@given(graphs(shapes=((),)))
@settings(deadline=None, max_examples=40)
def test_the_gradient_is_the_sum_over_paths(drawn):
    loss, *_ = drawn
    trace = md.explain(loss, grad_output=3.0)
    ways = {trace.output: 1}
    for step in trace.steps:
        for c in step.contributions:
            ways[c.input] = ways.get(c.input, 0) + ways[step.vertex]
    for leaf in trace.leaves:
        paths = trace.paths[leaf.name]
        assert paths.count == ways[leaf]
        assert len({tuple(id(f) for f in p.factors) for p in paths.listed}) == min(paths.count, 32)
        for path in paths.listed:
            assert path.vertices[0] is leaf and path.vertices[-1] is trace.output
            assert path.product == pytest.approx(3.0 * np.prod(path.factors), rel=1e-12)
        if paths.count <= 32:
            assert paths.sum == pytest.approx(leaf.gradient.item(), rel=1e-9, abs=1e-12)
        else:
            assert paths.sum is None


def test_local_derivatives_agree_with_differences():
    loss, leaves = small()
    trace = md.explain(loss, names=leaves)
    local = {(s.vertex.name, c.input.name, c.position): c.local for s in trace.steps for c in s.contributions}
    a, b, v2, v3, v4 = 0.3, -2.0, np.tanh(0.3), 0.3 * -2 + np.tanh(0.3), (0.3 * -2 + np.tanh(0.3)) ** 2
    expected = {
        ("loss", "v4", 0): a, ("loss", "a", 1): v4, ("v4", "v3", 0): 2 * v3, ("v3", "v1", 0): 1, ("v3", "v2", 1): 1,
        ("v2", "a", 0): 1 - v2**2, ("v1", "a", 0): b, ("v1", "b", 1): a,
    }  # fmt: skip
    assert local == pytest.approx(expected, rel=1e-12)
    a, b = np.array(0.3, complex) + 1e-30j, -2.0  # the complex step: an oracle that knows no rules
    assert trace.gradients["a"] == pytest.approx(((a * b + np.tanh(a)) ** 2 * a).imag / 1e-30, rel=1e-12)


def test_a_value_used_twice_by_one_operation_has_two_paths():
    x = md.tensor(3.0, requires_grad=True)
    paths = md.explain(x * x, names={"x": x}).paths["x"]
    assert [p.product for p in paths.listed] == [3.0, 3.0] and paths.sum == 6.0


def test_many_paths_are_counted_not_listed():
    x = md.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(40):
        y = y + y
    paths = md.explain(y).paths["x1"]
    assert paths.count == 2**40 and len(paths.listed) == 32 and paths.sum is None
    assert "32 of 1099511627776 paths are listed" in md.explain(y).text()


def test_text_says_the_accumulation_as_a_sum():
    x = md.tensor(2.0, requires_grad=True)
    text = md.explain(x * 0.3 + x * 0.12, names={"x": x}).text()
    assert "gradient of x: 0.12 + 0.3 = 0.42" in text
    assert "to x: g * b = 1 · 0.12 = 0.12" in text and "1. loss = v1 + v2   [add: y = a + b]" in text


@pytest.mark.parametrize("shape, axes", [((3,), (0,)), ((4, 1), (1,)), ((1, 1), (0, 1)), ((), (0, 1)), ((4, 3), ())])
@pytest.mark.parametrize("operation", [lambda a, b: a + b, lambda a, b: a * b, F.maximum])
def test_sums_that_broadcasting_asks_for_are_told(shape, axes, operation):
    rng = np.random.default_rng(0)
    x, w = md.tensor(rng.normal(size=(4, 3)), requires_grad=True), md.tensor(rng.normal(size=shape), requires_grad=True)
    trace = md.explain((operation(x, w) * md.tensor(rng.normal(size=(4, 3)))).sum(), names={"w": w})
    (c,) = [c for s in trace.steps for c in s.contributions if c.input.name == "w"]
    assert c.summed_over == axes
    if axes:
        assert c.unsummed.shape == (4, 3)
        assert np.allclose(c.unsummed.sum(axis=axes).reshape(shape), c.value, rtol=1e-12)
        assert f"summed over {'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}" in trace.text()
    else:
        assert c.unsummed is None and "summed over" not in trace.text()


def test_names():
    a, b, c = (md.tensor(v, requires_grad=True) for v in (1.0, 2.0, 3.0))
    data = md.tensor(4.0)
    h = a * b
    trace = md.explain(h * c * data, names={"b": b, "h": h, "data": data})
    kinds = {v.name: v.kind for v in trace.vertices}
    assert kinds == {"x1": "leaf", "b": "leaf", "x2": "leaf", "h": "operation", "data": "constant", "v1": "operation",
                     "loss": "operation"}  # fmt: skip
    layers = nn.Linear(1, 1, rng=0), nn.Linear(1, 1, rng=1)
    for layer in layers:
        dict(layer.named_parameters())
    twice = md.explain(layers[1](layers[0](md.tensor([[1.0]]))).sum())
    assert [v.name for v in twice.leaves if "weight" in v.name] == ["weight", "weight_2"]
    unused = md.explain(a * 2, names={"a": a, "b": b})
    assert unused.notes == ["the loss does not depend on b: no gradient arrives there"]


# --- kinks, NaN, replaced rules


def test_kinks_are_found_where_they_are():
    x = md.tensor([[-1.0, 0.0, 2.0], [1e-7, 0.0, 3.0]], requires_grad=True)
    (kink,) = [s.kink for s in md.explain(F.relu(x).sum()).steps if s.kink]
    assert (kink.count, kink.size, kink.first, kink.distance) == (2, 6, (0, 1), 0.0)
    (kink,) = [s.kink for s in md.explain(F.relu(x).sum(), eps=1e-6).steps if s.kink]
    assert kink.count == 3
    assert [s.kink.count for s in md.explain(F.relu(x).sum(), eps=0.0).steps if s.kink] == [2]
    assert not any(s.kink for s in md.explain(F.relu(x + 5).sum()).steps)
    text = md.explain(F.maximum(x, 2.0).sum()).text()
    assert "kink: 1 of 6 entries is at a kink of maximum, the first at [0, 2]: there is no derivative there" in text
    pooled = md.explain(F.max_pool(md.tensor(np.ones((1, 1, 2, 2)), requires_grad=True), 2).sum())
    assert [s.number for s in pooled.steps if s.kink] == [2]


def test_the_first_not_finite_value_is_named():
    x = md.tensor([1.0, -1.0], requires_grad=True)
    with np.errstate(invalid="ignore"):
        loss = (F.log(x) * 2 + x).sum()
    trace = md.explain(loss, names={"x": x})
    vertex, step = first_not_finite(trace)
    assert vertex.primitive.name == "log"
    assert trace.notes[0] == "v1 = log(x) made the first NaN or infinity out of finite inputs: 1 of 2 values"
    assert step is None  # the rules of a sum, of + and of * by 2 give finite numbers; so does g / x
    held = md.explain((md.tensor([np.inf, 1.0], requires_grad=True) * 2).sum())
    assert held.notes[0] == "x1 holds a NaN or an infinity: 1 of 2 values"


def test_the_step_that_made_the_first_not_finite_gradient_is_named():
    trace = md.explain(**EXAMPLES["nan"]())
    vertex, step = first_not_finite(trace)
    assert vertex is None and step.vertex.primitive.name == "sqrt" and step.number == 3
    assert "step 3, the rule of sqrt, made the first NaN or infinity among the gradients (of x)" in trace.notes[0]
    assert json.loads(trace.json())["values"][0]["gradient"]["not_finite"] == 1
    assert '"nan"' in trace.json() and "not finite" in trace.svg()


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_replaced_rules_are_followed_and_named(rule):
    x = md.tensor([1.0, -1.0, 2.0], requires_grad=True)
    loss = (F.relu(x) * md.tensor([-1.0, 1.0, 2.0])).sum()
    with md.relu_rule(rule):
        trace = md.explain(loss)
        (g,) = md.grad(loss, [x], retain_graph=True)
    assert np.array_equal(trace.gradients["x1"], g.data)
    assert trace.overrides == ["relu"] and "not gradients" in trace.text() and "not a gradient" in trace.html()
    (replaced,) = [c for s in trace.steps for c in s.contributions if c.replaced]
    assert replaced.formula == rule
    assert "replaced" not in md.explain(loss).html()


def test_under_a_replaced_rule_there_are_no_paths():
    loss, leaves = small()
    with md.override(F.tanh, x=lambda g, y, x: g * 5):
        trace = md.explain(loss, names=leaves)
    assert trace.paths == {} and "another rule" in trace.text()
    assert set(md.explain(loss, names=leaves).paths) == {"a", "b"}


# --- what it refuses, in one line


def test_refusals():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"the loss has shape \(2,\).*sum it first, or pass grad_output="):
        md.explain(x * 2)
    with pytest.raises(ValueError, match=r"grad_output has shape \(3,\), the loss \(2,\)"):
        md.explain(x * 2, [1.0, 2.0, 3.0])
    with pytest.raises(RuntimeError, match=r"requires no gradient.*requires_grad=True"):
        md.explain(md.tensor(1.0) * 2)
    with pytest.raises(TypeError, match=r"needs a Tensor.*got float"):
        md.explain(1.0)
    with pytest.raises(TypeError, match="'w' is a float"):
        md.explain(x.sum(), names={"w": 1.0})
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"released by an earlier backward pass.*retain_graph=True"):
        md.explain(loss)


def test_a_loss_of_several_elements_takes_its_gradient():
    x = md.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    v = [[1.0, -2.0], [0.5, 3.0]]
    y = F.tanh(x) * x
    trace = md.explain(y, v)
    assert trace.output.name == "output" and np.array_equal(trace.seed, v) and not trace.paths
    assert np.array_equal(trace.gradients["x1"], md.grad(y, [x], v)[0].data)


def test_a_loss_that_is_a_leaf():
    x = md.tensor(2.0, requires_grad=True)
    trace = md.explain(x, names={"x": x})
    assert not trace.steps and trace.gradients["x"] == 1.0 and "leaf itself" in trace.text()
    assert "<svg" in trace.svg() and trace.html()


def test_second_order():
    x = md.tensor(0.7, requires_grad=True)
    (slope,) = md.grad(x.tanh() * x**3, x, create_graph=True)
    trace = md.explain(slope, names={"x": x})
    assert trace.gradients["x"] == md.grad(slope, x, retain_graph=True)[0].data
    z = np.array(0.7, complex) + 1e-30j
    derivative = (1 - np.tanh(z) ** 2) * z**3 + np.tanh(z) * 3 * z**2
    assert trace.gradients["x"] == pytest.approx(derivative.imag / 1e-30, rel=1e-12)
    assert trace.paths["x"].sum == pytest.approx(trace.gradients["x"], rel=1e-12)


def test_a_tensor_that_requires_a_gradient_only_after_its_use_was_a_constant():
    x, c = md.tensor(2.0, requires_grad=True), md.tensor(3.0)
    loss = x * c
    c.requires_grad = True
    trace = md.explain(loss, names={"x": x, "c": c})
    assert set(trace.gradients) == {"x"} and trace.gradients["x"] == 3.0


# --- fused primitives


def normalised(relu=False):
    rng = np.random.default_rng(3)
    x = md.tensor(rng.normal(size=(5, 2, 3)), requires_grad=True)
    w, b = md.tensor(rng.normal(size=2), requires_grad=True), md.tensor(rng.normal(size=2), requires_grad=True)
    weights = md.tensor(rng.normal(size=(5, 2, 3)))
    loss = (F.batch_norm(x, None, None, w, b, training=True, relu=relu) * weights).sum()
    return loss, {"x": x, "w": w, "b": b}


@pytest.mark.parametrize("relu", [False, True])
def test_a_fused_step_unfolds_into_its_definition(relu):
    loss, names = normalised(relu)
    trace = md.explain(loss, names=names)
    (step,) = [s for s in trace.steps if s.fused]
    inside = step.inside
    assert len(inside.steps) == 13 + relu and not any(s.fused for s in inside.steps)
    assert set(inside.gradients) == {"x", "weight", "bias"}
    for c in step.contributions:
        assert np.allclose(inside.gradients[c.argument], c.value, rtol=1e-10, atol=1e-12)
    assert np.allclose(inside.output.value, step.vertex.value, rtol=1e-12)
    page = trace.html()
    assert f"Unfold batch_norm: {13 + relu} steps of its definition" in page and "centred = x - x.mean" in page
    assert [s.inside for s in trace.steps if not s.fused] == [None] * (len(trace.steps) - 1)


def test_batch_norm_as_its_definition():
    with md.definitions():
        loss, names = normalised()
    trace = md.explain(loss, names=names)
    assert len(trace.steps) == 15 and not any(s.fused for s in trace.steps)
    fused = md.explain(*normalised()[:1])
    for name, g in zip("xwb", fused.gradients.values()):
        assert np.allclose(trace.gradients[name], g, rtol=1e-10, atol=1e-12)
    into_x = [s.vertex.primitive.name for s in trace.steps for c in s.contributions if c.input.name == "x"]
    assert into_x == ["subtract", "summed"]  # directly, and through the mean
    assert [c.summed_over for s in trace.steps for c in s.contributions if c.summed_over]


def test_other_fused_primitives_unfold():
    logits = md.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    for loss in (F.cross_entropy(logits, [0, 2, 1, 1]), F.binary_cross_entropy_with_logits(logits, np.eye(4, 3))):
        (step,) = [s for s in md.explain(loss).steps if s.fused]
        assert np.allclose(step.inside.gradients[step.contributions[0].argument], step.contributions[0].value)


def test_large_inputs_that_the_graph_has_let_go_of_are_worked_out_again():
    x = md.tensor(np.linspace(-1, 1, 20000), requires_grad=True)
    loss = ((x + 1.0) - 0.5 + x).tanh().sum()
    assert any(isinstance(i, Shadow) for i in _below(loss))
    trace = md.explain(loss, names={"x": x})
    assert np.array_equal(trace.vertices[2].value, (x.data + 1.0) - 0.5)
    assert np.array_equal(trace.gradients["x"], md.grad(loss, x)[0].data)


def _below(y):
    for x in y.node.inputs:
        if isinstance(x, md.Tensor):
            yield x
            if x.node is not None:
                yield from _below(x)


# --- modules and large graphs


def denoiser():
    rng = np.random.default_rng(0)
    model = LectureDenoiser(width=3, rng=0)
    model.main[9].weight.data = rng.normal(size=model.main[9].weight.shape).astype(np.float32)
    noisy = md.tensor(rng.normal(size=(2, 1, 5, 6)).astype(np.float32))
    clean = rng.normal(size=(2, 1, 5, 6)).astype(np.float32)
    return model, lambda: F.mse_loss(model(noisy), clean)


def test_the_denoiser_collapses_by_module():
    model, loss = denoiser()
    buffers = {name: array.copy() for name, array in model.named_buffers()}
    trace = md.explain(loss, model=model)
    assert all(np.array_equal(array, buffers[name]) for name, array in model.named_buffers())
    assert all(p.grad is None for p in model.parameters())
    boxes = shown(trace).boxes
    groups = [box.title for box in boxes if box.kind == "group"]
    kinds = ["Conv2d", "BatchNorm2d", "ReLU"] * 3 + ["Conv2d"]
    assert groups == [f"main.{i} {kind}" for i, kind in enumerate(kinds)]
    gradients = dict(zip(dict(model.named_parameters()), md.grad(loss(), list(model.parameters()))))
    assert set(trace.gradients) == set(gradients)
    assert all(np.array_equal(trace.gradients[name], g.data) for name, g in gradients.items())
    made = {v.primitive.name: v.calls[0].name for v in trace.vertices if v.primitive and v.calls}
    assert made["subtract"] == "" and made["conv"] == "main.9"  # the model's own forward; the last of the stack
    assert {v.name.rpartition(".")[0] for v in trace.leaves} <= {v.calls[0].name for v in trace.leaves}


def test_without_a_function_modules_are_known_by_their_parameters():
    model, loss = denoiser()
    exact, guessed = (md.explain(x, model=model) for x in (loss, loss()))
    known = {v.name: v.calls[0].title for v in guessed.vertices if v.calls}
    assert known == {v.name: v.calls[0].title for v in exact.vertices if v.calls and v.calls[0].type in
                     ("Conv2d", "BatchNorm2d")}  # fmt: skip


def test_a_module_that_is_called_twice_is_two_boxes():
    class Twice(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2, rng=0)

        def forward(self, x):
            return self.layer(F.tanh(self.layer(x)))

    model = Twice()
    x = md.tensor(np.ones((1, 2), np.float32))
    for loss in (lambda: model(x).sum(), model(x).sum()):
        titles = [box.title for box in shown(md.explain(loss, model=model)).boxes if box.kind == "group"]
        assert titles == ["layer Linear", "layer Linear (call 2)"]


def test_deep_models_collapse_to_as_many_boxes_as_can_be_drawn():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(2, 2, rng=i), nn.Tanh()) for i in range(MOST)])
    x = md.tensor(np.ones((1, 2), np.float32))
    boxes = shown(md.explain(lambda: model(x).sum(), model=model)).boxes
    assert len(boxes) > MOST // 2 and len(boxes) <= MOST and not any("." in box.title.split()[0] for box in boxes)


def test_a_long_graph_draws_its_newest_part_and_says_so():
    x = md.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(600):
        y = y * 1.0001
    trace = md.explain(y, names={"x": x})
    assert len(trace.steps) == 600 and trace.gradients["x"] == md.grad(y, x, retain_graph=True)[0].data
    page = trace.html()
    assert f"the newest {MOST} of 601 boxes are drawn" in page.replace("The", "the") and len(page) < 2 << 20
    assert f"{MOST} of 600 steps are on this page" in page and trace.svg().count('class="box ') == MOST
    assert len(json.loads(trace.json())["steps"]) == 600


def test_large_arrays_are_shown_in_part_and_json_leaves_them_out():
    x = md.tensor(np.random.default_rng(0).normal(size=(8, 16, 40, 40)), requires_grad=True)
    trace = md.explain(F.relu(x * 2).sum())
    content = json.loads(trace.json())
    assert content["values"][0]["value"]["values"] is None
    assert content["values"][0]["value"]["max"] == x.data.max()
    assert len(trace.html()) < 200_000 and "[0, 0] of 8x16x40x40" in trace.html()


# --- the layout


@st.composite
def directed(draw):
    n = draw(st.integers(1, 14))
    sizes = {i: (draw(st.integers(40, 200)), draw(st.integers(20, 80))) for i in range(n)}
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    return sizes, draw(st.lists(pairs, max_size=25)), draw(st.booleans())


@given(directed())
@settings(deadline=None, max_examples=80)
def test_boxes_do_not_overlap_and_edges_lead_down(drawn):
    sizes, pairs, cycles = drawn
    edges = pairs if cycles else [(min(a, b), max(a, b)) for a, b in pairs]
    found = layout(sizes, edges)
    boxes = [(*found.centres[k], *sizes[k]) for k in sizes]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x - w / 2 >= -1e-6 and x + w / 2 <= found.width + 1e-6
        assert y - h / 2 >= -1e-6 and y + h / 2 <= found.height + 1e-6
        for x2, y2, w2, h2 in boxes[:i]:
            assert abs(x - x2) >= (w + w2) / 2 + GAP_X - 1e-6 or abs(y - y2) >= (h + h2) / 2 + 1
    for (a, b), points in found.edges.items():
        if not cycles:
            assert found.centres[a][1] < found.centres[b][1]
            assert all(p[1] <= q[1] + 1e-9 for p, q in itertools.pairwise(points))
        for x, y in points[1:-1]:  # an edge passes no box
            assert not any(abs(x - bx) < w / 2 and abs(y - by) < h / 2 for bx, by, w, h in boxes)
    again = layout(dict(sizes), list(edges))
    assert again.centres == found.centres and again.edges == found.edges


def test_a_chain_is_straight_and_a_diamond_symmetric():
    sizes = dict.fromkeys("abcd", (60, 30))
    chain = layout(sizes, [("a", "b"), ("b", "c"), ("c", "d")])
    assert len({x for x, _ in chain.centres.values()}) == 1
    diamond = layout(sizes, [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).centres
    assert diamond["a"][0] == diamond["d"][0] == (diamond["b"][0] + diamond["c"][0]) / 2


# --- forms


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_form_is_the_same_bytes_for_the_same_input(name):
    first, second = (md.explain(**EXAMPLES[name]()) for _ in range(2))
    assert first.text() == second.text() and first.json() == second.json()
    assert first.svg() == second.svg() and first.html() == second.html()


def test_json_holds_the_trace():
    loss, leaves = small()
    trace = md.explain(loss, names=leaves)
    content = json.loads(trace.json())
    assert content["schema"] == "minidl.explain/1" and content["output"] == "loss"
    assert list(content) == ["schema", "output", "seed", "scalar", "overrides", "notes", "values", "steps", "paths"]
    assert [s["value"] for s in content["steps"]] == [s.vertex.name for s in trace.steps]
    for said, step in zip(content["steps"], trace.steps, strict=True):
        assert said["gradient"]["values"] == step.gradient.tolist()
        assert [c["after"]["values"] for c in said["contributions"]] == [c.after.tolist() for c in step.contributions]
        befores = [c["before"] and c["before"]["values"] for c in said["contributions"]]
        assert befores == [None if c.before is None else c.before.tolist() for c in step.contributions]
    assert sum(p["product"] for p in content["paths"]["a"]["listed"]) == pytest.approx(trace.gradients["a"])


def test_svg_stands_alone_and_shows_every_number():
    import xml.etree.ElementTree as tree

    loss, leaves = small()
    trace = md.explain(loss, names=leaves)
    root = tree.fromstring(trace.svg())
    words = " ".join(root.itertext())
    assert all(f"{v.value.item():.6g}" in words for v in trace.vertices)
    assert all(f"grad {v.gradient.item():.6g}" in words for v in trace.vertices)
    assert "prefers-color-scheme" in trace.svg() and not re.search("href|url\\(|<script", trace.svg())


def test_a_notebook_shows_the_page():
    bundle = md.explain(small()[0])._repr_mimebundle_()
    assert "srcdoc" in bundle["text/html"] and bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"].startswith("loss = ")


# --- the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_arguments_it_writes_a_page_and_prints_its_path(here, capsys):
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "explain.html" and "gradient of a: 0.410839" in out
    assert (here / "explain.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs(here, capsys, name):
    assert main(["explain", name, "--html", "a.html", "--svg", "b.svg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "minidl.explain/1"
    assert (here / "a.html").stat().st_size < 2 << 20 and (here / "b.svg").read_text().startswith("<svg")


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=4), st.floats(-2, 2))
@settings(deadline=None, max_examples=20)
def test_an_expression_gives_the_gradients_of_the_same_python(b, a):
    from minidl.study.explain.formula import read

    loss, leaves = read("sum((a*b + sin(a))**2, axis=0) / 2 - max(b[1:])", [f"a={a!r}", "b=" + ",".join(map(repr, b))])
    x, y = md.tensor(a, requires_grad=True), md.tensor(b, requires_grad=True)
    expected = md.grad(((x * y + F.sin(x)) ** 2).sum() / 2 - y[1:].max(), [x, y])
    found = md.explain(loss, names=leaves).gradients
    assert all(np.array_equal(found[name], g.data) for name, g in zip("ab", expected))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["__import__('os')", "a=1"], "does not use a"),
        (["a.data", "a=1"], "not allowed"),
        (["(lambda: a)()", "a=1"], "not allowed"),
        (["[x for x in a]", "a=1"], "not allowed"),
        (["eval('a') + a", "a=1"], "eval is not a function here"),
        (["9**9**9 * a", "a=1"], "a power of numbers"),
        (["a +", "a=1"], "not an expression"),
        (["a + b", "a=1"], "b has no value"),
        (["a * b", "a=1,2", "b=1,2,3"], "a * b: multiply"),
        (["a * 2", "a=1,2"], "sum(a * 2)"),
        (["a", "a=x"], "not a number"),
        (["2 * 3"], "nothing to differentiate by"),
        (["scaler"], "did you mean scalar?"),
        (["scalar", "a=1"], "takes no values"),
        (["tanh2(a)", "a=1"], "did you mean tanh?"),
        (["sum(a, axis=7)", "a=1,2"], "sum(a, axis=7)"),
    ],
)
def test_what_cannot_be_computed_is_one_line_and_exit_code_2(here, capsys, arguments, said):
    assert main(["explain", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(here.iterdir())


def test_a_matrix_is_read_by_rows(here, capsys):
    assert main(["explain", "mean(W @ x)", "--text", "W=1,-2;3,4", "x=1,0.5"]) == 0
    assert "x  [2, 1]" in capsys.readouterr().out
