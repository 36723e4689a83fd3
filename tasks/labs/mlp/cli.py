"""The command line of this lab, which is a task of its own."""

from __future__ import annotations

from ...command import PROGRAM
from ..cli import conduct
from . import experiment


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    conduct(experiment, f"{PROGRAM} mlp", "runs/mlp", argv)
    return 0
