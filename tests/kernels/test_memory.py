"""Memory that is freed is kept for the next step, up to a bound, and given back when asked: in real processes."""

import os
import platform
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from minidl.kernels.cpu import memory

GLIBC = platform.libc_ver()
KEEPS = GLIBC[0] == "glibc"
on_glibc = pytest.mark.skipif(
    not (sys.platform == "linux" and KEEPS),
    reason=f"needs glibc 2.36, older ones may refuse; this is {sys.platform}, {' '.join(GLIBC)}",
)
MIB = 1 << 20

# Pages of 4 KiB are counted: large ones would make few faults of many.
PREAMBLE = """
import ctypes, resource
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
import numpy as np
import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import memory

def large():  # enough work for a kernel to ask for memory that is kept
    F.relu(md.tensor(np.ones(1 << 20, "f")))

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():  # MiB
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

def use(mib):
    return np.ones(mib << 17)
"""


def process(script, keep=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES", "MINIDL_"))}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMPY_MADVISE_HUGEPAGE": "0"}
    if keep is not None:
        environment["MINIDL_KEEP_MEMORY"] = keep
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def numbers(script, keep=None):
    """What a script prints."""
    run = process(PREAMBLE + script, keep)
    assert run.returncode == 0, run.stderr
    return [float(word) for word in run.stdout.split()]


FAULTS = """
{trigger}
for _ in range(6):
    before = faults()
    use(64)  # and free it at once
    print(faults() - before)
"""
PAGES = 64 * MIB // os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


FIT = """
from minidl import nn, optim
from minidl.train import fit
model = nn.Linear(2, 1)
fit(model, optim.SGD(model.parameters()), lambda m, b: m.weight.sum(), lambda step: None, 1, progress=False)
"""


@on_glibc
@pytest.mark.parametrize("trigger", ["large()", FIT], ids=["large", "fit"])
def test_memory_is_touched_for_the_first_time_once(trigger):
    first, *others = numbers(FAULTS.format(trigger=trigger))
    assert first > 0.9 * PAGES
    assert max(others) < 0.01 * PAGES


@on_glibc
@pytest.mark.parametrize("trigger, keep", [("large()", "0"), ("", None), ("F.relu(md.tensor(np.ones(1 << 10)))", None)])
def test_zero_and_small_work_and_the_import_leave_the_c_library_alone(trigger, keep):
    assert min(numbers(FAULTS.format(trigger=trigger), keep)) > 0.9 * PAGES


@on_glibc
@pytest.mark.parametrize(("keep", "kept"), [("64", False), ("1024", True), ("99999999", True)])
def test_the_bound(keep, kept):
    script = "large(); print(resident()); a = use(512); print(resident()); del a; print(resident())"
    start, full, after = numbers(script, keep)
    assert full - start > 500
    assert (after - start > 500) if kept else (after - start < 64 + 8)


@on_glibc
def test_release_memory_gives_back_what_is_free():
    start, full, after, released, found, again = numbers("""
rng = np.random.default_rng(0)
x, w = rng.normal(size=(4, 32, 96, 96)).astype("f"), rng.normal(size=(32, 32, 3, 3)).astype("f")

def step():
    weight = md.tensor(w, requires_grad=True)
    y = F.conv(x, weight, padding=1)
    y.sum().backward()
    return float(abs(weight.grad.data).sum())

def scratch():
    return sum(a.nbytes for held in list(memory.Scratch.every) for a in held.values())

print(resident())
first = step()
a, b = use(256), use(8)
print(resident())
assert scratch()
del a  # below b, in the middle of the heap
print(resident())
md.release_memory()
assert not scratch()
print(resident())
assert b.sum() == 1 << 20
print(int(step() == first))
md.release_memory()
print(resident())
""")
    assert full - start > 250 and after - start > 250
    assert released - start < 8 + 16  # b, and what the first call has left for good: code, BLAS, threads
    assert found
    assert again < released + 4


@pytest.mark.parametrize("trigger, at", [("large()", "relu(float32[1048576]): "), (FIT, "")], ids=["large", "fit"])
@pytest.mark.parametrize("value", ["-1", "1.5", "much"])
def test_a_wrong_bound_is_one_clear_line(value, trigger, at):
    run = process(PREAMBLE + trigger, keep=value)
    assert run.returncode != 0
    expected = f"ValueError: {at}MINIDL_KEEP_MEMORY={value!r} must be a whole number of MiB, 0 or more"
    assert run.stderr.splitlines()[-1] == expected


@pytest.mark.parametrize("library", [None, object()])
def test_other_c_libraries_are_left_alone(monkeypatch, library):
    monkeypatch.delenv("MINIDL_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(memory, "_c_library", lambda: library)
    assert memory.keep() is False
    memory.release_memory()  # forgets the scratch memory at least


def in_a_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def test_scratch_memory_of_all_threads_is_let_go():
    like, ready, go = np.zeros(1), threading.Barrier(3), threading.Barrier(3)
    held, found = [], []

    def work(value):
        a = memory.scratch("of a test", (100,), like)
        held.append(weakref.ref(memory._scratch.held["of a test"]))
        a[...] = value
        ready.wait(10)
        go.wait(10)
        found.append((value, a.copy()))

    threads = [in_a_thread(work, i) for i in (1, 2)]
    ready.wait(10)
    memory.forget_scratch()
    assert not any(memory.Scratch.every)  # no thread has any, ours included
    assert all(ref() is not None for ref in held)  # what is in use stays
    go.wait(10)
    for thread in threads:
        thread.join()
    assert all((a == value).all() for value, a in found) and len(found) == 2
    assert all(ref() is None for ref in held)


def test_a_thread_that_ends_takes_its_scratch_memory_along():
    held = []

    def work():
        memory.scratch("of a test", (100,), np.zeros(1))
        held.append(weakref.ref(memory._scratch.held["of a test"]))

    in_a_thread(work).join()
    assert held[0]() is None


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peaks are the process's own on Linux only")
def test_the_peak_is_that_of_the_process_not_of_the_one_that_started_it():
    ask = "from minidl.kernels.cpu.memory import peak_memory; print(peak_memory())"
    nested = f"held = bytearray(1 << 30); import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    output = subprocess.run([sys.executable, "-c", nested], capture_output=True, text=True, check=True).stdout
    assert 0 < int(output) < 1 << 29
