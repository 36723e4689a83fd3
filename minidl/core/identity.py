"""identity: the smallest primitive. It gives a value a second name in the graph."""

from __future__ import annotations

from typing import Any

from .primitive import primitive
from .tensor import Tensor, as_tensor


@primitive(formula="x", kind="linear", elementwise=True, saves=())
def identity(xp, x):
    """The same value under a new name in the graph."""
    return x


@identity.rule("x", formula="g")
def identity_x(g, y, x):
    return g


def fresh(x: Any) -> Tensor:
    """A new name for `x` in the graph, so that only uses of this name are differentiated."""
    x = as_tensor(x)
    return identity(x) if x.requires_grad else Tensor(x.data, requires_grad=True)
