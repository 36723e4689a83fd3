"""Parts of torch that change nothing here, so that scripts which speak of them run: cuda, backends, amp, jit ..."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any

from . import creation, methods, pointwise
from .compiled import COMPILED
from .dtypes import device
from .settings import autocast
from .special import OF_MODULE
from .tensor import lifted, unwrap


def module(path: str, text: str, **members: Any) -> ModuleType:
    made = ModuleType(f"minidl.torch.{path}", text)
    vars(made).update(members)
    return made


def nothing(*arguments: Any, **options: Any) -> None:
    """Does nothing."""


class GradScaler:
    """Scales nothing: float32 needs none."""

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def scale(self, loss: Any) -> Any:
        return loss

    def step(self, optimizer: Any, *arguments: Any) -> Any:
        return optimizer.step(*arguments)

    unscale_ = update = load_state_dict = nothing

    def get_scale(self) -> float:
        return 1.0

    def is_enabled(self) -> bool:
        return False

    def state_dict(self) -> dict:
        return {}


class Event:
    """A point in time."""

    def __init__(self, *arguments: Any, **options: Any):
        self.at = 0.0

    def record(self, stream: Any = None) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, other: Event) -> float:
        return 1000 * (other.at - self.at)

    wait = synchronize = nothing


class _ListOf:
    """An annotation of TorchScript's: ``BroadcastingList2[int]``."""

    def __getitem__(self, kind: Any) -> type:
        return list


def script(function: Any = None, *arguments: Any, **options: Any) -> Any:
    """The function or module itself."""
    return function if function is not None else lambda f: f


def _seed_all(seed: int) -> None:
    creation.manual_seed(seed)


def _refused(name: str, advice: str) -> Callable:
    def function(*arguments: Any, **options: Any) -> Any:
        raise NotImplementedError(f"torch.{name} is not there: {advice}")

    return function


_amp = {"autocast": autocast, "GradScaler": GradScaler, "custom_fwd": script, "custom_bwd": script}
amp = module("amp", "Automatic mixed precision: none.", **_amp)
cuda = module(
    "cuda", "There is no CUDA device: md.Tensor's .to('gpu') is minidl's own way.", amp=module("cuda.amp", "",
    **_amp), Event=Event,
    is_available=lambda: False, device_count=lambda: 0, is_initialized=lambda: False, is_bf16_supported=lambda: False,
    manual_seed=_seed_all, manual_seed_all=_seed_all, empty_cache=nothing, synchronize=nothing, set_device=nothing,
    memory_allocated=lambda *d: 0, max_memory_allocated=lambda *d: 0, memory_reserved=lambda *d: 0,
    reset_peak_memory_stats=nothing, init=nothing, ipc_collect=nothing, seed_all=nothing, seed=nothing,
    current_device=_refused("cuda.current_device", "ask torch.cuda.is_available() first"),
    get_device_name=_refused("cuda.get_device_name", "ask torch.cuda.is_available() first"),
    get_device_properties=_refused("cuda.get_device_properties", "ask torch.cuda.is_available() first"),
    get_device_capability=_refused("cuda.get_device_capability", "ask torch.cuda.is_available() first"),
    device=nullcontext, Stream=nullcontext, stream=nullcontext, current_stream=nullcontext,
)  # fmt: skip
_switch = {"is_available": lambda: False, "is_built": lambda: False, "enabled": False}
backends = module(
    "backends", "Switches that change nothing.",
    cudnn=module("backends.cudnn", "", benchmark=False, deterministic=True, allow_tf32=False, version=nothing,
                 flags=lambda **options: nullcontext(), **_switch),
    mps=module("backends.mps", "", **_switch), mkldnn=module("backends.mkldnn", "", **_switch),
    mkl=module("backends.mkl", "", **_switch), openmp=module("backends.openmp", "", **_switch),
    cuda=module("backends.cuda", "", matmul=module("backends.cuda.matmul", "", allow_tf32=False), **_switch),
)  # fmt: skip
jit = module(
    "jit", "Scripting gives back what it is given.", script=script, ignore=script, unused=script, export=script,
    is_scripting=lambda: False, is_tracing=lambda: False, trace=lambda model, *inputs, **options: model,
    annotations=module("jit.annotations", "", BroadcastingList1=_ListOf(), BroadcastingList2=_ListOf(),
    BroadcastingList3=_ListOf()),
    _overload_method=script, ScriptModule=type("ScriptModule", (), {}), annotate=lambda kind, value: value,
    interface=script,
    script_method=script, _script_if_tracing=script, Final=Any, freeze=script, optimize_for_inference=script,
    load=_refused("jit.load", "a TorchScript file is a program; save the state_dict, or export ONNX and md.load_onnx"),
    save=_refused("jit.save", "torch.save(model.state_dict(), path) saves weights, md.save_onnx(...) the network"),
)  # fmt: skip
random = module(
    "random", "The default generator.", manual_seed=creation.manual_seed, initial_seed=creation.initial_seed,
    seed=creation.seed, get_rng_state=creation.get_rng_state, set_rng_state=creation.set_rng_state,
)  # fmt: skip
special = module(
    "special", "Functions of one number.",
    **{name: lifted(pointwise.TABLE[name]) for name in ("erf", "erfc", "expm1", "exp2", "log1p", "logit", "sinc",
    "xlogy")},
    **{name: lifted(f) for name, f in OF_MODULE.items()},
    expit=lifted(pointwise.TABLE["sigmoid"]), softmax=methods.Tensor.softmax, log_softmax=methods.Tensor.log_softmax,
    logsumexp=methods.Tensor.logsumexp,
)  # fmt: skip
distributed = module(
    "distributed", "One process; `mpiexec python -m tasks ... --ranks mpi` trains in several.",
    is_available=lambda: False,
    is_initialized=lambda: False, get_rank=lambda *g: 0, get_world_size=lambda *g: 1, barrier=nothing,
    init_process_group=_refused("distributed.init_process_group", "fit(..., ranks='mpi') trains in several processes"),
)  # fmt: skip
hub = module(
    "hub", "Nothing is downloaded.", _get_torch_home=lambda: os.path.expanduser("~/.cache/torch"), set_dir=nothing,
    get_dir=lambda: os.path.expanduser("~/.cache/torch/hub"),
    load=_refused("hub.load", "nothing is downloaded; build the model and torch.load its weights from a file"),
    load_state_dict_from_url=_refused(
        "hub.load_state_dict_from_url", "nothing is downloaded; fetch the file yourself and torch.load it"
    ),
)  # fmt: skip
fx = module(
    "fx", "Nothing is traced.", wrap=script, Tracer=object, Graph=object, GraphModule=object, Node=object,
    graph_module=module("fx.graph_module", "", _CodeOnlyModule=object, _copy_attr=nothing,
                        _USER_PRESERVED_ATTRIBUTES_KEY="attributes"),
)  # fmt: skip
def export_onnx(
    model: Any, args: Any = (), f: Any = None, *old: Any, input_names: Any = None, output_names: Any = None,
    opset_version: int | None = None, dynamic_axes: Any = None, dynamic_shapes: Any = None, **options: Any,
) -> None:  # fmt: skip
    """``md.save_onnx``; the batch is free if any axes are to be dynamic. Older opsets than it writes become its own."""
    from ..onnx.save.file import OPSET, as_model, save_onnx

    example = tuple([unwrap(x) for x in args]) if isinstance(args, tuple | list) else unwrap(args)
    given = {"dynamic_batch": bool(dynamic_axes or dynamic_shapes), "opset": max(OPSET, opset_version or OPSET),
             "input_names": input_names, "output_names": output_names}  # fmt: skip
    if hasattr(f, "write"):
        f.write(as_model(model, example, **given).SerializeToString())
    else:
        save_onnx(model, example, f, **given)


onnx = module("onnx", "", export=export_onnx, is_in_onnx_export=lambda: False)
mps = module("mps", "", is_available=lambda: False, manual_seed=nothing, empty_cache=nothing)
multiprocessing = module("multiprocessing", "", set_start_method=nothing, set_sharing_strategy=nothing)
version = module("version", "", cuda=None, hip=None, git_version="minidl")
version.__version__ = "2.13.0"
cpu = module("cpu", "", amp=module("cpu.amp", "", **_amp), is_available=lambda: True)
accelerator = module(
    "accelerator", "There is none.", is_available=lambda: False, current_accelerator=lambda *a, **o: device("cpu"),
    device_count=lambda: 0, synchronize=nothing,
)  # fmt: skip
_dynamo = module(
    "_dynamo", "", utils=module("_dynamo.utils", "", is_compile_supported=lambda kind: False), disable=script,
    reset=nothing, config=module("_dynamo.config", ""),
)
_C = module("_C", "", _log_api_usage_once=nothing)
profiler = module("profiler", "", record_function=lambda name: nullcontext(), profile=lambda **o: nullcontext())
ops = module("ops", "What torchvision has compiled.", torchvision=module("ops.torchvision", "", **COMPILED))
MODULES = (
    ops,
    amp, cuda, backends, jit, random, special, distributed, hub, fx, onnx, mps, multiprocessing, version, cpu,
    accelerator,
    _dynamo, _C, profiler,
)  # fmt: skip
PUBLIC = {made.__name__.rpartition(".")[2]: made for made in MODULES}
