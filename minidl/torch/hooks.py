"""Hooks on the gradients that enter and leave a module."""

from __future__ import annotations

from typing import Any

from ..ops.hook import hooked
from .tensor import Tensor, wrap


class BackwardHooks:
    """One call of a module: its backward hooks run when the gradients of all its inputs are known."""

    def __init__(self, module: Any, before: list, after: list):
        self.module, self.before, self.after = module, before, after
        self.grad_output: list[Any] = []
        self.grad_input: list[Any] = []
        self.waiting = 0

    @staticmethod
    def of(module: Any, attributes: dict) -> BackwardHooks | None:
        before, after = (list(attributes.get(n, {}).values()) for n in ("_backward_pre_hooks", "_backward_hooks"))
        return BackwardHooks(module, before, after) if before or after else None

    def entering(self, inputs: tuple) -> tuple:
        """The inputs, whose gradients come by here last."""
        self.grad_input = [None] * len(inputs)
        tracked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
        self.waiting = self.tracked = len(tracked)
        return tuple([self._watched(x, i) if i in tracked else x for i, x in enumerate(inputs)])

    def _watched(self, x: Tensor, i: int) -> Tensor:
        def arrived(g: Any) -> Any:
            self.grad_input[i] = wrap(g)
            self.waiting -= 1
            if self.waiting:
                return None
            return self._run()[i].value

        return wrap(hooked(x.value, arrived))

    def _run(self) -> list:
        for hook in self.after:
            new = hook(self.module, tuple(self.grad_input), tuple(self.grad_output))
            if new is not None:
                self.grad_input = list(new) if isinstance(new, tuple) else [new]
        return self.grad_input

    def leaving(self, output: Any) -> Any:
        """The output, whose gradients come by here first."""
        several = output if isinstance(output, tuple | list) else (output,)
        self.grad_output = [None] * len(several)
        found = [
            self._observed(y, i) if isinstance(y, Tensor) and y.requires_grad else y for i, y in enumerate(several)
        ]
        return type(output)(found) if several is output else found[0]

    def _observed(self, y: Tensor, i: int) -> Tensor:
        def arrived(g: Any) -> Any:
            self.grad_output[i] = wrap(g)
            for hook in self.before:
                new = hook(self.module, tuple(self.grad_output))
                if new is not None:
                    self.grad_output = list(new) if isinstance(new, tuple) else [new]
            if not self.tracked:  # no input has a gradient: there is nothing to wait for
                self._run()
            return self.grad_output[i].value

        return wrap(hooked(y.value, arrived))
