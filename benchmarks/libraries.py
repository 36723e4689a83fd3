"""What the benchmarks need of a library, under one set of names: minidl and PyTorch, and DeZero and MyGrad from peers.

minidl has torch's names for layers, losses and optimisers, so one text builds a network in either.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


def _plain_backward(y: Any, cotangent: Any) -> None:
    y.backward(cotangent)


def _forget_gradient(tensor: Any) -> None:
    tensor.grad = None


@dataclass(frozen=True)
class Library:
    name: str
    nn: Any  # layers and losses with torch's names
    optim: Any  # SGD and Adam with torch's keywords
    tensor: Callable[..., Any]  # (array, requires_grad=False) -> tensor
    array: Callable[[Any], np.ndarray]  # tensor -> array
    concat: Callable[[list], Any] | None  # along the channels
    no_grad: Callable[[], Any]
    cast: Callable[[Any, str], Any]  # (model, dtype)
    matmul: Callable[[Any, Any], Any]
    backward: Callable[[Any, Any], None] = _plain_backward  # (output, cotangent or None for a scalar)
    forget_gradient: Callable[[Any], None] = _forget_gradient


class Unsupported(Exception):
    """The library has no such layer or option."""


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def library(name: str, threads: int) -> Library:
    """Import a library and let it use so many threads; NumPy's BLAS and minidl were told by the environment."""
    return {"minidl": _minidl, "torch": _torch, "dezero": _dezero, "mygrad": _mygrad}[name](threads)


def _minidl(threads: int) -> Library:
    import minidl as md

    return Library(
        name="minidl",
        nn=md.nn,
        optim=md.optim,
        tensor=lambda array, requires_grad=False: md.Tensor(array, requires_grad=requires_grad),
        array=lambda tensor: tensor.data,
        concat=md.functional.concat,
        no_grad=md.no_grad,
        cast=lambda model, dtype: model.to(dtype),
        matmul=lambda a, b: np.matmul(a.data, b.data),
    )


def _torch(threads: int) -> Library:
    import torch

    torch.set_num_threads(threads)
    return Library(
        name="torch",
        nn=torch.nn,
        optim=torch.optim,
        tensor=lambda array, requires_grad=False: torch.from_numpy(array).requires_grad_(requires_grad),
        array=lambda tensor: tensor.detach().numpy(),
        concat=lambda tensors: torch.cat(tensors, dim=1),
        no_grad=torch.no_grad,
        cast=lambda model, dtype: model.to(getattr(torch, dtype)),
        matmul=torch.matmul,
    )


def _dezero(threads: int) -> Library:
    from . import peers

    return peers.dezero_library()


def _mygrad(threads: int) -> Library:
    from . import peers

    return peers.mygrad_library()
