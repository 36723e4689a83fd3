"""minidl.torch beside torch: every idiom of tests/torch_layer, with torch's value of today."""

import pytest

pytest.importorskip("torch", reason="compares with PyTorch")

from tests.torch_layer.idioms import run, same, sections, stored

pytestmark = pytest.mark.reference

LINES = sections()


@pytest.mark.parametrize("section", LINES)
def test_idioms_give_equal_values(section):
    wrong = [line for line in LINES[section] if not same(stored(run("torch", line)), stored(run("minidl.torch", line)))]
    assert not wrong
