"""identity and stack: the two primitives that the calculus itself needs."""

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


@primitive(formula="x_0, x_1, ... side by side along a new axis", kind="linear", saves=())
def stack_p(xp, *tensors, axis):
    """Tensors of one shape side by side along a new axis."""
    return xp.stack(tensors, axis)


@stack_p.rule("tensors", formula="the entries of g at position index of the axis")
def stack_tensors(g, y, *tensors, axis, index):
    return g[(slice(None),) * axis + (index,)]


def fresh(x: Any) -> Tensor:
    """A new name for `x` in the graph, so that only uses of this name are differentiated."""
    x = as_tensor(x)
    return identity(x) if x.requires_grad else Tensor(x.data, requires_grad=True)
