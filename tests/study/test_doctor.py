"""The doctor: what it says is so, whatever is missing, and its exit code is that of the self check."""

import json
import os
import platform
import stat

import numpy as np
import pytest

import minidl as md
import minidl.__main__ as frame
from minidl import device
from minidl import functional as F
from minidl.core.advice import install
from minidl.study import doctor
from minidl.study.doctor import two_ranks


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without starting ranks: tests/ranks/test_mpi.py does."""
    monkeypatch.setattr(doctor, "two_ranks", lambda mpiexec: {"two ranks": "the same sum as one process"})


def asked(capsys, *arguments):
    code = frame.main(["doctor", *arguments])
    return code, capsys.readouterr().out


@pytest.mark.slow
def test_the_report_in_json(capsys):
    code, output = asked(capsys, "--json")
    found = json.loads(output)
    assert code == 0
    assert found["self check"] == {"gradcheck": "PASS", "rules of conv": "PASS", "passed": True}
    assert found["versions"]["NumPy"] == np.__version__ and found["versions"]["minidl"].startswith(md.__version__)
    assert platform.python_version() in found["versions"]["Python"]
    assert set(found["optional packages"]) == set(doctor.OPTIONAL)
    assert found["threads"]["cores"] == os.cpu_count()
    assert list(found) == ["versions", "optional packages", "threads", "blas", "gpu", "browser", "main memory",
                           "MPI", "self check"]  # fmt: skip


@pytest.mark.slow
def test_the_report_in_lines(capsys):
    code, output = asked(capsys)
    assert code == 0 and output.endswith("all is well\n")
    for line in ("versions", "gpu", "self check"):
        assert f"\n{line}\n" in f"\n{output}"
    assert "error" not in output


@pytest.mark.slow
def test_a_wrong_rule_fails_the_self_check(capsys):
    right = F.tanh.rules["x"]
    F.tanh.rules["x"] = lambda g, y, x: g * (1 + y * y)
    try:
        code, output = asked(capsys)
    finally:
        F.tanh.rules["x"] = right
    assert code == 1
    assert "FAIL" in output and output.endswith("THE SELF CHECK FAILED: do not trust results here\n")


def test_a_self_check_that_raises_has_not_passed(capsys, monkeypatch):
    def broken(*_):
        raise OSError("no such instruction")

    monkeypatch.setattr(md, "gradcheck", broken)
    code, output = asked(capsys, "--json")
    assert code == 1
    assert json.loads(output)["self check"] == {"error": "OSError: no such instruction", "passed": False}


@pytest.mark.slow
def test_a_section_that_fails_does_not_hold_up_the_others(capsys, monkeypatch):
    def broken():
        raise ValueError("MINIDL_NUM_THREADS='many' must be a whole number, 1 or more")

    monkeypatch.setattr(doctor.workers, "thread_count", broken)
    code, output = asked(capsys, "--json")
    found = json.loads(output)
    assert code == 0 and "whole number" in found["threads"]["error"] and found["self check"]["passed"]


def test_without_a_gpu_it_says_why_and_with_one_its_name(monkeypatch):
    def none():
        raise RuntimeError("no GPU: CuPy is not installed")

    monkeypatch.setattr(device, "gpu", none)
    assert doctor.gpu() == {"answers": False, "why": "no GPU: CuPy is not installed"}

    class Runtime:
        @staticmethod
        def getDeviceProperties(number):
            return {"name": b"Device %d" % number, "totalGlobalMem": 3 << 20}

    class CuPy:
        __version__ = "99"
        cuda = type("cuda", (), {"runtime": Runtime})

    monkeypatch.setattr(device, "gpu", lambda: CuPy)
    assert doctor.gpu() == {"answers": True, "device": "Device 0", "memory": "3 MiB", "CuPy": "99"}


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('echo \'{"library": "MPI 1", "passed": true}\'', ("the same sum as one process", 0)),
        ('echo \'{"library": "MPI 1", "passed": false}\'', (doctor.WRONG, 1)),
        ("echo ----; echo no slots >&2; exit 1", ("cannot be started: no slots", 0)),
        ("exit 3", ("cannot be started: exit status 3", 0)),
        ("exec sleep 9", ("no answer in 0.2 s", 0)),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="a program is a file with a mode")
def test_two_ranks(tmp_path, monkeypatch, capsys, script, found):
    program = tmp_path / "mpiexec"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    answer = two_ranks(str(program), 0.2 if "sleep" in script else 20)
    monkeypatch.setattr(doctor, "two_ranks", lambda mpiexec: answer)
    monkeypatch.setattr(doctor, "launcher", lambda: str(program))
    monkeypatch.setattr(doctor, "self_check", lambda: {"passed": True})
    monkeypatch.setattr(doctor, "SECTIONS", {"MPI": doctor.MPI, "self check": doctor.self_check})
    monkeypatch.setattr(doctor, "version", lambda package: "4")
    code, output = asked(capsys, "--json")
    assert json.loads(output)["MPI"] == {"launcher": str(program), **answer} and answer["two ranks"] == found[0]
    assert code == found[1]


@pytest.mark.parametrize("missing", ["version", "launcher"])
def test_without_mpi_it_says_what_to_install(monkeypatch, missing):
    monkeypatch.setattr(doctor, missing, lambda *_: None)
    assert doctor.MPI()["two ranks"] == f"not tried: {install('mpi')}"


@pytest.mark.skipif(os.name != "posix", reason="a program is a file with a mode")
def test_the_browser_is_looked_for_by_name_and_by_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("MINIDL_BROWSER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.browser()["found"] is None and "chromium" in doctor.browser()["why"]
    for name in reversed(doctor.BROWSERS):  # the first name that is there wins
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        assert doctor.browser() == {"found": str(program)}
    monkeypatch.setenv("MINIDL_BROWSER", str(tmp_path / "nothing"))
    assert doctor.browser()["found"] is None and "is no program" in doctor.browser()["why"]


def test_blas_is_named_also_without_threadpoolctl(monkeypatch):
    assert doctor.blas()
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    assert "NumPy was built with" in doctor.blas()


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(doctor, "OPTIONAL", {"numpy": "all", "no-such-package-at-all": "nothing"})
    found = doctor.optional_packages()
    assert found == {"numpy": np.__version__, "no-such-package-at-all": "not installed: nothing"}
    assert doctor.version("no-such-package-at-all") is None


def test_an_unknown_option_is_a_usage_error(capsys):
    assert frame.main(["doctor", "--jsn"]) == 2
    assert "did you mean --json?" in capsys.readouterr().err
