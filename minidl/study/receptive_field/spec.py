"""A network in one line: ``c3 p2 c3d2 ( p2 c3 t2 ) c3``, read as one axis (a square kernel is the same along each).

    c3  convolution of 3 taps, then a relu; options s stride, d dilation, p padding: c3s2, c3d2p2
    p2  max pooling of 2, stride 2; options s, d, p: p3s2       a2  mean pooling, likewise
    s2  decimation: every second cell                           t2  transposed convolution of 2, stride 2; options s, p
    u2  upsampling by 2, nearest neighbours                     l2  upsampling by 2, linear
    ( ... )  skip: what enters is cropped at its centre to the size of what comes out, and both are concatenated
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ... import functional as F
from ... import nn
from ...core.tensor import Tensor

WIDTH = 4  # maps of each layer: enough that random weights leave no relu off everywhere
OPTIONS = {"c": "sdp", "p": "sdp", "a": "sp", "t": "sp", "s": "", "u": "", "l": ""}
WORDS = {"s": "stride", "d": "dilation", "p": "padding"}
GRAMMAR = "layers are c, p, a, s, t, u, l and a number, then options such as s2, d2, p1: c3s2"


class Decimate(nn.Module):
    """Every `step`-th cell, from the first on."""

    def __init__(self, step: int):
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.step]


class Skip(nn.Module):
    """The input, cropped at its centre, concatenated with the output of `body`. Raises ValueError if that is longer."""

    def __init__(self, body: nn.Module):
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        spare = x.shape[2] - y.shape[2]
        if spare < 0:
            raise ValueError(
                f"( ... ): {x.shape[2]} cells enter and {y.shape[2]} come out, so the skip cannot be cropped to them; "
                "put less upsampling or padding inside"
            )
        return F.concat([x[:, :, spare // 2 : spare // 2 + y.shape[2]], y], axis=1)


def read(text: str) -> tuple[nn.Module, dict[nn.Module, str]]:
    """The network over one axis with one input map, and the name of each of its layers ("2 p2": the second).

    Raises ValueError with one line for what is not in the grammar above.
    """
    items = text.replace("(", " ( ").replace(")", " ) ").split()
    if not items:
        raise ValueError(f"the network {text!r} has no layers; {GRAMMAR}")
    reader = _Reader(items)
    network, _ = reader.sequence(1)
    if reader.items:
        raise ValueError(f"the network {text!r} closes a bracket that it never opened")
    return network, reader.names


class _Reader:
    """Takes items off the front; channels are counted on the way."""

    def __init__(self, items: list[str]):
        self.items, self.count = items, 0
        self.names: dict[nn.Module, str] = {}

    def sequence(self, channels: int) -> tuple[nn.Module, int]:
        """Layers up to a closing bracket or the end, and the maps that they give."""
        layers: list[nn.Module] = []
        while self.items and self.items[0] != ")":
            item = self.items.pop(0)
            if item == "(":
                body, inner = self.sequence(channels)
                if not self.items:
                    raise ValueError("a bracket is opened and never closed; end the skip with )")
                self.items.pop(0)
                layers.append(Skip(body))
                channels += inner
                continue
            made, channels = layer(item, channels)
            self.count += 1
            self.names[made[0]] = f"{self.count} {item}"
            layers += made
        return nn.Sequential(*layers), channels


def layer(item: str, channels: int) -> tuple[list[nn.Module], int]:
    """The modules of one item, such as "c3d2", and the maps that they give. Raises ValueError."""
    parts = re.fullmatch(r"([a-z])(\d+)((?:[a-z]\d+)*)", item)
    if not parts or parts[1] not in OPTIONS:
        raise ValueError(f"{item!r} is no layer; {GRAMMAR}")
    kind, size = parts[1], int(parts[2])
    given = re.findall(r"([a-z])(\d+)", parts[3])
    options = {name: int(value) for name, value in given}
    for name in options:
        if name not in OPTIONS[kind]:
            allowed = ", ".join(f"{o} ({WORDS[o]})" for o in OPTIONS[kind]) or "none"
            raise ValueError(f"{item!r}: {kind} has no option {name!r}; its options: {allowed}")
    least = {"p": 0}
    if size < 1 or any(value < least.get(name, 1) for name, value in options.items()) or len(given) > len(options):
        raise ValueError(f"{item!r}: each option may stand once; sizes, strides and dilations are at least 1")
    arguments = {WORDS[name]: value for name, value in options.items()}
    return MAKERS[kind](size, channels, arguments)


def _convolution(size: int, channels: int, options: dict) -> tuple[list[nn.Module], int]:
    return [nn.Conv1d(channels, WIDTH, size, **options, rng=0), nn.ReLU()], WIDTH


def _transposed(size: int, channels: int, options: dict) -> tuple[list[nn.Module], int]:
    return [nn.ConvTranspose1d(channels, WIDTH, size, **{"stride": size} | options, rng=0)], WIDTH


def _same_maps(make: Callable[..., nn.Module]) -> Callable[[int, int, dict], tuple[list[nn.Module], int]]:
    return lambda size, channels, options: ([make(size, **options)], channels)


MAKERS = {
    "c": _convolution,
    "t": _transposed,
    "p": _same_maps(nn.MaxPool1d),
    "a": _same_maps(nn.AvgPool1d),
    "s": _same_maps(Decimate),
    "u": _same_maps(lambda factor: nn.Upsample(scale_factor=factor)),
    "l": _same_maps(lambda factor: nn.Upsample(scale_factor=factor, mode="linear")),
}
