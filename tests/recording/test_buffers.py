"""Results of a program share memory where they are not needed at the same time, and only there."""

import gc
import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.kernels.cpu.layout import laid_out
from minidl.kernels.cpu.memory import release_memory, supply
from minidl.recording.buffers import Request, observed, overlap, placed
from minidl.recording.program import Instruction, Program, Ref, Value

REQUESTS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 9), st.integers(0, 3)).map(
        lambda r: Request((r[0] * 16,), np.dtype("f"), r[1], r[1] + r[2])
    ),
    max_size=12,
)


@given(REQUESTS)
@settings(max_examples=80, deadline=None)
def test_what_is_needed_at_one_time_lies_apart(requests):
    places, size = placed(requests)
    for i, a in enumerate(requests):
        assert places[i] >= 0 and places[i] + a.size <= size
        for j, b in enumerate(requests[:i]):
            apart = places[i] + a.size <= places[j] or places[j] + b.size <= places[i]
            assert apart or not overlap(a, b)
    most = max((sum(r.size for r in requests if r.first <= t <= r.last) for t in range(13)), default=0)
    assert most <= size <= sum(r.size for r in requests)


def training(c=16):
    md.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1))
    optimiser = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x):
        optimiser.zero_grad()
        y = net(md.Tensor(x))
        loss = F.mse_loss(y, x)
        loss.backward()
        optimiser.step()
        return y, loss

    return net, step


def test_a_replay_allocates_nothing_large():
    x = laid_out(np.random.default_rng(0).normal(size=(8, 16, 48, 48)).astype("f"))  # 1152 KiB
    _, step = training()
    step = md.record(step)
    for _ in range(5):
        step(x)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step(x)
        assert tracemalloc.get_traced_memory()[1] - before < 1 << 18  # of all small ones together
    finally:
        tracemalloc.stop()


def test_results_that_are_held_stay_as_they_are():
    rng = np.random.default_rng(0)
    net, step = training()
    twin, plain = training()
    step = md.record(step)
    held = []
    for i in range(7):
        x = rng.normal(size=(2, 16, 30, 30)).astype("f")
        y, _ = step(x)
        held.append((y, net[0].weight.grad, plain(x)[0].data.copy(), twin[0].weight.grad.data.copy()))
        if i == 4:
            release_memory()
    for y, g, y_of_twin, g_of_twin in held:
        assert np.array_equal(y.data, y_of_twin) and np.array_equal(g.data, g_of_twin)


def test_programs_share_their_memory():
    net = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    run = md.record(lambda x: net(md.Tensor(x)))
    with net.inference():
        for size in (20, 30, 20, 40, 30, 20):
            x = np.random.default_rng(size).normal(size=(2, 16, size, size)).astype("f")
            for _ in range(4):
                assert np.array_equal(run(x).data, net(md.Tensor(x)).data)
    memories = {id(plan.buffers.memory.base) for plan in run.plans}
    assert len(run.plans) == 3 and len(memories) <= 3


def test_memory_is_needed_as_long_as_windows_over_it():
    def made(x):
        y = supply.take(x.shape, x.dtype)
        y[...] = x
        return y

    calls = [(made, 0), (lambda x: sliding_window_view(x, 2), 1), (made, 0), (np.sum, 2)]
    instructions = [Instruction("call", run, (Ref(read),), {}, Ref(i + 1)) for i, (run, read) in enumerate(calls)]
    program = Program([Value((4,), np.dtype("f"), (4,), i) for i in range(5)], [Ref(0)], instructions, Ref(4))
    assert [r.last for r in observed(program, [np.ones(4, "f")])[1].requests] == [3, 2]
