"""Recurrent layers, step by step: every step is nodes of the graph, and the backward pass is through time."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from ..core.tensor import Parameter, Tensor
from . import init
from .module import Module


class Recurrent(Module):
    """What RNN, GRU and LSTM share: layers, directions, the parameters by torch's names.

    x (T, N, input_size), or with `batch_first` (N, T, input_size), or (T, input_size); gives the outputs of the last
    layer at each step, (T, N, directions * hidden_size), and the last state of each layer and direction.
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, *, rng: Any = None,
    ):  # fmt: skip
        rng = init.generator(rng)
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.rng = init.own_generator()
        bound, rows = 1 / math.sqrt(hidden_size), self.gates * hidden_size
        for layer, end in self._ends():
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            for name, shape in shapes.items():
                setattr(self, f"{name}_l{layer}{end}", Parameter(init.uniform(shape, rng, -bound, bound)))

    def _ends(self) -> list[tuple[int, str]]:
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, end) for layer in range(self.num_layers) for end in ends]

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        single = x.ndim == 2
        if single:
            x = x[:, None]
            state = _each(state, lambda s: s[:, None])
        elif self.batch_first:
            x = x.swapaxes(0, 1)
        start = None
        if state is None:
            zeros = Tensor(init.zeros((x.shape[1], self.hidden_size), x.dtype))  # (N, H), for all layers and ends
            start = self._pack([zeros] * (2 if type(self) is LSTM else 1))
        finals, number = [], 0
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, rng=self.rng, training=self.training)
            outputs = []
            for end in ("", "_reverse")[: 1 + self.bidirectional]:
                h = start if state is None else _each(state, lambda s, number=number: s[number])
                y, h = self._run(x if not end else F.flip(x, 0), h, f"_l{layer}{end}")
                outputs.append(y if not end else F.flip(y, 0))
                finals.append(h)
                number += 1
            x = outputs[0] if len(outputs) == 1 else F.concat(outputs, -1)
        parts = [h if isinstance(h, tuple) else (h,) for h in finals]
        state = self._pack([F.stack(column, 0) for column in zip(*parts)])
        if single:
            return x[:, 0], _each(state, lambda s: s[:, 0])
        return x.swapaxes(0, 1) if self.batch_first else x, state

    @staticmethod
    def _pack(parts: list[Tensor]) -> Any:
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _run(self, x: Tensor, h: Any, end: str) -> tuple[Tensor, Any]:
        """One layer in one direction: (T, N, width) gives (T, N, hidden_size) and the last state."""
        named = {name: getattr(self, name + end, None) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        entering = F.linear(x, named["weight_ih"], named["bias_ih"])  # all steps at once
        outputs = []
        for t in range(len(x)):
            h = self.step(entering[t], h, named["weight_hh"], named["bias_hh"])
            outputs.append(h[0] if isinstance(h, tuple) else h)
        return F.stack(outputs, 0), h

    def step(self, entering: Tensor, h: Any, weight: Tensor, bias: Any) -> Any:
        """The next state, from what enters (the input's part of the sums) and the state before."""
        raise NotImplementedError(f"{type(self).__name__} defines no step(self, entering, h, weight, bias)")

    def extra_repr(self) -> str:
        options = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        given = {n: getattr(self, n) for n, usual in options.items() if getattr(self, n) != usual}
        return f"{self.input_size}, {self.hidden_size}" + "".join(f", {n}={v}" for n, v in given.items())


class RNN(Recurrent):
    """``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or with relu. Elman, "Finding structure in time", 1990."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *, rng: Any = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng)
        self.nonlinearity = nonlinearity

    def step(self, entering: Tensor, h: Tensor, weight: Tensor, bias: Any) -> Tensor:
        return {"tanh": F.tanh, "relu": F.relu}[self.nonlinearity](entering + F.linear(h, weight, bias))


class LSTM(Recurrent):
    """With gates i, f, o and the candidate g: ``c' = f c + i g``, ``h' = o tanh(c')``; the state is (h, c).

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; Gers et al., 2000.
    """

    gates = 4

    def step(self, entering: Tensor, h: tuple[Tensor, Tensor], weight: Tensor, bias: Any) -> tuple[Tensor, Tensor]:
        i, f, g, o = F.chunk(entering + F.linear(h[0], weight, bias), 4, -1)
        c = F.sigmoid(f) * h[1] + F.sigmoid(i) * F.tanh(g)
        return F.sigmoid(o) * F.tanh(c), c


class GRU(Recurrent):
    """With gates r and z and the candidate ``n = tanh(W x + r (U h))``: ``h' = (1 - z) n + z h``.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with the reset after the
    product, as in cuDNN and torch.
    """

    gates = 3

    def step(self, entering: Tensor, h: Tensor, weight: Tensor, bias: Any) -> Tensor:
        x_r, x_z, x_n = F.chunk(entering, 3, -1)
        h_r, h_z, h_n = F.chunk(F.linear(h, weight, bias), 3, -1)
        z = F.sigmoid(x_z + h_z)
        n = F.tanh(x_n + F.sigmoid(x_r + h_r) * h_n)
        return n + z * (h - n)


class Cell(Module):
    """One step of a recurrent layer as a layer of its own: x (N, input_size) and the state give the next state."""

    kind: type[Recurrent]

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, rng: Any = None):
        self.input_size, self.hidden_size, self.bias, self.nonlinearity = input_size, hidden_size, bias, "tanh"
        rng, bound, rows = init.generator(rng), 1 / math.sqrt(hidden_size), self.kind.gates * hidden_size
        self.weight_ih = Parameter(init.uniform((rows, input_size), rng, -bound, bound))
        self.weight_hh = Parameter(init.uniform((rows, hidden_size), rng, -bound, bound))
        self.bias_ih = Parameter(init.uniform((rows,), rng, -bound, bound)) if bias else None
        self.bias_hh = Parameter(init.uniform((rows,), rng, -bound, bound)) if bias else None

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if state is None:
            zeros = Tensor(init.zeros((*x.shape[:-1], self.hidden_size), x.dtype))
            state = (zeros, zeros) if self.kind is LSTM else zeros
        entering = F.linear(x, self.weight_ih, self.bias_ih)
        return self.kind.step(self, entering, state, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(Cell):
    """See RNN."""

    kind = RNN


class LSTMCell(Cell):
    """See LSTM; gives (h, c)."""

    kind = LSTM


class GRUCell(Cell):
    """See GRU."""

    kind = GRU


def _each(state: Any, change: Any) -> Any:
    if state is None:
        return None
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)
