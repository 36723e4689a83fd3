"""Models as ONNX in memory, run by another program."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minidl as md
from minidl.check.rules import load
from minidl.check.samples import SAMPLES
from minidl.onnx.save.file import as_model

load()
Run = Callable[[Any, dict], list]  # (ModelProto, inputs by name) -> outputs


def by_reference(proto: Any, inputs: dict) -> list:
    """The outputs by the evaluator of the onnx package."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, inputs)


def outputs(model: Any, arrays: tuple, run: Run, **options: Any) -> list:
    """What the written model gives for the example itself."""
    proto = as_model(model, arrays, **options)
    return run(proto, {value.name: a for value, a in zip(proto.graph.input, arrays)})


def calls(name: str, dtype: Any = np.float64) -> Iterator[tuple[Callable, tuple, np.ndarray]]:
    """(function, its arrays, its value by the samples' oracle) for each sample of a primitive that has entries."""
    entry = SAMPLES[name]
    for sample in entry.draw(np.random.default_rng(0)):
        arrays = tuple(a for a in sample.inputs if isinstance(a, np.ndarray))
        if not arrays or any(not a.size or a.dtype.kind == "c" for a in arrays):
            continue

        def function(*tensors: md.Tensor, sample: Any = sample) -> md.Tensor:
            rest = iter(tensors)
            inputs = [next(rest) if isinstance(a, np.ndarray) else a for a in sample.inputs]
            return entry.primitive(*inputs, **sample.parameters)

        expected = np.asarray(entry.oracle(*sample.inputs, **sample.parameters))
        if expected.size:
            yield function, tuple(a.astype(dtype) if a.dtype == np.float64 else a for a in arrays), expected
