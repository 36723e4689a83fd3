"""Arithmetic of two tensors, or a tensor and a number. Shapes broadcast as NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.primitive import primitive
from ..core.tensor import Tensor, as_array
from .elementwise import log
from .indexing import where


@primitive(formula="a + b", kind="linear", elementwise=True, saves=())
def add(xp, a, b):
    """The sum ``a + b``."""
    return a + b


@add.rule("a", formula="g")
def add_a(g, y, a, b):
    return g


@add.rule("b", formula="g")
def add_b(g, y, a, b):
    return g


@primitive(formula="a - b", kind="linear", elementwise=True, saves=())
def subtract(xp, a, b):
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
def multiply(xp, a, b):
    """The product ``a * b``, entry by entry."""
    return a * b


@multiply.rule("a", formula="g * b")
def multiply_a(g, y, a, b):
    return g * b


@multiply.rule("b", formula="g * a")
def multiply_b(g, y, a, b):
    return g * a


@primitive(formula="a / b", elementwise=True, saves=("b", "y"))
def divide(xp, a, b):
    """The quotient ``a / b``, entry by entry; division by zero warns and gives an infinity or NaN, as NumPy's."""
    return a / b


@divide.rule("a", formula="g / b")
def divide_a(g, y, a, b):
    return g / b


@divide.rule("b", formula="-g * y / b")
def divide_b(g, y, a, b):
    return -g * y / b


@primitive(formula="a ** b", elementwise=True)
def power(xp, a, b):
    """The power ``a ** b``, entry by entry. A negative base needs an integer-valued exponent, else NaN."""
    return a**b


@power.rule("a", formula="g * b * a ** (b - 1)")
def power_a(g, y, a, b):
    if not isinstance(b, Tensor):
        return g * (b * a ** (b - 1)) if b != 0 else g * 0.0
    return g * b * a ** where(b == 0, 1.0, b - 1)  # 0 * a**(-1) would be NaN at a = 0


@power.rule("b", formula="g * y * log(a)")
def power_b(g, y, a, b):
    if not isinstance(a, Tensor):
        return g * (y * (np.log(a).item() if a != 0 else 0.0))
    vanishing = a == 0  # y log(a) -> 0 as a -> 0
    return g * y * log(where(vanishing, 1.0, a))


@primitive(formula="maximum(a, b)", kind="piecewise", elementwise=True, kink=lambda a, b: abs(a - b))
def maximum(xp, a, b):
    """The larger of ``a`` and ``b``, entry by entry; where they are equal each gets half of the gradient."""
    return xp.maximum(a, b)


@maximum.rule("a", formula="g * ((a > b) + 0.5 * (a == b))")
def maximum_a(g, y, a, b):
    return g * share_of(a, b)


@maximum.rule("b", formula="g * ((b > a) + 0.5 * (a == b))")
def maximum_b(g, y, a, b):
    return g * share_of(b, a)


@primitive(formula="minimum(a, b)", kind="piecewise", elementwise=True, kink=lambda a, b: abs(a - b))
def minimum(xp, a, b):
    """The smaller of ``a`` and ``b``, entry by entry; where they are equal each gets half of the gradient."""
    return xp.minimum(a, b)


@minimum.rule("a", formula="g * ((a < b) + 0.5 * (a == b))")
def minimum_a(g, y, a, b):
    return g * share_of(b, a)


@minimum.rule("b", formula="g * ((b < a) + 0.5 * (a == b))")
def minimum_b(g, y, a, b):
    return g * share_of(a, b)


def share_of(a: Any, b: Any) -> Tensor:
    """1 where a > b, 1/2 where they are equal, else 0: in the dtype of the tensor among them."""
    a, b = as_number_or_array(a), as_number_or_array(b)
    dtype = next(x.dtype for x in (a, b) if hasattr(x, "dtype"))
    return Tensor((a > b).astype(dtype) + (a == b).astype(dtype) * dtype.type(0.5))


def as_number_or_array(x: Any) -> Any:
    return x if isinstance(x, (int, float)) else as_array(x)
