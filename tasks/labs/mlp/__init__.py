"""One hidden layer on real digits: the full gradient against stochastic gradients and mini-batches."""

from __future__ import annotations

from .network import gradients, initial, loss

__all__ = ["gradients", "initial", "loss", "main"]


def main(argv: list[str]) -> int:
    """Run ``python -m tasks mlp`` with these arguments; the exit code."""
    from ..cli import conduct
    from . import experiment

    conduct(experiment, "python -m tasks mlp", "runs/mlp", argv)
    return 0
