"""What the engine notices of rules and values: updates since the forward pass, NaN, wrong shapes, missing rules."""

import numpy as np
import pytest

import minidl as md
from minidl.core.primitive import primitive, registry
from minidl.core.tensor import Parameter, Tensor
from minidl.ops.elementwise import tanh

rng = np.random.default_rng(0)


def leaf(*shape, dtype=np.float64):
    return md.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)


@pytest.fixture
def own():
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


# --- parameters


def test_a_parameter_updated_since_the_forward_pass_is_named():
    w = Parameter(np.ones(2), name="conv1.weight")
    y = (w * w).sum()
    w.data = w.data - 0.1
    with pytest.raises(RuntimeError, match=r"conv1.weight was updated after the forward pass.*'multiply'"):
        y.backward()
    (w * w).sum().backward()
    np.testing.assert_allclose(w.grad, [1.8, 1.8])


def test_a_parameter_whose_value_no_rule_read_is_refused_all_the_same():
    w, x = Parameter(np.ones(2), name="w"), leaf(2)
    y = (x * w).sum()
    w.data = w.data * 2
    with pytest.raises(RuntimeError, match="w was updated"):
        md.grad(y, x)


# --- anomaly


def test_anomaly_names_the_operation():
    x = md.tensor([1.0, 0.0], requires_grad=True)
    made = "log made 1 of 2 values"
    with md.anomaly(), np.errstate(divide="ignore"), pytest.raises(md.AnomalyError, match=made) as caught:
        x.log()
    assert "test_rules.py" in str(caught.value)


def test_anomaly_names_the_rule():
    x = md.tensor([1.0, 0.0], requires_grad=True)
    with md.anomaly():
        y = x.sqrt().sum()
        with pytest.raises(md.AnomalyError, match="backward rule of sqrt"), np.errstate(all="ignore"):
            y.backward()
    with np.errstate(all="ignore"):
        x.sqrt().sum().backward()  # outside nobody looks
    assert np.isinf(x.grad.numpy()[1])


def test_anomaly_lets_nan_through_that_was_there_before():
    with md.anomaly():
        y = md.tensor([np.nan, 1.0]) * 2
    assert np.isnan(y.numpy()[0])


# --- invariants of rules


def test_a_rule_of_the_wrong_shape_dtype_or_type_is_named(own):
    @primitive
    def odd(xp, x):
        return x * 2

    x = leaf(2, 3)
    for wrong, message in [
        (lambda g, y, x: g.T, r"float64\[2, 3\].*got float64\[3, 2\]"),
        (lambda g, y, x: g.astype(np.float32), r"float64\[2, 3\].*got float32\[2, 3\]"),
        (lambda g, y, x: g.data, "got ndarray"),
        (lambda g, y, x: None, "got NoneType"),
    ]:
        odd.rules["x"] = wrong
        with pytest.raises(TypeError, match=f"odd: the rule for 'x' must return.*{message}"):
            odd(x).sum().backward()


def test_a_missing_rule_is_named(own):
    @primitive
    def half_known(xp, a, b):
        return a * b

    half_known.rule("a")(lambda g, y, a, b: g * b)
    a, b = leaf(2), leaf(2)
    half_known(a, b.detach()).sum().backward()
    with pytest.raises(TypeError, match="half_known has no derivative rule for 'b'"):
        half_known(a, b).sum().backward()
    with pytest.raises(ValueError, match="no argument 'c': one of a, b"):
        half_known.rule("c")


def test_an_error_in_a_forward_names_the_primitive_and_its_inputs():
    with pytest.raises(ValueError, match=r"add\(float64\[2\], float64\[3\]\)"):
        leaf(2) + leaf(3)


# --- the walk is deterministic


def test_rules_see_inputs_as_they_were_passed(own):
    seen = []

    @primitive(elementwise=True)
    def pair(xp, a, b):
        return a * b

    @pair.rule("a")
    def _(g, y, a, b):
        seen.append((type(a), type(b)))
        return g * b

    pair(leaf(2), 3.0).sum().backward()
    pair(leaf(2), np.ones(2)).sum().backward()
    assert seen == [(Tensor, float), (Tensor, Tensor)]


def test_a_rule_is_evaluated_only_where_it_is_needed(own):
    before = dict(tanh.rules)
    try:
        tanh.rules["x"] = lambda *_: pytest.fail("not needed")
        x, w = md.tensor([1.0]), leaf(1)
        (x.tanh() * w).backward()
        y = leaf(1)
        md.grad(y.tanh() + w, w)
    finally:
        tanh.rules.update(before)
