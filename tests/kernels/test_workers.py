"""Work shared among threads: all of it is done, errors arrive, BLAS is left as found, bits do not depend on threads."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import workers

ENOUGH = workers.WORTH_SHARING


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    monkeypatch.setattr(workers, "thread_count", lambda: request.param)
    monkeypatch.setattr(workers, "_workers", None)
    return request.param


def test_every_item_is_worked_on_once(threads):
    done = []
    workers.share(lambda i, j: done.append((i, j)), [(i, -i) for i in range(100)], cost=ENOUGH)
    assert sorted(done) == [(i, -i) for i in range(100)]


def test_an_error_arrives_and_the_next_call_works(threads):
    def work(i):
        if i == 3:
            raise ZeroDivisionError("item 3")

    with pytest.raises(ZeroDivisionError, match="item 3"):
        workers.share(work, [(i,) for i in range(50)], cost=ENOUGH)
    done = []
    workers.share(done.append, [(1,), (2,)], cost=ENOUGH)
    assert sorted(done) == [1, 2]


def test_blas_is_held_to_one_thread_and_put_back(threads):
    info = pytest.importorskip("threadpoolctl", reason="work is shared only with threadpoolctl").threadpool_info

    def blas():
        return [lib["num_threads"] for lib in info() if lib["user_api"] == "blas"]

    before, seen = blas(), []
    workers.share(lambda i: seen.append(blas()), [(i,) for i in range(4)], cost=ENOUGH)
    assert blas() == before
    assert all(n == 1 for found in seen for n in found)


def test_small_work_stays_on_the_calling_thread(threads):
    names = set()
    workers.share(lambda i: names.add(threading.current_thread().name), [(i,) for i in range(9)], cost=ENOUGH - 1)
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [5, 24])
def test_a_convolution_has_the_same_bits_on_any_number_of_threads(monkeypatch, size, stride):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(9, 16, size, size)).astype("f"), rng.normal(size=(16, 16, 3, 3)).astype("f")
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr(workers, "thread_count", lambda n=n: n)
        monkeypatch.setattr(workers, "_workers", None)
        xt, wt = md.tensor(x, requires_grad=True), md.tensor(w, requires_grad=True)
        y = F.conv(xt, wt, stride=stride, padding=1)
        assert y.size * 16 * 9 > ENOUGH or size == 5
        y.backward(np.cos(np.arange(y.size, dtype="f")).reshape(y.shape))
        results.append([t.tobytes() for t in (y.numpy(), xt.grad.numpy(), wt.grad.numpy())])
    assert results[0] == results[1] == results[2]


def test_threads_work_after_a_fork():
    def child(queue):
        done = []
        workers.share(done.append, [(i,) for i in range(9)], cost=ENOUGH)
        queue.put(sorted(done))

    workers.share(lambda i: None, [(0,), (1,)], cost=ENOUGH)  # the parent's pool has started
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=30) == list(range(9))
    process.join()


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_bad_number_of_threads_is_one_clear_line(monkeypatch, value):
    monkeypatch.setenv("MINIDL_NUM_THREADS", value)
    with pytest.raises(ValueError, match=r"MINIDL_NUM_THREADS='.*' must be a whole number, 1 or more"):
        workers.thread_count()


def test_the_environment_asks_for_fewer_threads(monkeypatch):
    monkeypatch.setenv("MINIDL_NUM_THREADS", "1")
    assert workers.thread_count() == 1


@pytest.mark.parametrize("launcher", workers.NEIGHBOURS)
@pytest.mark.parametrize("bound, ranks, threads", [(16, 1, 16), (16, 3, 5), (16, 32, 1), (2, 4, 2)])
def test_ranks_on_one_machine_share_its_cores(monkeypatch, launcher, bound, ranks, threads):
    monkeypatch.setattr(workers, "CORES", 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(bound)), raising=False)
    for name in ("MINIDL_NUM_THREADS", *workers.NEIGHBOURS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(launcher, str(ranks))
    assert workers.thread_count() == threads
    monkeypatch.setenv("MINIDL_NUM_THREADS", "16")
    assert workers.thread_count() == bound


def test_blas_has_no_more_threads_than_our_own_work(monkeypatch):
    class Library:
        def __init__(self, count):
            self.get_num_threads, self.set_num_threads = (lambda: count), counts.append

    counts = []
    monkeypatch.setattr(workers, "thread_count", lambda: 2)
    monkeypatch.setattr(workers._get().blas, "libraries", [Library(8), Library(1)])
    workers.limit_blas()
    assert counts == [2, 1]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell a thread its cores")
def test_every_thread_may_use_the_cores_of_the_process(threads):
    """Held to a core, a thread waits for whatever else runs there: another process of ours, say."""
    given, found = os.sched_getaffinity(0), []

    def work(i):
        found.append(os.sched_getaffinity(0))
        if i == 7:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        workers.share(work, [(i,) for i in range(8)], cost=1 << 40)
    workers.share(lambda i: found.append(os.sched_getaffinity(0)), [(i,) for i in range(99)], cost=1 << 40)
    assert {frozenset(cores) for cores in [*found, os.sched_getaffinity(0)]} == {frozenset(given)}
