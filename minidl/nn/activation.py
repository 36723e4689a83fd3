"""Activations as modules, and Dropout.

`inplace` is accepted, shown and ignored, so that code written for torch runs: tensors are immutable here.
"""

from __future__ import annotations

import numpy as np

from .. import functional as F
from ..core.tensor import Parameter, Tensor
from . import init
from .module import Module


class Activation(Module):
    """What activations without other options share: `inplace`, and the text that torch shows of it."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(Activation):
    """``max(x, 0)``: see F.relu."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class ReLU6(Activation):
    """``min(max(x, 0), 6)``: see F.relu6."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


class SiLU(Activation):
    """``x * sigmoid(x)``: see F.silu."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)


class Mish(Activation):
    """``x * tanh(softplus(x))``: see F.mish."""

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(x)


class SELU(Activation):
    """An ELU of which mean 0 and variance 1 is a fixed point: see F.selu."""

    def forward(self, x: Tensor) -> Tensor:
        return F.selu(x)


class Hardsigmoid(Activation):
    """``relu6(x + 3) / 6``: see F.hardsigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hardsigmoid(x)

    def extra_repr(self) -> str:
        return ""


class Hardswish(Activation):
    """``x * relu6(x + 3) / 6``: see F.hardswish."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(x)

    def extra_repr(self) -> str:
        return ""


class Hardtanh(Module):
    """x held between `min_val` and `max_val`: see F.hardtanh."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """x times the standard normal distribution function at x; "tanh" for the approximation: see F.gelu."""

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class LeakyReLU(Module):
    """x where positive, ``negative_slope * x`` elsewhere: see F.leaky_relu."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """x where positive, ``weight * x`` elsewhere, with one learned slope or one per channel: see F.prelu."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x where positive, ``alpha * (exp(x) - 1)`` elsewhere: see F.elu."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha, self.inplace = alpha, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``, exact everywhere.

    torch switches to x where ``beta * x > threshold``, a difference below 2.1e-9 / beta; `threshold` is only shown.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x) if self.beta == 1 else F.softplus(self.beta * x) / self.beta

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """``exp(x) / sum exp(x)`` along axis `dim`."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of Softmax along axis `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(x, self.dim)


class Dropout(Module):
    """In training each entry is 0 with probability p, else divided by 1 - p; in eval mode nothing happens.

    Draws from its own generator: `rng` is a numpy Generator or a seed; without it, an independent stream of the
    default generator. `Module.random_state` saves the states of all of them, for training to resume.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: np.random.Generator | int | None = None):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability, got {p}")
        self.p, self.inplace = p, inplace
        self.rng = init.own_generator(rng)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, rng=self.rng, training=self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L): see F.dropout1d."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout1d(x, self.p, rng=self.rng, training=self.training)


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, H, W) or (N, C, L): see F.dropout2d."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, rng=self.rng, training=self.training)


class Dropout3d(Dropout):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W): see F.dropout3d."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout3d(x, self.p, rng=self.rng, training=self.training)
