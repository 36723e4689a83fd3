"""Functions of tensors, one a line: value, first and second derivative are those of torch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

from minidl import functional as F  # noqa: E402
from tests.reference.test_core import agree  # noqa: E402

pytestmark = pytest.mark.reference
T = torch.nn.functional

ACTIVATIONS = {
    "gelu": (F.gelu, T.gelu),
    "gelu tanh": (lambda x: F.gelu(x, "tanh"), lambda x: T.gelu(x, approximate="tanh")),
    "silu": (F.silu, T.silu),
    "mish": (F.mish, T.mish),
    "selu": (F.selu, T.selu),
    "relu6": (F.relu6, T.relu6),
    "hardtanh": (F.hardtanh, T.hardtanh),
    "hardtanh -2, 1": (lambda x: F.hardtanh(x, -2, 1), lambda x: T.hardtanh(x, -2, 1)),
    "hardsigmoid": (F.hardsigmoid, lambda x: T.relu6(x + 3) / 6),  # T.hardsigmoid's derivative has 1/6 in float32
    "hardswish": (F.hardswish, T.hardswish),
}
ENTRY_BY_ENTRY = {
    "erf": (F.erf, torch.erf),
    "erfc": (F.erfc, torch.erfc),
    "expm1": (F.expm1, torch.expm1),
    "log1p": (lambda x: F.log1p(x * x), lambda x: torch.log1p(x * x)),
    "sign": (lambda x: x * F.sign(x), lambda x: x * torch.sign(x)),
    "floor": (lambda x: x * F.floor(x), lambda x: x * torch.floor(x)),
    "ceil": (lambda x: x * F.ceil(x), lambda x: x * torch.ceil(x)),
    "trunc": (lambda x: x * F.trunc(x), lambda x: x * torch.trunc(x)),
    "round": (lambda x: x * F.round(x), lambda x: x * torch.round(x)),
    "round to tenths": (lambda x: x * F.round(x, 1), lambda x: x * torch.round(x, decimals=1)),
}
POINTS = np.array([[-9.0, -3, -2, -1, -0.5, -0.0], [1e-9, 0.5, 1, 1.5, 2.5, 6]])  # corners, halves, tails


@pytest.mark.parametrize("name", ACTIVATIONS | ENTRY_BY_ENTRY)
def test_entry_by_entry(name):
    ours, theirs = (ACTIVATIONS | ENTRY_BY_ENTRY)[name]
    agree(ours, theirs, [3 * np.random.default_rng(0).standard_normal((4, 5))])
    agree(ours, theirs, [POINTS], orders=1 if name == "selu" else 2)  # its second is 0 at 0, its first that from below


NORMS = {  # ours, torch's, shapes of what is differentiated
    "layer_norm": (lambda x: F.layer_norm(x, (3, 5)), lambda x: T.layer_norm(x, (3, 5)), (2, 3, 5)),
    "layer_norm scaled": (
        lambda x, w, b: F.layer_norm(x, 5, w, b), lambda x, w, b: T.layer_norm(x, (5,), w, b), (2, 3, 5), (5,), (5,),
    ),
    "rms_norm": (lambda x: F.rms_norm(x, 5), lambda x: T.rms_norm(x, (5,)), (2, 3, 5)),
    "rms_norm scaled": (
        lambda x, w: F.rms_norm(x, (3, 5), w, eps=0.1), lambda x, w: T.rms_norm(x, (3, 5), w, 0.1), (2, 3, 5), (3, 5),
    ),
    "instance_norm": (F.instance_norm, T.instance_norm, (2, 3, 5)),
    "instance_norm scaled": (
        lambda x, w, b: F.instance_norm(x, None, None, w, b, eps=0.1),
        lambda x, w, b: T.instance_norm(x, None, None, w, b, eps=0.1),
        (2, 3, 4, 2), (3,), (3,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_norms(name):
    ours, theirs, *shapes = NORMS[name]
    rng = np.random.default_rng(0)
    agree(ours, theirs, [rng.standard_normal(s) for s in shapes])
