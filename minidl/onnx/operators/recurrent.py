"""Recurrent layers, step by step: LSTM, GRU, RNN.

The rows of a weight (directions, gates * H, ...) are those of the gates, one after the other. What x contributes to
them is one product for all steps; a bias has two halves, one for each product.
"""

from __future__ import annotations

from ... import functional as F
from ...ops.shape import broadcast_to, swapaxes
from .activation import hard_sigmoid, softsign
from .table import Plain, operator

ACTIVATIONS = {
    "Sigmoid": F.sigmoid, "Tanh": F.tanh, "Relu": F.relu, "Softplus": F.softplus, "Softsign": softsign,
    "HardSigmoid": hard_sigmoid,
}  # fmt: skip
LEARNS = ("w", "r", "b")
ONLY = {"activations": ACTIVATIONS, "direction": ("forward", "reverse", "bidirectional")}


def unrolled(step_of, x, states, lengths, hidden_size, direction, layout):
    """All outputs, (T, directions, N, H), and the states after the last step, (directions, N, H).

    ``step_of(d, x)`` gives the function of one direction from t and the states to the new ones, of which the first is
    the output. `states` are the first ones, None for zeros. Beyond the length of its sequence an output is 0 and a
    state stays. With `layout` the batch comes first in all of them.
    """
    if layout:
        x, states = swapaxes(x, 0, 1), [None if s is None else swapaxes(s, 0, 1) for s in states]
    zeros = broadcast_to(x[0, :, :1].zeros_like(), x.shape[1], hidden_size)
    outputs, last = [], []
    for d in range(2 if direction == "bidirectional" else 1):
        step, now = step_of(d, x), [zeros if s is None else s[d] for s in states]
        times = range(x.shape[0])
        found = {}
        for t in reversed(times) if direction == "reverse" or d else times:
            new = step(t, *now)
            found[t] = new[0]
            if lengths is not None and t >= lengths.min():
                goes_on = t < lengths[:, None]
                found[t] = F.where(goes_on, new[0], 0.0)
                new = [F.where(goes_on, a, b) for a, b in zip(new, now)]
            now = new
        outputs.append(F.stack([found[t] for t in times]))
        last.append(now)
    y, last = F.stack(outputs, axis=1), [F.stack(of_directions) for of_directions in zip(*last)]
    return (y.transpose(2, 0, 1, 3), *(swapaxes(s, 0, 1) for s in last)) if layout else (y, *last)


def macs(inputs, y):
    x, w, r = inputs[:3]
    return x.shape[0] * x.shape[1] * (w.size + r.size)


def functions(names, usual, d):
    """The activations of direction d: those named, or the usual ones."""
    names = names[d * len(usual) : (d + 1) * len(usual)] if names else usual
    return [ACTIVATIONS[name] for name in names]


def halves(b, d):
    """The bias of the product with x, and of that with the state."""
    return (0.0, 0.0) if b is None else F.chunk(b[d], 2)


def held(x, clip):
    return x if clip is None else F.clip(x, -clip, clip)


@operator("LSTM", learns=LEARNS, only=ONLY, macs=macs)
def lstm(
    x, w, r, b=None, lengths: Plain = None, h=None, c=None, peepholes=None, *, hidden_size, direction="forward",
    layout=0, activations=None, clip=None, input_forget=0,
):  # fmt: skip
    """Source: Hochreiter and Schmidhuber 1997; the gates in the order input, output, forget, new."""

    def step_of(d, x):
        f, g, last = functions(activations, ["Sigmoid", "Tanh", "Tanh"], d)
        of_x = F.matmul(x, w[d].T) + sum(halves(b, d))  # (T, N, 4 H)
        p_i, p_o, p_f = (0.0, 0.0, 0.0) if peepholes is None else F.chunk(peepholes[d], 3)

        def step(t, h, c):
            i, o, forget, new = F.chunk(of_x[t] + F.matmul(h, r[d].T), 4, axis=-1)
            i = f(held(i + p_i * c, clip))
            forget = 1 - i if input_forget else f(held(forget + p_f * c, clip))
            c = forget * c + i * g(held(new, clip))
            return f(held(o + p_o * c, clip)) * last(c), c

        return step

    return unrolled(step_of, x, [h, c], lengths, hidden_size, direction, layout)


@operator("GRU", learns=LEARNS, only=ONLY, macs=macs)
def gru(
    x, w, r, b=None, lengths: Plain = None, h=None, *, hidden_size, direction="forward", layout=0, activations=None,
    clip=None, linear_before_reset=0,
):  # fmt: skip
    """Source: Cho et al. 2014, eq. 5 to 8; the gates in the order update, reset, new."""

    def step_of(d, x):
        f, g = functions(activations, ["Sigmoid", "Tanh"], d)
        of_input, of_state = halves(b, d)
        of_x = F.matmul(x, w[d].T) + of_input  # (T, N, 3 H)
        n = 2 * hidden_size
        gates, new = r[d][:n], r[d][n:]
        bias, bias_new = (of_state, of_state) if b is None else (of_state[:n], of_state[n:])

        def step(t, h):
            z, reset = (f(held(v, clip)) for v in F.chunk(of_x[t][:, :n] + F.matmul(h, gates.T) + bias, 2, axis=-1))
            if linear_before_reset:
                from_state = reset * (F.matmul(h, new.T) + bias_new)
            else:
                from_state = F.matmul(reset * h, new.T) + bias_new
            candidate = g(held(of_x[t][:, n:] + from_state, clip))
            return ((1 - z) * candidate + z * h,)

        return step

    return unrolled(step_of, x, [h], lengths, hidden_size, direction, layout)


@operator("RNN", learns=LEARNS, only=ONLY, macs=macs)
def rnn(
    x, w, r, b=None, lengths: Plain = None, h=None, *, hidden_size, direction="forward", layout=0, activations=None,
    clip=None,
):  # fmt: skip
    """Source: Elman 1990."""

    def step_of(d, x):
        (f,) = functions(activations, ["Tanh"], d)
        of_x = F.matmul(x, w[d].T) + sum(halves(b, d))  # (T, N, H)
        return lambda t, h: (f(held(of_x[t] + F.matmul(h, r[d].T), clip)),)

    return unrolled(step_of, x, [h], lengths, hidden_size, direction, layout)
