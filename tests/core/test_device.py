"""Which device a name means, the error where there is none, and numbers read from one."""

import sys
from types import ModuleType

import numpy as np
import pytest

import tasks.__main__ as frame
from minidl.device import gpu, numbers, resolve
from tasks import command

# labs and mlp measure nets so small that a GPU would only wait; all others take --device
TASKS = [name for name in frame.TASKS if name not in ("labs", "mlp")]


def cupy_that(answers):
    module = ModuleType("cupy")
    module.is_available = lambda: answers
    module.ndarray = type("ndarray", (), {})
    return module


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """A cupy whose import fails as CuPy's own does where a library is missing: with a message of many lines."""
    folder = tmp_path / "cupy"
    folder.mkdir()
    message = "\n=====\nFailed to import CuPy.\n\nlibcublas.so: none\n"
    (folder / "__init__.py").write_text(f"raise ImportError({message!r})")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)


def test_auto_is_the_gpu_only_where_one_answers(monkeypatch):
    for module, device in ((None, "cpu"), (cupy_that(False), "cpu"), (cupy_that(True), "gpu")):
        monkeypatch.setitem(sys.modules, "cupy", module)
        assert resolve("auto") == device and resolve("cpu") == "cpu"
    assert resolve("gpu") == "gpu" and gpu() is sys.modules["cupy"]


def test_without_cupy_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r'CuPy is not installed; pip install "cupy-cuda13x\[ctk\]"'):
        resolve("gpu")


def test_without_a_device_it_is_said_that_none_answers(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_that(False))
    with pytest.raises(RuntimeError, match="no CUDA device answers"):
        resolve("gpu")


def test_a_cupy_that_cannot_be_imported_is_one_line_with_the_cause(broken):
    with pytest.raises(RuntimeError, match=r"cannot be imported \(libcublas.so: none\)") as raised:
        resolve("gpu")
    assert "\n" not in str(raised.value) and "pip install" in str(raised.value)
    assert resolve("auto") == "cpu"


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="device 'cuda' is unknown: use one of cpu, gpu, auto"):
        resolve("cuda")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("module, message", [(None, "pip install"), (cupy_that(False), "no CUDA device answers")])
def test_a_task_asked_for_a_gpu_where_there_is_none(task, module, message, monkeypatch, tmp_path, capsys):
    """One line, exit code 2, and nothing has been done."""
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert frame.main([task, "--device", "gpu", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: --device gpu: no GPU: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_the_option(task, capsys):
    assert frame.main([task, "--device", "tpu"]) == 2
    assert "invalid choice: 'tpu'" in capsys.readouterr().err
    with pytest.raises(command.UsageError, match="--device gpu: "), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", None)
        command.device("gpu")


def test_numbers_are_read_as_they_are():
    scalars = [np.float32(0.1), np.array(2), np.array([[1e300]]), 3, 0.25, np.array(True)]
    assert numbers(scalars) == [float(np.float32(0.1)), 2.0, 1e300, 3.0, 0.25, 1.0]
    assert all(type(x) is float for x in numbers(scalars)) and numbers([]) == []
    with pytest.raises(ValueError):
        numbers([np.zeros(2)])
