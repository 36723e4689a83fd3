"""Functions of one tensor, entry by entry, and the activations."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.primitive import override, primitive
from ..core.tensor import Operand, Tensor, weak
from .indexing import where
from .rounding import sign


@primitive(formula="exp(x)", elementwise=True, saves=("y",), floats=True)
def exp(xp: Any, x: Operand) -> Any:
    """The exponential."""
    return xp.exp(x)


@exp.rule("x", formula="g * y")
def exp_x(g, y, x):
    return g * y


@primitive(formula="log(x)", elementwise=True, saves=("x",), floats=True)
def log(xp: Any, x: Operand) -> Any:
    """The natural logarithm; 0 gives -inf and less gives NaN, with a warning, as NumPy's."""
    return xp.log(x)


@log.rule("x", formula="g / x")
def log_x(g, y, x):
    return g / x


@primitive(formula="sqrt(x)", elementwise=True, saves=("y",), floats=True)
def sqrt(xp: Any, x: Operand) -> Any:
    """The square root; less than 0 gives NaN, with a warning, as NumPy's."""
    return xp.sqrt(x)


@sqrt.rule("x", formula="g / (2 * y)")
def sqrt_x(g, y, x):
    return g / (2 * y)


@primitive(formula="sin(x)", elementwise=True, saves=("x",), floats=True)
def sin(xp: Any, x: Operand) -> Any:
    """The sine of an angle in radians."""
    return xp.sin(x)


@sin.rule("x", formula="g * cos(x)")
def sin_x(g, y, x):
    return g * cos(x)


@primitive(formula="cos(x)", elementwise=True, saves=("x",), floats=True)
def cos(xp: Any, x: Operand) -> Any:
    """The cosine of an angle in radians."""
    return xp.cos(x)


@cos.rule("x", formula="-g * sin(x)")
def cos_x(g, y, x):
    return -g * sin(x)


@primitive(formula="abs(x)", kind="piecewise", elementwise=True, kink=lambda x: abs(x))
def absolute(xp: Any, x: Operand) -> Any:
    """The absolute value; its derivative at 0 is taken as 0."""
    return xp.abs(x)


@absolute.rule("x", formula="g * sign(x)")
def absolute_x(g, y, x):
    return g * sign(x)


@primitive(
    formula="clip(x, low, high)",
    kind="piecewise",
    elementwise=True,
    kink=lambda x, *, low, high: min_distance(x, [b for b in (low, high) if b is not None]),
)
def clip_p(xp, x, *, low, high):
    """x held between `low` and `high`; the gradient passes where low <= x <= high."""
    return xp.clip(x, low, high)


@clip_p.rule("x", formula="g * ((x >= low) & (x <= high))")
def clip_x(g, y, x, *, low, high):
    return gated(g, gate=equal(y.data, x.data))


@ArrayFunction
def equal(xp, a, b):
    return a == b


def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """x held between `low` and `high`; None leaves that side open.

    Definition: ``min(max(x, low), high)``. The gradient passes where low <= x <= high, as in torch.clamp.
    """
    return clip_p(x, low=weak(low), high=weak(high))


def min_distance(x: Any, points: list[float]) -> Any:
    """The distance of each entry to the nearest of the points."""
    distance = abs(x - points[0])
    for p in points[1:]:
        other = abs(x - p)
        distance = distance + (other - distance) * (other < distance)
    return distance


@primitive(formula="maximum(x, 0)", kind="piecewise", elementwise=True, kink=lambda x: abs(x), saves=("y",))
def relu(xp: Any, x: Operand) -> Any:
    """The rectified linear unit ``max(x, 0)``; its derivative at 0 is taken as 0.

    Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

        >>> F.relu(md.tensor([-1.0, 0.0, 2.0]))
        tensor([0., 0., 2.])
    """
    return xp.maximum(x, 0)


@relu.rule("x", formula="g * (x > 0)")
def relu_x(g, y, x):
    return gated(g, gate=y.data)


@primitive(formula="x * where(gate > 0, 1, slope)", kind="linear", elementwise=True, saves=())
def gated(xp, x, *, gate, slope=0):
    """x where `gate` is positive, ``slope * x`` elsewhere: what activations do to gradients. The gate is an array of
    the shape of x, a constant as far as derivatives go.

    A gate without slope selects: what it keeps back may be infinite, and is 0. A product would make NaN of it.
    """
    return xp.where(gate > 0, x, slope * x if slope else 0)


@gated.rule("x", formula="g * where(gate > 0, 1, slope)")
def gated_x(g, y, x, *, gate, slope=0):
    return gated(g, gate=gate, slope=slope)


def _deconvnet(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return gated(g, gate=g.data)


def _guided(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return gated(gated(g, gate=g.data), gate=y.data)


RELU_RULES = {"gradient": relu.rules["x"], "deconvnet": _deconvnet, "guided": _guided}


def relu_rule(name: str) -> AbstractContextManager[None]:
    """Inside the block, backward passes use one of the three known rules at every relu.

    With f the forward input and R the incoming signal: "gradient" ``(f > 0) R``; "deconvnet" ``(R > 0) R``
    (Zeiler and Fergus 2014); "guided" ``(f > 0) (R > 0) R`` (Springenberg et al. 2014, section 3.4).
    Only the first is a derivative.

        >>> x = md.tensor([-1.0, 2.0], requires_grad=True)
        >>> y = F.relu(x)
        >>> with md.relu_rule("deconvnet"):
        ...     md.grad(y, x, np.array([5.0, -6.0]))
        [tensor([5., 0.])]
    """
    if name not in RELU_RULES:
        raise ValueError(f"relu rule {name!r} is unknown: one of {', '.join(RELU_RULES)}")
    return override(relu, x=RELU_RULES[name])


@primitive(formula="where(x > 0, x, slope * x)", kind="piecewise", elementwise=True, kink=lambda x, *, slope: abs(x))
def leaky_relu_p(xp, x, *, slope):
    """x where positive, ``slope * x`` elsewhere."""
    return xp.where(x > 0, x, slope * x)


@leaky_relu_p.rule("x", formula="g * where(x > 0, 1, slope)")
def leaky_relu_x(g, y, x, *, slope):
    return gated(g, gate=x.data, slope=slope)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, ``negative_slope * x`` elsewhere (Maas et al., ICML 2013)."""
    return leaky_relu_p(x, slope=weak(negative_slope))


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x where positive, ``weight * x`` elsewhere, the slope learned (He et al. 2015, eq. 1).

    `weight` has one element, or one per channel (axis 1 of x).
    """
    weight = weight if isinstance(weight, Tensor) else Tensor(weight).astype(np.result_type(x.dtype, np.float16))
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ValueError(
            f"prelu: the weight has shape {weight.shape}; x {x.shape} needs one slope, (1,), or one per channel, "
            f"({channels},)"
        )
    weight = weight.reshape((1, -1)[: x.ndim] + (1,) * (x.ndim - 2))  # (C,) -> (1, C, 1, ...)
    return where(x > 0, x, weight * x)


@primitive(
    formula="where(x > 0, x, alpha * (exp(x) - 1))", kind="piecewise", elementwise=True,
    kink=lambda x, *, alpha: abs(x), floats=True,
)  # fmt: skip
def elu_p(xp, x, *, alpha):
    """x where positive, ``alpha * (exp(x) - 1)`` elsewhere."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.where(x > 0, 0, x)))


@elu_p.rule("x", formula="g * where(x > 0, 1, alpha * exp(x))")
def elu_x(g, y, x, *, alpha):
    return where(x > 0, g, g * (alpha * exp(where(x > 0, 0.0, x))))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al. 2015, eq. 15)."""
    return elu_p(x, alpha=weak(alpha))


@primitive(formula="1 / (1 + exp(-x))", elementwise=True, saves=("y",), floats=True)
def sigmoid(xp: Any, x: Operand) -> Any:
    """The logistic function ``1 / (1 + exp(-x))``."""
    y = _silent.copy().run(xp.exp, -x)  # exp(-x) = inf gives the right limit, 0
    y += 1
    return xp.reciprocal(y)


_silent = Context()  # in which an overflow is no warning; np.errstate would take longer than a small array
_silent.run(np.seterr, over="ignore")


@sigmoid.rule("x", formula="g * (y - y**2)")
def sigmoid_x(g, y, x):
    return g * (y - y * y)


@primitive(formula="tanh(x)", elementwise=True, saves=("y",), floats=True)
def tanh(xp: Any, x: Operand) -> Any:
    """The hyperbolic tangent."""
    return xp.tanh(x)


@tanh.rule("x", formula="g * (1 - y**2)")
def tanh_x(g, y, x):
    return g * (1 - y * y)


@primitive(formula="log(1 + exp(x))", elementwise=True, floats=True)
def softplus(xp: Any, x: Operand) -> Any:
    """``log(1 + exp(x))``, a smooth relu, in the form that does not overflow: max(x, 0) + log1p(exp(-|x|))."""
    positive = xp.maximum(x, 0)
    return positive + xp.log1p(xp.exp(xp.minimum(x, 0) - positive))


@softplus.rule("x", formula="g / (1 + exp(-x))")
def softplus_x(g, y, x):
    return g * sigmoid(x)


clip.primitive, leaky_relu.primitive, elu.primitive = clip_p, leaky_relu_p, elu_p
