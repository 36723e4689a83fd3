"""What an ONNX file says, as plain data: a graph of nodes over named values. Nothing here is of the onnx package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Value:
    """An input or an output: its name, its dtype, and its shape, where the file says it.

    An axis is a length, or the name of one that is free ("batch"), or None.
    """

    name: str
    dtype: np.dtype | None
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} {self.dtype or '?'}[{axes}]"


@dataclass(frozen=True)
class Node:
    """One operation. An optional input or output that is left out has the name ""."""

    name: str
    operator: str  # "Conv"; of another domain than ONNX's own "com.microsoft.Gelu"
    opset: int  # the version of the operators of that domain
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]  # numbers, text, lists of them, arrays; Graphs for branches

    @property
    def branches(self) -> dict[str, Graph]:
        """The attributes that are graphs: those of If, Loop and Scan."""
        return {name: value for name, value in self.attributes.items() if isinstance(value, Graph)}

    @property
    def reads(self) -> set[str]:
        """The names of all values that it needs, those that its branches take from around them included."""
        return {*self.inputs, *(name for branch in self.branches.values() for name in branch.outer)} - {""}


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run. `constants` are the initialisers and the Constant nodes."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: dict[str, np.ndarray]
    nodes: tuple[Node, ...]

    @property
    def outer(self) -> set[str]:
        """The names that it reads and does not define: those of the graph around it."""
        own = {value.name for value in self.inputs} | self.constants.keys()
        own |= {name for node in self.nodes for name in node.outputs}
        read = {name for node in self.nodes for name in node.reads} | {value.name for value in self.outputs}
        return read - own

    def with_fixed(self, fixed: Mapping[str, Any]) -> Graph:
        """The same graph with constants in the place of some inputs."""
        inputs = {value.name: value for value in self.inputs}
        if unknown := fixed.keys() - inputs.keys():
            raise ValueError(f"{min(unknown)!r} is no input of the graph; these are {', '.join(map(str, self.inputs))}")
        given = {name: np.asarray(value, inputs[name].dtype) for name, value in fixed.items()}
        rest = tuple(value for value in self.inputs if value.name not in fixed)
        return replace(self, inputs=rest, constants=self.constants | given)

    @property
    def operators(self) -> set[str]:
        """The names of the operators in it, those of its branches included."""
        of_branches = [branch.operators for node in self.nodes for branch in node.branches.values()]
        return {node.operator for node in self.nodes}.union(*of_branches)
