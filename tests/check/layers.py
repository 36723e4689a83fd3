"""Layers in NumPy as students write them, with CS231n's signatures, right as they stand; INPUTS is what to try them on.

test_pair.py plants mistakes: it replaces a piece of a backward's text by another.
"""

# ruff: noqa: F841, RUF059 - students unpack the whole cache, and so can what is planted
import numpy as np

rng = np.random.default_rng(231)
normal = rng.standard_normal


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    N = len(x)
    rows = x.reshape(N, -1)
    dx = (dout @ w.T).reshape(x.shape)
    dw = rows.T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    x = cache
    dx = dout * (x > 0)
    return dx


def leaky_forward(x, alpha):
    return np.where(x > 0, x, alpha * x), (x, alpha)


def leaky_backward(dout, cache):
    x, alpha = cache
    dx = dout * np.where(x > 0, 1, alpha)
    return dx


def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, (x, y)


def sigmoid_backward(dout, cache):
    x, y = cache
    dx = dout * y * (1 - y)
    return dx


def tanh_forward(x):
    y = np.tanh(x)
    return y, (x, y)


def tanh_backward(dout, cache):
    x, y = cache
    dx = dout * (1 - y**2)
    return dx


def softmax_forward(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y = e / e.sum(axis=1, keepdims=True)
    return y, y


def softmax_backward(dout, cache):
    y = cache
    dx = y * (dout - (dout * y).sum(axis=1, keepdims=True))
    return dx


def softmax_loss(W, X, t, reg):
    N = len(X)
    s = X @ W
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(N), t]).sum() / N + reg * (W * W).sum()
    ds = p.copy()
    ds[np.arange(N), t] -= 1
    ds /= N
    dW = X.T @ ds
    dW += 2 * reg * W
    return loss, dW


def cross_entropy(x, t):
    N = len(x)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(N), t]).sum() / N
    dx = p.copy()
    dx[np.arange(N), t] -= 1
    dx /= N
    return loss, dx


def hinge(x, t):
    N = len(x)
    margins = np.maximum(0, x - x[np.arange(N), t][:, None] + 1)
    margins[np.arange(N), t] = 0
    dx = (margins > 0).astype(float)
    dx[np.arange(N), t] -= dx.sum(axis=1)
    dx /= N
    return margins.sum() / N, dx


def conv_forward(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    (N, C, H, W), (F, C, K, L) = x.shape, w.shape
    P, Q = (H + 2 * pad - K) // stride + 1, (W + 2 * pad - L) // stride + 1
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((N, F, P, Q), np.result_type(x, w, b))
    for i in range(P):
        for j in range(Q):
            window = padded[:, :, i * stride : i * stride + K, j * stride : j * stride + L]
            out[:, :, i, j] = np.tensordot(window, w, ([1, 2, 3], [1, 2, 3])) + b
    return out, (x, w, b, conv_param)


def conv_backward(dout, cache):
    x, w, b, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    F, C, K, L = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    db = dout.sum(axis=(0, 2, 3))
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(i * stride, i * stride + K), slice(j * stride, j * stride + L)
            for n in range(len(x)):
                dw += np.multiply.outer(dout[n, :, i, j], padded[n, :, rows, columns])
            dpadded[:, :, rows, columns] += np.tensordot(dout[:, :, i, j], w, (1, 0))
    dx = dpadded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]
    return dx, dw, db


def im2col_forward(x, w):
    """No stride, no padding: columns (C K L, N P Q)."""
    (N, C, H, W), (F, C, K, L) = x.shape, w.shape
    P, Q = H - K + 1, W - L + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (K, L), (2, 3))  # (N, C, P, Q, K, L)
    columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(C * K * L, -1)
    out = w.reshape(F, -1) @ columns
    return out.reshape(F, N, P, Q).transpose(1, 0, 2, 3), (x, w, columns)


def im2col_backward(dout, cache):
    x, w, columns = cache
    (N, F, P, Q), (F, C, K, L) = dout.shape, w.shape
    rows = dout.transpose(1, 0, 2, 3).reshape(F, -1)
    dw = (rows @ columns.T).reshape(w.shape)
    dcolumns = (w.reshape(F, -1).T @ rows).reshape(C, K, L, N, P, Q)
    dx = np.zeros_like(x)
    for k in range(K):
        for l in range(L):  # noqa: E741
            dx[:, :, k : k + P, l : l + Q] += dcolumns[:, k, l].transpose(1, 0, 2, 3)
    return dx, dw


def max_pool_forward(x, pool_param):
    N, C, H, W = x.shape
    k = pool_param["size"]
    windows = x.reshape(N, C, H // k, k, W // k, k).transpose(0, 1, 2, 4, 3, 5).reshape(N, C, H // k, W // k, k * k)
    return windows.max(axis=4), (x, windows, pool_param)


def max_pool_backward(dout, cache):
    x, windows, pool_param = cache
    k = pool_param["size"]
    dwindows = np.eye(k * k)[windows.argmax(axis=4)] * dout[..., None]
    N, C, P, Q, _ = windows.shape
    dx = dwindows.reshape(N, C, P, Q, k, k).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)
    return dx


def avg_pool_forward(x):
    N, C, H, W = x.shape
    return x.reshape(N, C, H // 2, 2, W // 2, 2).mean(axis=(3, 5)), x


def avg_pool_backward(dout, cache):
    x = cache
    dx = dout.repeat(2, axis=2).repeat(2, axis=3) / 4
    return dx


def batchnorm_forward(x, gamma, beta, bn_param):
    mean = x.mean(axis=0)
    var = ((x - mean) ** 2).mean(axis=0)
    bn_param["running_mean"] = mean
    std = np.sqrt(var + bn_param["eps"])
    normed = (x - mean) / std
    return gamma * normed + beta, (x, gamma, normed, mean, var, std)


def batchnorm_backward(dout, cache):
    x, gamma, normed, mean, var, std = cache
    N = len(x)
    dgamma = (dout * normed).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dn = dout * gamma
    dx = (dn - dn.mean(axis=0) - normed * (dn * normed).mean(axis=0)) / std
    return dx, dgamma, dbeta


def layernorm_forward(x, gamma, beta):
    std = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    normed = (x - x.mean(axis=1, keepdims=True)) / std
    return gamma * normed + beta, (gamma, normed, std)


def layernorm_backward(dout, cache):
    gamma, normed, std = cache
    dgamma = (dout * normed).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dn = dout * gamma
    dx = (dn - dn.mean(axis=1, keepdims=True) - normed * (dn * normed).mean(axis=1, keepdims=True)) / std
    return dx, dgamma, dbeta


def dropout_forward(x, dropout_param):
    p = dropout_param["p"]
    mask = (np.random.default_rng(dropout_param["seed"]).random(x.shape) < p) / p
    return x * mask, (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    dx = dout * mask
    return dx


def rnn_step_forward(x, prev, Wx, Wh, b):
    h = np.tanh(x @ Wx + prev @ Wh + b)
    return h, (x, prev, Wx, Wh, h)


def rnn_step_backward(dnext, cache):
    x, prev, Wx, Wh, h = cache
    da = dnext * (1 - h**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev.T @ da, da.sum(axis=0)


LABELS = np.array([0, 3, 1, 1, 2])
INPUTS = {
    "affine": [normal((3, 2, 2)), normal((4, 4)), normal(4)],
    "relu": [normal((4, 5))],
    "leaky": [normal((4, 5)), 0.1],
    "sigmoid": [normal((3, 4))],
    "tanh": [normal((3, 4))],
    "softmax": [normal((3, 5))],
    "softmax_loss": [normal((3, 4)), normal((5, 3)), LABELS, 0.1],
    "cross_entropy": [normal((5, 4)), LABELS],
    "hinge": [normal((5, 4)), LABELS],
    "conv": [normal((2, 1, 5, 5)), normal((2, 1, 3, 3)), normal(2), {"stride": 2, "pad": 1}],
    "im2col": [normal((2, 2, 5, 4)), normal((3, 2, 3, 3))],
    "max_pool": [normal((2, 2, 4, 6)), {"size": 2}],
    "avg_pool": [normal((2, 2, 4, 6))],
    "batchnorm": [3 * normal((6, 4)) + 2, normal(4), normal(4), {"eps": 1e-5}],
    "layernorm": [3 * normal((3, 4)) + 2, normal(4), normal(4)],
    "dropout": [normal((4, 5)), {"p": 0.5, "seed": 3}],
    "rnn_step": [normal((3, 4)), normal((3, 5)), normal((4, 5)), normal((5, 5)), normal(5)],
}  # fmt: skip
