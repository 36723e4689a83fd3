"""The sign, and roundings to whole numbers: staircases, whose derivative is 0 wherever they have one.

A straight-through estimator (Bengio et al. 2013) is another rule: ``with md.override(F.round, x=lambda g, y, x: g)``.
"""

from __future__ import annotations

from typing import Any

from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor, as_tensor


@primitive(formula="sign(x)", kind="piecewise", elementwise=True, kink=lambda x: abs(x), saves=())
def sign(xp: Any, x: Operand) -> Any:
    """-1, 0 or 1; its derivative is taken as 0 everywhere."""
    return xp.sign(x)


@sign.rule("x", formula="0 * g")
def sign_x(g, y, x):
    return g.zeros_like()


def _from_whole(x):
    return abs(x - x.round())


@primitive(formula="floor(x)", kind="piecewise", elementwise=True, kink=_from_whole, saves=())
def floor(xp: Any, x: Operand) -> Any:
    """The largest whole number that is not above x; its derivative is taken as 0 everywhere."""
    return xp.floor(x)


@floor.rule("x", formula="0 * g")
def floor_x(g, y, x):
    return g.zeros_like()


@primitive(formula="ceil(x)", kind="piecewise", elementwise=True, kink=_from_whole, saves=())
def ceil(xp: Any, x: Operand) -> Any:
    """The smallest whole number that is not below x; its derivative is taken as 0 everywhere."""
    return xp.ceil(x)


@ceil.rule("x", formula="0 * g")
def ceil_x(g, y, x):
    return g.zeros_like()


@primitive(formula="trunc(x)", kind="piecewise", elementwise=True, kink=_from_whole, saves=())
def trunc(xp: Any, x: Operand) -> Any:
    """The whole part of x, towards 0; its derivative is taken as 0 everywhere."""
    return xp.trunc(x)


@trunc.rule("x", formula="0 * g")
def trunc_x(g, y, x):
    return g.zeros_like()


@primitive(formula="rint(x)", kind="piecewise", elementwise=True, kink=lambda x: 0.5 - _from_whole(x), saves=())
def round_p(xp, x):
    """The nearest whole number."""
    return xp.rint(x)


@round_p.rule("x", formula="0 * g")
def round_x(g, y, x):
    return g.zeros_like()


def round(x: Tensor, decimals: int = 0) -> Tensor:
    """The nearest whole number, or multiple of ``10**-decimals``; halves go to the even one (IEEE 754), as in NumPy.

    Its derivative is taken as 0 everywhere.
    """
    x = as_tensor(x)
    if x.dtype.kind in "iub" and decimals >= 0:
        return x
    scale = 10.0**decimals
    return round_p(x) if decimals == 0 else round_p(x * scale) / scale


round.primitive = round_p
