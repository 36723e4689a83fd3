"""Follow the engine's own backward pass, and write down what each rule takes and gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from ...core import backward as graph
from ...core.checkpoint import RECOMPUTED
from ...core.context import definitions, enable_grad, setting
from ...core.primitive import overridden
from ...core.tensor import Leaf, Node, Parameter, Tensor, as_tensor
from ...nn.module import Module
from ...nn.summary import unchanged
from .arrays import is_finite
from .expression import expression, statement
from .modules import Calls, by_parameters, watched
from .trace import BackwardPass, Contribution, Kink, Step, Vertex, first_not_finite

Made = TypeVar("Made", bound=BackwardPass)


def follow(
    loss: Tensor | Callable[[], Tensor], grad_output: Any, names: Mapping[str, Tensor], model: Module | None,
    eps: float, made: type[Made], variables: Mapping[str, Any] = MappingProxyType({}),
) -> Made:  # fmt: skip
    """The backward pass from the loss: see `explain`. made: the class of it. variables: those of the caller."""
    loss, calls = _computed(loss, model)
    if not isinstance(loss, Tensor):
        raise TypeError(f"explain needs a Tensor, or a function that gives one; got {type(loss).__name__}")
    if loss.node is None:
        raise RuntimeError(
            "explain: the loss requires no gradient, nothing it came from does; "
            "set requires_grad=True on a tensor before it is used"
        )
    if grad_output is None and loss.size != 1:
        raise ValueError(
            f"explain: the loss has shape {loss.shape}, a backward pass starts from one number; "
            f"sum it first, or pass grad_output= of shape {loss.shape}"
        )
    if grad_output is not None and (shape := as_tensor(grad_output).shape) != loss.shape:
        raise ValueError(f"explain: grad_output has shape {shape}, the loss {loss.shape}; they must be equal")
    for name, tensor in names.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"explain: names maps a name to a Tensor, {name!r} is a {type(tensor).__name__}")
    with setting(recording=False, anomaly=False), np.errstate(all="ignore"):
        seed = graph.seed(loss, grad_output)
        recorder = Recorder(loss, seed, eps, made)
        recorder.finish(graph.walk(loss, seed, None, release=False, pull=recorder.pull))
        steps, vertices = recorder.steps, sorted(recorder.vertices.values(), key=lambda v: v.order)
        scalar = bool(steps) and all(v.value.size == 1 for v in vertices)
        overrides = overridden()
        trace = made(recorder.of_node[loss.node], seed.numpy().copy(), steps, vertices, overrides, [], scalar)
        notes = _name(recorder, trace, names, model, variables)
        if model is not None:
            _place(recorder, model, calls)
        if trace.scalar and not trace.overrides:
            _add_local_derivatives(recorder)
        trace.notes += _notes(trace) + notes
        return trace


def _computed(loss: Any, model: Module | None) -> tuple[Any, Calls | None]:
    """The loss, and which module made what if that could be watched."""
    if isinstance(loss, Tensor) or not callable(loss):
        return loss, None
    if model is None:
        with enable_grad():
            return loss(), None
    with unchanged(model), enable_grad(), watched(model) as calls:
        return loss(), calls


class Recorder:
    """Stands between the walk and the primitives: see `graph.walk`."""

    def __init__(self, loss: Tensor, seed: Tensor, eps: float, made: type[BackwardPass]):
        self.eps, self.made = eps, made
        self.steps: list[Step] = []
        self.outputs: list[Tensor] = []  # of each step
        self.vertices: dict[Any, Vertex] = {}  # by node, or by id of a constant
        self.of_node: dict[Node, Vertex] = {}
        self.tensors: dict[Any, Tensor] = {}  # of each vertex; held, so that no other object gets that id
        self.sums: dict[Node, Tensor] = {loss.node: seed}
        self.vertex(loss)

    def vertex(self, x: Tensor, used_at: int | None = None) -> Vertex:
        """The vertex of a tensor. A tensor that is younger than its use was a constant then."""
        node = x.node if used_at is None or x.node is None or x.node.existed_at(used_at) else None
        key = node or id(x)
        if key not in self.vertices:
            kind = "constant" if node is None else "leaf" if type(node) is Leaf else "operation"
            # a constant stands before what uses it first
            order = used_at - 0.5 if node is None else node.changes[0] if kind == "leaf" else node.order
            self.vertices[key] = vertex = Vertex("", kind, _value(x, kind), order)
            self.tensors[key] = x
            if node is not None:
                self.of_node[node] = vertex
                vertex.primitive, vertex.parameters = node.primitive, node.parameters or {}
        if node is None:
            self.vertices[key].order = used_at - 0.5
        return self.vertices[key]

    def pull(self, g: Tensor, y: Tensor, useful: Any) -> list[tuple[Tensor, Tensor]]:
        """The pullback, written down as a step."""
        node, vertex = y.node, self.of_node[y.node]
        if node.primitive is RECOMPUTED:  # its vertex is that of the operation that gave the same value
            found = node.primitive.pullback(g, y, useful)
            last = found[0][0].node
            vertex.primitive, vertex.parameters = last.primitive, last.parameters or {}
            self.of_node[last] = vertex
            return found
        vertex.inputs = tuple(self.vertex(x, node.order) if isinstance(x, Tensor) else x for x in node.inputs)
        vertex.gradient = g.numpy()
        step = Step(len(self.steps) + 1, vertex, vertex.gradient, unfold=self.unfold)
        found = node.primitive.pullback(g, y, useful)
        positions = iter(enumerate(node.inputs))
        for x, gx in found:
            position = next(i for i, other in positions if other is x)
            if x.node.existed_at(node.order):  # else x required no gradient when it was used here
                step.contributions.append(self.contribution(g, y, x, gx, position))
        step.kink = kink_of(vertex, self.eps)
        self.steps.append(step)
        self.outputs.append(y)
        return found

    def contribution(self, g: Tensor, y: Tensor, x: Tensor, gx: Tensor, position: int) -> Contribution:
        """What one rule gave to one input, and what has then arrived there."""
        node, primitive = y.node, y.node.primitive
        argument = primitive.arguments[-1 if primitive.variadic else position]
        before = self.sums.get(x.node)
        self.sums[x.node] = after = gx if before is None else before + gx
        unsummed, axes = None, ()
        if primitive.elementwise and x.shape != y.shape:
            whole = primitive.rules_in_force()[argument](g, y, *node.inputs, **node.parameters)
            unsummed, axes = whole.numpy(), repeated_axes(x.shape, whole.shape)
        return Contribution(
            argument, position, self.of_node[x.node], *rule_of(primitive, argument), gx.numpy(),
            None if before is None else before.numpy(), after.numpy(), axes, unsummed,
        )  # fmt: skip

    def unfold(self, step: Step) -> BackwardPass:
        """The pass through the definition of a step's fused primitive, on the same inputs and gradient."""
        vertex, wanted = step.vertex, {c.position for c in step.contributions}
        inputs = [
            Tensor(x.value, requires_grad=i in wanted) if isinstance(x, Vertex) else x
            for i, x in enumerate(vertex.inputs)
        ]
        with definitions(), enable_grad(), np.errstate(all="ignore"):
            output = vertex.primitive.definition(*inputs, **vertex.parameters)
        named = {vertex.primitive.arguments[i]: x for i, x in enumerate(inputs) if isinstance(x, Tensor)}
        return follow(output, step.gradient, named, None, self.eps, self.made)

    def finish(self, found: dict[Node, Tensor]) -> None:
        """The gradients of the leaves, as the walk gave them."""
        for node, g in found.items():
            self.of_node[node].gradient = g.numpy()


def _value(x: Tensor, kind: str) -> np.ndarray:
    """The array; a copy of what may be changed in place later: a leaf's, and a view's."""
    value = x.numpy()
    return value.copy() if kind == "leaf" or value.base is not None else value


def rule_of(primitive: Any, argument: str) -> tuple[str, bool]:
    """The formula of the rule that is active for an argument, and whether it has replaced the derivative."""
    rule = primitive.rules_in_force().get(argument)
    if rule is primitive.rules.get(argument):
        return primitive.rule_formulas.get(argument, ""), False
    name = getattr(rule, "__name__", "").strip("_")
    return name if name.isidentifier() else "another rule", True


def repeated_axes(small: tuple[int, ...], large: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `large` along which an array of shape `small` was repeated to get there."""
    lead = len(large) - len(small)
    return tuple(a for a, n in enumerate(large) if a < lead or (small[a - lead] == 1 and n != 1))


def kink_of(vertex: Vertex, eps: float) -> Kink | None:
    """The entries at which the primitive has no derivative, if there are any."""
    if vertex.primitive.kink is None:
        return None
    arrays = [x.value if isinstance(x, Vertex) else x for x in vertex.inputs]
    distance = np.asarray(vertex.primitive.kink(*arrays, **vertex.parameters))
    near = distance <= eps
    if not near.any():
        return None
    first = tuple(int(i) for i in np.argwhere(near)[0])
    return Kink(int(near.sum()), distance.size, first, float(distance[near].min()))


def _add_local_derivatives(recorder: Recorder) -> None:
    """d output / d input of each step of a graph of scalars: the rules, with 1 as the gradient."""
    for step, y in zip(recorder.steps, recorder.outputs, strict=True):
        found = y.node.primitive.pullback(y.ones_like(), y, None)
        gradients = [gx for x, gx in found if x.node.existed_at(y.node.order)]
        for contribution, gx in zip(step.contributions, gradients, strict=True):
            contribution.local = gx.item()


# --- names


def _name(
    recorder: Recorder, trace: BackwardPass, names: Mapping[str, Tensor], model: Any, variables: Mapping[str, Any]
) -> list[str]:
    """Give every vertex a name of its own, and the trace its expression; notes on names whose tensor the loss does not
    depend on."""
    asked = {x.node or id(x): name for name, x in names.items()}
    if model is not None:
        asked = {p.node: name for name, p in model.named_parameters() if p.node is not None} | asked
    known = {key: name for key, name in _variables(variables, recorder).items() if key in recorder.vertices}
    taken: set[str] = set()
    named = set()
    for key, vertex in sorted(recorder.vertices.items(), key=lambda item: item[1].order):
        own = getattr(recorder.tensors[key], "name", "") if isinstance(recorder.tensors[key], Parameter) else ""
        vertex.name = asked.get(key) or known.get(key) or (own if own != "parameter" else "")
        if vertex.name:
            vertex.name = _free(vertex.name, taken)
            named.add(vertex)
    if not trace.output.name:
        trace.output.name = _free("loss" if trace.output.value.size == 1 else "output", taken)
    for prefix, kind in (("x", "leaf"), ("c", "constant"), ("v", "operation")):
        _number([v for v in trace.vertices if v.kind == kind and not v.name], prefix, taken)
    trace.asked = statement(trace.output, trace.vertices, named)
    unused = [name for key, name in asked.items() if key not in recorder.vertices]
    if not unused:
        return []
    more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
    return [f"the loss does not depend on {', '.join(unused[:3])}{more}: no gradient arrives there"]


def _variables(variables: Mapping[str, Any], recorder: Recorder) -> dict[Any, str]:
    """Names by node, or id of a constant: of variables that hold a tensor, and of the parameters of modules that
    variables hold, with the module's name before theirs if there are several such modules."""
    public = {name: x for name, x in variables.items() if re.fullmatch(r"[^\W_]\w*", name)}  # _ and _3 are IPython's
    found = {x.node or id(x): name for name, x in reversed(public.items()) if isinstance(x, Tensor)}
    modules = {name: x for name, x in public.items() if isinstance(x, Module)}
    modules = {n: m for n, m in modules.items() if any(p.node in recorder.vertices for p in m.parameters())}
    for name, module in reversed(modules.items()):
        prefix = f"{name}." if len(modules) > 1 else ""
        found = {p.node: prefix + path for path, p in module.named_parameters() if p.node is not None} | found
    return found


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number after it if another vertex has it."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    taken.add(free)
    return free


def _number(vertices: list[Vertex], prefix: str, taken: set[str]) -> None:
    count: Callable[[], int] = iter(range(1, 1 << 40)).__next__
    for vertex in vertices:
        name = f"{prefix}{count()}"
        while name in taken:
            name = f"{prefix}{count()}"
        taken.add(name)
        vertex.name = name


# --- modules


def _place(recorder: Recorder, model: Any, calls: Any) -> None:
    """Tell each vertex in which module it was made. What is used first inside a module belongs there, except what
    was handed to it."""
    operations = [node for node in recorder.of_node if type(node) is not Leaf]
    exact = calls is not None
    calls = calls or by_parameters(model, operations)
    own = {p.node for p in model.parameters()}
    for node in sorted(operations, key=lambda n: n.order):
        made_in = recorder.of_node[node].calls = tuple(calls.of.get(node, ()))
        for x in node.inputs:
            if not isinstance(x, Tensor) or (x.node is None and (not exact or id(x) in calls.inputs)):
                continue
            vertex = recorder.vertices.get(x.node or id(x))
            if vertex is not None and not vertex.calls and (x.node is None or x.node in own):
                vertex.calls = made_in


# --- notes


def _notes(trace: BackwardPass) -> list[str]:
    notes = []
    if trace.overrides:
        rules = "rule is" if len(trace.overrides) == 1 else "rules are"
        notes.append(f"the {rules} replaced of {', '.join(trace.overrides)}: what follows are not gradients")
    vertex, step = first_not_finite(trace)
    if vertex is not None:
        bad, size = int((~np.isfinite(vertex.value)).sum()), vertex.value.size
        count = f": {bad} of {size} values" if size > 1 else ""
        if vertex.primitive is None:
            notes.append(f"{vertex.name} holds a NaN or an infinity{count}")
        else:
            made = f"{vertex.name} = {expression(vertex)}"
            notes.append(f"{made} made the first NaN or infinity out of finite inputs{count}")
    if step is not None:
        to = ", ".join(c.input.name for c in step.contributions if not is_finite(c.value))
        out_of = "finite numbers" if is_finite(step.vertex.value) else "a finite gradient and values that are not"
        notes.append(
            f"step {step.number}, the rule of {step.vertex.primitive.name}, made the first NaN or infinity among the "
            f"gradients (of {to}), out of {out_of}"
        )
    if kinks := [str(s.number) for s in trace.steps if s.kink]:
        notes.append(
            f"step{'s' if len(kinks) > 1 else ''} {', '.join(kinks[:8])}{', ...' if len(kinks) > 8 else ''} "
            f"met a kink: there is no derivative there, the rule has chosen a value"
        )
    if not trace.steps:
        notes.append("the loss is a leaf itself: there is no step to take")
    return notes
