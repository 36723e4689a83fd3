"""Receptive fields: size and place."""

from __future__ import annotations

import math

import numpy as np

from .... import functional as F
from ..question import Output, Question
from ..question import by_rules as derivative

TOPIC = "Receptive fields"
THREE = ([1, 1, 1], [1, 2, 2], [1, 2, 4], [2, 2, 2])  # the dilations that the assignment and its reading ask about


def reached(layers, output: int, size: int) -> np.ndarray:
    """The inputs that an output reads, as booleans (size,), by marking them one layer after the other, backwards.

    layers: (kernel, stride, dilation) each, without padding.
    """
    marked = {output}
    for k, s, d in reversed(layers):
        marked = {s * o + d * tap for o in marked for tap in range(k)}
    field = np.zeros(size, bool)
    field[sorted(marked)] = True
    return field


def sensitive(layers, output: int, size: int, padding=None) -> np.ndarray:
    """The inputs with a gradient, measured on a net whose filters are all ones, so that nothing cancels."""

    def net(x):
        x = x[None, None]
        for (k, s, d), p in zip(layers, padding if padding is not None else [0] * len(layers)):
            x = F.conv(x, np.full((1, 1, k), 1.0 / k), stride=s, dilation=d, padding=int(p))
        return x[0, 0, output]

    return derivative(net, ("x",), {"x": np.ones(size)}) > 0


def span(field: np.ndarray) -> int:
    """From the first input to the last, both counted."""
    found = np.flatnonzero(field)
    return int(found[-1] - found[0] + 1)


def needed(layers) -> int:
    """An input length that is more than the field of output 0."""
    return 1 + sum(d * k for k, _, d in layers) * math.prod(s for _, s, _ in layers)


def stacks(rng: np.random.Generator, seed: int) -> dict:
    """Kernels, strides, dilations and paddings of 2 to 4 layers; the assignment's own first."""
    n = int(rng.integers(2, 5))
    case = {"kernel": rng.integers(2, 6, n), "stride": rng.integers(1, 3, n), "dilation": rng.integers(1, 4, n)}
    case["stride"][rng.integers(n - 1)] = 2
    case["padding"] = np.array([rng.integers(0, k) for k in case["kernel"]])
    if seed < len(THREE):
        three = np.ones(3, int)
        case = {"kernel": 3 * three, "stride": three, "dilation": np.array(THREE[seed]), "padding": three}
    return case


def larger_stacks(rng: np.random.Generator, seed: int) -> dict:
    """The same for 3 to 5 layers with larger kernels, strides and dilations."""
    n = int(rng.integers(3, 6))
    kernel = rng.integers(4, 9, n)
    return {
        "kernel": kernel,
        "stride": rng.integers(1, 4, n),
        "dilation": rng.integers(1, 6, n),
        "padding": rng.integers(0, kernel),
    }


def layers_of(kernel, stride, dilation):
    return list(zip(kernel.tolist(), stride.tolist(), dilation.tolist()))


# --- size

size = Question(
    "receptive-size",
    "The receptive field of a stack of layers",
    TOPIC,
    """
A stack of convolutions and pooling layers along one axis: layer l has kernel k_l, stride s_l and dilation d_l, so that
its output o reads the inputs s_l o + d_l t, for t = 0, ..., k_l - 1.

How many inputs of the first layer lie between the first and the last that one output of the last layer depends on,
both counted? (Two numbers are enough to carry along: the size so far, and the jump, the distance on the input between
neighbours of the current layer.)

With your function, answer the written assignment for three 3x3 layers: without dilation; with dilations 1, 2, 2; and
with dilations 1, 2, 4.

Arguments: `kernel`, `stride`, `dilation`, integer arrays of one entry per layer, first layer first. Return a whole
number.
""",
    (Output("size"),),
    stacks,
    rarer=larger_stacks,
)


@size.solution
def receptive_field(kernel, stride, dilation):
    r, jump = 1, 1
    for k, s, d in zip(kernel, stride, dilation):
        r += d * (k - 1) * jump
        jump *= s
    return r


@size.oracle("gradient")
def size_by_gradient(kernel, stride, dilation):
    layers = layers_of(kernel, stride, dilation)
    return span(sensitive(layers, 0, needed(layers)))


@size.oracle("marking")
def size_by_marking(kernel, stride, dilation):
    layers = layers_of(kernel, stride, dilation)
    return span(reached(layers, 0, needed(layers)))


def field(kernel, stride, dilation, grow=lambda k, d: d * (k - 1), start=1, early=False):
    """The recursion with a wrong part."""
    r, jump = start, 1
    for k, s, d in zip(kernel, stride, dilation):
        r += grow(k, d) * jump * (s if early else 1)
        jump *= s
    return r


size.altered("strides forgotten", "The strides do not count: the jump stays 1.", stride=np.ones_like)
size.mistake("jump too early", "A layer's own stride widens its own kernel: the jump is multiplied before it is used.")(
    lambda kernel, stride, dilation: field(kernel, stride, dilation, early=True)
)
size.altered("dilation forgotten", "The dilations do not count.", dilation=np.ones_like)
size.mistake("dilation times k", "A dilated kernel is taken to span d k inputs; between k taps there are k - 1 gaps.")(
    lambda kernel, stride, dilation: field(kernel, stride, dilation, grow=lambda k, d: d * k - 1)
)
size.mistake("k where k - 1 belongs", "Each layer adds its whole kernel; the pixel where it stands is there already.")(
    lambda kernel, stride, dilation: field(kernel, stride, dilation, grow=lambda k, d: d * k)
)
size.mistake("product of the kernels", "The kernels are multiplied: fields of layers add up.")(
    lambda kernel, stride, dilation: int(np.prod(dilation * (kernel - 1) + 1))
)
size.altered(
    "first pixel forgotten", "The recursion starts at 0; one pixel sees itself, so it starts at 1.", field, start=0
)


# --- centre

centre = Question(
    "receptive-start",
    "Where the receptive field of the first output lies",
    TOPIC,
    """
A stack of convolutions and pooling layers along one axis: layer l has kernel k_l, stride s_l, dilation d_l and p_l
zeros before its input, so that its output o reads the inputs s_l o + d_l t - p_l, for t = 0, ..., k_l - 1. The inputs
of the first layer stand at 0, 1, 2, ...; what lies before them is at -1, -2, ...

Where is the centre of the receptive field of output 0 of the last layer? It may be half a number, and it may be outside
of the input. (Each layer moves the centre by a multiple of the jump before it.)

Arguments: `kernel`, `stride`, `dilation`, `padding`, integer arrays of one entry per layer. Return a number.
""",
    (Output("centre"),),
    stacks,
    rarer=larger_stacks,
)


@centre.solution
def field_centre(kernel, stride, dilation, padding):
    at, jump = 0.0, 1
    for k, s, d, p in zip(kernel, stride, dilation, padding):
        at += (d * (k - 1) / 2 - p) * jump
        jump *= s
    return at


@centre.oracle("gradient")
def centre_by_gradient(kernel, stride, dilation, padding):
    layers = layers_of(kernel, stride, dilation)
    far = 2 + sum(padding.tolist())  # an output whose field is clear of the borders
    jump = math.prod(stride.tolist())
    found = np.flatnonzero(sensitive(layers, far, needed(layers) + 2 * far * jump, padding))
    return (found[0] + found[-1]) / 2 - far * jump


@centre.oracle("first and last tap")
def centre_by_first_and_last_tap(kernel, stride, dilation, padding):
    first = last = 0
    for k, s, d, p in reversed(list(zip(*(a.tolist() for a in (kernel, stride, dilation, padding))))):
        first, last = s * first - p, s * last - p + d * (k - 1)
    return (first + last) / 2


centre.altered(
    "padding forgotten", "The padding does not count; it moves the field to the left.", padding=lambda p: 0 * p
)
centre.altered("strides forgotten", "The strides do not count: the jump stays 1.", stride=np.ones_like)
centre.altered("dilation forgotten", "The dilations do not count.", dilation=np.ones_like)
centre.altered("first tap", "This is where the field begins, not its centre.", kernel=np.ones_like)
centre.mistake("padding without jump", "The padding of every layer is counted in pixels of the input, not of its own.")(
    lambda kernel, stride, dilation, padding: field_centre(kernel, stride, dilation, 0 * padding) - padding.sum()
)
centre.mistake("whole kernel", "Half of d k is added; the centre of k taps is d (k - 1) / 2 from the first.")(
    lambda kernel, stride, dilation, padding: field_centre(kernel + 1, stride, dilation, padding)
)


QUESTIONS = (size, centre)
