"""Training on the ranks of MPI, by a real mpiexec: its bits, and how it ends.

MINIDL_MPI_TESTS=1 runs all of these; without it only the quick ones. MINIDL_MPI_KILLS is how often ranks are killed.
"""

import json
import os
import re
import signal
import time

import numpy as np
import pytest

from minidl.training.checkpoint import load_tree
from tests.ranks import program
from tests.ranks.launch import OPEN_MPI, at_length, finish, needs_mpi, run, start

KILLS = int(os.environ.get("MINIDL_MPI_KILLS", "3"))
LONG = ("--steps", 60, "--pause", 0.01)  # a run that can be interrupted


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The digest of what one process ends in, and its files."""
    return trained_alone(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return trained_alone(tmp_path_factory.mktemp("long"), *LONG)


def trained_alone(folder, *arguments):
    """By this process, which goes on with what it finds there."""
    model = program.main([str(folder), "--shards", "8", *map(str, arguments)])
    return program.digest(model), files(folder)


def files(folder):
    return [(folder / name).read_bytes() for name in ("c.npz", "log.jsonl")]


def digests(output):
    """Those that the ranks print, in order."""
    return [line.split(": ")[1] for line in sorted(output.splitlines()) if line.startswith("rank ")]


@needs_mpi
def test_two_ranks_end_in_the_bits_of_one_and_an_error_of_one_ends_both(tmp_path, alone):
    status, output, lines = run(2, tmp_path, "--fail", "after", "--rank", 1)
    assert digests(output) == [alone[0]] * 2 and files(tmp_path) == alone[1]
    assert status == 1 and lines == ["minidl: error: rank 1 of 2: no report"]


@at_length  # not beside other tests: on a busy machine the launcher's own kill may be noticed first
def test_a_rank_that_is_killed_is_named_and_one_process_goes_on_in_the_same_bits(tmp_path, alone):
    status, output, lines = run(2, tmp_path, "--fail", "KILL", "--rank", 1, "--at", 8)
    assert status != 0 and not digests(output) and load_tree(tmp_path / "c.npz")["step"] == 6
    (line,) = lines
    assert matches(line, "minidl: error: rank 1 of 2 (pid NUMBER on HOST) was killed or crashed")
    assert trained_alone(tmp_path) == alone


@at_length
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_any_number_of_ranks_and_threads_ends_in_the_same_bits(tmp_path, alone, ranks, threads):
    """Adam, batch norm, dropout, clipping; more ranks than cores; 1 rank with the same shards."""
    status, output, lines = run(ranks, tmp_path, "--shards", 8, *["--record"][: ranks == 2], threads=threads)
    assert (status, lines, digests(output)) == (0, [], [alone[0]] * ranks)
    assert files(tmp_path) == alone[1]


FAILURES = [  # (how, rank), exit status, our line
    (("raise", 1), 1, "minidl: error: rank 1 of 3: a picture cannot be read"),
    (("raise", -1), 1, "minidl: error: a picture cannot be read"),
    (("before", -1), 1, "minidl: error: nothing to train on"),
    (("usage", -1), 2, "minidl: error: --fial is not an option"),
    (("exit", 2), 1, "minidl: error: rank 2 of 3 (pid NUMBER on HOST) ended its program while others went on"),
    (("after", 0), 1, "minidl: error: rank 0 of 3: no report"),
    (("data", 1), 1, "minidl: error: rank 1 differs from rank 0 in data"),
    (("settings", 2), 1, "minidl: error: rank 2 differs from rank 0 in lr of the main optimiser ([0.02], not [0.01])"),
    (("leave", 2), None, "minidl: error: rank 2 of 3 (pid NUMBER on HOST) was killed or crashed"),
]


@at_length
@pytest.mark.parametrize(("how", "code", "said"), FAILURES, ids=[str(row[0]) for row in FAILURES])
def test_an_error_ends_all_ranks_in_one_line(tmp_path, how, code, said):
    status, _, lines = run(3, tmp_path, "--fail", how[0], "--rank", how[1])
    assert status == code or (status and code is None), status
    assert len(lines) == 1 and matches(lines[0], said), lines


def matches(line, pattern):
    return bool(re.fullmatch(re.escape(pattern).replace("NUMBER", r"\d+").replace("HOST", r"\S+"), line))


@at_length
def test_a_rank_that_does_not_answer_is_named(tmp_path):
    status, _, lines = run(3, tmp_path, "--fail", "STOP", "--rank", 1, MINIDL_RANKS_TIMEOUT="4")
    said = "minidl: error: rank 1 of 3 (pid NUMBER on HOST) did not answer for 4 s; MINIDL_RANKS_TIMEOUT sets the limit"
    assert status == 1 and len(lines) == 1 and matches(lines[0].removesuffix(", in seconds"), said), lines


@at_length
def test_ranks_that_are_done_wait_asleep(tmp_path):
    """For two seconds, which they do not compute."""
    status, output, _ = run(2, tmp_path, "--fail", "slow")
    waited = [float(seconds) for seconds in re.findall("computed for (.*) s", output)]
    assert status == 0 and len(waited) == 2 and max(waited) < 1


@at_length
def test_a_nan_is_found_by_all_and_names_rank_and_shard(tmp_path):
    status, _, lines = run(3, tmp_path, "--fail", "nan", "--rank", 1)
    assert status == 1 and len(lines) == 1 and "step 5: loss nan" in lines[0] and "shard 3 on rank 1" in lines[0], lines
    assert load_tree(tmp_path / "c.npz")["step"] == 3


@at_length
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_on_the_launcher_saves_once(tmp_path, long, name):
    """Open MPI answers the first two with SIGTERM, and SIGKILL a quarter of a second later; it shows nothing more."""
    process = start(2, tmp_path, *LONG)
    wait_for_steps(process, tmp_path, 20)
    process.send_signal(signal.Signals[name])
    status, output, lines = finish(process, 20)
    assert status != 0 and not digests(output)
    done, log = load_tree(tmp_path / "c.npz")["step"], (tmp_path / "log.jsonl").read_bytes().splitlines()
    if not OPEN_MPI or name == "SIGUSR1":
        assert status == 130 and lines == [
            f"minidl: stopped after step {done - 1}; {tmp_path}/c.npz holds the checkpoint after {done} steps"
        ]
        assert done == len(log) >= 20 and json.loads(log[-1])["step"] == done - 1
    assert trained_alone(tmp_path, *LONG) == long


def wait_for_steps(process, folder, steps):
    log = folder / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= steps):
        time.sleep(0.002)


@at_length
@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_on_four_ranks_and_resumed_on_fewer_it_ends_in_the_same_bits(tmp_path, long, seed):
    """kill -9 of any rank at any moment after the ranks are connected."""
    rng = np.random.default_rng([seed, 1])
    rank, steps, resumed = (int(rng.integers(n)) for n in (4, 50, 3))
    process = start(4, tmp_path, "--shards", 8, *LONG)
    pid = tmp_path / f"pid.{rank}"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.005)
    wait_for_steps(process, tmp_path, steps)
    time.sleep(rng.uniform(0, 0.02))
    os.kill(int(pid.read_text()), signal.SIGKILL)
    began = time.monotonic()
    status, _, lines = finish(process, 20)
    seconds = time.monotonic() - began
    done = load_tree(tmp_path / "c.npz")["step"] if (tmp_path / "c.npz").exists() else 0
    print(f"rank {rank} killed, {done} steps saved: ended in {seconds:.2f} s with {status}, {lines}; on {resumed + 1}")
    assert status != 0 and seconds < 10 and len(lines) == 1 and f"rank {rank} of 4" in lines[0]
    status, output, lines = run(resumed + 1, tmp_path, "--shards", 8, *LONG)
    assert (status, lines, digests(output)) == (0, [], [long[0]] * (resumed + 1)) and files(tmp_path) == long[1]
