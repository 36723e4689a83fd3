"""The GPU benchmark at tiny sizes on the stand-in: that it runs, and that what it prints is what was measured."""

import json
import math
import subprocess
import sys
import time
from functools import partial
from itertools import count

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.harness import ceiling, measure
from benchmarks.harness.ceiling import Cost, Peaks
from benchmarks.harness.libraries import library
from benchmarks.harness.meters import CuPyMeter, between_events, repeat
from benchmarks.harness.rows import INFERENCE, STEP, Row
from benchmarks.harness.worker import Column, Runner
from minidl import nn

PEAKS = Peaks("Some GPU (80 GB)", "90", multiprocessors=100, clock=1e9, memory_clock=2e9, bus=4096, memory=80 << 30)


class InProcess:
    """A Worker without a process of its own, where the stand-in would not be."""

    def __init__(self, column, row, threads, *, tiny=False):
        self.runner, self.answers = Runner(column, row, threads, tiny), []

    def send(self, command, *arguments):
        self.answers.append(getattr(self.runner, command)(*arguments))

    def receive(self):
        return self.answers.pop(0)

    def ask(self, command, *arguments):
        self.send(command, *arguments)
        return self.receive()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.runner.settings.close()


@pytest.fixture
def here(stand_in, monkeypatch):
    """The benchmark in this process, on a stand-in with a clock and a memory pool that count up.

    Its tests take one order of threads: what is proved here is the benchmark, not the kernels.
    """
    moments = count()
    monkeypatch.setattr(stand_in.cuda, "get_elapsed_time", lambda start, end: 1.0 + next(moments) % 3)
    monkeypatch.setattr(stand_in.cuda, "MemoryHook", Hook, raising=False)
    monkeypatch.setattr(measure, "Worker", InProcess)
    monkeypatch.setattr(gpu, "Worker", InProcess)
    monkeypatch.setattr(measure, "PAUSE", 0)
    monkeypatch.setattr(measure, "TURN", 1e-9)
    monkeypatch.setattr(Peaks, "of", lambda cupy: PEAKS)
    monkeypatch.setattr(gpu, "about", lambda cupy, peaks, torch: {"device": peaks.json(), "torch": torch})
    monkeypatch.setattr(gpu, "_torch_has_a_device", lambda: False)
    return stand_in


class Hook:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize("stand_in", ["ascending"], indirect=True)
def test_a_trial_runs_and_writes_what_it_measured(here, tmp_path, capsys):
    path = tmp_path / "found.json"
    assert gpu.main(["denoiser", "--quick", "--cpu", "--rounds", "1", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["quick"] and found["failures"] == [] and found["device"]["name"] == PEAKS.name
    assert [row["precision"] for row in found["rows"]] == ["float32", "TF32"]
    assert set(found["rows"][0]["quartiles_ms"]) == {"minidl", "cpu"}
    assert set(found["rows"][1]["quartiles_ms"]) == {"minidl", "cores"}
    for row in found["rows"]:
        assert 1 <= row["quartiles_ms"]["minidl"][1] <= 3 and row["ceiling_ms"] > 0
    assert 0 < found["rows"][0]["differences"]["cpu"]["output"] < 1e-5
    printed = capsys.readouterr()
    assert printed.out.count("denoiser") == 2 and "torch ms" not in printed.out


@pytest.mark.parametrize("stand_in", ["ascending"], indirect=True)
def test_inference_and_an_algorithm_that_fails(here, monkeypatch, capsys):
    def measured(row, precision, *rest):
        if precision == "TF32":
            raise measure.Disagreement("output: differs")
        return gpu.Measured(precision, fake(row), None)

    monkeypatch.setattr(gpu, "measured", measured)
    assert gpu.main(["vgg16", "--quick"]) == 1
    printed = capsys.readouterr()
    assert "vgg16-inference, TF32: output: differs" in printed.err and "1 of 2 measurements failed" in printed.err
    assert "vgg16-inference" in printed.out


@pytest.mark.parametrize("stand_in", ["ascending"], indirect=True)
def test_two_trainings_of_equal_bits_and_of_others(here, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "REPEATED", 2)
    assert gpu.main(["denoiser", "--quick", "--repeat"]) == 0
    assert "2 steps, twice: the same bits" in capsys.readouterr().out
    steps, ask = count(3), InProcess.ask
    monkeypatch.setattr(InProcess, "ask", lambda self, command, calls: ask(self, command, next(steps)))
    assert gpu.main(["denoiser", "--quick", "--repeat"]) == 1
    assert "DIFFERENT bits" in capsys.readouterr().out


def test_without_a_device_it_is_one_line_and_2():
    code = "import sys; sys.modules['cupy'] = None; from benchmarks import gpu; sys.exit(gpu.main(['--quick']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert 'pip install "cupy-cuda13x[ctk]"' in done.stderr


def test_rows_are_listed_and_wrong_ones_refused(capsys):
    assert gpu.main(["--list", "resnet"]) == 0
    assert capsys.readouterr().out.split() == [
        *("resnet18", "training", "step", "32x3x224x224"), *("resnet50", "training", "step", "32x3x224x224"),
    ]  # fmt: skip
    for wrong in (["nothing"], ["--rounds", "0"], ["--json", "/no/such/folder/x.json"]):
        with pytest.raises(SystemExit) as stop:
            gpu.main(wrong)
        assert stop.value.code == 2


def test_results_of_all_rows_are_kept_under_the_name_of_the_device():
    assert gpu.default_path(PEAKS, gpu.options_of([])).name == "Some-GPU-80-GB.json"
    assert gpu.default_path(PEAKS, gpu.options_of(["--quick"])) is None
    assert gpu.default_path(PEAKS, gpu.options_of(["unet"])) is None


def fake(row, ours=2e-3, theirs=1e-3):
    seconds, memory = {"minidl": [[ours]], "torch": [[theirs]]}, {"minidl": 2**20, "torch": 3 * 2**20}
    rates = {"minidl": [2e9], "torch": [1e9]}
    return measure.Result(row.name, row.group, (1, 2), 10**6, seconds, memory, memory, rates)


def test_the_table_says_what_was_measured():
    lines = gpu.table([gpu.Measured("float32", fake(gpu.ROWS[0]), 5e-4)], markdown=False).splitlines()
    assert lines[1].split() == ["denoiser", "1x2", "2.00", "1.00", "0.50", "0.50", "25%", "50%", "1.00", "1.00", "3.00"]
    unknown = gpu.table([gpu.Measured("float32", fake(gpu.ROWS[0]), None)], markdown=True).splitlines()[-1]
    assert [cell.strip() for cell in unknown.strip("|").split("|")][5:7] == ["-", "-"]


# --- the ceiling


def test_peaks_are_the_products_of_the_attributes():
    assert PEAKS.flops() == 2 * 128 * 100 * 1e9 and PEAKS.flops(tf32=True) == 2 * 1024 * 100 * 1e9
    assert PEAKS.bandwidth == 2 * 2e9 * 512
    assert Peaks("new", "999", 1, 1.0, 1.0, 8, 1).flops() is None


def test_the_published_peaks_of_an_h100():
    """SXM5: 66.9 TFLOP/s in float32, 494.7 in TF32, 3.35 TB/s, by its data sheet; boost clock 1.98 and 1.83 GHz."""
    h100 = Peaks("H100", "90", 132, clock=1.98e9, memory_clock=2.619e9, bus=5120, memory=80 << 30)
    assert h100.flops() == pytest.approx(66.9e12, rel=1e-3)
    assert h100.bandwidth == pytest.approx(3.35e12, rel=2e-3)
    assert Peaks("H100", "90", 132, 1.83e9, 1, 8, 1).flops(tf32=True) == pytest.approx(494.7e12, rel=1e-3)


def test_each_layer_is_bounded_by_arithmetic_or_by_memory():
    costs = [Cost(flops=int(25.6e9), bytes=10), Cost(flops=10, bytes=int(2.048e9))]
    assert PEAKS.seconds(costs) == pytest.approx(1e-3 + 1e-3)
    assert PEAKS.seconds(costs, tf32=True) == pytest.approx(1e-3 / 8 + 1e-3)


def test_costs_by_hand():
    def network(library):
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten())

    x, macs = (2, 3, 5, 6), (60 * 4 * 27, 60 * 2 * 4)
    minidl = library("minidl", 1)
    for group, optimiser in ((INFERENCE, None), (STEP, "Adam"), (STEP, "SGD")):
        row = Row("net", group, network, x, x, optimiser=optimiser)
        found = ceiling.costs(row, network(minidl), minidl.tensor(np.zeros(x, np.float32)))
        sizes = (180, 240, 108), (240, 240, 0), (240, 120, 10)
        forward = [4 * sum(s) for s in sizes]
        if group == INFERENCE:
            assert found == [(2 * macs[0], forward[0]), (0, forward[1]), (2 * macs[1], forward[2])]
            continue
        update = {"Adam": 7, "SGD": 5}[optimiser]
        backward = [4 * (a * (1 if i == 0 else 2) + b + (2 + update) * p) for i, (a, b, p) in enumerate(sizes)]
        flops = [2 * macs[0] * 2, 0, 2 * macs[1] * 3]
        assert found == [(f, a + b) for f, a, b in zip(flops, forward, backward)]


# --- the meter


def test_times_lie_between_events_and_only_the_last_is_waited_for():
    waited = []

    class Event:
        def record(self):
            self.at = time.perf_counter()

        def synchronize(self):
            waited.append(self)

    found = between_events(Event, lambda a, b: 1e3 * (b.at - a.at), partial(repeat, lambda: time.sleep(0.02)), 3)
    assert len(found) == 3 and all(0.02 <= seconds < 0.2 for seconds in found) and len(waited) == 1


def test_memory_is_the_highest_use_above_that_before():
    class Pool:
        used, freed = 100, 0

        def used_bytes(self):
            return self.used

        def total_bytes(self):
            return 4096

        def free_all_blocks(self):
            self.freed += 1

    class Cuda:
        class MemoryHook:
            active: list = []  # noqa: RUF012

            def __enter__(self):
                self.active.append(self)

            def __exit__(self, *error):
                self.active.remove(self)

    class CuPy:
        cuda, pool = Cuda, Pool()
        get_default_memory_pool = staticmethod(lambda: CuPy.pool)

    def call():
        for used in (300, 900, 200):
            CuPy.pool.used = used
            for hook in Cuda.MemoryHook.active:
                hook.malloc_postprocess(device_id=0, size=1, mem_size=1, mem_ptr=0, pmem_id=0)

    meter = CuPyMeter(CuPy)
    assert meter.memory(call) == 800 and meter.taken() == 4096 and CuPy.pool.freed == 1
    assert not Cuda.MemoryHook.active


def test_what_is_asked_for_in_tf32():
    assert not any(column.tf32 for column in gpu.COLUMNS["float32"].values())
    assert all(column.tf32 for column in gpu.COLUMNS["TF32"].values())
    for columns, value in ((gpu.COLUMNS["float32"], "0"), (gpu.COLUMNS["TF32"], "1")):
        ours = [c for c in columns.values() if c.library == "minidl" and c.device == "gpu"]
        assert ours and all(c.environment == {"CUPY_TF32": value} for c in ours)
    assert gpu.COLUMNS["TF32"]["cores"].algorithm == "tensor_cores" and Column("minidl").algorithm is None
    assert math.isinf(gpu.TOLERANCES["TF32"]["gradient"]) and gpu.TOLERANCES["float32"] == measure.TOLERANCES
