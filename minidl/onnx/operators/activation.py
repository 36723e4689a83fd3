"""Activations."""

from __future__ import annotations

from ... import functional as F
from ...ops.shape import reshape
from .table import operator, without_derivative

for name, function in {
    "Relu": F.relu, "Sigmoid": F.sigmoid, "Softplus": F.softplus, "Mish": F.mish,
}.items():  # fmt: skip
    operator(name)(function)


@operator("LeakyRelu")
def leaky_relu(x, *, alpha=0.01):
    return F.leaky_relu(x, alpha)


@operator("PRelu", learns=("slope",))
def prelu(x, slope):
    if slope.ndim == 1 and slope.size == x.shape[1] != x.shape[-1]:  # of each channel, as before opset 7
        return F.prelu(x, slope)
    return F.where(x > 0, x, slope * x)  # it broadcasts


@operator("Elu")
def elu(x, *, alpha=1.0):
    return F.elu(x, alpha)


@operator("Celu")
def celu(x, *, alpha=1.0):
    return alpha * F.elu(x / alpha)


@operator("Selu")
def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return gamma * F.elu(x, alpha)


@operator("HardSigmoid")
def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    return F.clip(alpha * x + beta, 0.0, 1.0)


@operator("HardSwish")
def hard_swish(x):
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


@operator("ThresholdedRelu")
def thresholded_relu(x, *, alpha=1.0):
    return F.where(x > alpha, x, 0.0)


@operator("Shrink")
def shrink(x, *, bias=0.0, lambd=0.5):
    return F.where(x < -lambd, x + bias, F.where(x > lambd, x - bias, x.zeros_like()))


@operator("Softsign")
def softsign(x):
    return x / (1 + F.absolute(x))


@operator("Gelu")
def gelu(x, *, approximate="none"):
    return F.gelu(x, approximate)


@operator("Swish")
def swish(x, *, alpha=1.0):
    return x * F.sigmoid(alpha * x)


@operator("Softmax", since=13)
def softmax(x, *, axis=-1):
    return F.softmax(x, axis)


@operator("LogSoftmax", since=13)
def log_softmax(x, *, axis=-1):
    return F.log_softmax(x, axis)


@operator("Hardmax", since=13)
def hardmax(x, *, axis=-1):
    return first_largest(x, axis=axis)


@without_derivative
def first_largest(xp, x, *, axis):
    """1 at the largest entry along the axis, the first of equal ones, and else 0."""
    at = xp.expand_dims(x.argmax(axis), axis)
    places = xp.arange(x.shape[axis]).reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))
    return (places == at).astype(x.dtype)


def over_rows(function):
    """Until opset 12 these took all axes from `axis` on as one."""

    def on_matrix(x, *, axis=1):
        lead = 1
        for n in x.shape[: axis % x.ndim]:
            lead *= n
        return reshape(function(reshape(x, lead, -1)), x.shape)

    return on_matrix


operator("Softmax")(over_rows(softmax))
operator("LogSoftmax")(over_rows(log_softmax))
operator("Hardmax")(over_rows(hardmax))
