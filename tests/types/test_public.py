"""What editors know: `__all__` of the public modules, the lazy names, the user's file that type checkers read."""

import ast
import inspect
import runpy
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.__main__ import main
from minidl.core import advice
from minidl.core.advice import install
from minidl.core.primitive import Primitive
from tests.types.checkers import PUBLIC, USER, every_name

FACADES = [name for name in PUBLIC.values() if name != "minidl.nn.init"]  # modules that list what others define


def imported(module: types.ModuleType) -> dict[str, str]:
    """The names that a module imports from its package, type checkers' too, and from which module."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {alias.asname or alias.name: f"{node.module or ''}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", PUBLIC.values())
def test_all_is_what_there_is(name):
    module = import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for member in module.__all__:
        assert not member.startswith("_") and getattr(module, member) is not None


@pytest.mark.parametrize("name", FACADES)
def test_all_of_a_list_of_names_is_what_it_imports(name):
    module = import_module(name)
    inner = {"PACKAGE", "FUNCTIONS", "LAYERS", "OPTIMISERS", "missing", "attach", "kernels", "methods", "numpy_calls"}
    assert set(module.__all__) == {n for n in imported(module) if not n.startswith("_")} - inner
    assert dir(module) == sorted(module.__all__)  # what completion shows


def test_all_of_a_module_of_functions_is_its_public_functions():
    own = {n for n, f in inspect.getmembers(nn.init, inspect.isfunction) if f.__module__ == nn.init.__name__}
    unlisted = {"own_generator", "undrawn", "default_weight", "default_bias"}  # for layers
    assert set(nn.init.__all__) == {name for name in own if not name.startswith("_")} - unlisted


def test_lazy_names_are_those_that_type_checkers_read():
    read = imported(md)
    modules = [name for name, source in md.LAZY.items() if ":" not in source]
    sources = {name: f"{read[name]}.{name}".lstrip(".") for name in modules}
    assert sources | {name: f"{read[name]}:{name}" for name in md.LAZY.keys() - sources} == md.LAZY


def test_names_that_are_not_there_are_errors_with_advice():
    x = md.tensor(1.0)
    for owner, name in ((md, "zeros"), (F, "conv2d"), (nn, "DataParallel"), (md.optim, "Optimizer"), (x, "view")):
        with pytest.raises(AttributeError, match="write "):
            getattr(owner, name)


def test_a_primitive_shows_the_arguments_of_its_calls():
    primitives = [f for f in map(vars(F).get, F.__all__) if isinstance(f, Primitive)]
    assert len(primitives) > 15
    for f in primitives:
        annotated = inspect.get_annotations(f.forward)
        assert list(annotated) == ["xp", *inspect.signature(f).parameters, "return"], f.name


def test_the_users_file_runs():
    assert runpy.run_path(str(USER))["Net"]
    assert len(USER.read_text().splitlines()) >= 60


def test_the_list_of_names_is_a_file_of_python():
    compile(every_name(), "names.py", "exec")


def test_the_package_says_that_it_is_typed():
    assert Path(md.__file__).with_name("py.typed").exists()


def test_the_command_runs_our_tasks_whatever_lies_in_the_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "tasks.py").write_text("raise RuntimeError('the wrong one')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tasks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["tasks"]) == 0
    assert "denoise" in capsys.readouterr().out
    monkeypatch.delitem(sys.modules, "tasks.__main__")  # the list of tasks has imported it


def test_what_to_install_is_named_by_the_clone_or_by_the_package(tmp_path, monkeypatch):
    assert install("tasks") == f'pip install -e "{Path(md.__file__).parents[1]}[tasks]"'
    monkeypatch.setattr(advice, "__file__", str(tmp_path / "minidl/core/advice.py"))
    assert install("tasks") == 'pip install "minidl[tasks]"'


def test_one_version_everywhere():
    root = Path(md.__file__).parents[1]
    cited, setup = [(root / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "setup.py")]
    assert f"version: {md.__version__}\n" in cited and md.__version__ not in setup
