"""What errors advise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LEAF = (
    "a leaf Variable that requires grad is being used in {}: write `with torch.no_grad():` around it, or change "
    "x.data; to go on differentiating, make a new tensor, as in y = x + 1"
)
IN_GRAPH = (
    "{} would change numbers that a graph holds for its backward pass; change a copy, x = x.detach().clone(), or make "
    "a new tensor"
)
ENGINE = "compose it of what is, or of minidl's own: x.value is minidl's tensor, minidl.torch.tensor.wrap(v) goes back"
INSTEAD = {  # what torch has and minidl.torch has not -> what to write
    "stft": "numpy.fft on x.numpy(), if no gradient is needed",
    "bfloat16": "torch.float32: NumPy has no bfloat16",
    "sparse": "dense tensors: x.to_dense() before the data come here",
    "sparse_coo_tensor": "torch.zeros(size).index_put_(tuple(indices), values, accumulate=True)",
    "quantize_per_tensor": "torch.float32: nothing is quantised here",
    "quantization": "torch.float32: nothing is quantised here",
    "ao": "torch.float32: nothing is quantised here",
    "library": "torch.autograd.Function for an operation of your own",
    "CTCLoss": "a loss composed of F.log_softmax and torch.logsumexp",
    "ctc_loss": "a loss composed of F.log_softmax and torch.logsumexp",
    "AdaptiveLogSoftmaxWithLoss": "nn.Linear and nn.CrossEntropyLoss",
    "prune": "weight * mask in forward",
    "SparseAdam": "torch.optim.Adam",
    "ASGD": "torch.optim.SGD and an average of the weights",
    "Rprop": "torch.optim.Adam",
    "storage": "x.numpy(), which shares the memory",
    "untyped_storage": "x.numpy(), which shares the memory",
    "as_strided": "x.unfold(dimension, size, step)",
    "map_": "x.copy_(torch.tensor([f(v) for v in x.view(-1)]).view_as(x))",
    "to_sparse": "x itself: tensors are dense",
    "to_dense": "x itself: tensors are dense",
}


def unknown(path: str, name: str, known: Iterable[str] = ()) -> str:
    """Nothing is called so: what to write in its place."""
    if name in INSTEAD:
        return f"{path} is not in minidl.torch; write {INSTEAD[name]}"
    close = difflib.get_close_matches(name, [n for n in known if not n.startswith("_")], n=1, cutoff=0.75)
    hint = f"did you mean {path.removesuffix(name)}{close[0]}?" if close else ENGINE
    return f"{path} is not in minidl.torch; {hint}"
