"""Which module made which node: so that a large graph can be drawn by its modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...core.tensor import Leaf, Node, Tensor
from ...nn.module import Module, watch
from ...nn.summary import tensors


@dataclass(frozen=True)
class Call:
    """One call of one module: its dotted name ("" for the model itself), its class, and which call of it."""

    name: str
    type: str
    number: int = 1

    @property
    def title(self) -> str:
        again = f" (call {self.number})" if self.number > 1 else ""
        return f"{self.name} {self.type}".strip() + again

    @property
    def depth(self) -> int:
        return self.name.count(".") + 1 if self.name else 0


@dataclass
class Calls:
    """The calls that made each node, the innermost first; and the tensors that were handed to a module."""

    of: dict[Node, list[Call]] = field(default_factory=dict)
    inputs: dict[int, Tensor] = field(default_factory=dict)  # by id; held, so that no other object gets that id


@contextmanager
def watched(model: Module) -> Iterator[Calls]:
    """Inside the block, learn which call of which module of the model makes which node."""
    names = {module: name for name, module in model.named_modules()}
    counts: Counter[Module] = Counter()
    calls = Calls()

    def see(module: Module, inputs: tuple, output: Any) -> None:
        if module not in names:
            return
        counts[module] += 1
        call = Call(names[module], type(module).__name__, counts[module])
        given = list(tensors(inputs))
        calls.inputs.update((id(x), x) for x in given)
        _claim(call, [y.node for y in tensors(output)], {x.node for x in given}, calls.of)

    with watch(see):
        yield calls


def _claim(call: Call, stack: list, border: set, of: dict[Node, list[Call]]) -> None:
    """Give the call the nodes between its outputs and its inputs that no other part of the model has made."""
    visited = set(border) | {None}
    within = f"{call.name}." if call.name else ""
    while stack:
        node = stack.pop()
        if node in visited or type(node) is Leaf:
            continue
        visited.add(node)
        made_by = of.setdefault(node, [])
        if made_by and not made_by[-1].name.startswith(within):  # it came in by a keyword
            continue
        made_by.append(call)
        stack += [x.node for x in node.inputs or () if isinstance(x, Tensor)]


def by_parameters(model: Module, nodes: list[Node]) -> Calls:
    """The calls in a graph that was recorded before: a node that uses a module's own parameter, or what was made
    of parameters of that module alone, was made in it. The n-th use of a parameter is taken for the n-th call."""
    owners: dict[Node, Call] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter.node, Call(name, type(module).__name__))
    uses: Counter[Node] = Counter()
    calls, made_of = Calls(), dict(owners)
    for node in sorted(nodes, key=lambda n: n.order):
        below = [x.node for x in node.inputs if isinstance(x, Tensor)]  # None of a constant
        found = sorted((x for x in below if x in made_of), key=lambda x: x not in owners)
        if not found:
            continue
        uses[found[0]] += 1
        first = made_of[found[0]]
        call = Call(first.name, first.type, uses[found[0]] if found[0] in owners else first.number)
        calls.of[node] = [call]
        if len(found) == len(below) and len({made_of[x].name for x in found}) == 1:
            made_of[node] = call
    return calls
