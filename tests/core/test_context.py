"""What `with` blocks set holds in their thread alone, and is restored."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.context import Context, current, setting
from minidl.core.primitive import overridden


def in_a_thread(function):
    """What the function returns in a thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def slope_of_relu():
    x = md.tensor([1.0, -1.0], requires_grad=True)
    F.relu(x).sum().backward()
    return x.grad.tolist()


def test_an_override_in_one_thread_does_not_change_another():
    with md.override(F.relu, x=lambda g, y, x: 10 * g):
        assert slope_of_relu() == [10, 10]
        assert in_a_thread(slope_of_relu) == [1, 0]
        assert in_a_thread(overridden) == []
    assert slope_of_relu() == [1, 0]


def test_two_threads_override_at_once():
    meet = threading.Barrier(2)

    def scaled_by(factor):
        def work():
            with md.override(F.relu, x=lambda g, y, x: factor * g):
                meet.wait()
                found = slope_of_relu()
                meet.wait()
            return found

        return work

    found = {}
    threads = [
        threading.Thread(target=lambda f=factor: found.update({f: scaled_by(f)()})) for factor in (3.0, 5.0)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {3.0: [3, 3], 5.0: [5, 5]}
    assert slope_of_relu() == [1, 0]


def test_overrides_of_one_primitive_nest_and_merge():
    def times(k):
        return lambda g, y, a, b: k * g

    a, b = (md.tensor(1.0, requires_grad=True) for _ in range(2))
    add = (a + b).node.primitive
    with md.override(add, a=times(2)), md.override(add, b=times(3)):
        assert [t.item() for t in md.grad(a + b, [a, b])] == [2, 3]
        with md.override(add, a=times(7)):
            assert [t.item() for t in md.grad(a + b, [a, b])] == [7, 3]
        assert [t.item() for t in md.grad(a + b, [a, b])] == [2, 3]


@pytest.mark.parametrize("block", [md.no_grad, md.definitions, md.anomaly, lambda: md.algorithm("im2col")])
def test_blocks_hold_in_their_thread_alone_and_nest(block):
    before = current()
    same = block()
    with same:
        inside = current()
        assert inside != before
        assert in_a_thread(current) == Context()
        with same:  # the same block once more
            assert current() == inside
        assert current() == inside
    assert current() == before


def test_a_decorated_function_may_run_in_many_threads():
    meet = threading.Barrier(4)

    @md.no_grad()
    def work():
        meet.wait()
        assert not current().recording
        meet.wait()

    def run():
        work()
        return current().recording

    found = []
    threads = [threading.Thread(target=lambda: found.append(run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def test_passive_follows_from_the_others():
    for recording in (True, False):
        for anomaly in (True, False):
            with setting(recording=recording, anomaly=anomaly):
                assert current().passive == (not recording and not anomaly)


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="nonsense"), setting(nonsense=1):
        pass


def test_a_context_is_immutable():
    with pytest.raises(AttributeError):
        current().recording = False
    assert np.isscalar(current().recording)
