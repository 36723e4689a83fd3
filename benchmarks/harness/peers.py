"""DeZero and MyGrad under torch's names, as far as the benchmark's sequential networks need them.

Neither has modules with torch's arguments or a common set of optimisers, so those stand here, over each library's own
functions; what a library lacks raises Unsupported, and its column stays empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from .interface import Library, Unsupported


class Functions(SimpleNamespace):
    """A library's own functions on its own tensors: parameter, conv, batch_norm, relu, max_pool, mse, cross_entropy."""


class Module:
    def __init__(self, functions: Functions):
        self.functions = functions

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in ("weight", "bias") if getattr(self, name, None) is not None)

    def parameters(self) -> Iterator[Any]:
        return (p for _, p in self.named_parameters())

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        for name, p in self.named_parameters():
            p.data[...] = state[name].data


class Sequential(Module):
    def __init__(self, functions: Functions, *layers: Module):
        self.layers = layers

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        return ((f"{i}.{name}", p) for i, layer in enumerate(self.layers) for name, p in layer.named_parameters())

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


class Conv(Module):
    def __init__(
        self, functions: Functions, in_channels: int, out_channels: int, kernel_size: int, rank: int = 2,
        bias: bool = True, groups: int = 1, stride: int = 1, padding: int = 0, dilation: int = 1,
    ):  # fmt: skip
        if groups != 1:
            raise Unsupported(f"groups={groups}")
        super().__init__(functions)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation}
        self.weight = functions.parameter(np.zeros((out_channels, in_channels, *[kernel_size] * rank), np.float32))
        self.bias = functions.parameter(np.zeros(out_channels, np.float32)) if bias else None

    def __call__(self, x: Any) -> Any:
        return self.functions.conv(x, self.weight, self.bias, **self.options)


class BatchNorm(Module):
    def __init__(self, functions: Functions, num_features: int):
        super().__init__(functions)
        self.weight, self.bias = (functions.parameter(np.zeros(num_features, np.float32)) for _ in range(2))
        self.running_mean, self.running_var = np.zeros(num_features, np.float32), np.ones(num_features, np.float32)

    def __call__(self, x: Any) -> Any:
        return self.functions.batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var)


class Function(Module):
    """A layer without parameters, or a loss."""

    def __init__(self, functions: Functions, name: str, **options: Any):
        super().__init__(functions)
        self.call: Callable[..., Any] = partial(getattr(functions, name), **options)

    def __call__(self, *inputs: Any) -> Any:
        return self.call(*inputs)


class Layers:
    """The layers of a library as torch names them."""

    def __init__(self, functions: Functions, ranks: tuple[int, ...]):
        self.known = {
            "Sequential": Sequential,
            "BatchNorm2d": BatchNorm,
            "ReLU": partial(Function, name="relu"),
            "Identity": partial(Function, name="identity"),
            "MaxPool2d": partial(Function, name="max_pool"),
            "MSELoss": partial(Function, name="mse"),
            "CrossEntropyLoss": partial(Function, name="cross_entropy"),
            **{f"Conv{rank}d": partial(Conv, rank=rank) for rank in ranks},
        }
        self.functions = functions

    def __getattr__(self, name: str) -> Callable[..., Module]:
        if name not in self.known:
            raise Unsupported(name)
        return partial(self.known[name], self.functions)


class SGD:
    """Stochastic gradient descent with momentum, in place, as a user of these libraries would write it."""

    def __init__(self, parameters: Iterator[Any], lr: float, momentum: float):
        self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
        self.velocities = [np.zeros_like(p.data) for p in self.parameters]

    def step(self) -> None:
        for p, v in zip(self.parameters, self.velocities):
            v *= self.momentum
            v += plain(p.grad)
            p.data[...] = p.data - self.lr * v


class Optimisers:
    SGD = SGD

    def __getattr__(self, name: str) -> Any:
        raise Unsupported(name)


def plain(tensor: Any) -> np.ndarray:
    """The array of a tensor, or the array itself: gradients are tensors in one of them, arrays in the other."""
    return tensor if isinstance(tensor, np.ndarray) else tensor.data


def require_matrix(logits: Any) -> None:
    if logits.ndim != 2:
        raise Unsupported(f"cross entropy of {logits.ndim} axes")


def peer(name: str, functions: Functions, ranks: tuple[int, ...], **others: Any) -> Library:
    return Library(
        name=name,
        nn=Layers(functions, ranks),
        optim=Optimisers(),
        array=plain,
        concat=None,
        no_grad=nullcontext,
        cast=lambda model, dtype: model,
        matmul=lambda a, b: np.matmul(a.data, b.data),
        **others,
    )


def dezero_library() -> Library:
    """DeZero 0.0.13, which asks NumPy for a name that NumPy 2 has dropped."""
    vars(np)["int"] = int
    import dezero
    from dezero import functions as F

    def conv(x: Any, w: Any, b: Any, stride: int, padding: int, dilation: int) -> Any:
        if dilation != 1:
            raise Unsupported(f"dilation={dilation}")
        return F.conv2d(x, w, b, stride, padding)

    def max_pool(x: Any, kernel_size: int, stride: int | None = None, padding: int = 0) -> Any:
        if padding:
            raise Unsupported("zeros as the padding of a maximum")
        return F.pooling(x, kernel_size, stride or kernel_size)

    def cross_entropy(x: Any, target: Any) -> Any:
        require_matrix(x)
        return F.softmax_cross_entropy(x, target)

    def backward(y: Any, cotangent: Any) -> None:
        y.grad = cotangent
        y.backward()

    functions = Functions(
        parameter=dezero.Parameter,
        conv=conv,
        batch_norm=lambda x, w, b, mean, var: F.batch_nrom(x, w, b, mean, var, eps=1e-5),
        relu=F.relu,
        identity=lambda x: x,
        max_pool=max_pool,
        mse=lambda x, t: F.mean_squared_error(x, t) * np.float32(len(x) / x.size),
        cross_entropy=cross_entropy,
    )
    return peer("dezero", functions, (2,), tensor=lambda array, requires_grad=False: dezero.Variable(array),
                backward=backward)  # fmt: skip


def mygrad_library() -> Library:
    import mygrad as mg
    from mygrad import nnet

    def conv(x: Any, w: Any, b: Any, **options: int) -> Any:
        try:
            y = nnet.conv_nd(x, w, **options)
        except ValueError as error:  # it wants strides that come out even
            raise Unsupported(str(error)) from error
        return y if b is None else y + b.reshape(1, -1, *[1] * (x.ndim - 2))

    def max_pool(x: Any, kernel_size: int, stride: int | None = None, padding: int = 0) -> Any:
        if padding:
            raise Unsupported("a padded maximum")
        return nnet.max_pool(x, (kernel_size, kernel_size), stride or kernel_size)

    def cross_entropy(x: Any, target: Any) -> Any:
        require_matrix(x)
        return nnet.softmax_crossentropy(x, target)

    functions = Functions(
        parameter=mg.tensor,
        conv=conv,
        batch_norm=lambda x, w, b, mean, var: nnet.batchnorm(x, gamma=w, beta=b, eps=1e-5),
        relu=nnet.relu,
        identity=lambda x: x,
        max_pool=max_pool,
        mse=lambda x, t: ((x - t) ** 2).mean(),
        cross_entropy=cross_entropy,
    )
    return peer(
        "mygrad",
        functions,
        (1, 2, 3),
        tensor=lambda array, requires_grad=False: mg.tensor(array, constant=not requires_grad or None, copy=False),
        backward=lambda y, u: y.backward(None if u is None else u.data),
        clear_gradient=lambda tensor: tensor.null_grad(),
    )
