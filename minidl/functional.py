"""The public list of functions: ``from minidl import functional as F``."""

from .ops.arithmetic import maximum, minimum
from .ops.elementwise import (
    absolute,
    clip,
    elu,
    exp,
    leaky_relu,
    log,
    prelu,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)
from .ops.linear import linear, matmul
from .ops.reduce import log_softmax, logsumexp, softmax
from .ops.shape import concat, flip, pad, stack, where

__all__ = [name for name in dir() if not name.startswith("_")]
