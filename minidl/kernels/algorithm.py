"""The algorithm that the user has chosen for convolutions."""

from __future__ import annotations

from ..core.context import setting

ON_CPU = ("im2col", "shifted", "winograd", "depthwise")
ON_GPU = ("im2col", "tensor_cores")


def algorithm(name: str) -> setting:
    """Inside the block, convolutions and their derivatives are computed in this way wherever it is possible.

    On a CPU: "im2col", "shifted" (stride 1), "winograd" (float32, 3x3, stride and dilation 1, no groups) or "depthwise"
    (groups = channels). On a GPU: "im2col", or "tensor_cores" (float32, no groups, 8 channels or more; factors are
    rounded to TF32, 10 bits of mantissa). Elsewhere, and outside of the block, what suits the shape is chosen; tensor
    cores never are. Raises ValueError for another name.
    """
    known = tuple(dict.fromkeys(ON_CPU + ON_GPU))
    if name not in known:
        raise ValueError(f"algorithm {name!r} is unknown: one of {', '.join(known)}")
    return setting(algorithm=name)
