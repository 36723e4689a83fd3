"""My engine, in plain NumPy, piece by piece.

    minidl build check my_engine.py              marks what is written: every piece, or the one that is named
    python -m tasks denoise --with my_engine.py  trains a network with these functions in place of the library's

Each docstring says what to compute, of which shapes, and what to return. A function that raises NotImplementedError
counts as not written. Arrays are float64 or float32: return the dtype of what you are given, and leave your arguments
as they are. Arguments are passed by position, so only their order counts; what else you write in this file is yours.

Everywhere, g is a cotangent: the derivative of the final loss with respect to an output, shaped as that output. A
function NAME_backward carries it to the inputs.
"""

import numpy as np

# --- value: a number that knows where it came from


class Value:
    """A number, and the values that it was computed from.

    ``Value(3.0)`` is a leaf. ``data`` is the number, ``grad`` (0.0 at first) the derivative that `backward` leaves.
    The other operand of + and * may be a plain number, on either side. Give the class whatever else it needs to
    remember, such as its inputs and the local derivative by each.
    """

    def __init__(self, data):
        raise NotImplementedError

    def __add__(self, other):
        """self + other, a Value; its derivative by either is 1."""
        raise NotImplementedError

    def __mul__(self, other):
        """self * other, a Value; its derivative by self is other, by other it is self."""
        raise NotImplementedError

    def tanh(self):
        """tanh of self, a Value; its derivative is 1 - tanh(self)^2."""
        raise NotImplementedError

    def backward(self):
        """Add d self / d v to the ``grad`` of every value v that self was computed from, and of self, where it is 1.

        The chain rule: the derivative by v is the sum, over all values u that were computed from v directly, of
        (derivative by u) * (local derivative of u by v). A value may be used several times: pass its derivative on
        when all its uses have contributed, not before. Graphs may be 10,000 values deep: no recursion.
        """
        raise NotImplementedError

    __radd__ = __add__
    __rmul__ = __mul__


# --- tensor: an array that knows where it came from, and the walk back


class Tensor:
    """An array, and the tensors that it was computed from.

    ``data`` is the array, ``inputs`` the tuple of tensors that it was computed from (empty for a leaf), and
    ``pullback`` a function: ``pullback(g)`` gives a tuple of one cotangent per input, g being that of this tensor.
    """

    def __init__(self, data, inputs=(), pullback=None):
        raise NotImplementedError

    def __add__(self, other):
        """self + other, entry by entry, of tensors of one shape (of shapes that broadcast: see the next piece)."""
        raise NotImplementedError

    def __mul__(self, other):
        """self * other, entry by entry, of tensors of one shape (of shapes that broadcast: see the next piece)."""
        raise NotImplementedError

    def sum(self):
        """The sum of all entries, a Tensor of shape (). Every entry has the derivative 1."""
        raise NotImplementedError


def walk(output, g):
    """Carry the cotangent g of a tensor `output` back to the leaves: a dict {leaf: its cotangent}.

    It must run for anything that has ``inputs`` and ``pullback`` as Tensor does: use no more. A leaf is what has no
    inputs. Call each pullback once, with the sum of all cotangents that arrived at that tensor, and that is: after the
    pullbacks of all tensors computed from it. If `output` is a leaf, the answer is {output: g}. No recursion.
    """
    raise NotImplementedError


# --- broadcasting: what was repeated is added up


def unbroadcast(g, shape):
    """The adjoint of np.broadcast_to: add up g over the axes along which an array of `shape` was repeated.

    shape broadcasts to g.shape: axes that it lacks in front, and axes where it has 1, were repeated. Returns an array
    of that shape. With it, let + and * of Tensor take two shapes that broadcast: each input's cotangent has the shape
    of that input.
    """
    raise NotImplementedError


# --- matmul: the matrix product


def matmul(a, b):
    """a (I, K) and b (K, J) give y (I, J): y[i, j] = sum over k of a[i, k] * b[k, j]."""
    raise NotImplementedError


def matmul_backward(g, a, b):
    """From g (I, J), the cotangent of a @ b: the cotangents of a, (I, K), and of b, (K, J), as a tuple."""
    raise NotImplementedError


# --- conv: convolution (as everywhere in the field, the kernel is not flipped)


def conv(x, w, stride, padding):
    """x (N, C, H, W) and w (F, C, KH, KW) give y (N, F, OH, OW):

        y[n, f, i, j] = sum over c, k, l of w[f, c, k, l] * x[n, c, stride * i + k - padding, stride * j + l - padding]

    where x counts as 0 outside of its borders. OH = (H + 2 * padding - KH) // stride + 1, OW alike. stride and padding
    are ints. There is no bias.
    """
    raise NotImplementedError


# --- conv-input: the gradient of a convolution with respect to its input


def conv_backward_input(g, w, shape, stride, padding):
    """From g (N, F, OH, OW), the cotangent of y = conv(x, w, stride, padding): that of x, whose `shape` is given.

    Each y[n, f, i, j] read x[n, c, stride * i + k - padding, stride * j + l - padding] times w[f, c, k, l]: so
    g[n, f, i, j] * w[f, c, k, l] is added there, unless it is outside of x. Cells of x that no window read get 0.
    """
    raise NotImplementedError


# --- conv-weight: the gradient of a convolution with respect to its weight


def conv_backward_weight(g, x, shape, stride, padding):
    """From g (N, F, OH, OW), the cotangent of y = conv(x, w, stride, padding): that of w, whose `shape` is given.

    w[f, c, k, l] acts at every image n and position i, j: add up
    g[n, f, i, j] * x[n, c, stride * i + k - padding, stride * j + l - padding].
    """
    raise NotImplementedError


# --- conv-transpose: upsampling that is learned


def conv_transpose(x, w, stride, padding):
    """x (N, F, H, W) and w (F, C, KH, KW) give y (N, C, OH, OW), with OH = (H - 1) * stride + KH - 2 * padding:

        y[n, c, p, q] = sum of w[f, c, k, l] * x[n, f, i, j] over all f, i, j, k, l with
                        stride * i + k - padding = p and stride * j + l - padding = q

    It is the linear map of `conv_backward_input`, used forward: the transpose of the matrix of a convolution.
    """
    raise NotImplementedError


# --- pooling: the largest of each window


def max_pool(x, size, stride):
    """x (N, C, H, W) gives y (N, C, OH, OW): y[n, c, i, j] = the largest x[n, c, stride * i + k, stride * j + l],
    0 <= k, l < size. No padding: OH = (H - size) // stride + 1."""
    raise NotImplementedError


def max_pool_backward(g, x, size, stride):
    """From g (N, C, OH, OW), the cotangent of max_pool(x, size, stride): that of x.

    Each g[n, c, i, j] is added where the window i, j has its largest entry: the first one in reading order (row by
    row) where several are equal. Windows overlap if stride < size, and then an entry may receive several.
    """
    raise NotImplementedError


# --- batch-norm: each channel with mean 0 and variance 1


def moments(x):
    """The mean and the variance (the mean of the squared deviations: divided by n, not n - 1) of each channel of
    x (N, C, H, W), over images and positions: a tuple of two arrays (C,)."""
    raise NotImplementedError


def batch_norm(x, mean, var, weight, bias, eps):
    """y = (x - mean) / sqrt(var + eps) * weight + bias; x (N, C, H, W), all others (C,), one entry per channel."""
    raise NotImplementedError


def batch_norm_backward(g, x, weight, eps):
    """From g, the cotangent of y = batch_norm(x, mean, var, weight, bias, eps) where mean and var are the moments of
    x: the cotangents of x (N, C, H, W), weight (C,) and bias (C,), as a tuple.

    x acts by three ways: itself, the mean, the variance. With h = (x - mean) / sqrt(var + eps), and all means per
    channel: gx = weight / sqrt(var + eps) * (g - mean of g - h * mean of (g * h)).
    """
    raise NotImplementedError


# --- sgd: gradient descent with momentum


def sgd(w, g, v, lr, momentum):
    """One step: v becomes momentum * v + g, then w becomes w - lr * (the new v). Returns the new w and v, a tuple.

    All arrays have one shape. At the first step v is 0 everywhere.
    """
    raise NotImplementedError


# --- adam: steps scaled by running averages, which trains the denoiser


def adam(w, g, m, v, step, lr, beta1, beta2, eps):
    """One step, the step-th (from 1). Returns the new w, m and v, a tuple of arrays of one shape:

        m = beta1 * m + (1 - beta1) * g            the running mean of g, 0 before the first step
        v = beta2 * v + (1 - beta2) * g^2          the running mean of its square, 0 before the first step
        w = w - lr * m' / (sqrt(v') + eps),  with m' = m / (1 - beta1^step) and v' = v / (1 - beta2^step)
    """
    raise NotImplementedError


# --- cross-entropy: minus the log probability of the right class


def cross_entropy(logits, target):
    """logits (N, C), target (N,) class numbers: the loss of each sample, (N,).

        loss[n] = log(sum over c of exp(logits[n, c])) - logits[n, target[n]]

    Logits may be as large as 1000: subtract the largest of each row first.
    """
    raise NotImplementedError


def cross_entropy_backward(g, logits, target):
    """From g (N,), the cotangent of the losses: that of the logits, g[n] * (softmax(logits[n]) - onehot(target[n]))."""
    raise NotImplementedError


# --- soft-dice: how much two masks overlap


def soft_dice(p, t, eps):
    """p probabilities and t a mask, both (N, C, H, W): the Dice overlap of each map, (N, C):

        D = (2 * sum of p * t + eps) / (sum of p^2 + sum of t^2 + eps)       sums over H, W
    """
    raise NotImplementedError


def soft_dice_backward(g, p, t, eps):
    """From g (N, C), the cotangent of D = soft_dice(p, t, eps): that of p, (N, C, H, W). t is data.

    By the quotient rule, with Q = sum of p^2 + sum of t^2 + eps: dD/dp = 2 * (t - D * p) / Q.
    """
    raise NotImplementedError
