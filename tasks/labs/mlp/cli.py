"""The command line of this lab, which is a task of its own."""

from __future__ import annotations

from ..cli import conduct
from . import experiment


def main(argv: list[str]) -> int:
    """Run ``python -m tasks mlp`` with these arguments; the exit code."""
    conduct(experiment, "python -m tasks mlp", "runs/mlp", argv)
    return 0
