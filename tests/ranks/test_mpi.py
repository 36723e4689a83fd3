"""Training on the ranks of MPI, by a real mpiexec: its bits, and how it ends.

MINIDL_MPI_TESTS=1 runs all of these; without it only the quick ones.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ranks.launch import at_length, needs_mpi, run


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The digest of what one process ends in, and its files."""
    return trained_alone(tmp_path_factory.mktemp("alone"))


def trained_alone(folder, *arguments):
    command = [sys.executable, "-m", "tests.ranks.program", folder, "--shards", "8", *arguments]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    return found.stdout.split("\n")[0].removeprefix("rank 0 of 1: "), files(folder)


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
]


@at_length
@pytest.mark.parametrize(("how", "code", "said"), FAILURES, ids=[str(row[0]) for row in FAILURES])
def test_an_error_ends_all_ranks_in_one_line(tmp_path, how, code, said):
    began = time.monotonic()
    status, _, lines = run(3, tmp_path, "--fail", how[0], "--rank", how[1])
    assert status == code and len(lines) == 1 and matches(lines[0], said), lines
    assert time.monotonic() - began < 30


def matches(line, pattern):
    return re.fullmatch(re.escape(pattern).replace("NUMBER", r"\d+").replace("HOST", r"\S+"), line)


@at_length
def test_a_rank_that_does_not_answer_is_named(tmp_path):
    status, _, lines = run(3, tmp_path, "--fail", "STOP", "--rank", 1, MINIDL_RANKS_TIMEOUT="2")
    said = "minidl: error: rank 1 of 3 (pid NUMBER on HOST) did not answer for 2 s; MINIDL_RANKS_TIMEOUT sets the limit"
    assert status == 1 and len(lines) == 1 and matches(lines[0].removesuffix(", in seconds"), said), lines
