"""torch.nn.modules: the layers, and the classes that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import nn as engine
from ..harmless import module as made
from .layers import LAYERS
from .module import Module


def _tuple(n: int) -> Callable[[Any], tuple]:
    return lambda x: tuple(x) if isinstance(x, list | tuple) else (x,) * n


globals().update(LAYERS)
BASES = {  # of torch's files, the names besides those of layers
    "activation": {}, "container": {}, "dropout": {}, "linear": {}, "loss": {}, "pooling": {}, "normalization": {},
    "batchnorm": {"_BatchNorm": engine.norm.BatchNorm, "_NormBase": engine.norm.BatchNorm},
    "instancenorm": {"_InstanceNorm": engine.norm.InstanceNorm},
    "conv": {"_ConvNd": engine.conv.Windowed},
    "module": {"Module": Module},
    "utils": {"_single": _tuple(1), "_pair": _tuple(2), "_triple": _tuple(3), "_ntuple": _tuple},
}  # fmt: skip
globals().update({name: made(f"nn.modules.{name}", "", **LAYERS, **members) for name, members in BASES.items()})
__all__ = [*BASES, *LAYERS]
