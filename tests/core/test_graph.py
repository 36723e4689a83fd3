"""Tensors, the graph, and the walk back."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import minidl as md
from minidl import functional as F
from minidl.core.primitive import primitive, registry
from minidl.core.tensor import Node

rng = np.random.default_rng(0)


def leaf(*shape, dtype=np.float64):
    return md.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)


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


@pytest.mark.parametrize("first", [lambda y, x: y.backward(), md.grad])
@pytest.mark.parametrize("options", [{}, {"allow_unused": True}, {"create_graph": True}])
def test_grad_through_a_released_part_says_so(first, options):
    x = leaf(3)
    h = x.exp()
    a, b, both = h.sum(), (h * h).sum(), (x + h).sum()
    first(a, x)
    for y in (a, b, both):  # of `both` one way to x is left: the gradient along it alone would be wrong
        with pytest.raises(RuntimeError, match=r"released.*retain_graph=True"):
            md.grad(y, x, **options)


def test_order_2_through_a_released_part_says_so():
    x = leaf(3)
    y = x.exp().sum()
    (g,) = md.grad(y, x, create_graph=True)
    md.grad(g.sum(), x)
    for again in (g.sum(), y):  # the derivative of exp reads its value: both graphs go through it
        with pytest.raises(RuntimeError, match="released"):
            md.grad(again, x)


def test_a_pullback_through_what_its_function_released_says_so():
    def f(x):
        h = x.exp()
        return h * md.grad(h.sum(), x)[0]

    with pytest.raises(RuntimeError, match="released"):
        md.vjp(f, leaf(3))[1](np.ones(3))


def test_grad_needs_nothing_of_a_released_part_below_what_is_wanted():
    z = leaf(3)
    h = z.exp()
    h.sum().backward()
    x = leaf(3)
    assert md.grad((h * x).sum(), x)[0].tolist() == h.tolist()  # x is newer: no way leads through h to it
    assert md.grad((h * x).sum(), h)[0].tolist() == x.tolist()
    with pytest.raises(RuntimeError, match="released"):
        md.grad((h * x).sum(), [h, z])


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


# --- the walk is deterministic


def test_the_same_graph_gives_the_same_bits():
    x = leaf(50, 40)
    w = leaf(40, 30)

    def gradient():
        return md.grad((F.softmax(x @ w, axis=1) * (x @ w)).sum(), [x, w])

    for a, b in zip(gradient(), gradient(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


# --- what users type


def test_a_tensor_that_required_no_gradient_at_the_forward_pass_gets_none_from_it():
    w, x = md.Parameter(np.array([2.0])), md.tensor([3.0], requires_grad=True)
    w.requires_grad = False
    y = (x * w) * w
    w.requires_grad = True
    (y + w * x).sum().backward()
    assert w.grad.tolist() == [3.0]  # of w * x alone
    assert x.grad.tolist() == [6.0]


def test_a_tensor_that_is_frozen_and_back_has_its_grad_and_its_graphs():
    for w in (md.Parameter(np.array([2.0])), md.tensor([2.0], requires_grad=True)):
        x = md.tensor([3.0], requires_grad=True)
        (w * x).backward()
        before = w * w * x
        kept = before * 1
        w.requires_grad = False
        assert w.grad.tolist() == [3.0] and not w.requires_grad
        during = w * x
        before.backward(retain_graph=True)  # it requires no gradient now
        assert w.grad.tolist() == [3.0]
        w.requires_grad = True
        assert w.grad.tolist() == [3.0]
        (kept + during + 5 * w * x).backward()
        assert w.grad.tolist() == [3 + 4 * 3 + 5 * 3]  # `during` gives none
        assert x.grad.tolist() == [2 + 4 + 4 + 2 + 10]
        w.requires_grad = False
        w.grad = None
        assert w.grad is None
        w.grad = np.array([7.0])
        w.requires_grad = True
        assert w.grad.tolist() == [7.0]


def test_graphs_from_between_freezes_give_what_they_would_without():
    """Each graph of a chain of freezes gives what it was recorded with, in the same bits and at any order."""
    values = rng.standard_normal(4)

    def run(freeze):
        x, losses = md.tensor(values, requires_grad=True), []
        for k in range(1, 6):
            losses.append(((x * k).exp() * x).sum())
            if freeze:
                for _ in range(k):
                    x.requires_grad = False
                    (x * 99).sum()
                    x.requires_grad = True
        total = losses[3] + losses[0] + losses[4] + losses[2] + losses[1]
        (g,) = md.grad(total, x, create_graph=True)
        (gg,) = md.grad((g * g).sum(), x, retain_graph=True)
        total.backward()
        return [t.numpy().tobytes() for t in (g, gg, x.grad)]

    assert run(freeze=True) == run(freeze=False)


def test_a_gradient_is_taken_as_soon_as_its_last_consumer_is_done():
    """And has the bits that it has without, wherever the leaf is used: twice in one operation, or frozen meanwhile."""

    def run(take, ws):
        x, events = leaf_of(3.0), []
        late, y = (ws[0] * x).exp() * ws[1], x
        ws[0].requires_grad = False
        ws[0].requires_grad = True
        for i, w in enumerate(ws[1:]):
            y = F.hooked(y * w * w, lambda g, i=i: events.append(i)) if i != 2 else y + ws[1]
        (y * late + ws[0]).sum().backward(take=take and (lambda leaf, array: events.append(take(leaf, array))))
        return events

    def leaf_of(value):
        return md.tensor(np.full(2, value), requires_grad=True)

    ws, others = ([leaf_of(1 + 0.1 * i) for i in range(6)] for _ in range(2))
    for w in (*ws, *others):
        w.grad = np.full(2, 0.3)  # of an earlier pass
    plain = run(None, ws)
    names, taken = {w.node: f"w{i}" for i, w in enumerate(others)}, {}
    events = run(lambda leaf, array: taken.update({leaf: array}) or names.get(leaf, "x"), others)
    assert [e for e in events if type(e) is int] == plain == [4, 3, 1, 0]
    assert events == [4, "w5", 3, "w4", 1, "w2", 0, "w1", "x", "w0"] and "w3" not in events
    for w, other in zip(ws, others):
        assert taken.get(other.node, other.grad.data).tobytes() == w.grad.data.tobytes()
        assert other.grad.data.tolist() == [0.3, 0.3]


def test_freezing_for_long_takes_no_memory():
    x = leaf(3)
    for _ in range(3000):
        x.requires_grad = False
        x.requires_grad = True
    assert len(x.node.changes) < 2000
    y = (x * 2).sum()
    x.requires_grad = False
    x.requires_grad = True
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
