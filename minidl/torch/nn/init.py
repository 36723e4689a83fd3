"""torch.nn.init: the engine's distributions, written into a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.context import current, no_grad
from ...nn import init
from .. import advice
from ..creation import rng_of
from ..tensor import Tensor


def _drawn(draw: Callable, *names: str) -> Callable:
    """Draws of a shape, with these options in order, into the tensor."""

    def function(tensor: Tensor, *arguments: Any, generator: Any = None, **options: Any) -> Tensor:
        options = {**dict(zip(names, arguments)), **options}
        if not current().drawing:  # minidl.nn.init.undrawn()
            return tensor
        with no_grad():
            return tensor.change(draw(tuple(tensor.shape), rng_of(generator), **options), "nn.init")

    return function


def _fixed(make: Callable) -> Callable:
    def function(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
        with no_grad():
            return tensor.change(make(tuple(tensor.shape), *arguments, **options), "nn.init")

    return function


def _truncated(shape: tuple, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Any:
    """A normal distribution between a and b: what lies outside is drawn again."""
    x = rng.normal(mean, std, shape)
    while (out := (x < a) | (x > b)).any():
        x[out] = rng.normal(mean, std, int(out.sum()))
    return x


def _sparse(shape: tuple, rng: Any, sparsity: float, std: float = 0.01) -> Any:
    x = rng.normal(0, std, shape)
    zeros = int(np.ceil(sparsity * shape[0]))
    for column in range(shape[1]):
        x[rng.permutation(shape[0])[:zeros], column] = 0
    return x


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What the standard deviation is multiplied by."""
    if nonlinearity == "selu":
        return 0.75
    linear = nonlinearity.startswith(("conv", "linear"))
    return init.gain("linear" if linear else nonlinearity, 0.01 if param is None else param)


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    return init.fans(tuple(tensor.shape))


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    return init.fans(tuple(tensor.shape))[mode == "fan_out"]


uniform_ = _drawn(lambda shape, rng, a=0.0, b=1.0: init.uniform(shape, rng, a, b), "a", "b")
normal_ = _drawn(init.normal, "mean", "std")
trunc_normal_ = _drawn(_truncated, "mean", "std", "a", "b")
kaiming_uniform_ = _drawn(init.kaiming_uniform, "a", "mode", "nonlinearity")
kaiming_normal_ = _drawn(init.kaiming_normal, "a", "mode", "nonlinearity")
xavier_uniform_ = _drawn(init.xavier_uniform, "gain")
xavier_normal_ = _drawn(init.xavier_normal, "gain")
orthogonal_ = _drawn(init.orthogonal, "gain")
sparse_ = _drawn(_sparse, "sparsity", "std")
constant_ = _fixed(lambda shape, val: init.constant(shape, val))
zeros_ = _fixed(init.zeros)
ones_ = _fixed(init.ones)
eye_ = _fixed(lambda shape: np.eye(*shape, dtype=np.float32))
dirac_ = _fixed(init.dirac)
kaiming_uniform, kaiming_normal = kaiming_uniform_, kaiming_normal_
xavier_uniform, xavier_normal, constant, normal, uniform = xavier_uniform_, xavier_normal_, constant_, normal_, uniform_


def __getattr__(name: str) -> Any:
    raise AttributeError(advice.unknown(f"torch.nn.init.{name}", name, globals()))
