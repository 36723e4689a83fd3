"""The entropy model: how often each number of a latent follows what was coded before it, counted in whole numbers.

Channels are coded one after the other, from low frequency to high. How likely a number is depends on the quality, the
channel, and a context: how large the numbers of the channels before are, at its place and beside it. All of it is
computed in integers, so a decoder finds the contexts of the encoder on any machine.

The first channel, the mean of a block, is coded as its difference from the mean of the blocks to the left and above.
Contexts by magnitude: Taubman, "High performance scalable image compression with EBCOT", 2000, section III-B, has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.core.advice import install

LARGEST = 15  # a number this large or larger is coded as this and its excess
CONTEXTS = np.array([1, 6, 14, 28, 50, 90, 170])  # what divides one context from the next
TOTAL = 1 << 16  # of the frequencies of a table
EXCESS = 1 << 16  # excesses are below this


def differences(first: np.ndarray) -> np.ndarray:
    """The first channel (h, w) minus what is expected of it."""
    return first - _expected(first)


def _expected(first: np.ndarray) -> np.ndarray:
    left, above = np.zeros_like(first), np.zeros_like(first)
    left[:, 1:], above[1:] = first[:, :-1], first[:-1]
    left[:, 0], above[0] = above[:, 0], left[0]
    return (left + above) >> 1


def undone(differences: np.ndarray) -> np.ndarray:
    """The channel whose `differences` these are."""
    rows = [[0] * differences.shape[1] for _ in range(len(differences))]
    for y, row in enumerate(differences.tolist()):
        for x, difference in enumerate(row):
            above = rows[y - 1][x] if y else rows[0][x - 1] if x else 0
            left = rows[y][x - 1] if x else above
            rows[y][x] = difference + ((left + above) >> 1)
    return np.array(rows, differences.dtype)


class Contexts:
    """The contexts (h, w) of one channel after the other; `seen` takes the numbers of each."""

    def __init__(self, shape: tuple[int, int]):
        self.sums = np.zeros(shape, np.int64)  # of magnitudes, those of nearer channels weighing more

    def next(self) -> np.ndarray:
        padded = np.pad(self.sums, 1)
        beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        return np.searchsorted(CONTEXTS, (2 * self.sums + beside) >> 4, side="right")

    def seen(self, numbers: np.ndarray) -> None:
        self.sums = (self.sums * 13 >> 4) + 8 * np.minimum(np.abs(numbers), LARGEST)


def symbols(latents: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(channel, numbers (h, w), contexts (h, w)) of integer latents (C, h, w), in the order of coding."""
    contexts = Contexts(latents.shape[1:])
    for channel, numbers in enumerate(latents):
        numbers = numbers if channel else differences(numbers)
        yield channel, numbers, contexts.next()
        contexts.seen(numbers)


def counted(examples: list[np.ndarray], channels: int) -> np.ndarray:
    """How often each number occurs in each context of each channel: (channels, contexts, 2 * LARGEST + 1)."""
    counts = np.zeros((channels, len(CONTEXTS) + 1, 2 * LARGEST + 1), np.int64)
    for latents in examples:
        for channel, numbers, contexts in symbols(latents):
            np.add.at(counts[channel], (contexts, numbers.clip(-LARGEST, LARGEST) + LARGEST), 1)
    return counts


def tables(counts: np.ndarray) -> np.ndarray:
    """Frequencies of at least 1 that add up to TOTAL, for each channel and context, of what was `counted`.

    Where little was counted, the context's frequencies over the neighbouring channels stand in.
    """
    padded = np.pad(counts, [(2, 2), (0, 0), (0, 0)])
    near = sum(padded[i : i + len(counts)] for i in range(5)) + (counts.sum(axis=(0, 1)) + 1) / (1 << 20)
    shares = counts + 4 * near / near.sum(axis=-1, keepdims=True)
    shares /= shares.sum(axis=-1, keepdims=True)
    frequencies = 1 + np.floor(shares * (TOTAL - shares.shape[-1])).astype(np.int64)
    best = frequencies.argmax(axis=-1)[..., None]
    missing = TOTAL - frequencies.sum(axis=-1, keepdims=True)
    np.put_along_axis(frequencies, best, np.take_along_axis(frequencies, best, -1) + missing, -1)
    return frequencies


# --- the stream


def encoded(latents: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Integer latents (C, h, w) as words of 32 bits.

    The coder is constriction's range coder: Martin, "Range encoding", 1979. Raises ValueError for numbers too large.
    """
    coder = _package().stream.queue.RangeEncoder()
    uniform = _package().stream.model.Uniform(EXCESS)
    for channel, numbers, contexts in symbols(latents):
        clipped = numbers.clip(-LARGEST, LARGEST)
        for context in np.unique(contexts):
            of_context = clipped[contexts == context] + LARGEST
            coder.encode(of_context.astype(np.int32), model(frequencies[channel, context]))
        excess = np.abs(numbers)[np.abs(clipped) == LARGEST] - LARGEST
        if excess.size and excess.max() >= EXCESS:
            raise ValueError(f"a latent is {excess.max() + LARGEST}, the largest that a file can hold is {EXCESS}")
        if excess.size:
            coder.encode(excess.astype(np.int32), uniform)
    return coder.get_compressed()


def decoded(words: np.ndarray, frequencies: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The latents (C, h, w) that were `encoded`."""
    coder = _package().stream.queue.RangeDecoder(words)
    uniform = _package().stream.model.Uniform(EXCESS)
    contexts = Contexts(shape)
    latents = np.empty((len(frequencies), *shape), np.int64)
    for channel, numbers in enumerate(latents):
        found = contexts.next()
        for context in np.unique(found):
            where = found == context
            numbers[where] = coder.decode(model(frequencies[channel, context]), int(where.sum())) - LARGEST
        large = np.abs(numbers) == LARGEST
        if large.any():
            numbers[large] += np.sign(numbers[large]) * coder.decode(uniform, int(large.sum()))
        contexts.seen(numbers)
        if not channel:
            numbers[...] = undone(numbers)
    return latents


def model(frequencies: np.ndarray) -> Any:
    """The distribution with these frequencies of 1 / TOTAL, which float32 holds exactly."""
    return _package().stream.model.Categorical((frequencies / TOTAL).astype(np.float32), perfect=False)


def _package() -> Any:
    try:
        import constriction
    except ImportError:
        raise ImportError(f'files are coded by constriction: {install("tasks")}') from None
    return constriction
