"""Denoisers that others trained: the authors' and KAIR's DnCNN, KAIR's FFDNet, read off the names and shapes of a file.

Sources: Zhang et al., "Beyond a Gaussian denoiser", IEEE TIP 26(7), 2017 (DnCNN); Zhang, Zuo and Zhang, "FFDNet: toward
a fast and flexible solution for CNN-based image denoising", IEEE TIP 27(9), 2018; https://github.com/cszn/KAIR.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import numpy as np

from minidl import Tensor, load_weights, nn
from minidl import functional as F

from .model import Denoiser

WEIGHT = re.compile(r"(dncnn|model)\.(\d+)\.weight")
EPS = 1e-4  # of batch norm, in both


class FFDNet(Denoiser):
    """Figure 1: the image at half its size with four times the maps, a map of the noise level, a stack of convolutions.

    Takes (N, channels, H, W) of any size and gives it without noise of standard deviation `sigma`, which is set for all
    images; on the scale of the image, 25 / 255 for the paper's 25.
    """

    period = 2

    def __init__(self, layers: list[nn.Module], stack: str = "model"):
        super().__init__(layers, stack, "clean")
        self.channels, self.radius, self.sigma = layers[-1].out_channels // 4, 2 * self.radius + 1, 25 / 255

    def forward(self, y: Tensor) -> Tensor:
        height, width = y.shape[2:]
        y = F.pad(y, [(0, height % 2), (0, width % 2)], mode="replicate")
        small = F.pixel_unshuffle(y, 2)  # (N, C, H, W) -> (N, 4 C, H/2, W/2)
        level = np.full((len(y), 1, *small.shape[2:]), self.sigma, y.dtype)
        out = super().forward(F.concat([small, Tensor(level).to(y.device)], axis=1))
        return F.pixel_shuffle(out, 2)[:, :, :height, :width]


def load(path: str | os.PathLike, key: str | None = None, strip: str | None = None) -> Denoiser:
    """The denoiser whose weights a file holds, in eval mode; `key`, `strip`: see `load_weights`.

    A network in which the noise level goes in as a map is an FFDNet. Raises ValueError in one line for other files.
    """
    state = load_weights(path, key, strip)
    stacks = {match[1] for match in map(WEIGHT.fullmatch, state) if match}
    if len(stacks) != 1:
        raise ValueError(f"{path} is no stack of convolutions with names dncnn.0.weight or model.0.weight, ...")
    (stack,) = stacks
    layers = stack_of(state, stack)
    first, last = layers[0], layers[-1]
    inputs, outputs = (first.in_channels, last.out_channels) if isinstance(last, nn.Conv2d) else (0, 0)
    if inputs == outputs > 0:
        model = Denoiser(layers, stack, "residual")
    elif inputs == outputs + 1 and outputs % 4 == 0:
        model = FFDNet(layers, stack)
    else:
        raise ValueError(f"{path} takes {inputs} channels and gives {outputs}: it is neither a DnCNN nor an FFDNet")
    model.load_state_dict(state)
    return model.eval()


def stack_of(state: Mapping[str, np.ndarray], stack: str) -> list[nn.Module]:
    """The layers that the arrays named `stack`.0.weight, ... belong to; a relu in each gap of their numbers."""
    numbers = [int(match[2]) for match in map(WEIGHT.fullmatch, state) if match]
    layers: list[nn.Module] = []
    for i in range(max(numbers) + 1):
        weight, bias = (state.get(f"{stack}.{i}.{name}") for name in ("weight", "bias"))
        if weight is None:
            layers.append(nn.ReLU())
        elif np.ndim(weight) == 4:
            outputs, inputs, kernel, _ = weight.shape
            with nn.init.undrawn():
                layers.append(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias is not None))
        else:
            layers.append(nn.BatchNorm2d(len(weight), eps=EPS))
    return layers
