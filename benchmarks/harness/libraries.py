"""What the benchmarks need of a library, under one set of names: minidl and PyTorch, and DeZero and MyGrad from peers.

minidl has torch's names for layers, losses and optimisers, so one text builds a network in either.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .meters import Clock, Meter, OfCuPy, OfTorch


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
    meter: Meter = field(default_factory=Clock)
    algorithm: Callable[[str | None], AbstractContextManager] = lambda name: nullcontext()  # of convolutions


class Unsupported(Exception):
    """The library has no such layer or option."""


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def library(name: str, threads: int, device: str = "cpu", tf32: bool = False) -> Library:
    """Import a library and let it use so many threads; NumPy's BLAS, CuPy and minidl were told by the environment.

    device: "cpu" or "gpu". tf32: may float32 products be rounded to TF32?
    """
    if name == "minidl":
        return _minidl(device)
    if name == "torch":
        return _torch(threads, device, tf32)
    if device != "cpu":
        raise Unsupported(f"{name} is compared on the cpu only")
    from . import peers

    return {"dezero": peers.dezero_library, "mygrad": peers.mygrad_library}[name]()


def _minidl(device: str) -> Library:
    import minidl as md
    from minidl.device import gpu, namespace, to_device

    return Library(
        name="minidl",
        nn=md.nn,
        optim=md.optim,
        tensor=lambda array, requires_grad=False: md.Tensor(to_device(array, device), requires_grad=requires_grad),
        array=lambda tensor: tensor.numpy(),
        concat=md.functional.concat,
        no_grad=md.no_grad,
        cast=lambda model, dtype: model.to(dtype).to(device),
        matmul=lambda a, b: namespace([a.data, b.data]).matmul(a.data, b.data),
        meter=Clock() if device == "cpu" else OfCuPy(gpu()),
        algorithm=lambda name: md.algorithm(name) if name else nullcontext(),
    )


def _torch(threads: int, device: str, tf32: bool) -> Library:
    import torch

    torch.set_num_threads(threads)
    place = {"cpu": "cpu", "gpu": "cuda"}[device]
    if device == "gpu":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return Library(
        name="torch",
        nn=torch.nn,
        optim=torch.optim,
        tensor=lambda array, requires_grad=False: torch.from_numpy(array).to(place).requires_grad_(requires_grad),
        array=lambda tensor: tensor.detach().cpu().numpy(),
        concat=lambda tensors: torch.cat(tensors, dim=1),
        no_grad=torch.no_grad,
        cast=lambda model, dtype: model.to(place, getattr(torch, dtype)),
        matmul=torch.matmul,
        meter=Clock() if device == "cpu" else OfTorch(torch),
    )
