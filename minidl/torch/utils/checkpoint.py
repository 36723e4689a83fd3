"""torch.utils.checkpoint: the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.checkpoint import checkpoint as of_engine
from ..tensor import unwrap, wrap


def checkpoint(function: Callable, *inputs: Any, use_reentrant: Any = None, **options: Any) -> Any:
    """``function(*inputs)``, computed again in the backward pass in the place of what it would save."""
    return wrap(of_engine(lambda *values: unwrap(function(*map(wrap, values))), *unwrap(list(inputs))))


def checkpoint_sequential(functions: Any, segments: int, input: Any, **options: Any) -> Any:
    functions = list(functions)
    size = -(-len(functions) // segments)
    for start in range(0, len(functions), size):

        def run(x: Any, part: Any = functions[start : start + size]) -> Any:
            for f in part:
                x = f(x)
            return x

        input = checkpoint(run, input)
    return input
