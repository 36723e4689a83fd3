"""torch.nn.modules: the layers, and the classes that several of them share."""

from __future__ import annotations

from types import SimpleNamespace

from ... import nn as engine
from .layers import LAYERS
from .module import Module

globals().update(LAYERS)
batchnorm = SimpleNamespace(_BatchNorm=engine.norm.BatchNorm, _NormBase=engine.norm.BatchNorm, **LAYERS)
instancenorm = SimpleNamespace(_InstanceNorm=engine.norm.InstanceNorm, **LAYERS)
conv = SimpleNamespace(_ConvNd=engine.conv.Windowed, **LAYERS)
module = SimpleNamespace(Module=Module)
__all__ = ["batchnorm", "conv", "instancenorm", "module", *LAYERS]
