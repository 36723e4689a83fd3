"""Look inside a network: filters, patches, and saliency maps that are scored against the truth."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Run ``python -m tasks interpret`` with these arguments; the exit code."""
    from .cli import main

    return main(argv)
