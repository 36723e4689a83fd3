"""`load_onnx`: a network from elsewhere as a Module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.tensor import Parameter, Tensor, as_tensor
from ..nn.module import Module
from .graph import Graph
from .operators import OPERATORS, refusals
from .parse import read
from .run import Owner, Program, Run, weights_of


def load_onnx(source: Any, *, fixed: Mapping[str, Any] | None = None) -> OnnxModule:
    """The network of an ONNX file as a Module whose operations are minidl's primitives.

        model = md.load_onnx("resnet18.onnx")
        model.inputs                      # (Value(name='x', dtype=float32, shape=('batch', 3, 224, 224)),)
        y = model(x)                      # it runs, can be trained, differentiated to any order, explained, recorded

    source: a path (data that the file keeps beside it is found there), an open binary file, bytes, or an
    `onnx.ModelProto`. Opsets 7 to 25. fixed: values of inputs that stay the same, and are inputs no more: of branches
    that they decide, one is left.

    What convolutions, matrix products, normalisations and recurrent layers take from the file are Parameters, under the
    names that the file gives them; other floating-point arrays are buffers. The graph says what is computed: `train()`
    and `eval()` change nothing.

    Raises ImportError without the `onnx` package, OSError and ValueError for a file that cannot be read; and before
    anything runs a ValueError that names each operator that is not supported, with its opset and node.
    """
    return OnnxModule(read(source, OPERATORS).with_fixed(fixed or {}))


class OnnxModule(Module):
    """A graph that runs: made by `load_onnx`. `inputs` and `outputs` are its Values: name, dtype, shape."""

    def __init__(self, graph: Graph):
        if lines := refusals(graph):
            raise ValueError("\n  ".join([f"the graph {graph.name!r} cannot run here:", *lines]))
        _require_order(graph)
        self.graph = replace(graph, constants={})  # these are parameters, buffers, or in the program
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.program: Any = None  # a weight of this name gets another one
        self.program = Program(graph, Owner(weights_of(graph), self._adopt))

    def _adopt(self, name: str, array: np.ndarray, is_weight: bool) -> str:
        """Make an array of the file a parameter or a buffer; the attribute that holds it."""
        while hasattr(self, name):
            name += "_"
        if is_weight:
            setattr(self, name, Parameter(np.array(array), name=name))
        else:
            self.register_buffer(name, np.array(array))
        return name

    def forward(self, *inputs: Any, values: Sequence[str] = (), **named: Any) -> Any:
        """The outputs of the graph for its inputs, in its order or by their names; a tuple if there are several.

        values: names of other values in the graph, a tuple of which is then given in place of the outputs.
        """
        given = self._given(inputs, named)
        if unknown := {*values} - (self.program.names() if values else set()):
            raise ValueError(f"the graph has no value {min(unknown)!r} while it runs; minidl onnx FILE lists them")
        found = tuple(map(as_tensor, self.program.run(Run(vars(self)), {}, *given, keep=tuple(values))))
        return found if values or len(found) != 1 else found[0]

    def _given(self, inputs: tuple, named: dict[str, Any]) -> list[Tensor]:
        names = [value.name for value in self.inputs]
        given = dict(zip(names, inputs)) | named
        if len(inputs) + len(named) != len(names) or given.keys() != {*names}:
            raise TypeError(
                f"the graph takes {len(names)} inputs, {' and '.join(map(str, self.inputs))}; "
                f"got {len(inputs)} and {', '.join(named) or 'none'} by name"
            )
        given = {name: as_tensor(x) for name, x in given.items()}
        for value in self.inputs:
            x = given[value.name]
            if value.shape is not None and x.ndim != len(value.shape):
                raise ValueError(f"the input {value} was given the shape {x.shape}")
            if value.dtype is not None and _kind(x.dtype) != _kind(value.dtype):
                raise TypeError(f"the input {value} was given {x.dtype}; use .astype({str(value.dtype)!r})")
        return [given[name] for name in names]

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"


def _require_order(graph: Graph) -> None:
    """Each value is made before it is read."""
    made = {*graph.constants, *(value.name for value in graph.inputs), ""}
    for node in graph.nodes:
        if lost := sorted(node.reads - made):
            raise ValueError(
                f"the graph {graph.name!r} is damaged: {node.operator} {node.name!r} reads {lost[0]!r}, which no "
                "input, constant or earlier node gives"
            )
        made |= {*node.outputs}
    if lost := [value.name for value in graph.outputs if value.name not in made]:
        raise ValueError(f"the graph {graph.name!r} is damaged: no node gives its output {lost[0]!r}")


def _kind(dtype: np.dtype) -> str:
    """Real numbers, integers, or truths."""
    return "i" if dtype.kind == "u" else dtype.kind
