"""What a training run shows while it works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .log import Record


@contextmanager
def show_progress(start: int, steps: int, wanted: bool) -> Iterator[Callable[[Record, bool], None]]:
    """Gives the function to call with the record of each step, and whether it is the last. Shows a bar if tqdm is
    installed and standard error is a terminal, else about twenty lines."""
    bar = _bar(start, steps) if wanted and sys.stderr.isatty() else None
    every = max(1, steps // 20)

    def show(record: Record, last: bool) -> None:
        done = record["step"] + 1
        early = ", stopped by a callback" if last and done < steps else ""
        if bar is not None:
            bar.set_postfix_str(as_text(record) + early, refresh=bool(early))
            bar.update()
        elif wanted and (done % every == 0 or last):
            print(f"step {done}/{steps}: {as_text(record)}{early}", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _bar(start: int, steps: int) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True)


def as_text(record: Record) -> str:
    """The numbers of a step on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in record.items() if name != "step")
