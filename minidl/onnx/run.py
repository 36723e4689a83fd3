"""Runs the nodes of a graph one after another; each value is freed after its last use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..core.context import setting
from ..core.tensor import Tensor
from ..device import to_device
from .graph import Graph, Node
from .operators import find

Scope = dict[str, Any]  # the values that there are, by name: Tensors, and arrays for what no input decides


@dataclass(frozen=True)
class Run:
    """What all graphs of one run share: where the weights are, and who looks on."""

    state: Mapping[str, Any]  # attributes of the module
    look: Callable[[Node, list, tuple], None] | None = None  # is given each node, its inputs and its outputs


class Step:
    """A node with what computes it. Called with a scope, it reads its inputs there and writes its outputs."""

    def __init__(self, node: Node, branches: Mapping[str, Program]):
        self.node, self.branches = node, branches
        entry = find(node)
        attributes = {name: value for name, value in node.attributes.items() if name in entry.keywords}
        if "count" in entry.keywords:
            attributes["count"] = len(node.outputs)
        self.run: Callable = partial(entry.run, **attributes) if attributes else entry.run
        self.plain = entry.plain
        self.last: tuple[str, ...] = ()  # the values that nobody reads after this node
        self.before: tuple[list, tuple] = ([None], ())  # the arrays of the last call, and what it gave

    def __call__(self, run: Run, scope: Scope) -> None:
        values = [scope[name] if name else None for name in self.node.inputs]
        try:
            found = self._found(values, run, scope)
        except (ValueError, TypeError, IndexError) as error:
            raise type(error)(f"{self.node.operator} {self.node.name!r}: {error}") from error
        for name, value in zip(self.node.outputs, found):
            if name:
                scope[name] = value
        if run.look is not None:
            run.look(self.node, values, found)

    def _found(self, values: list[Any], run: Run, scope: Scope) -> tuple:
        if self.branches:
            branches = {name: partial(branch.run, run, scope) for name, branch in self.branches.items()}
            return _as_tuple(self.run(*self._arguments(values), **branches))
        computed = [isinstance(x, Tensor) for x in values]
        if True in computed:
            found = self.run(*(self._arguments(values) if self.plain or False in computed else values))
            return (found,) if isinstance(found, Tensor) else tuple(map(self._known, _as_tuple(found)))
        arrays, found = self.before  # arithmetic of shapes, the same as long as the shapes are
        if len(arrays) != len(values) or any(a is not b for a, b in zip(arrays, values)):
            with setting(recording=False, trace=None):
                found = tuple(map(plain, _as_tuple(self.run(*self._arguments(values)))))
            self.before = values, found
        return found

    def _known(self, y: Any) -> Any:
        """An array that follows from shapes is the same object as long as it has the same values."""
        if isinstance(y, Tensor):
            return y
        _, found = self.before  # other threads may be here, too
        if found and found[0].dtype == y.dtype and np.array_equal(found[0], y):
            return found[0]
        self.before = [None], (y,)
        return y

    def _arguments(self, values: list[Any]) -> list[Any]:
        """The inputs as the operator takes them: arrays where they are annotated Plain, else Tensors."""
        where = next((x.device for x in values if isinstance(x, Tensor)), "cpu")
        return [
            x if x is None or (isinstance(x, Tensor) and i not in self.plain)
            else plain(x) if i in self.plain
            else Tensor(to_device(x, where))
            for i, x in enumerate(values)
        ]  # fmt: skip

    @property
    def computed_with(self) -> set[str]:
        """The inputs that are no shapes, axes or the like."""
        return {name for i, name in enumerate(self.node.inputs) if i not in self.plain}


def plain(x: Any) -> Any:
    """A NumPy array; a recorded step cannot repeat that it is looked at."""
    return x.numpy() if isinstance(x, Tensor) else x


def _as_tuple(found: Any) -> tuple:
    return found if isinstance(found, tuple) else (found,)


@dataclass(frozen=True)
class Owner:
    """Who holds what a graph computes with: the names in whose place a constant is a weight (see `weights_of`), and
    what makes an attribute of a name and its array, a weight or not, and gives the attribute's name."""

    places: Mapping[str, bool]
    adopt: Callable[[str, np.ndarray, bool], str]

    def learns(self, name: str, array: np.ndarray) -> bool:
        number = self.places.get(name)
        return number is not None and array.dtype.kind == "f" and (number or _is_data(array))


class Program:
    """The steps of a graph, and of its branches. What follows from constants alone is computed here, once.

    around: the constants of the graph around this one.
    """

    def __init__(self, graph: Graph, owner: Owner, around: Mapping[str, np.ndarray] | None = None):
        self.inputs, self.outputs = (tuple(value.name for value in ends) for ends in (graph.inputs, graph.outputs))
        self.outer = tuple(sorted(graph.outer))
        self.steps: list[Step] = []
        weights, known = {}, dict(around or {})
        self._read(graph, owner, weights, known)
        read = {name for step in self.steps for name in step.node.reads}.union(self.outputs)
        computed_with = {name for step in self.steps for name in step.computed_with}
        self.slots: dict[str, str] = {}  # the attribute that holds each weight, or other real numbers
        self.constants: dict[str, np.ndarray] = {}
        for name, array in {**weights, **known}.items():
            if name not in read or name in (around or {}):
                continue
            if name in weights or (name in computed_with and _is_data(array)):
                self.slots[name] = owner.adopt(name, array, owner.learns(name, array))
            else:
                self.constants[name] = array
        self._plan_last()

    def _read(
        self, graph: Graph, owner: Owner, weights: dict[str, np.ndarray], known: dict[str, np.ndarray]
    ) -> None:
        """Make steps of the nodes; note the weights, and what is known before anything runs."""
        for name, array in graph.constants.items():
            (weights if owner.learns(name, array) else known)[name] = array
        for node in graph.nodes:
            if node.operator == "If" and node.inputs[0] in known:  # the branch that is taken stands in its place
                branch = node.branches["then_branch" if known[node.inputs[0]].item() else "else_branch"]
                self._read(branch, owner, weights, known)
                for own, name in zip(branch.outputs, node.outputs):
                    self._add(Node(node.name, "Identity", node.opset, (own.name,), (name,), {}), {}, known)
            else:
                branches = {name: Program(branch, owner, known) for name, branch in node.branches.items()}
                self._add(node, branches, known)

    def _add(self, node: Node, branches: Mapping[str, Program], known: dict[str, np.ndarray]) -> None:
        step = Step(node, branches)
        if branches or not node.reads <= known.keys():
            self.steps.append(step)
        else:
            step(Run({}), known)

    def _plan_last(self) -> None:
        """Note with each step which values are needed no more after it."""
        made = {name for step in self.steps for name in step.node.outputs if name}
        later = {*self.outputs}
        for step in reversed(self.steps):
            touched = step.node.reads | {*step.node.outputs}
            step.last = tuple(sorted((touched & made) - later))
            later |= touched

    def names(self) -> set[str]:
        """The values that there are while it runs."""
        made = {name for step in self.steps for name in step.node.outputs if name}
        return made.union(self.inputs, self.slots, self.constants)

    def run(self, run: Run, around: Scope, *inputs: Any, keep: Collection[str] = ()) -> tuple:
        """The outputs, or the values that `keep` names; `around` holds what the graph reads from around it."""
        scope = {name: around[name] for name in self.outer}
        scope |= {name: run.state[attribute] for name, attribute in self.slots.items()}
        scope |= self.constants
        scope |= zip(self.inputs, inputs)
        for step in self.steps:
            step(run, scope)
            for name in step.last:
                if name not in keep:
                    scope.pop(name, None)
        return tuple([scope[name] for name in keep or self.outputs])


def weights_of(graph: Graph) -> dict[str, bool]:
    """The names in whose place a constant is a weight: what convolutions and the like learn, directly or by way of
    nodes that only rearrange it. True: even a single number is."""
    found: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        entry = find(node)
        places = {name: not entry.formula for i, name in enumerate(node.inputs) if i in entry.learns and name}
        if entry.passes and (numbers := [found[name] for name in node.outputs if name in found]):
            places |= dict.fromkeys(node.inputs[: entry.passes], any(numbers))
        for branch in node.branches.values():
            places |= weights_of(branch)
        found |= {name: number or found.get(name, False) for name, number in places.items()}
    return found


def _is_data(array: np.ndarray) -> bool:
    """Real numbers, more than one of them."""
    return array.dtype.kind == "f" and (array.ndim > 1 or array.size > 1)
