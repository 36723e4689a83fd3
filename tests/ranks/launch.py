"""Starts a program on several ranks, by a real mpiexec."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONS = os.environ.get("MINIDL_MPIEXEC_OPTIONS", "").split()  # of Open MPI: --allow-run-as-root --oversubscribe
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
ALL = os.environ.get("MINIDL_MPI_TESTS") == "1"

OPEN_MPI = ALL and "Open MPI" in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout
needs_mpi = pytest.mark.skipif(MPIEXEC is None, reason='no mpiexec: pip install "minidl[mpi]"')
at_length = pytest.mark.skipif(MPIEXEC is None or not ALL, reason="MINIDL_MPI_TESTS=1 runs these")


def start(ranks: int, *arguments: object, threads: int = 1, **variables: str) -> subprocess.Popen:
    """``python -m tests.ranks.program`` with these arguments, on so many ranks."""
    number = {"MINIDL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [MPIEXEC, *OPTIONS, "-n", str(ranks), sys.executable, "-m", "tests.ranks.program", *map(str, arguments)],
        env={**os.environ, **number, **variables},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def finish(process: subprocess.Popen, seconds: float = 120) -> tuple[int, str, list[str]]:
    """(exit status, output, our own lines on standard error)."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # and with it the ranks
        process.communicate()
        raise
    return process.returncode, output, [line for line in errors.splitlines() if line.startswith("minidl: ")]


def run(ranks: int, *arguments: object, **options: object) -> tuple[int, str, list[str]]:
    return finish(start(ranks, *arguments, **options))
