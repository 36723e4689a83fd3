"""Recurrent layers on packed sequences: those of one length run together, as a batch without padding."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ... import nn as engine
from .. import shaping
from ..tensor import Tensor, lifted
from .module import layer
from .utils.rnn import PackedSequence, lengths_of, pack_padded_sequence, pad_packed_sequence, pad_sequence

_cat = lifted(shaping.cat)


def _each(function: Any, state: Any) -> Any:
    """Of a state, or of both states of an LSTM."""
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


class Packed:
    """What recurrent layers have besides the engine's: `forward` of a PackedSequence."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence):
            return super().forward(input) if hx is None else super().forward(input, hx)
        order, back = input.sorted_indices, input.unsorted_indices
        if hx is not None and order is not None:
            hx = _each(lambda h: h.index_select(1, order), hx)
        lengths = lengths_of(input).tolist()  # they fall
        x, _ = pad_packed_sequence(input._replace(unsorted_indices=None))
        rows: list[Tensor] = []
        states: list[Any] = []
        for length, count in Counter(lengths).items():
            first = lengths.index(length)
            of = slice(first, first + count)
            batch = x[:length, of].transpose(0, 1) if self.batch_first else x[:length, of]
            y, h = self.forward(batch, None if hx is None else _each(lambda h, of=of: h[:, of].contiguous(), hx))
            rows += y if self.batch_first else y.transpose(0, 1)
            states.append(h)
        packed = pack_padded_sequence(pad_sequence(rows), lengths)
        parts = zip(*states) if isinstance(states[0], tuple) else [states]
        joined = [_cat(list(part), 1) for part in parts]
        joined = joined if back is None else [h.index_select(1, back) for h in joined]
        state = tuple(joined) if isinstance(states[0], tuple) else joined[0]
        return PackedSequence(packed.data, input.batch_sizes, order, back), state


RECURRENT: dict[str, type] = {
    name: type(name, (Packed, layer(getattr(engine, name))), {"__module__": "torch.nn"})
    for name in ("RNN", "LSTM", "GRU")
}
