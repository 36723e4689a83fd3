"""Primitives: array functions with one derivative rule per argument.

A primitive's forward takes arrays and gives one array. A rule is ordinary Tensor code, called as
``rule(g, y, *inputs, **parameters)``: `g` is the cotangent of the output `y`. Because a rule is made of
primitives, it can be differentiated again, to any order.

    @primitive(formula="tanh(x)", kind="analytic", elementwise=True)
    def tanh(xp, x):                     # xp is numpy or cupy
        return xp.tanh(x)

    @tanh.rule("x", formula="g * (1 - y**2)")
    def _(g, y, x):                      # evaluated only if x needs a gradient
        return g * (1 - y * y)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .array_function import ArrayFunction, namespace
from .context import mode
from .tensor import LARGE, Node, Shadow, Tensor, as_tensor

KINDS = ("linear", "analytic", "piecewise")  # decides which oracle proves the rules: see minidl.check

registry: dict[str, Primitive] = {}  # every primitive there is, by name
active_overrides: list[str] = []  # names of the primitives whose rules are replaced right now

_NUMBERS = (int, float, complex, bool, type(None))  # stay as they are: NumPy treats them as weak


class AnomalyError(ArithmeticError):
    """An operation made a NaN or an infinity out of finite numbers."""


class Primitive(ArrayFunction):
    """An array function and its derivative rules. Made by `@primitive`."""

    def __init__(
        self,
        forward: Callable,
        *,
        name: str | None = None,
        formula: str = "",
        kind: str = "analytic",
        elementwise: bool = False,
        kink: Callable | None = None,
        reads: tuple[str, ...] | None = None,
    ):
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is unknown: one of {', '.join(KINDS)}")
        super().__init__(forward)
        self.name = name or forward.__name__
        self.formula = formula
        self.kind = kind
        self.elementwise = elementwise  # the engine undoes broadcasting for these, and only for these
        self.kink = kink  # arrays -> distance of each entry to the nearest point without a derivative
        self.reads = reads  # the arguments whose values its rules use, "y" for the output; None: all of them
        self.rules: dict[str, Callable] = {}
        self.rule_formulas: dict[str, str] = {}
        self.arguments, self.variadic = self._read_signature(forward)
        self.__name__ = self.name
        self.__module__ = forward.__module__
        registry[self.name] = self

    def _read_signature(self, function: Callable) -> tuple[tuple[str, ...], bool]:
        signature = list(inspect.signature(function).parameters.values())
        inputs = [p for p in signature[1:] if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
        self.__signature__ = inspect.Signature(signature[1:])
        return tuple(p.name for p in inputs), any(p.kind is p.VAR_POSITIONAL for p in inputs)

    def __repr__(self) -> str:
        return f"<primitive {self.name}: {self.formula or 'no formula'}>"

    # --- forward

    def __call__(self, *inputs: Any, **parameters: Any) -> Tensor:
        """Run the array function; remember where the result came from if a gradient may be asked for."""
        arrays, tracked = [], None
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.data)
                tracked = tracked or x.node
            elif isinstance(x, _NUMBERS):
                arrays.append(x)
            else:  # an array or a list: a constant
                return self(*[x if isinstance(x, _NUMBERS) else as_tensor(x) for x in inputs], **parameters)
        xp = namespace(arrays)
        try:
            y = Tensor(self.run(xp, arrays, parameters))
        except (ValueError, TypeError, IndexError) as error:
            raise type(error)(f"{self.name}({_describe(inputs)}): {error}") from error
        if mode.passive:
            return y
        if tracked and mode.recording and y.data.dtype.kind in "fc":
            y.node = Node(self, self.kept(inputs) if y.data.nbytes >= LARGE else inputs, parameters)
        if mode.anomaly:
            _watch_forward(self.name, arrays, y)
        return y

    def kept(self, inputs: tuple) -> tuple:
        """The inputs as a node holds them: of a large one that no rule reads, here or where it was made, a Shadow."""
        if self.reads is None:
            return inputs
        names = self.arguments[-1:] * len(inputs) if self.variadic else self.arguments
        return tuple(
            Shadow(x) if name not in self.reads and type(x) is Tensor and _is_unread(x) else x
            for name, x in zip(names, inputs)
        )

    # --- derivative

    def rule(self, argument: str, formula: str = "") -> Callable[[Callable], Callable]:
        """Decorator: register the derivative rule with respect to one argument.

        The rule of a variadic argument is called once per input, with its position as ``index=``.
        """
        if argument not in self.arguments:
            raise ValueError(f"{self.name} has no argument {argument!r}: one of {', '.join(self.arguments)}")

        def register(function: Callable) -> Callable:
            self.rules[argument] = function
            self.rule_formulas[argument] = formula
            return function

        return register

    def pullback(self, g: Tensor, y: Tensor, useful: Any) -> list[tuple[Tensor, Tensor]]:
        """Each input of `y` that needs a gradient (its node is in `useful`, or that is None), and its cotangent."""
        node = y.node
        inputs, parameters = node.inputs, node.parameters
        found = []
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor):
                continue
            if x.updated > node.order:
                _refuse_updated(x, self.name)
            if x.node is None or (useful is not None and x.node not in useful):
                continue
            if self.variadic:
                name = self.arguments[-1]
                gx = self._find_rule(name)(g, y, *inputs, index=i, **parameters)
            else:
                name = self.arguments[i]
                gx = (self.rules.get(name) or self._find_rule(name))(g, y, *inputs, **parameters)
            if type(gx) is not Tensor or not _alike(gx.data, x.data if type(x) is not Shadow else x.form):
                gx = self._reconciled(gx, x, y, name)
            found.append((x, gx))
        return found

    def _find_rule(self, argument: str) -> Callable:
        try:
            return self.rules[argument]
        except KeyError:
            raise TypeError(
                f"{self.name} has no derivative rule for {argument!r}; detach() it, or add one with "
                f"@{self.name}.rule({argument!r})"
            ) from None

    def _reconciled(self, gx: Any, x: Tensor, y: Tensor, argument: str) -> Tensor:
        """Invariant: a rule's result has its argument's shape, dtype and device. Undo broadcasting and promotion."""
        if isinstance(gx, Tensor):
            if self.elementwise and gx.shape != x.shape:
                gx = gx.sum_to(x.shape)
            if gx.dtype != x.dtype and y.dtype != x.dtype:
                gx = gx.astype(x.dtype)  # the forward promoted x
            if _alike(gx.data, _form(x)):
                return gx
        got = f"{_describe([gx])} on the {gx.device}" if isinstance(gx, Tensor) else type(gx).__name__
        raise TypeError(
            f"{self.name}: the rule for {argument!r} must return what the argument is, "
            f"{_describe([x])} on the {x.device}; got {got}"
        )


def _is_unread(x: Tensor) -> bool:
    """Is x large, and made by a primitive whose rules do without its value?"""
    node = x.node
    if type(node) is not Node or node.primitive.reads is None or "y" in node.primitive.reads:
        return False
    return type(x.data) is np.ndarray and x.data.nbytes >= LARGE


def _form(x: Tensor) -> Any:
    """An array of the shape, dtype and device of x: its value, if that is there."""
    return x.form if type(x) is Shadow else x.data


def _alike(a: Any, b: Any) -> bool:
    """Two arrays of one shape, dtype and device?"""
    return a.shape == b.shape and (a.dtype is b.dtype or a.dtype == b.dtype) and type(a) is type(b)


def primitive(function: Callable | None = None, **options: Any) -> Any:
    """Decorator: make an array function ``f(xp, *arrays, *, **parameters)`` a primitive.

    Options: `name`; `formula` of the value; `kind` "linear", "analytic" or "piecewise" (which oracle proves
    its rules); `elementwise` (the engine undoes broadcasting); `kink` (distance to points without derivative);
    `reads` (the arguments, and "y", whose values the rules use: others need not be kept for the backward pass).
    """
    if function is None:
        return lambda f: Primitive(f, **options)
    return Primitive(function, **options)


class Fused(Primitive):
    """A composition of primitives that runs as one kernel forward and one backward.

    The composition is the *definition*: what a student reads, what runs inside `definitions()`, and what
    is differentiated when a pass is itself recorded (second and higher orders). Made by `@fused`.
    """

    def __init__(self, definition: Callable, **options: Any):
        super().__init__(definition, **options)
        self.definition = definition
        self.reverse: ArrayFunction | None = None  # gives the gradients: see `backward`

    def _read_signature(self, function: Callable) -> tuple[tuple[str, ...], bool]:
        signature = list(inspect.signature(function).parameters.values())
        self.__signature__ = inspect.Signature(signature)
        return tuple(p.name for p in signature if p.kind is not p.KEYWORD_ONLY), False

    def __call__(self, *inputs: Any, **parameters: Any) -> Tensor:
        if mode.definitions:
            return self.definition(*inputs, **parameters)
        return super().__call__(*inputs, **parameters)

    def forward_kernel(self, function: Callable) -> Callable:
        """Decorator: ``f(xp, *arrays, **parameters) -> array``, equal to the definition."""
        self.forward = function
        return function

    def backward(self, formula: str = "") -> Callable[[Callable], Callable]:
        """Decorator: ``f(xp, g, y, *arrays, needed, **parameters)`` gives a gradient per input (None if not needed)."""

        def register(function: Callable) -> Callable:
            self.reverse = ArrayFunction(function)
            self.rule_formulas = {self.arguments[0]: formula}
            return function

        return register

    def backward_on(self, device: str) -> Callable[[Callable], Callable]:
        """Decorator: register ``f(g, y, *arrays, needed, **parameters)``, the backward kernel of one device."""
        return self.reverse.on(device)

    def pullback(self, g: Tensor, y: Tensor, useful: Any) -> list[tuple[Tensor, Tensor]]:
        node = y.node
        for x in node.inputs:
            if isinstance(x, Tensor) and x.updated > node.order:
                _refuse_updated(x, self.name)
        needed = [
            isinstance(x, Tensor) and x.node is not None and (useful is None or x.node in useful) for x in node.inputs
        ]
        if mode.recording or active_overrides:  # a rule that is replaced may be one of the definition's
            return self._pullback_of_definition(g, node.inputs, node.parameters, needed)
        arrays = [_form(x) if isinstance(x, Tensor) else x for x in (y, *node.inputs)]  # shadows are not read
        arrays.insert(0, g.data)
        grads = self.reverse.run(namespace(arrays), arrays, {"needed": needed, **node.parameters})
        found = [
            (x, Tensor(gx), name)
            for gx, x, name in zip(grads, node.inputs, self.arguments, strict=True)
            if gx is not None
        ]
        return [(x, gx if _alike(gx.data, _form(x)) else self._reconciled(gx, x, y, name)) for x, gx, name in found]

    def _pullback_of_definition(
        self, g: Tensor, inputs: tuple, parameters: dict, needed: list[bool]
    ) -> list[tuple[Tensor, Tensor]]:
        from .calculus import vjp

        slots = [i for i, need in enumerate(needed) if need]

        def definition(*chosen: Tensor) -> Tensor:
            every = list(inputs)
            for i, x in zip(slots, chosen, strict=True):
                every[i] = x
            return self.definition(*every, **parameters)

        chosen = [inputs[i] for i in slots]
        _, pull = vjp(definition, *chosen)
        return list(zip(chosen, pull(g), strict=True))


def fused(**options: Any) -> Callable[[Callable], Fused]:
    """Decorator: make a composition of primitives ``f(*tensors, *, **parameters)`` a fused primitive."""
    return lambda definition: Fused(definition, **options)


@contextmanager
def override(primitive: Any, **rules: Callable) -> Iterator[None]:
    """Inside the block, backward passes use other rules: ``with override(F.relu, x=guided): ...``.

    `primitive` is the public function; each keyword names an argument, each rule is called as
    ``rule(g, y, *inputs, **parameters)``. Rules are looked up during the backward pass, so a graph that was
    recorded before the block obeys it too. Blocks nest. What such a pass gives is not a gradient.
    """
    target = getattr(primitive, "primitive", primitive)
    if not isinstance(target, Primitive) or isinstance(target, Fused):
        raise TypeError(f"override needs a primitive with rules, such as F.relu; got {primitive!r}")
    for argument in rules:
        if argument not in target.arguments:
            raise TypeError(f"{target.name} has no argument {argument!r}: one of {', '.join(target.arguments)}")
    before = target.rules
    target.rules = {**before, **rules}
    active_overrides.append(target.name)
    try:
        yield
    finally:
        target.rules = before
        active_overrides.remove(target.name)


def _describe(inputs: Any) -> str:
    """float32[2, 3], 1.5: what an error message says of a call's inputs."""
    return ", ".join(f"{x.dtype}[{', '.join(map(str, x.shape))}]" if isinstance(x, Tensor) else repr(x) for x in inputs)


def _calling_line() -> str:
    """file:line of the innermost caller outside this package."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "an unknown line"


def _refuse_updated(x: Any, name: str) -> None:
    raise RuntimeError(
        f"{x.name} was updated after the forward pass that used it (in {name!r}); "
        "run backward before the update, or the forward pass again after it"
    )


def _watch_forward(name: str, arrays: list, y: Tensor) -> None:
    where = _calling_line()
    stop_at_anomaly(name, arrays, y.data, where)
    if y.node is not None:
        y.node.where = where


def stop_at_anomaly(name: str, arrays: list, result: Any, where: str) -> None:
    """Raise AnomalyError if `result` has a NaN or an infinity and `arrays` have none."""
    if result.dtype.kind not in "fc" or np.isfinite(result).all():
        return
    if all(np.isfinite(a).all() for a in arrays if getattr(getattr(a, "dtype", None), "kind", "") in "fc"):
        bad = int((~np.isfinite(result)).sum())
        raise AnomalyError(
            f"{name} made {bad} of {result.size} values NaN or infinite out of finite numbers, called at {where}"
        )
