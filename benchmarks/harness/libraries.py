"""minidl and PyTorch as the benchmarks use them, and any library by its name."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from functools import partial

from .interface import Library, Unsupported
from .meters import Clock, CuPyMeter, TorchMeter
from .peers import dezero_library, mygrad_library


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def library(name: str, threads: int, device: str = "cpu", tf32: bool = False) -> Library:
    """Import a library; so many threads for torch: NumPy's BLAS, CuPy and minidl read theirs from the environment.

    device: "cpu" or "gpu". tf32: may float32 products be rounded to TF32?
    """
    if name == "minidl":
        return _minidl(device)
    if name == "torch":
        return _torch(threads, device, tf32)
    if device != "cpu":
        raise Unsupported(f"{name} is compared on the cpu only")
    return {"dezero": dezero_library, "mygrad": mygrad_library}[name]()


def _minidl(device: str) -> Library:
    import minidl as md
    from minidl.device import gpu, namespace, to_device
    from minidl.train import fit

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
        fit=partial(fit, progress=False),
        meter=Clock() if device == "cpu" else CuPyMeter(gpu()),
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
        meter=Clock() if device == "cpu" else TorchMeter(torch),
    )
