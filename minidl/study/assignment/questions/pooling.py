"""Receptive fields once more: with pooling, under each reading; with gaps; and what pooling saves."""

from __future__ import annotations

import itertools

import numpy as np

from .... import functional as F
from ....core.tensor import Tensor
from ..question import Output, Question
from .receptive import THREE, TOPIC, needed, reached, sensitive, span

READINGS = ("after", "before", "decimation")

# --- pooling

pooled = Question(
    "receptive-pooled",
    "The receptive field with downsampling after each layer, under each reading",
    TOPIC,
    """
A net of equal layers along one axis: a convolution with kernel k and stride 1, then downsampling by P, and so on,
`layers` times. The question "what is the receptive field?" can be read in three ways; answer each:

    "after"        P neighbours are pooled into one; the field of a value after the last pooling
    "before"       the same net; the field of a value before the last pooling
    "decimation"   every P-th value is kept (or the convolution has stride P): no neighbours are read

With your function, answer the written assignment for three 3x3 layers and 2x2 downsampling.

Arguments: `layers`, `kernel`, `pool`, whole numbers; `reading`, one of the three words. Return a whole number.
""",
    (Output("size"),),
    lambda rng, seed: {
        "layers": 3 if seed < 3 else int(rng.integers(2, 5)),
        "kernel": 3 if seed < 3 else int(rng.integers(2, 6)),
        "pool": 2 if seed < 3 else int(rng.integers(2, 4)),
        "reading": READINGS[seed % 3],
    },
    rarer=lambda rng, seed: {
        "layers": int(rng.integers(2, 5)),
        "kernel": int(rng.integers(6, 10)),
        "pool": int(rng.integers(2, 5)),
        "reading": READINGS[seed % 3],
    },
)


@pooled.solution
def pooled_field(layers, kernel, pool, reading):
    r, jump = 1, 1
    for layer in range(1, layers + 1):
        r += (kernel - 1) * jump
        if reading == "after" or (reading == "before" and layer < layers):
            r += (pool - 1) * jump
        jump *= pool
    return r


def pyramid(layers, kernel, pool, reading):
    """The stack as (kernel, stride, dilation) of each layer."""
    down = (1, pool, 1) if reading == "decimation" else (pool, pool, 1)
    return ([(kernel, 1, 1), down] * layers)[: None if reading != "before" else -1]


@pooled.oracle("gradient")
def pooled_by_gradient(layers, kernel, pool, reading):
    stack = pyramid(layers, kernel, pool, reading)
    return span(sensitive(stack, 0, needed(stack)))


@pooled.oracle("marking")
def pooled_by_marking(layers, kernel, pool, reading):
    stack = pyramid(layers, kernel, pool, reading)
    return span(reached(stack, 0, needed(stack)))


def _one_reading(name, sentence):
    @pooled.mistake(f"always {name}", sentence)
    def pooled_other_kind(layers, kernel, pool, reading):
        return pooled_field(layers, kernel, pool, name)


_one_reading("after", "It is the field after the last pooling, whatever the reading.")
_one_reading("before", "It is the field before the last pooling, whatever the reading.")
_one_reading("decimation", "Pooling is taken to read no neighbours, whatever the reading.")


EXCHANGED = {"after": "before", "before": "after", "decimation": "decimation"}
pooled.altered(
    "after and before exchanged", "The readings before and after the last pooling are exchanged.", reading=EXCHANGED.get
)
pooled.mistake("downsampling forgotten", "The field is that of the convolutions alone: the jump stays 1.")(
    lambda layers, kernel, pool, reading: 1 + layers * (kernel - 1)
)
pooled.mistake("jump too early", "The downsampling after a layer widens that layer itself; it widens the next one.")(
    lambda layers, kernel, pool, reading: 1 + (pooled_field(layers, kernel, pool, reading) - 1) * pool
)


@pooled.mistake("jump adds up", "The jumps are 1, P, 2P, ...; they multiply: 1, P, P², ...")
def pooled_jump_adds_up(layers, kernel, pool, reading):
    jumps = [1, *(pool * n for n in range(1, layers))]
    windows = {"after": layers, "before": layers - 1, "decimation": 0}[reading]
    return 1 + sum((kernel - 1) * j for j in jumps) + sum((pool - 1) * j for j in jumps[:windows])


# --- gridding

gridding = Question(
    "gridding",
    "How many inputs a stack of dilated layers really reads",
    TOPIC,
    """
Layers with kernel k, stride 1 and dilations d_1, d_2, ..., along one axis. The receptive field of an output is the span
from the first input it depends on to the last. It need not depend on all of those between: that is called gridding.

How long is the span, and how many different inputs of it are read? Try dilations 1, 2, 4 and 2, 2, 2 with k = 3.

Arguments: `kernel`, a whole number; `dilation`, an integer array of one entry per layer. Return a pair of whole
numbers: the span, and the number of inputs that are read.
""",
    (Output("span"), Output("taps")),
    lambda rng, seed: {
        "kernel": 3 if seed < 4 else int(rng.integers(2, 5)),
        "dilation": np.array(THREE[seed]) if seed < 4 else rng.integers(1, 6, rng.integers(2, 5)),
    },
    rarer=lambda rng, seed: {"kernel": int(rng.integers(5, 8)), "dilation": rng.integers(1, 8, rng.integers(3, 5))},
)


@gridding.solution
def span_and_taps(kernel, dilation):
    offsets = {0}
    for d in dilation:
        offsets = {at + int(d) * tap for at in offsets for tap in range(kernel)}
    return max(offsets) + 1, len(offsets)


@gridding.oracle("gradient")
def gridding_by_gradient(kernel, dilation):
    layers = [(kernel, 1, d) for d in dilation.tolist()]
    field = sensitive(layers, 0, needed(layers))
    return span(field), int(field.sum())


@gridding.oracle("every path")
def gridding_by_every_path(kernel, dilation):
    paths = {sum(p) for p in itertools.product(*[range(0, d * kernel, d) for d in dilation.tolist()])}
    return max(paths) - min(paths) + 1, len(paths)


def _span(kernel, dilation):
    return int(1 + (kernel - 1) * dilation.sum())


gridding.mistake("no gaps seen", "Every input of the span is counted as read.")(
    lambda kernel, dilation: (_span(kernel, dilation), _span(kernel, dilation))
)
gridding.mistake("paths counted", "Paths are counted, kernel to the power of the layers: many end at the same input.")(
    lambda kernel, dilation: (_span(kernel, dilation), kernel ** len(dilation))
)
gridding.altered("dilation forgotten", "The dilations do not count.", dilation=np.ones_like)
gridding.mistake("last layer only", "The inputs are those of one layer, k of them, not those of the layers together.")(
    lambda kernel, dilation: (_span(kernel, dilation), kernel)
)
gridding.mistake("dilation times k", "A dilated kernel is taken to span d k inputs; between k taps are k - 1 gaps.")(
    lambda kernel, dilation: (int(1 + (kernel * dilation - 1).sum()), span_and_taps(kernel, dilation)[1])
)


# --- cost

cost = Question(
    "pooling-cost",
    "What downsampling saves",
    TOPIC,
    """
Two nets of equal 2-D convolutions, with the same channels everywhere: a plain one, and one with PxP pooling after each
layer. Padding keeps the sides, and the image is large enough to be divided. The multiplications of a layer are in
proportion to its output positions; pooling itself is free.

What share of the plain net's multiplications does the pooled one need? (The first convolution runs before any pooling.)
With this number and the receptive fields at hand: what do dilation and pooling each gain, and what do they give up?

Arguments: `layers` and `pool`, whole numbers. Return a number between 0 and 1.
""",
    (Output("share"),),
    lambda rng, seed: {
        "layers": 3 if seed == 0 else int(rng.integers(2, 6)),
        "pool": 2 if seed == 0 else int(rng.integers(2, 4)),
    },
    rarer=lambda rng, seed: {
        "layers": int(rng.integers(2, 4)) if seed % 2 else int(rng.integers(6, 9)),
        "pool": int(rng.integers(4, 8)) if seed % 2 else 2,
    },
)


@cost.solution
def pooled_share(layers, pool):
    return sum(pool ** (-2.0 * layer) for layer in range(layers)) / layers


@cost.oracle("counting windows")
def cost_by_counting_windows(layers, pool):
    side, positions = pool**layers, 0
    x = Tensor(np.zeros((1, 1, side, side)))
    for _ in range(layers):
        positions += F.conv(x, np.zeros((1, 1, 3, 3)), padding=1).size
        x = F.avg_pool(x, pool)
    return positions / (layers * side * side)


@cost.oracle("geometric series")
def cost_by_geometric_series(layers, pool):
    q = 1 / pool**2
    return (1 - q**layers) / (1 - q) / layers


cost.mistake("one axis", "Only one axis shrinks; pooling shrinks rows and columns.")(
    lambda layers, pool: sum(pool ** (-1.0 * layer) for layer in range(layers)) / layers
)
cost.mistake("pooled before the first layer", "The first layer is counted after a pooling; it runs on the full image.")(
    lambda layers, pool: pooled_share(layers, pool) / pool**2
)
cost.mistake("last layer only", "This is what the last layer alone saves.")(
    lambda layers, pool: pool ** (-2.0 * (layers - 1))
)
cost.mistake("sum, not share", "The costs are added up but not compared with those of the plain net.")(
    lambda layers, pool: pooled_share(layers, pool) * layers
)


QUESTIONS = (pooled, gridding, cost)
