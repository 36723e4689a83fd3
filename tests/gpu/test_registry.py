"""Every primitive on the interface of CuPy: its value and its rules are what the CPU gives."""

from __future__ import annotations

import zlib
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

import minidl as md
from minidl.check.rules import load
from minidl.check.samples import SAMPLES, Sample
from minidl.core.primitive import registry

load()
NAMES = sorted(name for name, p in registry.items() if p.__module__.startswith("minidl."))
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}  # of the largest entry: sums run in another order


def moved(value: Any, gpu: Any) -> Any:
    """The same value with its arrays, also those inside of tuples, dicts and the like, on the device."""
    if isinstance(value, np.ndarray):
        return gpu.asarray(value)
    if type(value) in (tuple, list):
        return type(value)(moved(v, gpu) for v in value)
    if is_dataclass(value):
        return replace(value, **{f.name: moved(getattr(value, f.name), gpu) for f in fields(value)})
    return {k: moved(v, gpu) for k, v in value.items()} if type(value) is dict else value


def converted(value: Any, dtype: str) -> Any:
    """A float64 array in another precision; anything else as it is."""
    value = np.asarray(value) if isinstance(value, np.generic) else value
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def differentiated(sample: Sample, i: int) -> bool:
    x = sample.inputs[i]
    chosen = sample.differentiate is None or i in sample.differentiate
    return chosen and isinstance(x, np.ndarray) and x.dtype.kind == "f"


def results(name: str, sample: Sample, inputs: list, parameters: dict, rng: np.random.Generator, gpu: Any) -> list:
    """The value of a primitive, and the cotangent of each input for a random cotangent of the value."""
    wanted = [differentiated(sample, i) for i in range(len(inputs))]
    xs = [md.Tensor(x, requires_grad=w) if hasattr(x, "ndim") else x for x, w in zip(inputs, wanted)]
    y = registry[name](*xs, **parameters)
    g = np.asarray(rng.standard_normal(y.shape), y.dtype)
    leaves = [x for x in xs if isinstance(x, md.Tensor) and x.requires_grad]
    if y.requires_grad:
        y.backward(g if y.device == "cpu" else gpu.asarray(g))
    assert all(x.grad.device == x.device for x in leaves)
    return [y.numpy(), *(x.grad.numpy() for x in leaves)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_rules_are_those_of_the_cpu(gpu, name, dtype):
    assert name in SAMPLES, f"{name} has no samples in minidl.check.samples"
    seed = zlib.crc32(name.encode())
    tried = 0
    for n, sample in enumerate(SAMPLES[name].draw(np.random.default_rng(seed))):
        inputs = [converted(x, dtype) for x in sample.inputs]
        parameters = {k: converted(v, dtype) for k, v in sample.parameters.items()}
        ours = results(name, sample, inputs, parameters, np.random.default_rng(n), gpu)
        there = [moved(x, gpu) for x in inputs], moved(parameters, gpu)
        theirs = results(name, sample, *there, np.random.default_rng(n), gpu)
        assert len(ours) == len(theirs)
        for cpu, device in zip(ours, theirs):
            assert (device.shape, device.dtype) == (cpu.shape, cpu.dtype)
            scale = max(1.0, float(np.abs(cpu[np.isfinite(cpu)]).max(initial=0)))
            np.testing.assert_allclose(device, cpu, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=f"sample {n}")
        tried += 1
    assert tried
