"""What this machine has: versions, threads, BLAS, GPU, browser, memory, MPI; does the engine compute rightly on it?"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import minidl

from .. import device
from ..kernels.cpu import memory, workers
from ..ranks.group import INSTALL
from ..table import grouped
from .terminal import Parser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONAL = {
    "threadpoolctl": "threads",
    "mpi4py": "training on many machines",
    "matplotlib": "figures of the tasks",
    "pillow": "photographs",
    "scikit-image": "photographs, classical methods",
    "scikit-learn": "digits",
    "tqdm": "progress bars",
    "safetensors": "tests of weight files",
    "playwright": "tests of pages",
    "torch": "comparisons",
}
SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {}
WRONG = "another sum than one process has"


def section(look: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """A part of the report: a function that gives names and values."""
    SECTIONS[look.__name__.replace("_", " ")] = look
    return look


def main(argv: list[str] | None = None) -> int:
    """Print the report; 0 if the self check passed, 1 if it did not."""
    parser = Parser(prog="minidl doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON in place of lines")
    options = parser.parse_args(argv)
    found = examined()
    print(json.dumps(found, indent=2) if options.json else text(found))
    return 0 if passed(found) else 1


def examined() -> dict[str, dict[str, Any]]:
    """Every section by its name. A section that fails says so under "error"; the others are not held up by it."""
    found = {}
    for name, look in SECTIONS.items():
        try:
            found[name] = look()
        except Exception as error:  # whatever is wrong with this machine is what is asked
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    found["self check"].setdefault("passed", False)
    return found


def passed(found: dict[str, dict[str, Any]]) -> bool:
    """Does the engine compute rightly? Two ranks that cannot be started at all are no wrong result."""
    return found["self check"]["passed"] and found["MPI"].get("two ranks") != WRONG


def text(found: dict[str, dict[str, Any]]) -> str:
    """The report as lines, one for each value."""
    rows = [(name, (key, _shown(value))) for name, values in found.items() for key, value in values.items()]
    lines = [*grouped(rows), ""]
    lines.append("all is well" if passed(found) else "THE SELF CHECK FAILED: do not trust results here")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# --- sections, in the order of the report


@section
def versions() -> dict[str, Any]:
    """Python, the system, and what the engine needs."""
    return {
        "Python": f"{platform.python_version()}, {sys.executable}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "minidl": f"{minidl.__version__}, {Path(minidl.__file__).parent}",
        "NumPy": np.__version__,
        "SciPy": version("scipy"),
    }


@section
def optional_packages() -> dict[str, Any]:
    """The version of each optional package, or what it would be for."""
    return {name: version(name) or f"not installed: {use}" for name, use in OPTIONAL.items()}


@section
def threads() -> dict[str, Any]:
    """How many threads work is shared among, and who says so."""
    shared = version("threadpoolctl") is not None
    return {
        "cores": os.cpu_count(),
        "used by minidl": workers.thread_count() if shared else "1, as threadpoolctl is not installed",
        "MINIDL_NUM_THREADS": os.environ.get("MINIDL_NUM_THREADS"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


@section
def blas() -> dict[str, Any]:
    """The libraries behind matrix products: as loaded if threadpoolctl is there, else as NumPy was built."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {"NumPy was built with": f"{built['name']} {built['version']}"}
    loaded = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    return {
        f"library {i}": f"{lib['internal_api']} {lib['version']}, {lib['num_threads']} threads, "
        f"{Path(lib['filepath']).name}"
        for i, lib in enumerate(loaded, 1)
    } or {"library": None}


@section
def gpu() -> dict[str, Any]:
    """Does a GPU answer? If not, why."""
    try:
        cupy = device.gpu()
    except RuntimeError as error:
        return {"answers": False, "why": str(error)}
    found = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "answers": True,
        "device": found["name"].decode(),
        "memory": _mebibytes(found["totalGlobalMem"]),
        "CuPy": cupy.__version__,
    }


@section
def browser() -> dict[str, Any]:
    """The browser that pages are tested in."""
    found = executable()
    if found is None:
        return {"found": None, "why": f"none of {', '.join(BROWSERS)} on the PATH; MINIDL_BROWSER may name one"}
    if shutil.which(found) is None:
        return {"found": None, "why": f"MINIDL_BROWSER names {found}, which is no program"}
    return {"found": found}


@section
def main_memory() -> dict[str, Any]:
    """What the machine has, the peak of this process, and what it keeps for reuse."""
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "machine": _mebibytes(page * os.sysconf("SC_PHYS_PAGES")) if page else None,
        "this process, at most": _mebibytes(memory.peak_memory()),
        "MINIDL_KEEP_MEMORY": os.environ.get("MINIDL_KEEP_MEMORY"),
    }


@section
def MPI() -> dict[str, Any]:
    """What training on many machines runs on, and whether two ranks add up what one process does."""
    found = {"launcher": launcher()}
    if version("mpi4py") is None or found["launcher"] is None:
        return {**found, "two ranks": f"not tried: {INSTALL}"}
    return {**found, **two_ranks(found["launcher"])}


def launcher() -> str | None:
    """The path of mpiexec: that of the environment that Python runs in comes first."""
    return shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def two_ranks(mpiexec: str, seconds: float = 60) -> dict[str, Any]:
    """The MPI that two ranks find, and how their sum compares."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # Open MPI refuses in a container
    command = [mpiexec, "-n", "2", sys.executable, "-m", "minidl.ranks.selfcheck"]
    where = Path(minidl.__file__).parents[1]
    try:
        ran = subprocess.run(
            command, env={**os.environ, **root}, cwd=where, timeout=seconds, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return {"two ranks": f"no answer in {seconds:g} s"}
    try:
        answer = json.loads(ran.stdout)
    except ValueError:
        why = [line for line in ran.stderr.splitlines() if line.strip(" -=")] or [f"exit status {ran.returncode}"]
        return {"two ranks": f"cannot be started: {why[0]}"}
    return {"library": answer["library"], "two ranks": "the same sum as one process" if answer["passed"] else WRONG}


@section
def self_check() -> dict[str, Any]:
    """A gradient, proved by the complex step; and the rules of one primitive, against their oracles."""

    def loss(x: minidl.Tensor) -> minidl.Tensor:
        return minidl.functional.tanh(minidl.functional.conv(x, x)).sum()

    gradient = minidl.gradcheck(loss, np.linspace(-1, 1, 27).reshape(1, 3, 3, 3))
    rules = minidl.check_rules("conv")
    return {
        "gradcheck": gradient.verdict,
        "rules of conv": rules.verdict,
        "passed": bool(gradient) and bool(rules),
    }


# --- what is asked more than once


def version(package: str) -> str | None:
    """The version of an installed package, without importing it; None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def executable() -> str | None:
    """The path of a browser: what MINIDL_BROWSER says, or the first of BROWSERS on the PATH; None if there is none."""
    return os.environ.get("MINIDL_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
