"""The walls of the house: which file may import which. Every import is read, those inside functions and TYPE_CHECKING
too. No file imports itself by way of others; the engine knows neither the study tools nor the tasks."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("minidl", "tasks", "benchmarks")
DOORS = ("minidl/__init__.py", "minidl/__main__.py")  # the lazy names and the command: they alone know the study tools

# (who, may not import what, except by these files or of these files)
WALLS = [
    ("minidl/", ("minidl/study/", "tasks/", "benchmarks/", "tests/"), (*DOORS, "minidl/study/")),
    ("minidl/study/", ("tasks/", "benchmarks/", "tests/"), ()),
    ("minidl/", ("minidl/torch/",), ("minidl/torch/",)),
    ("minidl/core/", ("minidl/",), ("minidl/core/", "minidl/device.py")),
    ("minidl/ops/", ("minidl/kernels/", "minidl/nn/", "minidl/optim/", "minidl/training/", "minidl/check/"), ()),
    ("minidl/kernels/", ("minidl/nn/", "minidl/optim/", "minidl/training/", "minidl/check/"), ()),
    ("minidl/check/", ("minidl/kernels/",), ()),
    (
        "tasks/", ("minidl/study/", "benchmarks/", "tests/"),
        ("minidl/study/page/", "minidl/study/terminal.py", "minidl/study/build/beside.py"),  # the last: a user's engine
    ),
    ("benchmarks/", ("tests/",), ()),
]


def files() -> dict[str, Path]:
    """Every module by its dotted name; a package is its __init__.py."""
    found = {}
    for path in sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules, of those known, that a file imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                found.add(whole if whole in known else source)
    return {module for module in found if module in known} - {name}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """What each file imports, by paths from the root."""
    known = files()
    paths = {name: path.relative_to(ROOT).as_posix() for name, path in known.items()}
    return {paths[name]: {paths[module] for module in imported(name, path, known)} for name, path in known.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Files that each import the next, the last the first; none if there is no such circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_file_imports_itself_by_way_of_others(graph):
    doors = {door: {target for target in graph[door] if not target.startswith("minidl/study/")} for door in DOORS}
    found = circle(graph | doors)
    assert not found, "a circle of imports:\n  " + "\n  imports ".join(found)


@pytest.mark.parametrize(("who", "what", "except_for"), WALLS, ids=[wall[0] for wall in WALLS])
def test_no_import_passes_a_wall(graph, who, what, except_for):
    through = [
        f"{importer} imports {target}"
        for importer, targets in graph.items()
        for target in sorted(targets)
        if importer.startswith(who) and target.startswith(what)
        if not importer.startswith(except_for) and not target.startswith(except_for)
    ]
    assert not through, "\n".join(through)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) in (list("abca"), list("bcab"), list("cabc"))


def test_imports_are_read_wherever_they_stand(tmp_path):
    known = dict.fromkeys(("a", "a.b", "a.b.c", "a.d"), tmp_path / "x.py")
    text = "import a.d\nif TYPE_CHECKING:\n    from . import c\ndef f():\n    from .. import d as e\n"
    (tmp_path / "f.py").write_text(text)
    assert imported("a.b.f", tmp_path / "f.py", known) == {"a.d", "a.b.c"}
    (tmp_path / "__init__.py").write_text("from .c import g\nfrom .. import name\nimport numpy\n")
    assert imported("a.b", tmp_path / "__init__.py", known) == {"a.b.c", "a"}
