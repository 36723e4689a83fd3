"""The trace of a backward pass: the engine's own walk, with a look at every rule that it applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.context import definitions, enable_grad, switch
from ...core.primitive import Fused, Primitive
from ...core.tensor import Tensor, as_tensor
from ..page import Page, Shown
from .arrays import is_finite

if TYPE_CHECKING:
    from ...nn.module import Module
    from .modules import Call

EPS = 1e-9  # how close to a kink an entry is on it


@dataclass(eq=False)
class Vertex:
    """A value of the graph: a leaf, a constant, or what a primitive gave.

    ``inputs`` are vertices, and numbers that stand in the expression; ``gradient`` is d loss / d value, None for a
    constant; ``calls`` are the modules in whose forward it was made, the innermost first.
    """

    name: str
    kind: str  # "leaf", "constant" or "operation"
    value: np.ndarray
    order: float = 0  # in time
    primitive: Primitive | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ()
    gradient: np.ndarray | None = None
    calls: tuple[Call, ...] = ()


@dataclass(eq=False)
class Contribution:
    """What one rule gives to one input: ``after = before + value``."""

    argument: str
    position: int  # among the inputs
    input: Vertex
    formula: str
    replaced: bool  # another rule is active than the derivative
    value: np.ndarray
    before: np.ndarray | None  # None: nothing had arrived yet
    after: np.ndarray
    summed_over: tuple[int, ...] = ()  # axes along which the input was repeated
    unsummed: np.ndarray | None = None  # the value before that sum
    local: float | None = None  # d output / d input, in a graph of scalars


@dataclass(eq=False)
class Kink:
    """Entries of a step at which its primitive has no derivative: within `EPS`, or what was asked for."""

    count: int
    size: int  # entries that were looked at
    first: tuple[int, ...]  # where the first one is
    distance: float  # the smallest


@dataclass(eq=False)
class Step:
    """One primitive's rules applied: the gradient of its value goes in, contributions to its inputs come out."""

    number: int
    vertex: Vertex
    gradient: np.ndarray
    contributions: list[Contribution] = field(default_factory=list)
    kink: Kink | None = None

    @property
    def fused(self) -> bool:
        return isinstance(self.vertex.primitive, Fused)

    @cached_property
    def inside(self) -> Trace | None:
        """The trace of a fused primitive's definition on the same inputs and gradient; None of another primitive."""
        if not self.fused:
            return None
        vertex, wanted = self.vertex, {c.position for c in self.contributions}
        inputs = [
            Tensor(x.value, requires_grad=i in wanted) if isinstance(x, Vertex) else x
            for i, x in enumerate(vertex.inputs)
        ]
        with definitions(), enable_grad(), np.errstate(all="ignore"):
            output = vertex.primitive.definition(*inputs, **vertex.parameters)
        named = {vertex.primitive.arguments[i]: x for i, x in enumerate(inputs) if isinstance(x, Tensor)}
        return explain(output, self.gradient, names=named)


@dataclass(eq=False)
class Trace(Shown):
    """Every step of a backward pass, in the order of the engine's walk: see `explain`.

    ``steps``; ``vertices`` (the values, oldest first); ``output`` and ``seed``, the gradient that it started with;
    ``overrides``, the primitives whose rules were replaced; ``notes``, what a reader should know first.
    """

    output: Vertex
    seed: np.ndarray
    steps: list[Step]
    vertices: list[Vertex]
    overrides: list[str]
    notes: list[str]
    scalar: bool  # every value has one element

    @property
    def leaves(self) -> list[Vertex]:
        return [v for v in self.vertices if v.kind == "leaf"]

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of each leaf by its name: what `md.grad` gives, to the bit."""
        return {v.name: v.gradient for v in self.leaves}

    @cached_property
    def paths(self) -> dict[str, Any]:
        """For a graph of scalars, the paths from each leaf to the loss: see `paths.py`. Else empty."""
        from .paths import paths

        return paths(self)

    def text(self) -> str:
        """The steps as a numbered list for a terminal."""
        from .text import text

        return text(self)

    __repr__ = text

    def json(self) -> str:
        """The trace as JSON text; the schema is described in `minidl.study.explain.text`."""
        from .text import as_json

        return as_json(self)

    def svg(self) -> str:
        """The graph with values and gradients as one SVG picture, light and dark."""
        from .drawing import picture

        return picture(self)

    def page(self) -> Page:
        """The page on which the backward pass is played."""
        from .page import page

        return page(self)


def explain(
    loss: Tensor | Callable[[], Tensor],
    grad_output: Any = None,
    *,
    names: Mapping[str, Tensor] | None = None,
    model: Module | None = None,
    eps: float = EPS,
) -> Trace:
    """Follow the backward pass of `loss` step by step; nothing is changed: no ``.grad``, no node is released.

        >>> w = md.tensor(0.5, requires_grad=True)
        >>> print(md.explain((w * 3 - 1) ** 2, names={"w": w}).text())

    loss: a tensor, or a function of no arguments that computes it (with `model`, it is then known exactly which
    module made what; modes, buffers and random streams of the model are put back). grad_output: the gradient to start
    with, 1 for a loss of one element; a loss of another shape needs it. names: how tensors are called, by name;
    parameters of `model` have their paths, other leaves are x1, x2, ... in the order in which they were made. model:
    large graphs are drawn by its modules (of a tensor that is there already, modules are known by their parameters, and
    those without stay single operations). eps: an entry whose distance to a kink is at most this is said to be on it.

    The gradients are those of `md.grad`, to the bit. Inside `md.override` the rules that are active are followed, and
    the trace says that these are not gradients.

    Raises RuntimeError if the loss requires no gradient or its graph was released; ValueError for a loss of several
    elements without grad_output.
    """
    from .record import record

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
    for name, tensor in (names or {}).items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"explain: names maps a name to a Tensor, {name!r} is a {type(tensor).__name__}")
    with switch("recording", False), switch("anomaly", False), np.errstate(all="ignore"):
        return record(loss, grad_output, dict(names or {}), model, calls, eps)


def _computed(loss: Any, model: Module | None) -> tuple[Any, Any]:
    """The loss, and which module made what if that could be watched."""
    if isinstance(loss, Tensor) or not callable(loss):
        return loss, None
    if model is None:
        with enable_grad():
            return loss(), None
    from ...nn.summary import unchanged
    from .modules import watched

    with unchanged(model), enable_grad(), watched(model) as calls:
        return loss(), calls


def first_not_finite(trace: Trace) -> tuple[Vertex | None, Step | None]:
    """The operation (or leaf) that is the first to hold a NaN or an infinity, and the step whose rule made the first
    one out of finite numbers."""
    vertex = next((v for v in trace.vertices if not is_finite(v.value)), None)
    for step in trace.steps:
        if not is_finite(step.gradient):
            return vertex, None  # it came in with the seed
        if not all(is_finite(c.value) for c in step.contributions):
            return vertex, step
    return vertex, None
