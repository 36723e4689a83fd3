"""Batches that a thread prepares while the step before them is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Prefetch:
    """`batches`, a function from step to batch, prepared one step ahead by a thread.

    The values are those of `batches` itself, which must depend on nothing but the step.
    """

    def __init__(self, batches: Callable[[int], Any]):
        self.batches = batches
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self.ahead: tuple[int, Any] = (-1, None)

    def __call__(self, step: int) -> Any:
        known, batch = self.ahead
        if known != step:
            batch = self.thread.submit(self.batches, step)
        self.ahead = step + 1, self.thread.submit(self.batches, step + 1)
        return batch.result()
