"""Segment a large and a small organ in noisy 3-D volumes, coarse to fine, with V-Nets trained end to end."""

from __future__ import annotations

from .vnet import VNet

__all__ = ["VNet", "main"]


def main(argv: list[str]) -> int:
    """Run ``python -m tasks volume`` with these arguments; the exit code."""
    from .cli import main

    return main(argv)
