"""The table of writers, and of the operations that have none, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WRITERS: dict[str, Callable] = {}  # by the name of the array function
DEPENDENT: dict[str, frozenset[str]] = {}  # the parameters of each that may depend on the batch


def writer(*names: str, dependent: tuple[str, ...] = ()) -> Callable:
    """Decorator: the function writes these array functions. It has their signature, with the graph in place of xp.

    `dependent`: the parameters in which numbers may be `Size`s.
    """

    def register(function: Callable) -> Callable:
        for name in names:
            WRITERS[name], DEPENDENT[name] = function, frozenset(dependent)
        return function

    return register


def same_operator(table: dict[str, str]) -> None:
    """Writers for functions that ONNX has as they are, of inputs in the dtype of the result."""
    for name, operator in table.items():
        writer(name)(_plain(operator))


def _plain(operator: str) -> Callable:
    def write(g: Any, *inputs: Any) -> Any:
        return g.node(operator, *[g.cast(x, g.out.dtype) for x in inputs])

    return write


BACKWARD = "only a backward pass runs it"
LOSS = "a part of losses over class numbers; save the network without its loss"
RANDOM = "ONNX has no generator that draws the same numbers; save in eval mode"
IN_PLACE = "it changes a buffer in training; save in eval mode"
COUNTED = "how many boxes it gives depends on their values; save the network up to its raw boxes and scores"

REASONS: dict[str, str] = {
    **dict.fromkeys(("conv_weight", "to_largest", "from_largest", "window_spread", "compared"), BACKWARD),
    **dict.fromkeys(("roi_spread", "roi_to_largest", "roi_from_largest", "where_largest", "chosen"), BACKWARD),
    **dict.fromkeys(
        ("binary_cross_entropy_with_logits.backward", "batch_norm.backward", "batch_norm_eval.backward",
         "sync_batch_norm.backward", "cross_entropy.backward", "soft_cross_entropy.backward"), BACKWARD,
    ),
    **dict.fromkeys(("cross_entropy", "log_shares", "at", "scale_of"), LOSS),
    **dict.fromkeys(("sum_of_weights", "one_hot_like", "counted_classes"), LOSS),
    "inverse": "ONNX has no inverse of a matrix",
    "drawn_mask": RANDOM,
    **dict.fromkeys(("blend", "count_batch"), IN_PLACE),
    "unsuppressed": COUNTED,
    "sources": "of places that are named twice ONNX does not say which comes last; use scatter_add",
    **dict.fromkeys(("shard_sum", "sync_batch_norm"), "it runs where shards of a batch are trained on alone"),
    "moments": "statistics in double precision, which inference computes by batch_norm's definition",
    "largest_of_bins": "the positions of the largest cells, which only a backward pass reads",
}  # fmt: skip
COMPUTED = ("listed", "nearest_channels")  # of numbers alone: what they give is a constant
CHECKS = ("require_shares", "require_signs", "require_probabilities", "require_rows")  # raise, or nothing
