"""torch.utils.tensorboard: accepted and left, as nothing here reads its files."""

from __future__ import annotations

from typing import Any


class SummaryWriter:
    """Takes every ``add_...`` and writes nothing; fit's log.csv and `minidl` pages show a run."""

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("add_", "flush", "close")):
            raise AttributeError(f"SummaryWriter has no {name}")
        return lambda *arguments, **options: None

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        pass
