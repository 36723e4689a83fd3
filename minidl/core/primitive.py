"""Primitives: array functions with one derivative rule per argument.

A primitive's forward takes arrays and gives one array. A rule is ordinary Tensor code, called as
``rule(g, y, *inputs, **parameters)``: `g` is the cotangent of the output `y`. Because a rule is made of
primitives, it can be differentiated again, to any order.

    @primitive(formula="tanh(x)", kind="analytic", elementwise=True, saves=("y",))
    def tanh(xp, x):                     # xp is numpy or cupy
        return xp.tanh(x)

    @tanh.rule("x", formula="g * (1 - y**2)")
    def tanh_x(g, y, x):                 # evaluated only if x needs a gradient
        return g * (1 - y * y)

A primitive that users call by a function of the same name, which reads their arguments, is ``NAME_p``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Concatenate, Generic, ParamSpec, overload

import numpy as np

from .anomaly import calling_line, stop_at_anomaly
from .array_function import ArrayFunction, namespace
from .context import current, setting
from .tensor import Node, Placeholder, Tensor, as_tensor, computed, weak

KINDS = ("linear", "analytic", "piecewise")  # decides which oracle proves the rules: see minidl.check
LARGE = 1 << 16  # bytes: a smaller array is not worth a Placeholder

registry: dict[str, Primitive] = {}  # every primitive there is, by name

NUMBERS = {int, float, complex, bool, type(None)}  # stay as they are: NumPy treats them as weak
_DOUBLE = np.dtype(float)
P = ParamSpec("P")


class Primitive(ArrayFunction, Generic[P]):
    """An array function and its derivative rules. Made by `@primitive`; called as the array function, without xp."""

    def __init__(
        self,
        forward: Callable,
        *,
        name: str | None = None,
        formula: str = "",
        kind: str = "analytic",
        elementwise: bool = False,
        kink: Callable | None = None,
        saves: tuple[str, ...] | None = None,
        reach: Callable | None = None,
        support: Callable | None = None,
        floats: bool = False,
    ):
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is unknown: one of {', '.join(KINDS)}")
        super().__init__(forward, name or forward.__name__.removesuffix("_p"))
        self.formula = formula
        self.kind = kind
        self.elementwise = elementwise  # the engine undoes broadcasting for these, and only for these
        self.kink = kink  # arrays -> distance of each entry to the nearest point without a derivative
        self.reach = reach  # the cells that an output depends on along each spatial axis: see ops/reach.py
        self.support = support  # (counts of outputs, x, **parameters) -> counts of entries of x, the first argument
        self.floats = floats  # integers count as double precision: NumPy would take small ones as half
        self.rules: dict[str, Callable] = {}
        self.rule_formulas: dict[str, str] = {}
        self.arguments, self.variadic = self._read_signature(forward)
        self.saves = (*self.arguments, "y") if saves is None else saves
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

    def __call__(self, *inputs: P.args, **parameters: P.kwargs) -> Tensor:
        """Run the array function; remember where the result came from if a gradient may be asked for."""
        arrays, tracked = [], None
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.data)
                tracked = tracked or x.node
            elif type(x) in NUMBERS:
                arrays.append(x)
            else:  # a scalar of NumPy, an array or a list: a constant
                inputs = [x if type(x) in NUMBERS else as_tensor(x) for x in map(weak, inputs)]
                return self(*inputs, **parameters)
        if self.floats and getattr(arrays[0], "dtype", _DOUBLE).kind in "iub":
            return self(inputs[0].astype(_DOUBLE), **parameters)
        xp, now = namespace(arrays), current()
        if now.trace is not None:
            now.trace.meet(inputs)
        try:
            y = computed(self.run(xp, arrays, parameters))
        except (ValueError, TypeError, IndexError) as error:
            raise type(error)(f"{self.name}({_describe(inputs)}): {error}") from error
        if now.passive:
            return y
        if tracked and now.recording and (array := y.data).dtype.kind in "fc":
            y.node = (Node if array.nbytes < LARGE else Primitive.saving)(self, inputs, parameters, array)
        if now.anomaly:
            where = calling_line()
            stop_at_anomaly(self.name, arrays, y.data, where)
            if y.node is not None:
                y.node.where = where
        return y

    def saving(self, inputs: tuple, parameters: dict, y: Any) -> Node:
        """The node of a large output array `y`. It saves for the backward pass what `saves` names; a large input that
        is not named, and that another operation made, is replaced by a Placeholder."""
        if type(y) is not np.ndarray:
            return Node(self, inputs, parameters, y)
        names = self.arguments[-1:] * len(inputs) if self.variadic else self.arguments
        held = tuple([x if name in self.saves else _replaced(x) for name, x in zip(names, inputs)])
        return Node(self, held, parameters, y if "y" in self.saves else None)

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
        rules = self.rules_in_force() if current().overrides else self.rules
        found = []
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor):
                continue
            if x.updated > node.order:
                refuse_updated(x, self.name)
            if x.node is None or (useful is not None and x.node not in useful):
                continue
            if self.variadic:
                name = self.arguments[-1]
                gx = (rules.get(name) or self._refuse_missing(name))(g, y, *inputs, index=i, **parameters)
            else:
                name = self.arguments[i]
                gx = (rules.get(name) or self._refuse_missing(name))(g, y, *inputs, **parameters)
            if type(gx) is not Tensor or type(x) is Placeholder or not same_form(gx.data, x.data):
                gx = self.reconciled(gx, x, y, name)
            found.append((x, gx))
        return found

    def rules_in_force(self) -> dict[str, Callable]:
        """The rules by argument, overridden ones replaced."""
        return {**self.rules, **current().overrides.get(self, {})}

    def _refuse_missing(self, argument: str) -> Callable:
        raise TypeError(
            f"{self.name} has no derivative rule for {argument!r}; detach() it, or add one with "
            f"@{self.name}.rule({argument!r})"
        )

    def reconciled(self, gx: Any, x: Tensor, y: Tensor, argument: str) -> Tensor:
        """Invariant: a rule's result has its argument's shape, dtype and device. Undo broadcasting and promotion."""
        if isinstance(gx, Tensor):
            if self.elementwise and gx.shape != x.shape:
                with suppress(ValueError):  # x was not broadcast to it: refused below
                    gx = gx.sum_to(x.shape)
            if gx.dtype != x.dtype and y.dtype != x.dtype:
                gx = gx.astype(x.dtype)  # the forward promoted x
            if same_form(gx.data, x.form):
                return gx
        got = f"{_describe([gx])} on the {gx.device}" if isinstance(gx, Tensor) else type(gx).__name__
        raise TypeError(
            f"{self.name}: the rule for {argument!r} must return what the argument is, "
            f"{_describe([x])} on the {x.device}; got {got}"
        )


def _replaced(x: Any) -> Any:
    """A Placeholder for a large tensor that an operation made; anything else as it is."""
    if type(x) is Tensor and type(x.node) is Node and type(x.data) is np.ndarray and x.data.nbytes >= LARGE:
        return Placeholder(x.data, x.node)
    return x


def same_form(a: Any, b: Any) -> bool:
    """Two arrays of one shape, dtype and device?"""
    return a.shape == b.shape and (a.dtype is b.dtype or a.dtype == b.dtype) and type(a) is type(b)


@overload
def primitive(function: Callable[Concatenate[Any, P], Any], /) -> Primitive[P]: ...
@overload
def primitive(**options: Any) -> Callable[[Callable[Concatenate[Any, P], Any]], Primitive[P]]: ...
def primitive(function: Callable | None = None, **options: Any) -> Any:
    """Decorator: make an array function ``f(xp, *arrays, *, **parameters)`` a primitive.

    Options: `formula` of the value; `kind` "linear", "analytic" or "piecewise" (which oracle proves its rules);
    `elementwise` (the engine undoes broadcasting); `kink` (distance to points without derivative); `saves` (the
    arguments, and "y" for the output, whose values the rules need in the backward pass; all if not given); `reach` and
    `support` (which entries of x an output depends on, for receptive fields: by formula, and exactly where its rules
    do not tell); `floats` (a function of one array, of real numbers: integers count as double precision); `name` (the
    function's own, without a final _p).
    """
    if function is None:
        return lambda f: Primitive(f, **options)
    return Primitive(function, **options)


@contextmanager
def override(primitive: Any, **rules: Callable[..., Tensor]) -> Iterator[None]:
    """Inside the block, backward passes use other rules: ``with override(F.relu, x=guided): ...``.

    `primitive` is the public function; each keyword names an argument, each rule is called as
    ``rule(g, y, *inputs, **parameters)``. Rules are looked up during the backward pass, so a graph that was
    recorded before the block obeys it too. Blocks nest; other threads are not affected. What such a pass gives is not
    a gradient.
    """
    target = getattr(primitive, "primitive", primitive)
    if not isinstance(target, Primitive) or not target.rules:
        raise TypeError(f"override needs a primitive with rules, such as F.relu; got {primitive!r}")
    for argument in rules:
        if argument not in target.arguments:
            raise TypeError(f"{target.name} has no argument {argument!r}: one of {', '.join(target.arguments)}")
    before = current().overrides
    with setting(overrides={**before, target: {**before.get(target, {}), **rules}}):
        yield


def overridden() -> list[str]:
    """The names of the primitives whose rules are overridden here, in order."""
    return sorted(p.name for p in current().overrides)


def refuse_updated(x: Any, name: str) -> None:
    raise RuntimeError(
        f"{x.name} was updated after the forward pass that used it (in {name!r}); "
        "run backward before the update, or the forward pass again after it"
    )


def _describe(inputs: Any) -> str:
    """float32[2, 3], 1.5: what an error message says of a call's inputs."""
    return ", ".join(f"{x.dtype}[{', '.join(map(str, x.shape))}]" if isinstance(x, Tensor) else repr(x) for x in inputs)
