"""What to write for a name of PyTorch's that minidl calls otherwise: what an AttributeError says.

`minidl.torch` has PyTorch's own names; here are those of `md.*`, of tensors (x), and of `F`, `nn` and `optim`.
"""

from __future__ import annotations

from pathlib import Path

NO_CHANGE = "values do not change here: x = x.{}, or change x.data before x is used"

TENSOR = {
    "view": "x.reshape(shape)",
    "view_as": "x.reshape(other.shape)",
    "reshape_as": "x.reshape(other.shape)",
    "flatten": "x.reshape(len(x), -1)",
    "permute": "x.transpose(axes)",
    "movedim": "x.transpose(axes)",
    "t": "x.T",
    "mT": "x.swapaxes(-1, -2)",
    "unsqueeze": "x.expand_dims(axis)",
    "expand": "x.broadcast_to(shape)",
    "expand_as": "x.broadcast_to(other.shape)",
    "repeat": "x.tile(reps)",
    "numel": "x.size",
    "nelement": "x.size",
    "dim": "x.ndim",
    "float": 'x.astype("float32")',
    "double": 'x.astype("float64")',
    "half": 'x.astype("float16")',
    "long": 'x.astype("int64")',
    "int": 'x.astype("int32")',
    "bool": 'x.astype("bool")',
    "type": "x.astype(dtype)",
    "type_as": "x.astype(other.dtype)",
    "cpu": 'x.to("cpu")',
    "cuda": 'x.to("gpu")',
    "is_cuda": "x.device",
    "contiguous": "x itself: the memory order is no concern of its user",
    "clone": "md.tensor(x), which copies; values do not change, so x itself serves",
    "pow": "x ** p",
    "add": "x + y",
    "sub": "x - y",
    "mul": "x * y",
    "div": "x / y",
    "neg": "-x",
    "square": "x * x",
    "reciprocal": "1 / x",
    "rsqrt": "1 / x.sqrt()",
    "matmul": "x @ y",
    "mm": "x @ y",
    "bmm": "x @ y",
    "mv": "x @ y",
    "dot": "(x * y).sum()",
    "eq": "x == y",
    "ne": "x != y",
    "gt": "x > y",
    "ge": "x >= y",
    "lt": "x < y",
    "le": "x <= y",
    "clamp": "x.clip(low, high)",
    "sin": "F.sin(x)",
    "cos": "F.cos(x)",
    "softmax": "F.softmax(x, axis)",
    "log_softmax": "F.log_softmax(x, axis)",
    "amax": "x.max(axis)",
    "amin": "x.min(axis)",
    "maximum": "F.maximum(x, y)",
    "minimum": "F.minimum(x, y)",
    "unbind": "list(x)",
    "narrow": "x[start : start + length]",
    "select": "x[index]",
    "index_select": "x[index]",
    "masked_select": "x[mask]",
    "where": "F.where(condition, x, y)",
    "unfold": "F.unfold(x, kernel_size)",
    "new_zeros": "md.tensor(np.zeros(shape))",
    "requires_grad_": "x.requires_grad = True",
    "register_hook": "F.hooked(x, hook)",
    "retain_grad": "md.grad(loss, [x])",
    "grad_fn": "x.node",
}
FUNCTIONS = {
    "cat": "F.concat(tensors, axis)",
    "concatenate": "F.concat(tensors, axis)",
    **{f"conv{rank}d": "F.conv(x, weight, bias), of any rank" for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": "F.conv_transpose(x, weight, bias), of any rank" for rank in (1, 2, 3)},
    **{
        f"{name}{rank}d": f"F.{name}(x, ...), of any rank"
        for name in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "max_unpool")
        for rank in (1, 2, 3)
    },
    "abs": "F.absolute(x)",
    "clamp": "F.clip(x, low, high)",
    "upsample": "F.interpolate(x, size=...)",
    "logsigmoid": "-F.softplus(-x)",
    "softmin": "F.softmax(-x, axis)",
    "softsign": "x / (1 + x.abs())",
    "tanhshrink": "x - F.tanh(x)",
    "bilinear": 'F.einsum("...i,oij,...j->...o", x, weight, y)',
    "atan": "F.arctan(x)",
    "sum": "x.sum(axis)",
    "mean": "x.mean(axis)",
    "max": "x.max(axis)",
    "min": "x.min(axis)",
    "var": "x.var(axis, ddof=1)",
    "prod": "x.prod(axis)",
    "permute": "x.transpose(axes)",
    "flatten": "x.reshape(len(x), -1)",
    "unsqueeze": "x.expand_dims(axis)",
    "squeeze": "x.squeeze(axis)",
    "bmm": "x @ y",
    "mm": "x @ y",
}
PACKAGE = {
    **FUNCTIONS,
    **{name: f"F.{name}(...)" for name in (
        "concat", "stack", "where", "einsum", "matmul", "relu", "sigmoid", "tanh", "softmax", "log_softmax", "exp",
        "log", "sqrt", "sin", "cos", "argmax", "argmin", "sort", "topk", "gather", "scatter", "cumsum",
        "logsumexp", "norm", "maximum", "minimum", "flip", "roll", "split", "chunk", "erf", "any", "all", "std",
    )},
    "zeros": "md.tensor(np.zeros(shape))",
    "ones": "md.tensor(np.ones(shape))",
    "full": "md.tensor(np.full(shape, value))",
    "eye": "md.tensor(np.eye(n))",
    "arange": "md.tensor(np.arange(n))",
    "linspace": "md.tensor(np.linspace(start, stop, n))",
    "rand": "md.tensor(rng.random(shape))",
    "randn": "md.tensor(rng.standard_normal(shape))",
    "zeros_like": "x.zeros_like()",
    "ones_like": "x.ones_like()",
    "from_numpy": "md.Tensor(array), which shares its memory",
    "as_tensor": "md.Tensor(array), which shares its memory",
    "save": "md.save_weights(path, model.state_dict())",
    "load": "md.load_weights(path)",
    "autograd": "md.grad(output, inputs), md.jacobian, md.hessian",
    "inference_mode": "md.no_grad()",
    "compile": "md.record(step)",
    "cuda": 'x.to("gpu")',
    "float32": 'the text "float32"',
    "float64": 'the text "float64"',
    "int64": 'the text "int64"',
    "utils": "md.data.Batches",
    "view": "x.reshape(shape)",
}  # fmt: skip
LAYERS = {
    "functional": "from minidl import functional as F; F.relu(x)",
    "utils": "optim.clip_grad_norm(params, max_norm)",
    "DataParallel": "the model itself: one process has all threads",
    "ParameterList": "attributes of the module: setattr(self, f'w{i}', nn.Parameter(array))",
    "ParameterDict": "attributes of the module: setattr(self, name, nn.Parameter(array))",
    "Softsign": "x / (1 + x.abs())",
    "LogSigmoid": "-F.softplus(-x)",
    "CELU": "nn.ELU()",
    "GLU": "F.chunk(x, 2, axis), then a * F.sigmoid(b)",
    "Softmax2d": "nn.Softmax(1)",
    "Bilinear": 'F.einsum("...i,oij,...j->...o", x, weight, y)',
}  # fmt: skip
OPTIMISERS = {
    "Optimizer": "optim.Optimiser",
    "lr_scheduler": "optim.step_decay, optim.cosine and the other schedules: functions of the step, optimiser.lr = "
    "schedule(step)",
    "clip_grad_norm_": "optim.clip_grad_norm(params, max_norm)",
}


def missing(what: str, name: str, table: dict[str, str]) -> AttributeError:
    """The error for an unknown name, with what to write if the name is PyTorch's."""
    advice = table.get(name)
    if advice is None and name.endswith("_") and not name.startswith("_"):
        advice = NO_CHANGE.format(f"{name.rstrip('_')}(...)")
    tail = f"; write {advice} (minidl.torch has PyTorch's names)" if advice else ""
    return AttributeError(f"{what} has no attribute {name!r}{tail}", name=name)


def install(extra: str) -> str:
    """The command that installs what an extra of the package names: into a clone, or beside an installed package."""
    root = Path(__file__).resolve().parents[2]
    return f'pip install -e "{root}[{extra}]"' if (root / "setup.py").exists() else f'pip install "minidl[{extra}]"'
