"""The tables of kernels name operations and functions that exist."""

from importlib import import_module

import numpy as np
import pytest

import minidl as md
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


def test_a_kernel_is_imported_at_its_first_call(monkeypatch):
    matmul, a = operations["matmul"], np.eye(3)
    monkeypatch.setattr(matmul, "cpu", None)
    kernels.attach()
    assert matmul.cpu.__name__ == "first_call"
    np.testing.assert_array_equal((md.Tensor(a) @ md.Tensor(2 * a)).data, 2 * a)
    assert matmul.cpu.__module__ == "minidl.kernels.cpu.product"


def test_definitions_run_no_kernel(monkeypatch):
    monkeypatch.setattr(operations["relu"], "cpu", lambda x: pytest.fail("a kernel ran"))
    with md.definitions():
        assert md.functional.relu(md.tensor([-1.0, 2.0])).tolist() == [0, 2]
