"""Arithmetic of two tensors, or a tensor and a number. Shapes broadcast as NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor
from .elementwise import gated, log
from .indexing import where


@primitive(formula="a + b", kind="linear", elementwise=True, saves=())
def add(xp: Any, a: Operand, b: Operand) -> Any:
    """The sum ``a + b``."""
    return a + b


@add.rule("a", formula="g")
def add_a(g, y, a, b):
    return g


@add.rule("b", formula="g")
def add_b(g, y, a, b):
    return g


@primitive(formula="a - b", kind="linear", elementwise=True, saves=())
def subtract(xp: Any, a: Operand, b: Operand) -> Any:
    """The difference ``a - b``."""
    return a - b


@subtract.rule("a", formula="g")
def subtract_a(g, y, a, b):
    return g


@subtract.rule("b", formula="-g")
def subtract_b(g, y, a, b):
    return -g


@primitive(formula="-a", kind="linear", elementwise=True, saves=())
def negative(xp, a):
    """The opposite ``-a``."""
    return -a


@negative.rule("a", formula="-g")
def negative_a(g, y, a):
    return -g


@primitive(formula="a * b", elementwise=True, saves=("a", "b"))
def multiply(xp: Any, a: Operand, b: Operand) -> Any:
    """The product ``a * b``, entry by entry."""
    return a * b


@multiply.rule("a", formula="g * b")
def multiply_a(g, y, a, b):
    return g * b


@multiply.rule("b", formula="g * a")
def multiply_b(g, y, a, b):
    return g * a


@primitive(formula="a / b", elementwise=True, saves=("b", "y"))
def divide(xp: Any, a: Operand, b: Operand) -> Any:
    """The quotient ``a / b``, entry by entry; division by zero warns and gives an infinity or NaN, as NumPy's."""
    return a / b


@divide.rule("a", formula="g / b")
def divide_a(g, y, a, b):
    return g / b


@divide.rule("b", formula="-g * y / b")
def divide_b(g, y, a, b):
    return -g * y / b


@primitive(formula="a ** b", elementwise=True)
def power(xp: Any, a: Operand, b: Operand) -> Any:
    """The power ``a ** b``, entry by entry. A negative base needs an integer-valued exponent, else NaN."""
    return a**b


@power.rule("a", formula="g * b * a ** (b - 1)")
def power_a(g, y, a, b):
    if not isinstance(b, Tensor):
        return g * (b * a ** (b - 1)) if b != 0 else g.zeros_like()
    return g * b * a ** where((a == 0) & (b == 0), 1.0, b - 1)  # 0 * 0**(-1) would be NaN


@power.rule("b", formula="g * y * log(a)")
def power_b(g, y, a, b):
    if not isinstance(a, Tensor):
        return g * (y * (np.log(a).item() if a != 0 else 0.0))
    vanishing = (a == 0) & (b >= 0)  # y log(a) -> 0 as a -> 0
    return g * y * log(where(vanishing, 1.0, a))


@primitive(formula="maximum(a, b)", kind="piecewise", elementwise=True, kink=lambda a, b: abs(a - b))
def maximum(xp: Any, a: Operand, b: Operand) -> Any:
    """The larger of ``a`` and ``b``, entry by entry; where they are equal each gets half of the gradient."""
    return xp.maximum(a, b)


@maximum.rule("a", formula="g * ((a > b) + 0.5 * (a == b))")
def maximum_a(g, y, a, b):
    return share_of_larger(g, a, b)


@maximum.rule("b", formula="g * ((b > a) + 0.5 * (a == b))")
def maximum_b(g, y, a, b):
    return share_of_larger(g, b, a)


@primitive(formula="minimum(a, b)", kind="piecewise", elementwise=True, kink=lambda a, b: abs(a - b))
def minimum(xp: Any, a: Operand, b: Operand) -> Any:
    """The smaller of ``a`` and ``b``, entry by entry; where they are equal each gets half of the gradient."""
    return xp.minimum(a, b)


@minimum.rule("a", formula="g * ((a < b) + 0.5 * (a == b))")
def minimum_a(g, y, a, b):
    return share_of_larger(g, b, a)


@minimum.rule("b", formula="g * ((b < a) + 0.5 * (a == b))")
def minimum_b(g, y, a, b):
    return share_of_larger(g, a, b)


def share_of_larger(g: Tensor, a: Any, b: Any) -> Tensor:
    """g where a > b, half of it where they are equal, 0 elsewhere."""
    a, b = (x.data if isinstance(x, Tensor) else x for x in (a, b))
    larger, sharers = compared(a, b, dtype=g.dtype)
    return gated(g / Tensor(sharers), gate=larger)


@ArrayFunction
def compared(xp, a, b, *, dtype):
    """Where a is not less than b, and how many of the two are the larger: 1, or 2 where they are equal."""
    return a >= b, (a == b).astype(dtype) + 1
