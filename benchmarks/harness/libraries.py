"""minidl, PyTorch and onnxruntime as the benchmarks use them, and any library by its name."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from .interface import Library, Unsupported, only_infers
from .meters import Clock, CuPyMeter, TorchMeter
from .peers import dezero_library, mygrad_library

NEEDS = {"onnxruntime": ("onnxruntime", "torch", "onnx", "onnxscript")}  # torch exports the networks


def is_installed(name: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in NEEDS.get(name, (name,)))


def library(name: str, threads: int, device: str = "cpu", tf32: bool = False, mode: str = "") -> Library:
    """Import a library; so many threads for torch and onnxruntime: NumPy's BLAS, CuPy and minidl read theirs from the
    environment.

    device: "cpu" or "gpu". tf32: may float32 products be rounded to TF32? mode: of torch; "best": channels last in
    memory, inference mode; "compile": and torch.compile.
    """
    if name == "minidl":
        return _minidl(device)
    if name == "torch":
        return _torch(threads, device, tf32, mode)
    if device != "cpu":
        raise Unsupported(f"{name} is compared on the cpu only")
    if name == "onnxruntime":
        return _onnxruntime(threads)
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
        fit=partial(fit, progress=False, record=device == "cpu"),
        recorded_steps=4 * (device == "cpu"),
        finish=lambda model, x: md.record(model) if device == "cpu" else model,
        meter=Clock() if device == "cpu" else CuPyMeter(gpu()),
        algorithm=lambda name: md.algorithm(name) if name else nullcontext(),
        kernels=_numpy_kernels,
    )


SIMD = {"X86_V3": "AVX2", "X86_V4": "AVX-512", "AVX512_SKX": "AVX-512"}  # NumPy's names for groups of instructions


def _numpy_kernels() -> str:
    """The widest instructions that NumPy uses on this processor, and the kernels that its BLAS has chosen."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    widest = [*simd["baseline"], *simd.get("found", ())][-1]
    found = [f"NumPy {SIMD.get(widest, widest)}"]
    if is_installed("threadpoolctl"):
        from threadpoolctl import threadpool_info

        blas = {f"{b['internal_api']} {b['version']} {b.get('architecture')}": None
                for b in threadpool_info() if b["user_api"] == "blas"}  # fmt: skip
        found += blas
    return ", ".join(found)


def _torch(threads: int, device: str, tf32: bool, mode: str) -> Library:
    import torch

    torch.set_num_threads(threads)
    place = {"cpu": "cpu", "gpu": "cuda"}[device]
    if device == "gpu":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    formats = {4: torch.channels_last, 5: torch.channels_last_3d} if mode else {}

    def laid_out(tensor: Any) -> Any:
        return tensor.contiguous(memory_format=formats.get(tensor.ndim, torch.contiguous_format))

    def cast(model: Any, dtype: str) -> Any:
        model = model.to(place, getattr(torch, dtype))
        for p in model.parameters():
            p.data = laid_out(p.data)
        return model

    def compiled(model: Any, x: Any) -> Any:
        model.compile(dynamic=False)
        try:  # now: what it refuses is then known, and nothing is compiled while others are timed
            with nullcontext() if model.training else torch.inference_mode():
                y = model(x)
            if model.training:
                y.sum().backward()
        except Exception as error:  # a compiler has many ways to fail
            raise Unsupported(f"torch.compile: {type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
        return model

    return Library(
        name="torch",
        nn=torch.nn,
        optim=torch.optim,
        tensor=lambda array, requires_grad=False: laid_out(torch.from_numpy(array).to(place)).requires_grad_(
            requires_grad
        ),
        array=lambda tensor: tensor.detach().cpu().numpy(),
        concat=lambda tensors: torch.cat(tensors, dim=1),
        no_grad=torch.inference_mode if mode else torch.no_grad,
        cast=cast,
        matmul=torch.matmul,
        meter=Clock() if device == "cpu" else TorchMeter(torch),
        kernels=lambda: f"{torch.backends.cpu.get_cpu_capability()}" + ", MKL" * torch.backends.mkl.is_available(),
        **({"finish": compiled} if mode == "compile" else {}),
    )


def _onnxruntime(threads: int) -> Library:
    """onnxruntime on graphs that torch exports."""
    import onnxruntime
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it says at length what it does not need
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1

    def exported(model: Any, x: Any) -> Callable[[Any], np.ndarray]:
        graph = torch.onnx.export(model, (x,), input_names=["x"], verbose=False).model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x.numpy()})[0]

    return replace(
        _torch(threads, "cpu", tf32=False, mode=""),
        name="onnxruntime",
        optim=SimpleNamespace(SGD=only_infers, Adam=only_infers),
        array=np.asarray,
        backward=only_infers,
        finish=exported,
        kernels=lambda: f"onnxruntime {onnxruntime.__version__}",
    )
