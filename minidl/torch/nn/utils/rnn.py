"""torch.nn.utils.rnn: sequences of different lengths in one tensor."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import creation, shaping
from ...tensor import Tensor, lifted

_cat, _stack = lifted(shaping.cat), lifted(shaping.stack)


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences of different lengths side by side, the shorter ones filled up."""
    longest = max(len(s) for s in sequences)
    padded = []
    for s in sequences:
        fill = creation.full((longest - len(s), *s.shape[1:]), padding_value, dtype=s.dtype)
        padded.append(_cat([s, fill] if padding_side == "right" else [fill, s]))
    return _stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(rows, lengths)]


class PackedSequence(NamedTuple):
    """Sequences, longest first, step by step: `data` has the first entries of all, then the second ones of those that
    have one."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *targets: Any, **options: Any) -> PackedSequence:
        return self._replace(data=self.data.to(*targets, **options))


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch without its padding. Raises RuntimeError for lengths that rise, unless enforce_sorted is False."""
    counts = np.asarray([int(n) for n in lengths])
    x = input.transpose(0, 1) if batch_first else input
    if len(counts) != x.shape[1]:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, {x.shape[1]}, but got {len(counts)}")
    if len(counts) and counts.min() <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0")
    order = np.argsort(-counts, kind="stable")
    if enforce_sorted and (np.diff(counts) > 0).any():
        raise RuntimeError("`lengths` must be sorted in decreasing order: pass enforce_sorted=False")
    chosen = None if enforce_sorted else creation.tensor(order)
    x = x if chosen is None else x.index_select(1, chosen)
    sizes = [int((counts > step).sum()) for step in range(counts.max())]
    back = None if chosen is None else creation.tensor(np.argsort(order))
    return PackedSequence(_cat([x[step, :n] for step, n in enumerate(sizes)]), creation.tensor(sizes), chosen, back)


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    return pack_padded_sequence(pad_sequence(sequences), [len(s) for s in sequences], enforce_sorted=enforce_sorted)


def lengths_of(sequence: PackedSequence) -> np.ndarray:
    """Of each sequence, in the packed order."""
    sizes = sequence.batch_sizes.numpy()
    return (sizes[:, None] > np.arange(sizes[0])).sum(axis=0)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded batch of packed sequences, in the order in which they were packed, and their lengths."""
    lengths = lengths_of(sequence)
    starts = np.concatenate([[0], np.cumsum(sequence.batch_sizes.numpy())[:-1]])
    rows = [sequence.data[creation.tensor(starts[:n] + i)] for i, n in enumerate(lengths.tolist())]
    padded = pad_sequence(rows, batch_first, padding_value)
    if total_length is not None:
        axis = 1 if batch_first else 0
        shape = list(padded.shape)
        shape[axis] = total_length - shape[axis]
        padded = _cat([padded, creation.full(tuple(shape), padding_value, dtype=padded.dtype)], axis)
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices
        padded, lengths = padded.index_select(0 if batch_first else 1, back), lengths[back.numpy()]
    return padded, creation.tensor(lengths)
