"""Fused primitives: compositions that run as one kernel forward and one backward."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .array_function import ArrayFunction, namespace
from .backward import walk
from .context import current, enable_grad
from .first_primitives import fresh
from .primitive import P, Primitive, refuse_updated, same_form
from .tensor import Tensor


class Fused(Primitive[P]):
    """A composition of primitives that runs as one array function forward and one backward. Made by `@fused`.

    The composition is the *definition*: what a student reads, what runs inside `definitions()`, and what
    is differentiated when a pass is itself recorded (second and higher orders).
    """

    def __init__(self, definition: Callable, **options: Any):
        super().__init__(definition, **options)
        self.definition = definition
        self.reverse: ArrayFunction | None = None  # gives the gradients: see `backward`

    def _read_signature(self, function: Callable) -> tuple[tuple[str, ...], bool]:
        signature = list(inspect.signature(function).parameters.values())
        self.__signature__ = inspect.Signature(signature)
        return tuple(p.name for p in signature if p.kind is not p.KEYWORD_ONLY), False

    def __call__(self, *inputs: P.args, **parameters: P.kwargs) -> Tensor:
        if current().definitions:
            return self.definition(*inputs, **parameters)
        return super().__call__(*inputs, **parameters)

    def array_forward(self, function: Callable) -> Callable:
        """Decorator: ``f(xp, *arrays, **parameters) -> array``, equal to the definition."""
        self.forward = function
        return function

    def array_backward(self, formula: str = "") -> Callable[[Callable], Callable]:
        """Decorator: ``f(xp, g, y, *arrays, needed, **parameters)`` gives a gradient per input (None if not needed)."""

        def register(function: Callable) -> Callable:
            self.reverse = ArrayFunction(function, f"{self.name}.backward")
            self.rule_formulas = {self.arguments[0]: formula}
            return function

        return register

    def pullback(self, g: Tensor, y: Tensor, useful: Any) -> list[tuple[Tensor, Tensor]]:
        node = y.node
        for x in node.inputs:
            if isinstance(x, Tensor) and x.updated > node.order:
                refuse_updated(x, self.name)
        needed = [
            isinstance(x, Tensor) and x.node is not None and (useful is None or x.node in useful) for x in node.inputs
        ]
        now = current()
        if now.recording or now.overrides:  # a rule that is overridden may be one of the definition's
            return self._pullback_of_definition(g, node.inputs, node.parameters, needed)
        arrays = [g.data, *[x.form if isinstance(x, Tensor) else x for x in (y, *node.inputs)]]
        grads = self.reverse.run(namespace(arrays), arrays, {"needed": needed, **node.parameters})
        found = []
        for gx, x, name in zip(grads, node.inputs, self.arguments, strict=True):
            if gx is not None:
                gx = Tensor(gx)
                found.append((x, gx if same_form(gx.data, x.form) else self.reconciled(gx, x, y, name)))
        return found

    def _pullback_of_definition(
        self, g: Tensor, inputs: tuple, parameters: dict, needed: list[bool]
    ) -> list[tuple[Tensor, Tensor]]:
        with enable_grad():
            every = [fresh(x) if need else x for x, need in zip(inputs, needed, strict=True)]
            y = self.definition(*every, **parameters)
        wanted = [(x, z) for x, z, need in zip(inputs, every, needed, strict=True) if need]
        found = walk(y, g, {z.node for _, z in wanted}, release=False)
        return [(x, found[z.node] if z.node in found else z.zeros_like()) for x, z in wanted]


def fused(**options: Any) -> Callable[[Callable[P, Tensor]], Fused[P]]:
    """Decorator: make a composition of primitives ``f(*tensors, *, **parameters)`` a fused primitive."""
    return lambda definition: Fused(definition, **options)
