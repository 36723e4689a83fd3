"""minidl: deep learning from scratch on NumPy and CuPy, every derivative proved.

import minidl as md
from minidl import functional as F, nn, optim
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import functional, kernels
from .core.advice import PACKAGE, missing
from .core.anomaly import AnomalyError
from .core.calculus import grad, hessian, hvp, jacobian, jvp, vjp
from .core.checkpoint import checkpoint
from .core.context import anomaly, definitions, enable_grad, no_grad
from .core.fused import fused
from .core.primitive import override, primitive
from .core.tensor import Parameter, Tensor, tensor
from .kernels.algorithm import algorithm
from .ops import methods, numpy_calls  # give Tensor its operators, and what NumPy asks it for
from .ops.elementwise import relu_rule
from .version import __version__

if TYPE_CHECKING:
    from . import data, nn, optim, train
    from .files.weights import WeightsError, load_weights, save_weights
    from .kernels.cpu.memory import release_memory
    from .nn.init import manual_seed
    from .nn.summary import summary
    from .onnx.module import load_onnx
    from .onnx.save.file import save_onnx
    from .recording.recorded import record
    from .recording.trace import RecordError
    from .study import assignment
    from .study.convmatrix import convmatrix
    from .study.explain import explain
    from .study.gradient_report import check_rules, gradcheck
    from .study.profile import profile
    from .study.receptive_field import receptive_field

LAZY = {  # names that are imported when they are first asked for, and where from (PEP 562), as above
    "data": "data",
    "nn": "nn",
    "optim": "optim",
    "train": "train",
    "RecordError": "recording.trace:RecordError",
    "WeightsError": "files.weights:WeightsError",
    "assignment": "study.assignment",
    "check_rules": "study.gradient_report:check_rules",
    "convmatrix": "study.convmatrix:convmatrix",
    "explain": "study.explain:explain",
    "gradcheck": "study.gradient_report:gradcheck",
    "load_onnx": "onnx.module:load_onnx",
    "load_weights": "files.weights:load_weights",
    "manual_seed": "nn.init:manual_seed",
    "profile": "study.profile:profile",
    "record": "recording.recorded:record",
    "receptive_field": "study.receptive_field:receptive_field",
    "release_memory": "kernels.cpu.memory:release_memory",
    "save_onnx": "onnx.save.file:save_onnx",
    "save_weights": "files.weights:save_weights",
    "summary": "nn.summary:summary",
}

__all__ = [
    "AnomalyError",
    "Parameter",
    "RecordError",
    "Tensor",
    "WeightsError",
    "algorithm",
    "anomaly",
    "assignment",
    "check_rules",
    "checkpoint",
    "convmatrix",
    "data",
    "definitions",
    "enable_grad",
    "explain",
    "functional",
    "fused",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "load_onnx",
    "load_weights",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "override",
    "primitive",
    "profile",
    "receptive_field",
    "record",
    "release_memory",
    "relu_rule",
    "save_onnx",
    "save_weights",
    "summary",
    "tensor",
    "train",
    "vjp",
]

if not TYPE_CHECKING:  # for a type checker there is no other name

    def __getattr__(name: str) -> Any:
        if name not in LAZY:
            raise missing("minidl", name, PACKAGE)
        module, _, member = LAZY[name].partition(":")
        value = import_module(f".{module}", __name__)
        value = getattr(value, member) if member else value
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return __all__
