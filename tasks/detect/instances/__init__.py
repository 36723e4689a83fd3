"""Segment instances: a mask and keypoints for each object, with Mask R-CNN."""

from __future__ import annotations

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run ``python -m tasks instances`` with these arguments; the exit code."""
    from .cli import main

    return main(argv)
