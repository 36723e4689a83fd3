"""PyTorch's names over minidl's engine: ``import minidl.torch as torch``; ``python -m minidl run script.py``.

Names, defaults and conventions of calls are torch's; the mathematics is the engine's. See docs/torch.md.
"""

from __future__ import annotations

import math
from typing import Any

from . import (
    advice,
    autograd,
    creation,
    distributions,
    dtypes,
    fft,
    func,
    harmless,
    linalg,
    methods,
    nn,
    optim,
    reductions,
    settings,
    shaping,
    utils,
)
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .display import set_printoptions
from .dtypes import Size, device, dtype, finfo, get_default_dtype, iinfo, set_default_dtype
from .functional import VALUES
from .optim import swa_utils as _swa_utils  # noqa: F401  (torch.optim.swa_utils)
from .serialization import load, save
from .special import polygamma
from .tensor import Tensor, lifted

strided, contiguous_format, channels_last, preserve_format = "strided", "contiguous", "channels_last", "preserve"
pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None
__version__ = "2.13.0"  # the release whose names, defaults and results these are

_ALSO_HERE = (  # functions of torch.nn.functional that torch has under its own name, too
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm",
    "layer_norm",
    "group_norm", "instance_norm", "dropout", "bilinear", "celu", "selu", "prelu", "rrelu", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "cosine_similarity", "pairwise_distance", "avg_pool1d", "max_pool1d",
    "hardshrink", "threshold", "embedding",
)  # fmt: skip
_functions = {name: f for table in (*methods.TABLES, shaping.FUNCTIONS, reductions.FUNCTIONS, linalg.FUNCTIONS)
              for name, f in table.items()}  # fmt: skip
_functions |= {name: VALUES[name] for name in _ALSO_HERE}
_functions["polygamma"] = polygamma
_METHODS = (  # functions that are methods of their first argument
    "hsplit", "vsplit", "dsplit", "is_same_size", "is_conj", "resolve_conj",
    *(f"{name}_" for name in (
        "relu", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "abs", "neg", "square", "sin", "cos", "floor", "ceil",
        "round", "trunc", "clamp", "clamp_min", "clamp_max", "reciprocal", "nan_to_num", "zero", "fill", "detach",
    )),
)  # fmt: skip
PUBLIC: dict[str, Any] = {
    **{name: dtypes.named(name) for name in dtypes.NAMES},
    **{name: dtypes.named(kind) for name, kind in dtypes.SHORT.items()},
    **{name: lifted(f) for name, f in _functions.items()},
    **{name: getattr(Tensor, name) for name in (*shaping.VIEWS, *shaping.SPLITS, *_METHODS)},
    **creation.PUBLIC,
    **settings.PUBLIC,
    **harmless.PUBLIC,
    "linalg": linalg.PUBLIC,
    "vmap": func.vmap,
}
globals().update(PUBLIC)
__all__ = [
    *PUBLIC, "Size", "Tensor", "autograd", "device", "distributions", "dtype", "enable_grad", "fft", "finfo", "func",
    "get_default_dtype", "iinfo", "inference_mode", "is_grad_enabled", "load", "nn", "no_grad", "optim", "save",
    "set_default_dtype", "set_grad_enabled", "set_printoptions", "utils",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(advice.unknown(f"torch.{name}", name, globals()))
