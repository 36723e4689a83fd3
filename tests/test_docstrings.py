"""The examples in docstrings, which the reference shows, print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim, train
from minidl import functional as F
from minidl.core.primitive import Primitive

PACKAGE = Path(md.__file__).parent
EXAMPLES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): text.count(" >>> ")
    for path in sorted(PACKAGE.rglob("*.py"))
    if " >>> " in (text := path.read_text(encoding="utf-8"))
}
NAMES = {"md": md, "F": F, "nn": nn, "optim": optim, "data": data, "train": train, "np": np}  # as the reference says
FINDER, OPTIONS = doctest.DocTestFinder(), doctest.ELLIPSIS


def examples(module):
    """The examples of a module; those of Conv2d are Conv's."""
    found = FINDER.find(module, globs=NAMES)
    for value in vars(module).values():
        if isinstance(value, Primitive) and value.__module__ == module.__name__:
            found += FINDER.find(value, value.name, module=False, globs=NAMES)
    return {test.docstring: test for test in found if test.examples}.values()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write a file
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in examples(import_module(name)):
        runner.run(test)
    assert (runner.failures, runner.tries) == (0, EXAMPLES[name])


def test_an_example_that_says_something_else_is_found():
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    test = doctest.DocTestParser().get_doctest(">>> F.relu(md.tensor([-1.0]))\ntensor([1.])", NAMES, "x", "x", 0)
    assert runner.run(test, out=lambda text: None).failed == 1
