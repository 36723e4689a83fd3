"""What a with-block changes: no_grad, definitions and override; and rules that are replaced."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.context import current
from minidl.core.primitive import overridden
from minidl.core.tensor import Tensor

rng = np.random.default_rng(0)


def leaf(*shape, dtype=np.float64):
    return md.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)


# --- switches


def test_no_grad():
    x = leaf(3)
    with md.no_grad():
        y = x * 2
        with md.enable_grad():
            z = x * 2
    assert not y.requires_grad
    assert z.requires_grad
    assert (x * 2).requires_grad

    @md.no_grad()
    def f(x):
        return x * 2

    assert not f(x).requires_grad


def test_switches_are_restored_on_error():
    for block, field in ((md.no_grad, "recording"), (md.definitions, "definitions"), (md.anomaly, "anomaly")):
        before = getattr(current(), field)
        with pytest.raises(KeyError), block():
            assert getattr(current(), field) != before
            raise KeyError
        assert getattr(current(), field) == before


def test_detach_cuts():
    x = md.tensor([3.0], requires_grad=True)
    (x.detach() * x).backward()
    assert x.grad.tolist() == [3.0]
    assert x.detach().data is x.data


def test_definitions_run_fused_primitives_as_compositions():
    x = leaf(4, 3)
    fused = F.cross_entropy(x, [0, 1, 2, 0])
    with md.definitions():
        whole = F.cross_entropy(x, [0, 1, 2, 0])
    np.testing.assert_allclose(whole, fused, rtol=1e-14)
    for y in (fused, whole):
        y.backward()
    a = x.grad.numpy() / 2
    x.grad = None
    F.cross_entropy(x, [0, 1, 2, 0]).backward()
    np.testing.assert_allclose(a, x.grad, rtol=1e-12)

    def names(y):
        found, stack = set(), [y]
        while stack:
            node = stack.pop().node
            if node is not None and node.primitive is not None:
                found.add(node.primitive.name)
                stack += [t for t in node.inputs if isinstance(t, Tensor)]
        return found

    with md.definitions():
        assert "cross_entropy" not in names(F.cross_entropy(x, [0, 1, 2, 0]))
    assert "cross_entropy" in names(F.cross_entropy(x, [0, 1, 2, 0]))


# --- override


def test_override_acts_on_a_graph_recorded_before_and_nests():
    x = md.tensor([-1.0, 2.0], requires_grad=True)
    y = F.relu(x).sum()

    def gradient():
        return md.grad(y, x, retain_graph=True)[0].tolist()

    assert gradient() == [0.0, 1.0]
    with md.override(F.relu, x=lambda g, y, x: g * 10):
        assert gradient() == [10.0, 10.0]
        with md.override(F.relu, x=lambda g, y, x: g * 20):
            assert gradient() == [20.0, 20.0]
        assert gradient() == [10.0, 10.0]
        assert overridden() == ["relu"]
    assert gradient() == [0.0, 1.0]
    assert overridden() == []


def test_override_is_restored_on_error():
    x = md.tensor([-1.0, 2.0], requires_grad=True)
    with pytest.raises(KeyError), md.override(F.relu, x=lambda g, y, x: g * 10):
        raise KeyError
    F.relu(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
    assert overridden() == []


def test_override_names_what_it_cannot_do():
    with pytest.raises(TypeError, match="relu has no argument 'z'"), md.override(F.relu, z=lambda *a: None):
        pass
    with pytest.raises(TypeError, match="needs a primitive"), md.override(np.tanh, x=lambda *a: None):
        pass


@pytest.mark.parametrize(
    "name, expected",
    [
        ("gradient", [[0.0, -3.0], [0.0, 4.0]]),
        ("deconvnet", [[2.0, 0.0], [0.0, 4.0]]),
        ("guided", [[0.0, 0.0], [0.0, 4.0]]),
    ],
)
def test_relu_rules(name, expected):
    f = md.tensor([[-1.0, 2.0], [-3.0, 4.0]], requires_grad=True)  # forward input
    incoming = np.array([[2.0, -3.0], [-1.0, 4.0]])
    with md.relu_rule(name):
        F.relu(f).backward(incoming)
        x = md.tensor(f.numpy(), requires_grad=True)
        x.relu().backward(incoming)
    assert f.grad.tolist() == x.grad.tolist() == expected


def test_relu_rule_of_another_name():
    with pytest.raises(ValueError, match="'smooth' is unknown: one of gradient, deconvnet, guided"):
        md.relu_rule("smooth")


# --- what users type


@pytest.mark.parametrize("name", ["clip", "leaky_relu", "elu", "softmax", "log_softmax"])
def test_override_takes_the_public_function(name):
    x = md.tensor([[-1.0, 2.0]], requires_grad=True)
    parameters = {"clip": (0.0, 1.0), "softmax": (1,), "log_softmax": (1,)}.get(name, ())
    y = getattr(F, name)(x, *parameters)
    with md.override(getattr(F, name), x=lambda g, y, x, **parameters: g * 7):
        assert md.grad(y, x, [[1.0, 2.0]])[0].tolist() == [[7, 14]]
