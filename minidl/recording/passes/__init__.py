"""What improves a program: each pass is a function from a program to one that computes the same.

The bits of all results stay, but for `fold_batch_norm` and `take_winograd`, which is why these two keep to programs
that change nothing: inference.
"""

from .convolution import finish_in_blocks, take_winograd, transform_kernels_once
from .dead import drop_unused
from .norm import fold_batch_norm, join_relu, join_shortcut
from .once import compute_once

PASSES = (
    drop_unused, join_relu, join_shortcut, fold_batch_norm, finish_in_blocks, transform_kernels_once, take_winograd,
    compute_once,
)  # fmt: skip

__all__ = ["PASSES", *[improve.__name__ for improve in PASSES]]
