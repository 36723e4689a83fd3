"""What improves a program: each pass is a function from a program to one that computes the same.

The bits of all results stay, but for `fold_batch_norm`, which is why it keeps to programs that change nothing:
inference. `compute_again` is not among PASSES: it gives time for memory.
"""

from .again import compute_again
from .convolution import finish_in_blocks, transform_kernels_once
from .dead import drop_unused
from .norm import fold_batch_norm, join_relu, join_shortcut
from .once import compute_once

PASSES = (
    drop_unused, join_relu, join_shortcut, fold_batch_norm, finish_in_blocks, transform_kernels_once, compute_once,
)  # fmt: skip

__all__ = ["PASSES", "compute_again", *[improve.__name__ for improve in PASSES]]
