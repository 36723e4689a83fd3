"""md.explain: formulas with numbers put in, sums over paths, kinks, NaN, replaced rules, refusals."""

import json

import numpy as np
import pytest
from hypothesis import given, settings

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.check.formulas import evaluate
from minidl.study.explain.examples import EXAMPLES
from minidl.study.explain.expression import forward_numbers, rule_numbers
from minidl.study.explain.trace import first_not_finite
from tests.study.test_explain import graphs, small

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
    paths = md.explain(y).paths["x"]
    assert paths.count == 2**40 and len(paths.listed) == 32 and paths.sum is None
    assert "32 of 1099511627776 paths are listed" in md.explain(y).text()


def test_text_says_the_accumulation_as_a_sum():
    x = md.tensor(2.0, requires_grad=True)
    text = md.explain(x * 0.3 + x * 0.12, names={"x": x}).text()
    assert "gradient of x: 0.12 + 0.3 = 0.42" in text
    assert "to x: g * b = 1 · 0.12 = 0.12" in text and "1. loss = v1 + v2   [add: y = a + b]" in text


@pytest.mark.parametrize("shape, axes", [((3,), (0,)), ((4, 1), (1,)), ((1, 1), (0, 1)), ((), (0, 1)), ((4, 3), ())])
@pytest.mark.parametrize("operation", [lambda a, b: a + b, lambda a, b: a * b, F.maximum])
def test_sums_that_broadcasting_asks_for_are_reported(shape, axes, operation):
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
    a, b = (md.tensor(v, requires_grad=True) for v in (1.0, 2.0))
    others = [md.tensor(v, requires_grad=True) for v in (3.0, 5.0)]  # no variable holds one of them
    h = a * b
    trace = md.explain(h * others[0] * others[1] * md.tensor(4.0), names={"beta": b})
    kinds = {v.name: v.kind for v in trace.vertices}
    assert kinds == {"a": "leaf", "beta": "leaf", "x1": "leaf", "x2": "leaf", "h": "operation", "v1": "operation",
                     "v2": "operation", "c1": "constant", "loss": "operation"}  # fmt: skip
    assert trace.asked == "h * x1 * x2 * 4" and trace.text().startswith("loss = h · x1 · x2 · 4 = 120: 4 steps back")
    unused = md.explain(a * 2, names={"a": a, "b": b})
    assert unused.notes == ["the loss does not depend on b: no gradient arrives there"]
    assert md.explain(a * 2).notes == []  # b was not asked for


shade = md.tensor(7.0, requires_grad=True)


def test_the_nearest_variable_of_a_name_counts_and_the_first_name_of_a_tensor():
    everywhere, shade = globals()["shade"], md.tensor(2.0, requires_grad=True)
    again = shade  # noqa: F841
    assert md.explain(shade * 3).asked == "shade * 3" and md.explain(everywhere * 3).asked == "everywhere * 3"


def test_a_function_gives_the_names_of_what_it_uses():
    def made():
        w, _hidden = (md.tensor(v, requires_grad=True) for v in (0.5, 1.0))
        return lambda: (w * 3 - _hidden) ** 2

    trace = md.explain(made())
    assert list(trace.gradients) == ["w", "x1"] and trace.asked == "(w * 3 - x1) ** 2"


def test_parameters_have_their_paths_in_the_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 1, rng=0)

        def forward(self, x):
            return self.fc(x)

    net, x = Net(), md.tensor([[1.0, 2.0]])
    loss = (net(x) ** 2).sum()
    trace = md.explain(loss)
    assert list(trace.gradients) == ["fc.weight", "fc.bias"] and trace.output.name == "loss"
    assert trace.asked == "sum((x @ transpose(fc.weight) + fc.bias) ** 2)"
    other = Net()
    both = md.explain((net(x) * other(x)).sum(), names={"b": other.fc.bias})
    assert set(both.gradients) == {"net.fc.weight", "net.fc.bias", "other.fc.weight", "b"}
    assert set(md.explain((net(x) * other(x)).sum(), model=net).gradients) == {
        "fc.weight", "fc.bias", "other.fc.weight", "other.fc.bias",
    }  # fmt: skip


def test_without_variables_parameters_have_their_own_names():
    layers = nn.Linear(1, 1, rng=0), nn.Linear(1, 1, rng=1)
    assert [[name for name, _ in layer.named_parameters()] for layer in layers] == [["weight", "bias"]] * 2
    twice = md.explain(layers[1](layers[0](md.tensor([[1.0]]))).sum())
    assert [v.name for v in twice.leaves if "weight" in v.name] == ["weight", "weight_2"]


@pytest.mark.parametrize("make, asked", [
    (lambda x, w: (x.sum(axis=1) + x.sum(axis=(0, 1))).mean(), "sum(sum(x, axis=1) + sum(x)) / 2"),
    (lambda x, w: F.softmax(x, axis=1)[0, 1], "softmax(x, axis=1)[0, 1]"),
    (lambda x, w: ((x @ w) ** 2).sum(), "sum((x @ w) ** 2)"),
    (lambda x, w: ((x + 1) * (x - 2)).sum(), "sum((x + 1) * (x - 2))"),
    (lambda x, w: F.concat([x * 1.5, x], axis=0)[1:].max(), "max(concat(x * 1.5, x, axis=0)[1:])"),
    (lambda x, w: F.tanh(F.tanh(F.tanh(x @ w @ x @ w @ x @ w) @ x @ w @ x @ w @ x @ w @ x @ w @ x)).sum(), ""),
    (lambda x, w: x[0, 0].detach() * 0 + w[0, 0], "0 + w[0, 0]"),
])  # fmt: skip
def test_the_expression_of_the_loss(make, asked):
    x, w = (md.tensor(np.ones(shape), requires_grad=True) for shape in ((2, 3), (3, 2)))
    assert md.explain(make(x, w)).asked == asked


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
    assert np.array_equal(trace.gradients["x"], g.data)
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
    assert trace.output.name == "y" and np.array_equal(trace.seed, v) and not trace.paths
    assert trace.text().startswith("y = tanh(x) · x, 2x2 min ")
    assert np.array_equal(trace.gradients["x"], md.grad(y, [x], v)[0].data)
    assert md.explain(F.tanh(x), v).output.name == "output"


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
