"""torch.nn."""

from __future__ import annotations

from typing import Any

from .. import advice
from ..tensor import Parameter
from . import functional, init, modules, parallel, parameter, utils
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .layers import LAYERS
from .module import Module
from .parallel import DataParallel
from .transformer import TRANSFORMERS

LAYERS |= TRANSFORMERS
globals().update(LAYERS)
Container = Module
__all__ = [
    *LAYERS, "DataParallel", "Module", "parallel", "ModuleDict", "ModuleList", "Parameter", "ParameterDict",
    "ParameterList", "Sequential",
    "functional",
    "init", "modules", "parameter", "utils",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise AttributeError(advice.unknown(f"torch.nn.{name}", name, globals()))
