"""explain: every step of a backward pass, as text, SVG, JSON and one page."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ...core.tensor import Tensor
from ...nn.module import Module
from ..page import Shown
from . import drawing, page, record, text
from .trace import BackwardPass

__all__ = ["Trace", "explain"]

EPS = 1e-9  # how close to a kink an entry is on it


class Trace(BackwardPass, Shown):
    """A backward pass to print, draw, play on a page, and write as JSON (its schema is in `text.py`)."""

    text, content, svg, page = text.text, text.content, drawing.picture, page.page


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
        >>> print(md.explain((w * 3 - 1) ** 2).text())
        loss = (w · 3 − 1)² = 0.25: 3 steps back
        ...
        gradients
          w  3
        ...

    loss: a tensor, or a function of no arguments that computes it (with `model`, it is then known exactly which
    module made what; modes, buffers and random streams of the model are put back). grad_output: the gradient to start
    with, 1 for a loss of one element; a loss of another shape needs it. names: how tensors are called, by name. Others
    have the names of the variables that hold them where explain is called, or in the function `loss`; parameters have
    their paths in `model`, or in a module that such a variable holds; the rest are x1, x2, ... (leaves), c1, ...
    (constants), v1, ... (what an operation gave), in the order in which they were made. model: large graphs are drawn
    by its modules (of a tensor that is there already, modules are known by their parameters, and those without stay
    single operations). eps: an entry is at a kink if its distance to one is at most this.

    The gradients are those of `md.grad`, to the bit. Inside `md.override` the rules that are active are followed, and
    the trace says that these are not gradients.

    Raises RuntimeError if the loss requires no gradient or its graph was released; ValueError for a loss of several
    elements without grad_output.
    """
    frame = sys._getframe(1)
    near, held = frame.f_locals, _held(loss)
    variables = {**near, **held, **frame.f_globals, **held, **near}  # the nearest first, and its value
    return record.follow(loss, grad_output, names or {}, model, eps, Trace, variables)


def _held(loss: Any) -> dict[str, Any]:
    """The variables of other functions that a function uses."""
    return dict(inspect.getclosurevars(loss).nonlocals) if inspect.isfunction(loss) else {}
