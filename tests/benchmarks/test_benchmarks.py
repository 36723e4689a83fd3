"""The CPU benchmarks at tiny sizes: that they run, and that what they print is what was measured."""

import json
import math
import os
import re

import numpy as np
import pytest

import minidl as md
from benchmarks import algorithms, cpu, endurance, harness, overhead, passes, recompute, scaling, sums
from benchmarks.harness.interface import Unsupported
from benchmarks.harness.libraries import is_installed, library
from benchmarks.harness.measure import Disagreement, Result, measure, require_agreement
from benchmarks.harness.report import comparison
from benchmarks.harness.rows import INFERENCE, LAYER, ROWS, STEP, Job, macs
from benchmarks.harness.worker import Column, Worker, environ
from minidl.kernels.cpu import convolution
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight

BY_NAME = {row.name: row for row in ROWS}


@pytest.fixture(scope="module")
def minidl():
    return library("minidl", 1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_runs(row, minidl):
    job = Job(row, minidl, tiny=True)
    results = job.results()
    assert all(np.isfinite(a).all() and a.dtype == np.float32 and a.any() for a in results.values())
    parameters = [name for name, _ in job.model.named_parameters()]
    if row.group == INFERENCE:
        assert set(results) == {"output"} and not job.model.training
    else:
        leaves = parameters + ["input"] * (row.group == LAYER and not row.first)
        assert list(results) == ["output", *(f"gradient of {name}" for name in leaves)]
    before = job.model.state_dict()
    job.run()
    after = job.model.state_dict()
    changed = [name for name in parameters if not np.array_equal(before[name], after[name])]
    assert changed == (parameters if row.group == STEP else [])


def test_a_row_is_the_same_each_time(minidl):
    row = BY_NAME["denoiser"]
    job = Job(row, minidl, tiny=True)
    first = {name: array.copy() for name, array in job.results().items()}
    job.run()  # changes the weights, which results puts back
    for again in (job.results(), Job(row, minidl, tiny=True).results()):
        for name, array in first.items():
            np.testing.assert_array_equal(again[name], array)


def test_multiply_adds_by_hand(minidl):
    def count(name):
        row = BY_NAME[name]
        return macs(row, md.summary(row.network(minidl), row.shape))

    assert count("conv3x3-64-64-56") == 3 * 8 * 56 * 56 * 64 * 64 * 9
    assert count("conv3x3-3-64-128") == 2 * 8 * 128 * 128 * 3 * 64 * 9  # no gradient of the input
    assert count("depthwise3x3-64-56") == 3 * 8 * 56 * 56 * 64 * 9
    assert count("transposed2x2-stride2-128-64-28") == 3 * 8 * 28 * 28 * 128 * 64 * 4
    pixels = 8 * 64 * 64 * 9
    assert count("denoiser") == pixels * (2 * 64 + 3 * 64 * 64 * 2 + 3 * 64)
    assert count("relu-64-128") == 0


@pytest.mark.parametrize("row", [BY_NAME[name] for name in ("denoiser", "relu-64-128", "resnet18-inference")])
def test_marks_stand_between_the_calls(row, minidl):
    marks = []
    Job(row, minidl, tiny=True).run(3, lambda: marks.append(1))
    assert len(marks) == 4


def test_a_training_step_is_one_of_fit(minidl):
    """Several steps at a time, or one by one, or by a loop written here: the weights have the same bits."""
    row, ends = BY_NAME["unet3d"], []
    for way in ("at once", "one by one", "by hand"):
        job = Job(row, minidl, tiny=True)
        if way == "at once":
            job.run(3)
        for _ in range(0 if way == "at once" else 3):
            if way == "one by one":
                job.run()
            else:
                job.differentiate()
                job.optimiser.step()
        ends.append(b"".join(np.ascontiguousarray(p.data).tobytes() for p in job.model.parameters()))
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.slow
def test_a_worker_measures_a_row():
    result = measure(BY_NAME["denoiser"], {"minidl": Column("minidl")}, threads=1, rounds=2, tiny=True)
    assert len(result.seconds["minidl"]) == 2 and min(map(min, result.seconds["minidl"])) > 0
    assert result.memory["minidl"] >= 0 and result.macs > 0 and result.share_of_gemm() > 0
    assert result.ratio("torch") is None and result.memory_ratio() is None
    assert re.match(r"NumPy \S+, \w+ \d\S+ \w+", result.kernels["minidl"])
    json.dumps(result.json())


@pytest.mark.slow
def test_memory_is_the_peak_above_model_and_input():
    with Worker("minidl", BY_NAME["relu-64-128"], threads=1) as worker:
        array = 4 * math.prod(BY_NAME["relu-64-128"].shape)
        assert 2.9 * array < worker.ask("memory") < 6 * array  # output, cotangent and gradient at least


def test_a_worker_says_what_went_wrong():
    with Worker("minidl", BY_NAME["relu-64-128"], threads=1, tiny=True) as worker:
        with pytest.raises(RuntimeError, match="no_such_command"):
            worker.ask("no_such_command")
        assert worker.ask("memory") >= 0  # and goes on
        worker.process.kill()  # as the system does when memory runs out
        with pytest.raises(RuntimeError, match="ended with code"):
            worker.ask("memory")


def test_disagreement_stops_the_benchmark():
    right = {"output": np.ones((2, 3)), "gradient of weight": np.full(4, 2.0)}
    require_agreement({"minidl": right, "torch": {name: a * (1 + 1e-4) for name, a in right.items()}})
    for wrong in (
        right | {"output": np.ones((2, 3)) * 1.01},
        right | {"gradient of weight": np.full(4, 2.1)},
        right | {"gradient of weight": np.full(5, 2.0)},
        right | {"gradient of weight": np.full(4, np.nan)},
        {"output": right["output"]},
    ):
        with pytest.raises(Disagreement, match="torch"):
            require_agreement({"minidl": right, "torch": wrong})


def test_a_row_that_fails_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    def fails(row, columns, *rest):
        if row.name == "relu-64-128":
            raise Disagreement("output: differs")
        return fake(row.name, row.group, [1e-3], [2e-3])

    monkeypatch.setattr(cpu, "measure", fails)
    monkeypatch.setattr(cpu, "is_installed", lambda name: name == "minidl")
    with pytest.raises(SystemExit, match="1 of 2"):
        cpu.main(["relu-64-128", "denoiser", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["row"] for row in found["rows"]] == ["denoiser"]
    assert found["failures"] == ["relu-64-128: output: differs"]
    assert "denoiser" in capsys.readouterr().out


def fake(name, group, ours, theirs):
    """One round; the columns torch, and best, twice as fast."""
    seconds = {"minidl": [ours], "torch": [theirs], "best": [[t / 2 for t in theirs]]}
    memory = {"minidl": 2**20, "torch": 3 * 2**20, "best": 0}
    return Result(name, group, (1, 2), 10**6, seconds, memory, memory, {"minidl": [1e9, 3e9, 2e9], "torch": [1e9]})


def test_a_ratio_is_that_of_most_rounds():
    """A round in which the machine was slow for both counts like the others; one that hit one of them, once."""
    seconds = {"minidl": [[1.0, 1.1, 9.0], [5.0], [2.0]], "torch": [[2.2], [10.0, 11.0, 12.0], [100.0]]}
    result = Result("a", STEP, (1,), 0, seconds, {}, {})
    assert result.ratios("torch") == pytest.approx([2.0, 2.2, 50.0]) and result.ratio("torch") == pytest.approx(2.2)
    assert result.median("minidl") == pytest.approx(2.0) and result.ratio("minidl") == 1
    found = result.json()
    assert found["ratio_of_medians"]["torch"] == pytest.approx(11 / 2) and found["ratio"]["torch"] == pytest.approx(2.2)


def test_every_other_round_goes_backwards(monkeypatch):
    monkeypatch.setattr(harness.measure, "PAUSE", 0)
    taken = []
    found = harness.measure.take_turns([lambda c=c: taken.append(c) or [c, 1] for c in "abc"], rounds=3)
    assert "".join(taken) == "abccbaabc" and found == [[[c, 1]] * 3 for c in "abc"]


def test_ratios_are_of_medians_and_means_geometric():
    results = [
        fake("a", LAYER, [1e-3, 2e-3, 9e-3], [4e-3, 4e-3]),
        fake("b", LAYER, [1e-3], [8e-3]),
        fake("c", STEP, [1e-3], [1e-3]),
    ]
    a = results[0]
    assert a.ratio("torch") == pytest.approx(2) and a.ratio("best") == pytest.approx(1)
    assert a.share_of_gemm() == pytest.approx(2e6 / 2e-3 / 2e9) and a.memory_ratio() == 3
    columns = ["minidl", "torch", "best"]
    found = cpu.means(results, columns)
    assert found[LAYER]["torch/minidl"] == pytest.approx(4) and found[LAYER]["best/minidl"] == pytest.approx(2)
    assert found[STEP] == pytest.approx({"torch/minidl": 1, "best/minidl": 0.5, "torch/minidl memory": 3})
    both = cpu.means([*results, fake("d", INFERENCE, [1e-3], [4e-3])], columns)
    assert set(both) == {LAYER, STEP, INFERENCE, cpu.NETWORKS}
    assert both[cpu.NETWORKS]["torch/minidl"] == pytest.approx(2)
    text = comparison(results, columns, markdown=False).splitlines()
    assert len(text) == 4 and len({len(line) for line in text}) == 1
    assert text[1].split() == ["a", "1x2", "2.00", "4.00", "2.00", "2.00", "1.00", "50%", "1.00", "1.00", "3.00"]
    assert comparison(results, columns, markdown=True).splitlines()[1].count("---") == 11
    assert "torch/minidl 4.00 over 2, least 2.00 in a" in cpu.summary(results, columns)


def test_a_library_that_lacks_a_layer_keeps_its_column_empty():
    result = fake("a", LAYER, [1e-3], [1e-3])
    line = comparison([result], ["minidl", "torch", "best", "dezero"], markdown=True).splitlines()[-1]
    assert [cell.strip() for cell in line.strip("|").split("|")][5] == "-"


def test_rows_are_chosen_by_name_part_or_group(capsys):
    def chosen(*arguments):
        return [row.name for row in cpu.options_of([*arguments]).chosen]

    assert chosen() == [row.name for row in ROWS]
    assert chosen("unet") == ["unet"]  # a whole name is that row alone
    assert chosen("vgg", "unet") == ["unet", "vgg16-inference"]
    assert chosen("step", "inference") == [row.name for row in ROWS if row.group != LAYER]
    assert chosen("resnet18") == ["resnet18-32", "resnet18-224", "resnet18-inference"]
    assert chosen("inference") == ["vgg16-inference", "resnet18-inference", "mobilenet-inference"]
    with pytest.raises(SystemExit):
        cpu.options_of(["unet", "nonsense"])
    cpu.main(["--list", "unet3d"])
    assert capsys.readouterr().out.split() == ["unet3d", "training", "step", "2x1x32x32x32"]


def test_columns_are_chosen_by_name(monkeypatch, capsys):
    monkeypatch.setattr(cpu, "is_installed", lambda name: name in ("minidl", "torch"))
    for compiler in ("/usr/bin/g++", None):
        monkeypatch.setattr(cpu.shutil, "which", lambda name, found=compiler: found)
        assert list(cpu.options_of([]).columns) == ["minidl", "torch", "best", *["compile"] * bool(compiler)]
    assert list(cpu.options_of(["--columns", "best"]).columns) == ["minidl", "best"]
    for wrong in (["--columns", "compile"], ["--columns", "tuned"], ["--memory-of", "onnxruntime"]):
        with pytest.raises(SystemExit):
            cpu.options_of(wrong)
        assert f"no column {wrong[1]!r} here: minidl, torch, best (of " in capsys.readouterr().err


def test_a_worker_does_not_inherit_the_kernels_of_openblas(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")
    with environ({"OMP_NUM_THREADS": "1"}, without=("OPENBLAS_CORETYPE", "NOT_THERE")):
        assert "OPENBLAS_CORETYPE" not in os.environ and os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OPENBLAS_CORETYPE"] == "Sandybridge"


def test_an_answer_that_takes_too_long_is_not_waited_for():
    slow = Column("minidl", limit=0.01)
    with Worker(slow, BY_NAME["denoiser"], 1, tiny=True) as worker, pytest.raises(Unsupported, match="no answer after"):
        worker.ask("memory")
    assert not worker.process.is_alive()


def test_a_missing_folder_is_reported_before_anything_is_measured(capsys):
    with pytest.raises(SystemExit):
        cpu.main(["relu", "--json", "/no/such/folder/x.json"])
    assert "there is no folder /no/such/folder" in capsys.readouterr().err


def test_exponents_leave_the_smallest_out():
    x = [1, 2, 4, 8, 16]
    curve = scaling.Curve("pixels", x, 2, [5.0, 5.0, *(3 * n**1.5 for n in x[2:])], [n**2 for n in x])
    assert curve.exponent(curve.seconds) == pytest.approx(1.5)
    assert curve.exponent(curve.memory) == pytest.approx(2)
    assert "1.50" in scaling.table([curve]).splitlines()[-1]
    assert scaling.Curve("threads", [1], 0, [1.0], [1]).exponent([1.0]) is None


@pytest.mark.slow
def test_a_series_is_measured_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    series = scaling.Series("batch", lambda n: scaling.Point(n, batch=n, side=8, depth=2, threads=1), [1, 2], 2)
    curve = scaling.measure(series, rounds=1)
    assert curve.x == [1, 2] and curve.left_out == 0 and min(curve.seconds) > 0
    json.dumps(curve.json())
    scaling.draw([curve] * 4, tmp_path / "new" / "scaling.png")
    assert (tmp_path / "new" / "scaling.png").stat().st_size > 10_000


def test_overhead_needs_no_torch(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(overhead, "find_spec", lambda name: None)
    overhead.main(["--length", "3", "--turns", "1", "--json", str(tmp_path / "found.json")])
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert all(set(row) == {"operation", "minidl"} and row["minidl"] > 0 for row in rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["operation", "minidl", "us"] and len(lines) == len(rows) + 2


def test_endurance_of_a_few_steps(capsys):
    endurance.chain(50)
    endurance.train(20)
    assert "value and gradient exact: True" in (out := capsys.readouterr().out) and out.count("MiB") == 11


@pytest.mark.slow
def test_passes_are_measured_one_by_one(capsys):
    passes.main(["lenet", "resnet18-inference", "--quick", "--rounds", "1"])
    head, *lines = capsys.readouterr().out.splitlines()[1:]
    assert set(passes.NAMES) < set(head.split()) and len(lines) == 2
    assert all(int(line.split()[-4]) < int(line.split()[-5]) for line in lines)  # fewer calls in a replay


def test_recomputed_blocks_have_the_same_gradients(capsys):
    assert recompute.main(["--batch", "2", "--blocks", "1", "--rounds", "1"]) == 0
    assert "8 layers, batch of 2" in (out := capsys.readouterr().out) and "the same gradients: True" in out


def test_the_table_of_sums_says_what_was_measured(tmp_path, capsys):
    path = tmp_path / "found.json"
    sums.main(["--rows", "3000", "--rounds", "1", "--threads", "1", "--json", str(path)])
    found = json.loads(path.read_text())["sums"]
    assert len(found) == 31 and all(f["error"]["minidl"] < 1e-6 and min(f["ms"].values()) > 0 for f in found)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 31 + 1 and lines[-1].startswith("worst: ")
    with pytest.raises(SystemExit):
        sums.main(["--rows", "0"])


CASES = {
    algorithms.Case(2, 16, 16, 12): ["im2col", "shifted", "winograd"],
    algorithms.Case(2, 16, 1, 12): ["im2col", "shifted", "winograd"],
    algorithms.Case(1, 16, 16, 5, kernel=2, stride=2): ["im2col"],
    algorithms.Case(1, 16, 16, 9, dilation=2, groups=16): ["im2col", "shifted", "depthwise"],
    algorithms.Case(1, 4, 6, 9, groups=2): ["im2col", "shifted"],
    algorithms.Case(4, 16, 16, 1): ["im2col", "shifted"],  # of the 3x3 taps one meets the image
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_way_that_is_named_is_the_way_that_is_taken(case, monkeypatch):
    taken, choose = [], convolution.choose
    monkeypatch.setattr(convolution, "choose", lambda *a: taken.append(choose(*a)) or taken[-1])
    x, w, u = case.arrays()
    for member, a, b in ((conv_p, x, w), (conv_transpose_p, u, w), (conv_weight, x, u)):
        named = case.way(member)
        taken.clear()
        member.cpu(a, b, window=case.window, groups=case.groups)
        assert (taken or ["im2col"]) == [named]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_way_of_a_convolution_is_measured(case):
    conv, transpose, weight = algorithms.measure(case, rounds=1)
    assert [r.member for r in (conv, transpose, weight)] == ["conv", "conv_transpose", "conv_weight"]
    assert list(conv.errors) == list(weight.errors) == CASES[case]
    assert list(transpose.errors) == (CASES[case] if case.stride == 1 else ["im2col"])
    for result in (conv, transpose, weight):
        assert result.chosen in result.errors and result.speedup("im2col") == 1
        assert all(0 < error < 5e-5 for error in result.errors.values())
        assert all(min(seconds) > 0 for seconds in result.seconds.values())


def test_the_table_of_ways_says_what_was_measured(tmp_path, capsys):
    result = algorithms.Timings("conv", "y = w * x", "winograd", {"im2col": 1e-7, "winograd": 2e-6})
    result.seconds = {"im2col": [1e-3, 4e-3, 9e-3], "winograd": [2e-3, 1e-3, 3e-3]}
    lines = [line.split() for line in algorithms.table([result]).splitlines()]
    assert lines[0] == ["conv", "y", "=", "w", "*", "x"]
    assert lines[2:] == [
        ["conv", "im2col", "4.00", "1.00", "1e-07"],
        ["shifted", "not", "possible"],
        ["winograd", "*", "2.00", "2.00", "2e-06"],
        ["depthwise", "not", "possible"],
    ]
    path = tmp_path / "found.json"
    algorithms.main(["--shape", "1,8,8,6", "1,2,1,5", "--stride", "2", "--rounds", "1", "--json", str(path)])
    found = json.loads(path.read_text())["convolutions"]
    assert [c["convolution"]["side"] for c in found] == [6, 5]
    assert found[0]["members"]["conv"]["ways"]["im2col"]["times_as_fast_as_im2col"] == 1
    assert "1 x 8 x 6 x 6 to 8 maps, kernel 3x3, stride 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--shape 1,2,3", "'1,2,3' must be four whole numbers"),
        ("--shape 0,8,8,9", "n is 0: it must be at least 1"),
        ("--groups 3", "3 groups must divide 64 input and 64 output channels"),
        ("--shape 1,1,1,1 --kernel 4", "a kernel of 4 with dilation 1 spans 4 cells, the padded input has 3"),
        ("--threads 0", "--threads 0: from 1 to"),
        ("--rounds 0", "--rounds 0: at least 1"),
    ],
)
def test_a_convolution_that_cannot_be_is_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit):
        algorithms.parse(arguments.split())
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["dezero", "mygrad"])
def test_a_peer_agrees_or_says_that_it_cannot(name, minidl, monkeypatch):
    if not is_installed(name):
        pytest.skip(f"{name} is not installed")
    monkeypatch.setitem(vars(np), "int", int)  # the adapter of DeZero adds it: gone again after the test
    peer, agreed = library(name, 1), []
    for row in ROWS:
        try:
            theirs = Job(row, peer, tiny=True).results()
        except Unsupported:
            continue
        require_agreement({"minidl": Job(row, minidl, tiny=True).results(), name: theirs})
        agreed.append(row.name)
    assert {"conv3x3-64-64-56", "denoiser"} <= set(agreed)
