"""A network of unknown origin, from an ONNX file: what it takes and gives, and its values as layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import Tensor
from minidl.onnx.module import OnnxModule

from ..command import UsageError, suggestion
from .layers import ByValues, placed

LAYOUTS = ("nchw", "nhwc")
AFTER_SCORES = ("Softmax", "LogSoftmax", "Sigmoid", "Identity")  # explained is what they are computed of
COLOURS = (1, 3)


@dataclass(frozen=True)
class Form:
    """What a graph takes: its layout, channels, and the lengths (None: free) of batch, height and width."""

    layout: str
    channels: int
    batch: int | None
    size: tuple[int | None, int | None]

    @classmethod
    def of(cls, network: OnnxModule, layout: str | None = None) -> Form:
        """Read from the graph's input. Raises UsageError if that is not one batch of images."""
        if len(network.inputs) != 1 or len(network.inputs[0].shape or ()) != 4:
            taken = " and ".join(map(str, network.inputs))
            raise UsageError(f"the network takes {taken}; explained are networks of one batch of images, four axes")
        lengths = [n if isinstance(n, int) and n > 0 else None for n in network.inputs[0].shape]
        if layout is None:
            last = lengths[3] in COLOURS and lengths[1] not in COLOURS
            layout = LAYOUTS[last]
        batch, channels, height, width = lengths if layout == "nchw" else [lengths[a] for a in (0, 3, 1, 2)]
        if channels is not None and channels not in COLOURS:
            raise UsageError(f"the network takes images of {channels} channels as {layout}; is it another --layout?")
        return cls(layout, channels or 3, batch, (height, width))


class GraphNetwork(ByValues):
    """A graph from images (N, C, H, W) to the scores behind one of its outputs, (N, ...).

    What a Softmax or Sigmoid at the end is computed of is the score. A sequence that has the batch on its second axis
    is turned around.
    """

    def __init__(self, network: OnnxModule, layout: str, output: str | None = None):
        names = [value.name for value in network.outputs]
        if output is not None and output not in names:
            raise UsageError(f"--output {output}: the outputs are {', '.join(names)}")
        self.network, self.layout = network, layout
        self.output = output or names[0]
        self.makers = {name: node for node in network.graph.nodes for name in node.outputs}
        self.scored, self.ending = self._before_ending(self.output)

    def _before_ending(self, name: str) -> tuple[str, str | None]:
        """The value that is explained, and what the output makes of it."""
        ending = None
        while (node := self.makers.get(name)) is not None and node.operator in AFTER_SCORES:
            if ending is not None and node.operator != "Identity":
                break
            ending = ending if node.operator == "Identity" else node.operator
            name = node.inputs[0]
        return name, ending

    def forward(self, x: Tensor) -> Tensor:
        return self._values(x, self.scored)[0]

    def with_value(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        if name not in self.makers:
            hint = suggestion(name, list(self.makers)) or "; minidl onnx FILE lists them"
            raise ValueError(f"{name!r} is no value of this graph{hint}")
        found, value = self._values(x, self.scored, name)
        return found, value

    def last_maps(self, images: np.ndarray) -> str:
        names = [node.outputs[0] for node in self.network.graph.nodes if node.operator == "Conv"]
        with md.no_grad():
            found = self._values(placed(self, images), *names) if names else []
        extended = [n for n, v in zip(names, found) if v.ndim == 4 and v.shape[2] * v.shape[3] > 1]
        if not extended:
            raise ValueError("the graph has no convolution whose maps have an extent; name a value by --layer")
        return extended[-1]

    def _values(self, x: Tensor, *names: str) -> list[Tensor]:
        count = len(x)
        x = x if self.layout == "nchw" else x.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
        first, *others = self.network(x, values=names)
        if first.ndim == 3 and len(first) != count and first.shape[1] == count:
            first = first.transpose(1, 0, 2)  # (T, N, C) -> (N, T, C)
        return [first, *others]


def prepared(
    pixels: np.ndarray, mean: Sequence[float], std: Sequence[float], scale: float = 1.0, bgr: bool = False
) -> np.ndarray:
    """What the network sees of pictures, uint8 (N, C, H, W): from 0 to `scale`, blue first if `bgr`, less the mean,
    over the deviation; one number for all channels, or one per channel in the network's order."""
    images = (pixels[:, ::-1] if bgr else pixels).astype(np.float32) * np.float32(scale / 255)
    mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
    return np.ascontiguousarray((images - mean) / std)


def probabilities(scores: np.ndarray, ending: str | None, axis: int = 1) -> np.ndarray:
    """What the end of the network makes of the scores: softmax unless it is a Sigmoid; themselves if they are it."""
    if ending == "Sigmoid":
        return 1 / (1 + np.exp(-scores))
    if ending is None and scores.min() >= 0 and scores.max() <= 1 and np.allclose(scores.sum(axis), 1, atol=1e-3):
        return scores
    shifted = np.exp(scores - scores.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


def at(position: Sequence[int]) -> Any:
    """The target that is one number of the output, by its position after the batch."""

    def target(output: Tensor) -> Tensor:
        shape = output.shape[1:]
        if len(position) != len(shape) or any(not 0 <= i < n for i, n in zip(position, shape)):
            raise ValueError(f"--at {','.join(map(str, position))}: the output of an image has the shape {shape}")
        return output[(slice(None), *position)]

    return target
