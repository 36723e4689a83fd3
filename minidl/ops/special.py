"""Functions of one tensor, entry by entry, that others are made of or whose value others would
round away: erf, expm1, log1p, arctan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.primitive import primitive
from ..core.tensor import Operand
from ..device import special
from .elementwise import exp

SLOPE = 2 / math.sqrt(math.pi)  # of erf at 0


@primitive(formula="erf(x)", elementwise=True, saves=("x",), floats=True)
def erf(xp: Any, x: Operand) -> Any:
    """The error function ``2 / sqrt(pi) * integral from 0 to x of exp(-t^2) dt``, odd, between -1 and 1."""
    return _as_precise(special(xp).erf(x), x)


@erf.rule("x", formula="g * 2 / pi**0.5 * exp(-x**2)")
def erf_x(g, y, x):
    return g * (SLOPE * exp(-(x * x)))


@primitive(formula="erfc(x)", elementwise=True, saves=("x",), floats=True)
def erfc(xp: Any, x: Operand) -> Any:
    """``1 - erf(x)``, accurate to the last digits where erf(x) is all but 1."""
    return _as_precise(special(xp).erfc(x), x)


@erfc.rule("x", formula="-g * 2 / pi**0.5 * exp(-x**2)")
def erfc_x(g, y, x):
    return g * (-SLOPE * exp(-(x * x)))


def _as_precise(y, x):
    """y in half precision if x is: SciPy answers in double."""
    return y.astype(x.dtype) if getattr(x, "dtype", None) == np.float16 else y


@primitive(formula="expm1(x)", elementwise=True, saves=("y",), floats=True)
def expm1(xp: Any, x: Operand) -> Any:
    """``exp(x) - 1``, accurate near 0."""
    return xp.expm1(x)


@expm1.rule("x", formula="g * exp(x)")
def expm1_x(g, y, x):
    return g * (y + 1)


@primitive(formula="log1p(x)", elementwise=True, saves=("x",), floats=True)
def log1p(xp: Any, x: Operand) -> Any:
    """``log(1 + x)``, accurate near 0; -1 gives -inf and less gives NaN, with a warning, as NumPy's."""
    return xp.log1p(x)


@log1p.rule("x", formula="g / (1 + x)")
def log1p_x(g, y, x):
    return g / (1 + x)


@primitive(formula="arctan(x)", elementwise=True, saves=("x",), floats=True)
def arctan(xp: Any, x: Operand) -> Any:
    """The angle, between -pi/2 and pi/2, whose tangent is x."""
    return xp.arctan(x)


@arctan.rule("x", formula="g / (1 + x**2)")
def arctan_x(g, y, x):
    return g / (1 + x * x)
