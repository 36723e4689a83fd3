"""What the benchmarks need of a library, under one set of names: torch's, so that one text builds a network in each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .meters import Clock, Meter


class Unsupported(Exception):
    """The library has no such layer or option."""


def only_infers(*_: Any, **__: Any) -> Any:
    raise Unsupported("it runs inference only")


def _plain_backward(y: Any, cotangent: Any) -> None:
    y.backward(cotangent)


def _clear_gradient(tensor: Any) -> None:
    tensor.grad = None


@dataclass(frozen=True)
class Library:
    name: str
    nn: Any  # layers and losses with torch's names
    optim: Any  # SGD and Adam with torch's keywords
    tensor: Callable[..., Any]  # (array, requires_grad=False) -> tensor
    array: Callable[[Any], np.ndarray]  # tensor -> array
    concat: Callable[[list], Any] | None  # along the channels
    no_grad: Callable[[], Any]
    cast: Callable[[Any, str], Any]  # (model, dtype)
    matmul: Callable[[Any, Any], Any]
    backward: Callable[[Any, Any], None] = _plain_backward  # (output, cotangent or None for a scalar)
    clear_gradient: Callable[[Any], None] = _clear_gradient
    fit: Callable[..., Any] | None = None  # the library's own training loop, with the arguments of `train`
    recorded_steps: int = 0  # that loop does otherwise than those which follow
    meter: Meter = field(default_factory=Clock)
    algorithm: Callable[[str | None], AbstractContextManager] = lambda name: nullcontext()  # of convolutions
    finish: Callable[[Any, Any], Callable] = lambda model, x: model  # compiles or exports: what is called then
    kernels: Callable[[], str] = str  # which instruction set and which BLAS run

    def train(self, model: Any, optimiser: Any, loss: Callable, batches: Callable[[int], Any], steps: int) -> None:
        """Do so many steps as a user would: by the library's own loop, or else by the one that is usual with it."""
        if self.fit is not None:
            self.fit(model, optimiser, loss, batches, steps)
            return
        for step in range(steps):
            batch = batches(step)
            for p in model.parameters():
                self.clear_gradient(p)
            self.backward(loss(model, batch), None)
            optimiser.step()
