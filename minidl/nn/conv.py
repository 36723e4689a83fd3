"""Convolution layers and their transposes in 1, 2 and 3 dimensions: one class each, its `rank` the only difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..core.tensor import Parameter, Tensor
from ..kernels.cpu.layout import laid_out
from ..ops.window import Padding, Sizes, Window, errors_of, padding_pairs, per_axis
from . import init
from .module import Ranked

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def _padding(padding: Padding, rank: int) -> tuple:
    """One int per axis, or the pairs as they were given: what torch shows."""
    pairs = padding_pairs(padding, rank)
    return tuple(low for low, _ in pairs) if all(low == high for low, high in pairs) else pairs


class Windowed(Ranked):
    """What Conv and ConvTranspose share: the arguments, the parameters, the text."""


    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, padding: Padding,
        output_padding: Sizes, dilation: Sizes, groups: int, bias: bool, padding_mode: str, transposed: bool, rng: Any,
    ):  # fmt: skip
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: {in_channels} input and {out_channels} output channels do not both divide "
                f"into {groups} groups; choose groups that divides both"
            )
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode {padding_mode!r} is unknown: one of {', '.join(PADDING_MODES)}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        with errors_of(type(self).__name__):
            self.kernel_size = per_axis("kernel_size", kernel_size, self.rank, 1)
            self.stride = per_axis("stride", stride, self.rank, 1)
            self.padding = padding if isinstance(padding, str) else _padding(padding, self.rank)
            self.output_padding = per_axis("output_padding", output_padding, self.rank, 0)
            self.dilation = per_axis("dilation", dilation, self.rank, 1)
        self.padding_mode = padding_mode
        rng = init.generator(rng)
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        self.weight = Parameter(laid_out(init.default_weight(shape, rng)))
        self.bias = Parameter(init.default_bias(out_channels, shape, rng)) if bias else None

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        zeros, ones = (0,) * self.rank, (1,) * self.rank
        shown = [
            ("padding", self.padding, zeros),
            ("dilation", self.dilation, ones),
            ("output_padding", self.output_padding, zeros),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
            ("padding_mode", self.padding_mode, "zeros"),
        ]
        return text + "".join(f", {name}={value}" for name, value, default in shown if value != default)


class Conv(Windowed):
    """Cross-correlation with a learned kernel: see F.conv.

    x (N, in_channels, *space), or without N, gives (N, out_channels, *output); the weight is (out_channels,
    in_channels/groups, *kernel_size), the bias (out_channels,). `padding` is all that F.conv takes, and torch's
    "valid" (none); `padding_mode` what the border is filled with: "zeros", "reflect", "replicate" or "circular".
    Starts uniform on [-b, b], ``b = 1 / sqrt(fan_in)``, drawn from `rng` or the default generator.

        >>> layer = nn.Conv2d(3, 8, 3, stride=2, padding=1, rng=0)
        >>> layer(md.Tensor(np.zeros((1, 3, 32, 32), "f"))).shape
        (1, 8, 16, 16)
        >>> {name: p.shape for name, p in layer.named_parameters()}
        {'weight': (8, 3, 3, 3), 'bias': (8,)}
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Padding = 0,
        dilation: Sizes = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", *, rng: Any = None,
    ):  # fmt: skip
        padding = 0 if padding == "valid" else padding
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias, padding_mode, False, rng
        )

    def forward(self, x: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            window = Window.of(
                x.shape[-self.rank :], self.kernel_size, stride=self.stride, padding=padding, dilation=self.dilation
            )
            pairs = [(0, 0)] * (x.ndim - self.rank) + list(window.padding)
            x, padding = F.pad(x, pairs, mode=PADDING_MODES[self.padding_mode]), 0
        return F.conv(
            x, self.weight, self.bias, stride=self.stride, padding=padding, dilation=self.dilation, groups=self.groups
        )


class Conv1d(Conv, rank=1): ...
class Conv2d(Conv, rank=2): ...
class Conv3d(Conv, rank=3): ...


class ConvTranspose(Windowed):
    """The adjoint of a convolution, with a learned kernel: see F.conv_transpose.

    x (N, in_channels, *space) gives (N, out_channels, *output), output = (n - 1) * stride - 2 * padding
    + dilation * (kernel - 1) + output_padding + 1; weight (in_channels, out_channels/groups, *kernel_size).
    Calling with ``output_size=`` chooses the output padding. Starts as torch's does, drawn from `rng`.

        >>> up = nn.ConvTranspose2d(8, 4, 2, stride=2, rng=0)
        >>> up(md.Tensor(np.zeros((1, 8, 16, 16), "f"))).shape
        (1, 4, 32, 32)
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Padding = 0,
        output_padding: Sizes = 0, groups: int = 1, bias: bool = True, dilation: Sizes = 1, padding_mode: str = "zeros",
        *, rng: Any = None,
    ):  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'{type(self).__name__}: padding_mode must be "zeros", got {padding_mode!r}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias,
            padding_mode, True, rng,
        )  # fmt: skip

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            groups=self.groups, output_padding=self._output_padding(x, output_size),
        )  # fmt: skip

    def _output_padding(self, x: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that makes the spatial output `output_size`."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.rank :]  # torch also takes (N, C, *space)
        size, pairs = x.shape[-self.rank :], padding_pairs(self.padding, self.rank)
        least = [
            (n - 1) * s - sum(pair) + d * (k - 1) + 1
            for n, s, pair, d, k in zip(size, self.stride, pairs, self.dilation, self.kernel_size)
        ]
        if any(not low <= n < low + max(s, d) for n, low, s, d in zip(wanted, least, self.stride, self.dilation)):
            most = [low + max(s, d) - 1 for low, s, d in zip(least, self.stride, self.dilation)]
            raise ValueError(
                f"{type(self).__name__}: x {x.shape} gives outputs from {tuple(least)} to {tuple(most)}, not {wanted}"
            )
        return tuple(n - low for n, low in zip(wanted, least))


class ConvTranspose1d(ConvTranspose, rank=1): ...
class ConvTranspose2d(ConvTranspose, rank=2): ...
class ConvTranspose3d(ConvTranspose, rank=3): ...
