"""RegNet: residual networks of grouped convolutions whose widths lie on a line; four numbers make one.

Source: Radosavovic et al., "Designing network design spaces", CVPR 2020; X without, Y with squeeze-and-excitation.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from minidl import Tensor, nn

from .blocks import SqueezeExcitation, conv_norm, multiple
from .initial import he_fan_out, redraw, stream, thin

DESIGNS = {  # Figures 16 and 17 of the paper's appendix: d, w_0, w_a, w_m, g
    "x_400mf": (22, 24, 24.48, 2.54, 16),
    "x_800mf": (16, 56, 35.73, 2.28, 16),
    "x_1_6gf": (18, 80, 34.01, 2.25, 24),
    "x_3_2gf": (25, 88, 26.31, 2.25, 48),
    "x_8gf": (23, 80, 49.56, 2.88, 120),
    "x_16gf": (22, 216, 55.59, 2.1, 128),
    "x_32gf": (23, 320, 69.86, 2.0, 168),
    "y_400mf": (16, 48, 27.89, 2.09, 8),
    "y_800mf": (14, 56, 38.84, 2.4, 16),
    "y_1_6gf": (27, 48, 20.71, 2.65, 24),
    "y_3_2gf": (21, 80, 42.63, 2.66, 24),
    "y_8gf": (17, 192, 76.82, 2.19, 56),
    "y_16gf": (18, 200, 106.23, 2.48, 112),
    "y_32gf": (20, 232, 115.89, 2.53, 232),
    "y_128gf": (27, 456, 160.83, 2.52, 264),  # Goyal et al., "Vision models are more robust and fair", 2022
}


def stages(depth: int, w0: int, wa: float, wm: float, group: int) -> list[tuple[int, int, int]]:
    """(blocks, maps, maps of a group) of each stage.

    Section 3.3: u_j = w_0 + w_a j (eq. 2); s_j with u_j = w_0 w_m^s_j (eq. 3), rounded; the width w_0 w_m^round(s_j)
    (eq. 4), to a multiple of 8; equal ones are a stage. Then to a multiple of the group's.
    """
    line = w0 + wa * np.arange(depth)
    steps = np.round(np.log(line / w0) / np.log(wm))
    widths = 8 * np.round(w0 * wm**steps / 8).astype(int)
    found = [(len(list(same)), int(width)) for width, same in groupby(widths)]
    return [(count, multiple(width, min(group, width)), min(group, width)) for count, width in found]


class Block(nn.Module):
    """Figure 3 (b), (c): 1x1, grouped 3x3, squeeze-and-excitation to a quarter of the input's maps in Y, 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, group: int, squeeze: bool, rng: Any):
        self.proj = None
        if stride > 1 or inputs != outputs:
            self.proj = conv_norm(inputs, outputs, 1, stride, activation=None, rng=rng)
        layers = {
            "a": conv_norm(inputs, outputs, 1, rng=rng),
            "b": conv_norm(outputs, outputs, 3, stride, groups=outputs // group, rng=rng),
        }
        if squeeze:
            layers["se"] = SqueezeExcitation(outputs, round(inputs / 4), rng=rng)
        self.f = nn.Sequential({**layers, "c": conv_norm(outputs, outputs, 1, activation=None, rng=rng)})
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation((x if self.proj is None else self.proj(x)) + self.f(x))


class RegNet(nn.Sequential):
    """Figure 3 (a): a stem of 32 maps, four stages, each of which halves the size, means, logits."""

    def __init__(self, design: str, num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None):
        rng, maps, squeeze = stream(rng), 32, design.startswith("y")
        stem, trunk = conv_norm(in_channels, maps, 3, 2, rng=rng), {}
        for i, (count, outputs, group) in enumerate(stages(*DESIGNS[design]), start=1):
            stage = {}
            for j in range(count):
                stage[f"block{i}-{j}"] = Block(maps, outputs, 1 if j else 2, group, squeeze, rng)
                maps = outputs
            trunk[f"block{i}"] = nn.Sequential(stage)
        super().__init__(
            {
                "stem": stem,
                "trunk_output": nn.Sequential(trunk),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "fc": nn.Linear(maps, num_classes, rng=rng),
            }
        )
        redraw(self, nn.Conv2d, he_fan_out, rng)
        redraw(self, nn.Linear, thin, rng, bias=0)


REGNETS = {f"regnet_{design}": partial(RegNet, design) for design in DESIGNS}
