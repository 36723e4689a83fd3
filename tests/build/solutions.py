"""The engine of minidl build, written by hand: every piece as a good student would."""

import numpy as np


class Value:
    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.grad, self.inputs, self.slopes = data, 0.0, inputs, slopes

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def tanh(self):
        t = np.tanh(self.data)
        return Value(t, (self,), (1 - t * t,))

    def backward(self):
        self.grad = 1.0
        for v in consumers_first(self):
            for x, slope in zip(v.inputs, v.slopes):
                x.grad += v.grad * slope

    __radd__ = __add__
    __rmul__ = __mul__


def consumers_first(output):
    """All that output was computed from, each after everything that was computed from it."""
    uses, stack = {output: 0}, [output]
    while stack:
        for x in stack.pop().inputs:
            if x not in uses:
                uses[x] = 0
                stack.append(x)
            uses[x] += 1
    ready = [output]
    while ready:
        y = ready.pop()
        yield y
        for x in y.inputs:
            uses[x] -= 1
            if uses[x] == 0:
                ready.append(x)


class Tensor:
    def __init__(self, data, inputs=(), pullback=None):
        self.data, self.inputs, self.pullback = data, inputs, pullback

    def __add__(self, other):
        shapes = self.data.shape, other.data.shape
        return Tensor(self.data + other.data, (self, other), lambda g: tuple(unbroadcast(g, s) for s in shapes))

    def __mul__(self, other):
        a, b = self.data, other.data
        return Tensor(a * b, (self, other), lambda g: (unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)))

    def sum(self):
        return Tensor(self.data.sum(), (self,), lambda g: (np.broadcast_to(g, self.data.shape),))


def walk(output, g):
    found = {output: g}
    for y in consumers_first(output):
        if y.inputs:
            for x, gx in zip(y.inputs, y.pullback(found.pop(y))):
                found[x] = found[x] + gx if x in found else gx
    return found


def unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    ones = tuple(lead + a for a, n in enumerate(shape) if n == 1)
    return g.sum((*range(lead), *ones)).reshape(shape)


def matmul(a, b):
    return a @ b


def matmul_backward(g, a, b):
    return g @ b.T, a.T @ g


def columns(x, kh, kw, stride, padding):
    """The patches under the window: (N, C, H, W) -> (N, C * KH * KW, OH * OW), and (OH, OW)."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    view = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (2, 3))[:, :, ::stride, ::stride]
    n, c, oh, ow = view.shape[:4]
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, oh * ow), (oh, ow)


def conv(x, w, stride, padding):
    patches, size = columns(x, *w.shape[2:], stride, padding)
    y = w.reshape(len(w), -1) @ patches  # (F, taps) @ (N, taps, positions)
    return y.reshape(len(x), len(w), *size)


def conv_backward_input(g, w, shape, stride, padding):
    n, f, oh, ow = g.shape
    kh, kw = w.shape[2:]
    taps = w.reshape(f, -1).T @ g.reshape(n, f, -1)  # (taps, F) @ (N, F, positions)
    taps = taps.reshape(n, -1, kh, kw, oh, ow)
    x = np.zeros((n, shape[1], shape[2] + 2 * padding, shape[3] + 2 * padding), g.dtype)
    for k in range(kh):
        for l in range(kw):  # noqa: E741
            x[:, :, k : k + stride * oh : stride, l : l + stride * ow : stride] += taps[:, :, k, l]
    return x[:, :, padding : padding + shape[2], padding : padding + shape[3]]


def conv_backward_weight(g, x, shape, stride, padding):
    patches, _ = columns(x, *shape[2:], stride, padding)
    by_image = g.reshape(*g.shape[:2], -1) @ patches.swapaxes(1, 2)  # (N, F, positions) @ (N, positions, taps)
    return by_image.sum(0).reshape(shape)


def conv_transpose(x, w, stride, padding):
    size = [(n - 1) * stride + k - 2 * padding for n, k in zip(x.shape[2:], w.shape[2:])]
    return conv_backward_input(x, w, (len(x), w.shape[1], *size), stride, padding)


def max_pool(x, size, stride):
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    return view[:, :, ::stride, ::stride].max((4, 5))


def max_pool_backward(g, x, size, stride):
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]
    first = view.reshape(*view.shape[:4], -1).argmax(4)
    n, c, i, j = np.indices(g.shape)
    gx = np.zeros_like(x)
    np.add.at(gx, (n, c, stride * i + first // size, stride * j + first % size), g)
    return gx


def each(v):
    return v[:, None, None]  # (C,) -> (C, 1, 1), which broadcasts against (N, C, H, W)


def moments(x):
    return x.mean((0, 2, 3)), x.var((0, 2, 3))


def batch_norm(x, mean, var, weight, bias, eps):
    return (x - each(mean)) * each(weight / np.sqrt(var + eps)) + each(bias)


def batch_norm_backward(g, x, weight, eps):
    mean, var = moments(x)
    inverse = 1 / np.sqrt(var + eps)
    h = (x - each(mean)) * each(inverse)
    gbias, gweight = g.sum((0, 2, 3)), (g * h).sum((0, 2, 3))
    n = g.size // len(weight)
    return each(weight * inverse) * (g - each(gbias / n) - h * each(gweight / n)), gweight, gbias


def sgd(w, g, v, lr, momentum):
    v = momentum * v + g
    return w - lr * v, v


def adam(w, g, m, v, step, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return w - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps), m, v


def cross_entropy(logits, target):
    z = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), target]


def cross_entropy_backward(g, logits, target):
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(p)), target] -= 1
    return g[:, None] * p


def soft_dice(p, t, eps):
    return (2 * (p * t).sum((2, 3)) + eps) / ((p * p).sum((2, 3)) + (t * t).sum((2, 3)) + eps)


def soft_dice_backward(g, p, t, eps):
    total = (p * p).sum((2, 3)) + (t * t).sum((2, 3)) + eps
    return each_map(2 * g / total) * (t - each_map(soft_dice(p, t, eps)) * p)


def each_map(v):
    return v[:, :, None, None]  # (N, C) -> (N, C, 1, 1)
