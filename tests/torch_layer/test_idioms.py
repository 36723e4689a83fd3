"""Everyday PyTorch on minidl.torch gives what torch gives; tests/reference runs the same lines in torch itself."""

import json

import pytest

from .idioms import HERE, run, same, sections, stored

EXPECTED = json.loads((HERE / "expected.json").read_text())
LINES = sections()


def test_there_are_at_least_250_and_each_has_a_value():
    every = [line for lines in LINES.values() for line in lines]
    assert len(every) >= 250
    assert set(every) == set(EXPECTED)


@pytest.mark.parametrize("section", LINES)
def test_they_give_what_torch_gives(section):
    wrong = {}
    for line in LINES[section]:
        try:
            got = stored(run("minidl.torch", line))
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        if not same(EXPECTED[line], got):
            wrong[line] = (EXPECTED[line], got)
    assert not wrong
