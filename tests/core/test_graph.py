"""Tensors, the graph, and the walk back."""

import copy
import gc
import math
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as md
from minidl import functional as F
from minidl.core.context import mode
from minidl.core.primitive import active_overrides, primitive, registry
from minidl.core.tensor import Node, Parameter, Tensor
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


# --- accumulation, reuse, broadcasting


def test_a_tensor_used_twice_gets_the_sum():
    x = md.tensor([3.0], requires_grad=True)
    (x * x + x).backward()
    assert x.grad.tolist() == [7.0]


def test_gradients_add_up_over_passes():
    x = md.tensor([2.0], requires_grad=True)
    (x * x).backward()
    (x * 5).backward()
    assert x.grad.tolist() == [9.0]
    x.grad = None
    (x * 5).backward()
    assert x.grad.tolist() == [5.0]


def test_a_diamond_of_many_layers_is_walked_once():
    calls = []

    @primitive
    def counted(xp, a, b):
        return a + b

    @counted.rule("a")
    def _(g, y, a, b):
        calls.append(1)
        return g

    @counted.rule("b")
    def _(g, y, a, b):
        return g

    try:
        x = y = leaf(1)
        for _ in range(40):  # 2^40 paths
            y = counted(y, y)
        y.backward()
    finally:
        del registry["counted"]
    assert len(calls) == 40
    assert x.grad.item() == 2.0**40


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
@settings(max_examples=50, deadline=None)
def test_broadcasting_is_undone(shapes):
    a, b = (leaf(*shape) for shape in shapes.input_shapes)
    u = rng.standard_normal(shapes.result_shape)
    (a * b).backward(u)
    for x, other in ((a, b), (b, a)):
        full = u * other.numpy()
        # the definition: the entry of a repeated axis collects from all its copies
        expected = np.zeros(x.shape)
        offset = full.ndim - x.ndim
        for i in np.ndindex(full.shape):
            j = tuple(0 if n == 1 else k for k, n in zip(i[offset:], x.shape, strict=True))
            expected[j] += full[i]
        assert x.grad.shape == x.shape
        np.testing.assert_allclose(x.grad, expected, rtol=1e-12, atol=1e-12)


def test_only_leaves_that_ask_get_a_gradient():
    x, w = leaf(3), md.tensor([1.0, 2.0, 3.0])
    y = x * w
    y.sum().backward()
    assert y.grad is None
    assert w.grad is None
    assert x.grad.tolist() == [1.0, 2.0, 3.0]
    assert not (w * w).requires_grad


def test_backward_needs_one_element_or_a_cotangent():
    x = leaf(3)
    with pytest.raises(ValueError, match=r"shape \(3,\).*needs one element"):
        (x * 2).backward()
    (x * 2).backward(np.array([1.0, 10.0, 100.0]))
    assert x.grad.tolist() == [2.0, 20.0, 200.0]
    with pytest.raises(ValueError, match=r"grad has shape \(2,\), the output \(3,\)"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(RuntimeError, match="requires no gradient"):
        md.tensor([1.0]).backward()


def test_backward_from_a_leaf():
    x = md.tensor([2.0], requires_grad=True)
    x.backward()
    assert x.grad.tolist() == [1.0]


# --- lifetime


def test_a_released_graph_says_so():
    x = leaf(3)
    y = (x.exp() * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"released.*retain_graph=True"):
        y.backward()


def test_part_of_a_released_graph_says_so():
    x = leaf(3)
    h = x.exp()
    a, b = h.sum(), (h * h).sum()
    a.backward()
    with pytest.raises(RuntimeError, match="met at 'exp'"):
        b.backward()


def test_retain_graph_keeps_it():
    x = md.tensor([2.0], requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="released"):
        y.backward()


def test_create_graph_keeps_it_and_records():
    x = md.tensor([2.0], requires_grad=True)
    y = x**3
    y.backward(create_graph=True)
    assert x.grad.requires_grad
    g, x.grad = x.grad, None
    g.backward()
    assert x.grad.item() == pytest.approx(12.0)
    y.backward(create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="released"):
        y.backward()


def test_a_pass_that_stops_half_way_leaves_the_rest_of_the_graph():
    x = leaf(3)
    h = x.exp()
    y = (h * h).sum()
    (g,) = md.grad(y, h)
    np.testing.assert_array_equal(g, 2 * h.numpy())
    h.sum().backward()  # below h nothing was consumed
    np.testing.assert_array_equal(x.grad, h)


def test_memory_is_freed_during_the_pass():
    x = leaf(3)
    y = x.exp()
    middle = weakref.ref(y)
    y = (y * 2).sum()
    y.backward()
    assert middle() is None


def nodes_alive():
    return sum(issubclass(type(o), Node) for o in gc.get_objects())


def test_no_reference_cycles():
    gc.collect()
    gc.disable()
    try:
        for higher in (False, True):
            x, w = leaf(3, 4), leaf(4, 2)
            before = nodes_alive()
            h = F.relu(x @ w).exp()
            y = (F.softmax(h, axis=1) * h).sum()
            refs = [weakref.ref(h), weakref.ref(y)]
            y.backward(create_graph=higher)
            assert nodes_alive() > before
            x.grad = w.grad = None  # a recorded gradient is a graph that ends in its own leaf
            del h, y
            assert [r() for r in refs] == [None, None]
            assert nodes_alive() == before
    finally:
        gc.enable()


def test_a_forward_that_is_dropped_is_freed():
    gc.disable()
    try:
        x = leaf(3)
        y = x.exp()
        ref = weakref.ref(y)
        z = y * 2
        del y
        assert ref() is not None  # z remembers it
        del z
        assert ref() is None
    finally:
        gc.enable()


def test_a_chain_of_100_000_operations():
    x = y = md.tensor(1.0, requires_grad=True)
    for _ in range(100_000):
        y = y + 1.0
    y.backward(retain_graph=True)
    assert x.grad.item() == 1.0
    (g,) = md.grad(y, x)
    assert g.item() == 1.0
    del y  # freeing it does not recurse either


# --- any order


@pytest.mark.parametrize(
    "f, derivatives",
    [
        (lambda x: x.exp(), [np.exp, np.exp, np.exp]),
        (
            lambda x: x.tanh(),
            [
                lambda x: 1 - np.tanh(x) ** 2,
                lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
                lambda x: (1 - np.tanh(x) ** 2) * (6 * np.tanh(x) ** 2 - 2),
            ],
        ),
        (lambda x: x**4, [lambda x: 4 * x**3, lambda x: 12 * x**2, lambda x: 24 * x]),
        (lambda x: x.log(), [lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3]),
        (lambda x: 1 / x, [lambda x: -1 / x**2, lambda x: 2 / x**3, lambda x: -6 / x**4]),
    ],
)
def test_three_orders(f, derivatives):
    x = md.tensor([0.5, 1.3, 2.0], requires_grad=True)
    y = f(x)
    for derivative in derivatives:
        (y,) = md.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y, derivative(x.numpy()), rtol=1e-12)


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
        before = getattr(mode, field)
        with pytest.raises(KeyError), block():
            assert getattr(mode, field) != before
            raise KeyError
        assert getattr(mode, field) == before


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
        assert active_overrides == ["relu"]
    assert gradient() == [0.0, 1.0]
    assert active_overrides == []


def test_override_is_restored_on_error():
    x = md.tensor([-1.0, 2.0], requires_grad=True)
    with pytest.raises(KeyError), md.override(F.relu, x=lambda g, y, x: g * 10):
        raise KeyError
    F.relu(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
    assert active_overrides == []


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


def test_parameters_can_be_pickled():
    w = Parameter(np.arange(3.0), name="w")
    v = pickle.loads(pickle.dumps(w))
    assert (type(v), v.name, v.requires_grad, v.tolist()) == (Parameter, "w", True, [0.0, 1.0, 2.0])


# --- anomaly


def test_anomaly_names_the_operation():
    x = md.tensor([1.0, 0.0], requires_grad=True)
    with md.anomaly(), pytest.raises(md.AnomalyError, match="log made 1 of 2 values") as caught:
        x.log()
    assert "test_graph.py" in str(caught.value)


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


# --- immutability and conversions


def test_tensors_are_immutable():
    x = leaf(3)
    with pytest.raises(TypeError, match="immutable"):
        x[0] = 1.0
    y = x
    y += 1
    assert y is not x
    y = x
    y *= 2
    assert y is not x


def test_tensor_copies_and_wrapping_does_not():
    a = np.ones(3)
    copied, wrapped = md.tensor(a), Tensor(a)
    a[0] = 5
    assert copied.tolist() == [1.0, 1.0, 1.0]
    assert wrapped.data is a
    assert md.tensor([1.0, 2.0]).dtype == np.float64
    assert md.tensor([1, 2]).dtype.kind == "i"
    assert md.tensor([1, 2], dtype=np.float32).dtype == np.float32
    with pytest.raises(TypeError):
        md.tensor("text")
    with pytest.raises(TypeError, match="cannot require a gradient"):
        md.tensor([1, 2], requires_grad=True)


def test_as_an_array():
    x = leaf(2, 3)
    np.testing.assert_array_equal(np.asarray(x), x.data)
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float32).dtype == np.float32
    assert np.array(x) is not x.data
    assert np.tanh(np.asarray(x)).shape == (2, 3)


def test_array_on_the_left():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = np.array([10.0, 20.0]) * x - np.ones(2)
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert x.grad.tolist() == [10.0, 20.0]
    assert (np.float64(3) * x).tolist() == [3.0, 6.0]


def test_numbers():
    x = md.tensor([[2.5]])
    assert float(x) == x.item() == 2.5
    assert int(md.tensor(3)) == 3
    assert [10, 20, 30][md.tensor(1)] == 20
    assert bool(md.tensor(0.0)) is False
    assert len(md.tensor([1.0, 2.0])) == 2
    assert [t.item() for t in md.tensor([1.0, 2.0])] == [1.0, 2.0]
    assert f"{md.tensor(2.0):.1f}" == "2.0"
    for make, error in [
        (lambda: leaf(2).item(), ValueError),
        (lambda: bool(leaf(2)), ValueError),
        (lambda: len(md.tensor(1.0)), TypeError),
        (lambda: [0][md.tensor(0.0)], TypeError),
    ]:
        with pytest.raises(error):
            make()


def test_comparisons_are_constants():
    x, y = md.tensor([1.0, 2.0, 3.0], requires_grad=True), md.tensor([3.0, 2.0, 1.0])
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        result = getattr(x, f"__{name}__")(y)
        assert result.dtype == bool
        assert not result.requires_grad
        assert result.tolist() == getattr(x.numpy(), f"__{name}__")(y.numpy()).tolist()
    assert (x > 2).tolist() == (x.numpy() > 2).tolist() == [False, False, True]
    assert 2.0 in x
    assert len({x, y}) == 2  # tensors are keys by identity


def test_repr_says_what_it_is():
    x = md.tensor([1.0], requires_grad=True)
    assert "requires_grad=True" in repr(x)
    assert "from=exp" in repr(x.exp())
    assert "dtype=float32" in repr(x.astype(np.float32))


# --- dtypes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_python_scalars_are_weak(dtype):
    x = leaf(3, dtype=dtype)
    results = [x + 1, 2.5 * x, 1 / (x * x + 1.0), x**2, x - True, F.where(x > 0, x, 0.0), x.mean(), F.softplus(x)]
    assert {y.dtype for y in results} == {np.dtype(dtype)}
    sum((y.sum() for y in results), 0.0).backward()
    assert x.grad.dtype == dtype


def test_promotion_is_undone_on_the_way_back():
    a, b = leaf(3, dtype=np.float32), leaf(3, dtype=np.float64)
    y = a * b
    assert y.dtype == np.float64
    y.sum().backward()
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64


def test_a_cast_carries_gradients_back_in_the_old_dtype():
    x = leaf(3)
    (x.astype(np.float32) * 2).sum().backward()
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [2.0] * 3
    assert not x.astype(int).requires_grad
    assert x.to(np.float32).dtype == np.float32
    assert x.to("cpu") is x


def test_a_cotangent_takes_the_dtype_of_the_output():
    x = leaf(2, dtype=np.float32)
    (x * 2).backward(np.ones(2))
    assert x.grad.dtype == np.float32


# --- indexing, against NumPy


INDICES = [
    0, -1, slice(None), slice(1, 3), slice(None, None, -1), slice(3, 0, -2), slice(2, 2), None, Ellipsis, (),
    (0, 1), (slice(None), -1), (Ellipsis, 0), (None, 1, Ellipsis, None), (slice(None, None, 2), slice(None, None, -1)),
    [0, 2, 2], [], np.array([[0, 1], [3, 3]]), (np.array([0, 1]), np.array([2, 2])), ([0, 3], slice(0, 2)),
    (slice(None), [1, 0, 1]), (0, slice(None), [1, 1]), ([0, 1], slice(None), [1, 0]), (np.array([[0], [3]]), [1, 2]),
    np.arange(4) % 2 == 0, (slice(None), np.array([True, False, True])), md.tensor([1, 1]), (np.int64(2), 1),
    [True, False, True, True], True, np.array(2),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indexing_is_that_of_numpy(index):
    x = leaf(4, 3, 2)
    plain = np.asarray(index) if isinstance(index, Tensor) else index
    plain = np.asarray(plain, int) if isinstance(plain, list) and not plain else plain
    y = x[index]
    expected = x.numpy()[plain]
    np.testing.assert_array_equal(y, expected)
    u = rng.standard_normal(y.shape)
    y.backward(u)
    truth = np.zeros(x.shape)
    np.add.at(truth, plain, u)
    np.testing.assert_allclose(x.grad, truth, rtol=1e-14)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_basic_indexing_is_that_of_numpy(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    x = leaf(*shape)
    y = x[index]
    np.testing.assert_array_equal(y, x.numpy()[index])
    u = rng.standard_normal(y.shape)
    y.backward(u)
    truth = np.zeros(shape)
    truth[index] = u
    np.testing.assert_array_equal(x.grad, truth)


def test_masks_and_their_gradient():
    x = md.tensor([[1.0, -2.0], [-3.0, 4.0]], requires_grad=True)
    y = x[x > 0]
    assert y.tolist() == [1.0, 4.0]
    (y * y).sum().backward()
    assert x.grad.tolist() == [[2.0, 0.0], [0.0, 8.0]]


def test_bad_indices_are_named():
    for index, error in [(7, IndexError), ((0, 0, 0, 0), IndexError), ("a", IndexError), (1.5, IndexError)]:
        with pytest.raises(error):
            leaf(4, 3)[index]


# --- the walk is deterministic


def test_the_same_graph_gives_the_same_bits():
    x = leaf(50, 40)
    w = leaf(40, 30)

    def gradient():
        return md.grad((F.softmax(x @ w, axis=1) * (x @ w)).sum(), [x, w])

    for a, b in zip(gradient(), gradient(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


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


# --- what users type


def test_a_tensor_that_required_no_gradient_at_the_forward_pass_gets_none_from_it():
    w, x = md.Parameter(np.array([2.0])), md.tensor([3.0], requires_grad=True)
    w.requires_grad = False
    y = (x * w) * w
    w.requires_grad = True
    (y + w * x).sum().backward()
    assert w.grad.tolist() == [3.0]  # of w * x alone
    assert x.grad.tolist() == [6.0]


def test_a_tuple_or_a_range_in_an_index_counts_as_an_array():
    x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert md.grad(x[(0, 0, 2),].sum(), x)[0].tolist() == [2, 0, 1]
    assert md.grad(x[range(1, 3),].sum(), x)[0].tolist() == [0, 1, 1]
    y = md.tensor(np.eye(2), requires_grad=True)
    assert md.grad(y[(0, 0), (1, 1)].sum(), y)[0].tolist() == [[0, 2], [0, 0]]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_of_a_leaf_is_another_leaf(again):
    a = md.tensor([1.0, 2.0], requires_grad=True)
    b = again(a)
    (a * b * 3).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [3, 6]
    assert not again(md.tensor([1])).requires_grad
    with pytest.raises(TypeError, match=r"detach\(\)"):
        again(a * 2)


def test_no_axes_at_all():
    x = md.tensor(2.0, requires_grad=True)
    for name in ("sum", "mean", "max", "min", "prod", "logsumexp"):
        y = getattr(x, name)()
        assert (y.item(), md.grad(y, x)[0].item()) == (2.0, 1.0), name
    assert F.logsumexp([0.0, 0.0]).item() == pytest.approx(math.log(2))


def test_the_smallest_of_numbers_without_a_sign():
    assert md.tensor([3, 0, 5], dtype="uint8").min().item() == 0
    assert md.tensor([[True, False], [True, True]]).min(axis=1).tolist() == [False, True]
    with pytest.raises(ValueError, match="min over nothing"):
        md.Tensor(np.ones((0, 3))).min(axis=0)


def test_axes_out_of_range_are_refused():
    x = md.Tensor(np.ones((2, 3)))
    for wrong in (lambda: x.transpose(0, 5), lambda: x.transpose(-3, 1), lambda: x.swapaxes(0, 2)):
        with pytest.raises(IndexError, match="out of range for a tensor with 2 axes"):
            wrong()
    with pytest.raises(ValueError, match="broadcast"):
        md.Tensor(np.ones((1, 3))).broadcast_to(3)


def test_masks_combine():
    x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert x[(x > 1) & (x < 3)].tolist() == [2]
    assert ((x < 2) | (x > 2)).tolist() == (~(x == 2)).tolist() == [True, False, True]
    assert (np.array([True, True, False]) ^ (x < 2)).tolist() == [False, True, False]
    assert md.grad((+x).sum(), x)[0].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="shape \\(3,\\) is neither true nor false"):
        bool(x == x)


@pytest.mark.parametrize("name", ["clip", "leaky_relu", "elu", "softmax", "log_softmax"])
def test_override_takes_the_public_function(name):
    x = md.tensor([[-1.0, 2.0]], requires_grad=True)
    parameters = {"clip": (0.0, 1.0), "softmax": (1,), "log_softmax": (1,)}.get(name, ())
    y = getattr(F, name)(x, *parameters)
    with md.override(getattr(F, name), x=lambda g, y, x, **parameters: g * 7):
        assert md.grad(y, x, [[1.0, 2.0]])[0].tolist() == [[7, 14]]


def test_a_parameter_takes_arrays_of_numbers_with_a_gradient_only():
    w = md.Parameter(np.ones(3, np.float32))
    w.data = [1.0, 2.0, 3.0]
    assert isinstance(w.data, np.ndarray)
    w.data = md.tensor([4.0, 5.0, 6.0])
    assert (w * 2).tolist() == [8, 10, 12]
    with pytest.raises(TypeError, match="int64 cannot require a gradient"):
        w.data = np.arange(3)
    assert w.dtype == np.float64
    assert md.Parameter(np.arange(3), requires_grad=False).tolist() == [0, 1, 2]


def test_a_device_that_is_not_known_is_named_with_those_that_are():
    with pytest.raises(ValueError, match='\'cuda\' is neither a device, "cpu" or "gpu", nor a dtype'):
        md.tensor([1.0]).to("cuda")


def test_grad_of_a_number_is_refused():
    with pytest.raises(TypeError, match="needs a Tensor as its output, got float"):
        md.grad(3.0, md.tensor([1.0], requires_grad=True))


def test_stacks_of_matrices_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"matmul: \(2, 3, 4\) @ \(5, 4, 2\)"):
        md.Tensor(np.ones((2, 3, 4))) @ md.Tensor(np.ones((5, 4, 2)))
