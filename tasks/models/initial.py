"""Where a network's weights begin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minidl import nn
from minidl.core.context import current

he_fan_out = partial(nn.init.kaiming_normal, mode="fan_out", nonlinearity="relu")
thin = partial(nn.init.normal, std=0.01)


def stream(rng: Any) -> np.random.Generator | None:
    """One generator for all layers of a network out of a seed; None stays None, the default of each layer."""
    return None if rng is None else nn.init.generator(rng)


def redraw(net: nn.Module, kind: Any, weight: Callable, rng: Any, bias: float | None = None) -> None:
    """Draw the weights of all layers of a kind (a class, or a union) by ``weight(shape, rng)``; set their biases to
    `bias`, if it is given. Inside nn.init.undrawn() they stay 0, and untouched."""
    if not current().drawing:
        return
    rng = nn.init.generator(rng)
    for layer in net.modules():
        if isinstance(layer, kind):
            layer.weight.data[...] = weight(layer.weight.shape, rng)
            if bias is not None and layer.bias is not None:
                layer.bias.data[...] = bias
