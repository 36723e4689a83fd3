"""The tables of kernels name operations and functions that exist."""

from importlib import import_module

import pytest

from minidl import kernels, optim
from minidl.core.array_function import operations


@pytest.mark.parametrize("device, table", [("cpu", kernels.cpu.KERNELS), ("gpu", kernels.gpu.KERNELS)])
def test_every_kernel_is_there_and_attached_to_its_operation(device, table):
    assert {"sgd", "adam", "adamw"} <= set(table) and optim.SGD.rule is operations["sgd"]
    for name, path in table.items():
        module, function = path.rsplit(".", 1)
        kernel = getattr(import_module(f"minidl.kernels.{module}"), function)
        attached = getattr(operations[name], device)
        assert attached is kernel or attached.__name__ == "first_call", name


def test_a_rule_of_the_same_name_gets_no_kernel(monkeypatch):
    def sgd(xp, w, g, state, **options):
        return w, {}

    monkeypatch.setitem(operations, "sgd", operations["sgd"])  # put back after
    assert optim.Rule(sgd).cpu is None and optim.SGD.rule.cpu is not None
