"""The methods by name, in the order of the lecture, and which of them can be used with a network.

Each is called ``method(model, images, target, layer=None, rng=None, progress=None, batch_size=..., **its own)`` and
gives a `Map`: images (N, C, H, W), float32 or float64, as the network takes them; `target`, see `targets`;
``progress(done, total)`` is called after each batch with the images that went through the network, and those that will.
Methods without a use for `layer` or `rng` ignore it. The network is in eval mode for the time, and is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import nn

from . import layers
from .cam import cam, find_head, grad_cam, guided_grad_cam
from .gradients import (
    backprop,
    deconvnet,
    gradient,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    smoothgrad,
)
from .maps import Map
from .occlusion import occlusion

__all__ = ["METHODS", "Map", "applicable", "backprop"]

METHODS: dict[str, Callable[..., Map]] = {
    method.__name__: method
    for method in (
        gradient, gradient_x_input, smoothgrad, integrated_gradients, deconvnet, guided_backprop, occlusion, cam,
        grad_cam, guided_grad_cam,
    )
}  # fmt: skip


def applicable(name: str, model: nn.Module, images: Any) -> str | None:
    """Why the method cannot be used with this network, in one line; None if it can. Runs the first image.

    deconvnet, guided_backprop and guided_grad_cam need a ReLU on the graph; cam a global average pooling and a linear
    layer at the end; grad_cam and guided_grad_cam a layer with maps.
    """
    if name not in METHODS:
        raise ValueError(f"{name!r} is not a method: one of {', '.join(METHODS)}")
    first = layers.require_images(images)[:1]
    try:
        with layers.observed(model):
            if name in ("deconvnet", "guided_backprop", "guided_grad_cam"):
                output = layers.run(model, first, requires_grad=True)
                layers.require_relu(output, name)
            if name == "cam":
                find_head(layers.run(model, first, requires_grad=True))
        if name in ("grad_cam", "guided_grad_cam"):
            layers.default_layer(model, first)
    except ValueError as reason:
        return str(reason)
    return None
