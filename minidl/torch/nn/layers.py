"""torch's layers: the engine's of the same names, and those that are a function with options."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

from ... import nn as engine
from .. import losses, shaping
from ..creation import empty
from ..tensor import Parameter, Tensor, lifted
from . import functional as F
from .module import Module, layer
from .recurrent import RECURRENT

OF_ENGINE = (  # layers whose arguments are torch's
    *(f"{name}{rank}d" for rank in (1, 2, 3) for name in (
        "Conv", "ConvTranspose", "BatchNorm", "InstanceNorm", "AvgPool", "MaxUnpool", "AdaptiveAvgPool",
        "AdaptiveMaxPool", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad", "ZeroPad",
    )),
    "Linear", "Flatten", "Unflatten", "LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm", "PReLU", "Fold",
    "Unfold", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "PixelShuffle", "PixelUnshuffle",
    "ChannelShuffle", "CosineSimilarity", "PairwiseDistance", "MultiheadAttention", "RNNCell", "LSTMCell",
    "GRUCell", "SyncBatchNorm",
)  # fmt: skip
LAYERS: dict[str, type] = {**{name: layer(getattr(engine, name)) for name in OF_ENGINE}, **RECURRENT}


class Applied(Module):
    """A function of one tensor and options: what activations, pooling and dropout are as modules."""

    function: Callable
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, *arguments: Any, **options: Any):
        name = type(self).__name__
        if len(arguments) > len(self.options) or set(options) - set(self.options):
            raise TypeError(f"{name} takes {', '.join(self.options) or 'no options'}; got {arguments}, {options}")
        given = {**self.options, **dict(zip(self.options, arguments)), **options}
        if missing := [n for n, value in given.items() if value is REQUIRED]:
            raise TypeError(f"{name} needs {', '.join(missing)}")
        for option, value in given.items():
            setattr(self, option, value)

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, **{name: getattr(self, name) for name in self.options})

    def extra_repr(self) -> str:
        shown = {n: getattr(self, n) for n in self.options}
        return ", ".join(f"{n}={v!r}" for n, v in shown.items() if n != "inplace" or v)


class Pooled(Applied):
    """Pooling: windows stand side by side unless a stride says otherwise."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.stride = self.kernel_size if self.stride is None else self.stride

    def extra_repr(self) -> str:
        shown = [n for n in self.options if n != "return_indices"]
        return ", ".join(f"{n}={getattr(self, n)}" for n in shown)


class Dropped(Applied):
    """Dropout: it asks whether the module trains."""

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


REQUIRED = object()
_stack = lifted(shaping.stack)
INPLACE = {"inplace": False}
DROPOUT = {"p": 0.5, "inplace": False}
POOL = {
    "kernel_size": REQUIRED,
    "stride": None,
    "padding": 0,
    "dilation": 1,
    "return_indices": False,
    "ceil_mode": False,
}
LP = {"norm_type": REQUIRED, "kernel_size": REQUIRED, "stride": None, "ceil_mode": False}
APPLIED: dict[str, tuple[str, dict[str, Any]]] = {  # class -> function, options with their defaults
    **{name: (name.lower(), INPLACE) for name in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardsigmoid", "Hardswish")},
    **{name: (name.lower(), {}) for name in ("Sigmoid", "Tanh", "LogSigmoid", "Softsign", "Tanhshrink")},
    **{f"MaxPool{r}d": (f"max_pool{r}d", POOL) for r in (1, 2, 3)},
    **{f"LPPool{r}d": (f"lp_pool{r}d", LP) for r in (1, 2, 3)},
    "ELU": ("elu", {"alpha": 1.0, **INPLACE}),
    "CELU": ("celu", {"alpha": 1.0, **INPLACE}),
    "GELU": ("gelu", {"approximate": "none"}),
    "GLU": ("glu", {"dim": -1}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.01, **INPLACE}),
    "RReLU": ("rrelu", {"lower": 1 / 8, "upper": 1 / 3, **INPLACE}),
    "Hardtanh": ("hardtanh", {"min_val": -1.0, "max_val": 1.0, **INPLACE}),
    "Hardshrink": ("hardshrink", {"lambd": 0.5}),
    "Softshrink": ("softshrink", {"lambd": 0.5}),
    "Softplus": ("softplus", {"beta": 1.0, "threshold": 20.0}),
    "Threshold": ("threshold", {"threshold": REQUIRED, "value": REQUIRED, **INPLACE}),
    "Softmax": ("softmax", {"dim": None}),
    "Softmin": ("softmin", {"dim": None}),
    "LogSoftmax": ("log_softmax", {"dim": None}),
}
for _name, (_function, _options) in APPLIED.items():
    _members = {"function": staticmethod(getattr(F, _function)), "options": _options, "__module__": "torch.nn"}
    LAYERS[_name] = type(_name, (Pooled if "Pool" in _name else Applied,), _members)
for _name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"):
    _function = {"AlphaDropout": "alpha_dropout"}.get(_name, _name.lower())
    _members = {"function": staticmethod(getattr(F, _function)), "options": DROPOUT, "__module__": "torch.nn"}
    LAYERS[_name] = type(_name, (Dropped,), _members)


class Softmax2d(Module):
    """Softmax over the channels."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, -3)


class Identity(Module):
    """What goes in; any arguments are taken and ignored."""

    def forward(self, input: Any) -> Any:
        return input


class Embedding(layer(engine.Embedding)):
    """Rows of a learned table."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: Any = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, **options: Any,
    ):  # fmt: skip
        if max_norm is not None or scale_grad_by_freq:
            raise NotImplementedError(
                "Embedding: max_norm and scale_grad_by_freq are not there; renormalise the weight"
            )
        super().__init__(num_embeddings, embedding_dim, padding_idx, **options)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        table = cls(*embeddings.shape, padding_idx)
        table.weight.data = embeddings.detach().clone()
        table.weight.requires_grad_(not freeze)
        return table


class EmbeddingBag(Module):
    """Sums, means or maxima of rows of a learned table, over bags of rows."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: Any = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, **options: Any,
    ):  # fmt: skip
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"EmbeddingBag: mode {mode!r} is none of sum, mean, max")
        if max_norm is not None or scale_grad_by_freq or set(options) - {"padding_idx", "device", "dtype"}:
            raise NotImplementedError("EmbeddingBag: max_norm, scale_grad_by_freq and the like are not there")
        self.text, self.mode, self.padding_idx = f"{num_embeddings}, {embedding_dim}", mode, options.get("padding_idx")
        self.weight = Parameter(empty(num_embeddings, embedding_dim).normal_())
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Bags are the rows of `input`; or parts of it, which begin at `offsets`."""
        weights = per_sample_weights
        if input.ndim == 2:
            starts, size = list(range(0, input.numel() + 1, input.shape[1])), input.numel()
            input, weights = input.reshape(-1), None if weights is None else weights.reshape(-1)
        else:
            size = len(input)
            starts = [*[int(i) for i in offsets], size]
        rows = F.embedding(input, self.weight)
        rows = rows if weights is None else rows * weights[:, None]
        padding = [False] * size if self.padding_idx is None else (input == self.padding_idx).tolist()
        bags = [[i for i in range(a, b) if not padding[i]] for a, b in pairwise(starts)]
        empty_bag = rows[:0].sum(0)
        if self.mode == "max":
            return _stack([rows[bag].max(0).values if bag else empty_bag for bag in bags])
        means = self.mode == "mean"
        return _stack([(rows[bag].mean(0) if means else rows[bag].sum(0)) if bag else empty_bag for bag in bags])

    def extra_repr(self) -> str:
        return f"{self.text}, mode='{self.mode}'"


class Bilinear(Module):
    """``y_o = x1^T W_o x2 + b_o``."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True):
        bound = in1_features**-0.5
        self.text = f"in1_features={in1_features}, in2_features={in2_features}, "
        self.text += f"out_features={out_features}, bias={bias}"
        self.weight = Parameter(empty(out_features, in1_features, in2_features).uniform_(-bound, bound))
        self.bias = Parameter(empty(out_features).uniform_(-bound, bound)) if bias else None

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return self.text


class _Loss(Module):
    """A loss of torch.nn.functional with its options."""

    names: tuple[str, ...] = ()
    function: Callable

    def __init__(self, *arguments: Any, **options: Any):
        given = {**dict(zip(self.names, arguments)), **options}
        if unknown := set(given) - set(self.names):
            raise TypeError(
                f"{type(self).__name__} has no option {', '.join(unknown)}: its are {', '.join(self.names)}"
            )
        old = given.pop("size_average", None), given.pop("reduce", None)
        given["reduction"] = losses._reduction(given.get("reduction", "mean"), *old)
        self.given = tuple(given)
        for name, value in given.items():
            if name in losses.BUFFERS:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        for name in set(self.names) - set(given) - {"size_average", "reduce"}:
            setattr(self, name, DEFAULTS.get(name))

    def forward(self, *inputs: Tensor) -> Tensor:
        return type(self).function(*inputs, **{name: getattr(self, name) for name in self.given})


DEFAULTS = {"ignore_index": -100, "label_smoothing": 0.0, "margin": 1.0, "beta": 1.0, "delta": 1.0, "p": 2.0}
for _name, (_function, _names) in losses.MODULES.items():
    _members = {"function": staticmethod(getattr(F, _function.__name__)), "names": _names, "__module__": "torch.nn"}
    LAYERS[_name] = type(_name, (_Loss,), _members)
LAYERS |= {c.__name__: c for c in (Softmax2d, Identity, Embedding, EmbeddingBag, Bilinear)}
