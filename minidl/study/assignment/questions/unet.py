"""U-Net: what its skip sees of the input, and what comes up from below."""

from __future__ import annotations

import numpy as np

from .... import functional as F
from ..question import Output, Question
from ..question import by_rules as derivative

TOPIC = "U-Net: local and global"
BOTTOM = 28  # entries that the lowest level gives out: 572 in and 388 out with four levels, as in the paper

fields = Question(
    "unet-fields",
    "What one output of U-Net sees through its skip, and from below",
    TOPIC,
    """
U-Net as published, along one axis, all convolutions with kernel 3 and without padding. On each of `levels` levels going
down: two convolutions, then max pooling of 2 with stride 2. At the bottom two more. On each level going up: an
up-convolution (each value becomes 2 values, and nothing overlaps), concatenation with the cropped values of the same
level before its pooling, two convolutions. The output is indexed from 0; a 1x1 convolution at the end changes nothing
here.

From the first input that matters to the last, how many inputs does output number `pixel` see

- through the skip of the top level alone (from the two convolutions at the top straight across);
- from below, through the up-convolution of the top level alone;

and how many does one value at the bottom see, after its two convolutions?

Count, or measure: go back from the output with the interval of what it reads. One of the three depends on `pixel`.

Arguments: `levels` and `pixel`, whole numbers. Return three whole numbers: skip, below, bottom.
""",
    (Output("skip"), Output("below"), Output("bottom")),
    lambda rng, seed: {
        "levels": 4 if seed < 4 else int(rng.integers(1, 5)),
        "pixel": seed if seed < 4 else int(rng.integers(0, 40)),
    },
    rarer=lambda rng, seed: {"levels": int(rng.integers(2, 5)), "pixel": int(rng.integers(40, 100))},
)


@fields.solution
def unet_fields(levels, pixel):
    bottom, jump = 1, 1
    for _ in range(levels):
        bottom += (2 + 2 + 1) * jump  # two convolutions and a pooling window
        jump *= 2
    bottom += (2 + 2) * jump

    first = last = pixel
    for _ in range(levels):
        last += 4  # two convolutions
        first, last = first // 2, last // 2  # the up-convolution
    return 5 + 4, bottom + (last - first) * jump, bottom


def unet(x, levels, skip=1.0, below=1.0):
    """U-Net with filters that are all ones, sums in place of concatenation, average for max pooling: nothing cancels.

    skip and below multiply the two sources of the top level. Gives the output and the values at the bottom.
    """

    def two(x):
        for _ in range(2):
            x = F.conv(x, np.full((1, 1, 3), 1 / 3))
        return x

    x, kept = x[None, None], []
    for _ in range(levels):
        kept.append(two(x))
        x = F.avg_pool(kept[-1], 2)
    x = bottom = two(x)
    for level in reversed(range(levels)):
        x = F.conv_transpose(x, np.ones((1, 1, 2)), stride=2)
        crop = (kept[level].shape[2] - x.shape[2]) // 2
        across = kept[level][:, :, crop : crop + x.shape[2]]
        x = two(across * skip + x * below if level == 0 else across + x)
    return x[0, 0], bottom[0, 0]


def length(levels: int) -> int:
    """The input length for which the lowest level gives out BOTTOM values."""
    n = BOTTOM + 4
    for _ in range(levels):
        n = 2 * n + 4
    return n


@fields.oracle("gradient")
def fields_by_gradient(levels, pixel):
    def seen(entry, **sources):
        measured = derivative(lambda x: entry(*unet(x, levels, **sources)), ("x",), {"x": np.ones(length(levels))})
        found = np.flatnonzero(measured > 0)
        return int(found[-1] - found[0] + 1)

    return (
        seen(lambda y, bottom: y[pixel], below=0.0),
        seen(lambda y, bottom: y[pixel], skip=0.0),
        seen(lambda y, bottom: bottom[BOTTOM // 2]),
    )


@fields.oracle("marking")
def fields_by_marking(levels, pixel):
    def down(marked, count):
        """From positions at the bottom, or on a level after its convolutions, to the input."""
        for step in range(count, -1, -1):
            marked = {m + t for m in marked for t in range(5)}
            marked = {2 * m + t for m in marked for t in range(2)} if step else marked
        return marked

    bottom = {pixel}
    for _ in range(levels):
        bottom = {(m + t) // 2 for m in bottom for t in range(5)}
    across = {pixel + t for t in range(5)}
    return tuple(max(m) - min(m) + 1 for m in (down(across, 0), down(bottom, levels), down({0}, levels)))


def _bottom(levels, window=1):
    r, jump = 1, 1
    for _ in range(levels):
        r, jump = r + (4 + window) * jump, 2 * jump
    return r + 4 * jump, jump


fields.altered(
    "same for every pixel", "What is seen from below depends on where the pixel lies in the pooling grid.", pixel=0
)
fields.mistake("decoder forgotten", "The convolutions on the way up are missing: they read neighbours, too.")(
    lambda levels, pixel: (5, _bottom(levels)[0], _bottom(levels)[0])
)
fields.mistake("decoder forgotten from below", "From below, the convolutions on the way up are missing.")(
    lambda levels, pixel: (9, _bottom(levels)[0], _bottom(levels)[0])
)
fields.mistake("half of the skip", "The skip's path has four convolutions: two before it and two after.")(
    lambda levels, pixel: (5, *unet_fields(levels, pixel)[1:])
)


@fields.mistake("pooling window forgotten", "Pooling doubles the jump, but it reads two neighbours as well.")
def fields_pooling_window_forgotten(levels, pixel):
    _, below, bottom = unet_fields(levels, pixel)
    less = bottom - _bottom(levels, 0)[0]
    return 9, below - less, bottom - less


@fields.mistake("top level only on the way up", "Of the way up, only the top level's two convolutions are counted.")
def fields_top_level_only_on_the_way_up(levels, pixel):
    bottom, jump = _bottom(levels)
    first, last = pixel >> levels, (pixel + 4) >> levels
    return 9, bottom + (last - first) * jump, bottom


@fields.mistake("up-convolution does not halve", "An up-convolution halves positions; the way up is counted undivided.")
def fields_up_convolution_does_not_halve(levels, pixel):
    bottom, jump = _bottom(levels)
    return 9, bottom + 4 * levels * jump, bottom


QUESTIONS = (fields,)
