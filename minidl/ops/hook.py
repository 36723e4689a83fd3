"""A look at a gradient on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.context import current
from ..core.primitive import primitive
from ..core.tensor import Tensor


@primitive(formula="x", kind="linear", saves=(), name="hooked")
def hooked_p(xp, x, *, hook):
    """x, whose cotangent `hook` may look at and replace."""
    return x


@hooked_p.rule("x", formula="g")
def hooked_x(g, y, x, *, hook):
    new = hook(g)
    return g if new is None else new


def hooked(x: Tensor, hook: Callable[[Tensor], Any]) -> Tensor:
    """x itself. When a backward pass comes by, ``hook(g)`` is called with the cotangent g of what is made of this x;
    what it returns, unless None, goes on in its place: then the result is no longer a gradient."""
    if (trace := current().trace) is not None:
        trace.refuse("a hook looks at a gradient")
    return hooked_p(x, hook=hook)
