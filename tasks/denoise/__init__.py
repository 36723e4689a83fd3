"""Remove Gaussian noise from photographs with a convolutional network, and compare with classical filters."""

from __future__ import annotations

from .model import DnCNN, LectureDenoiser

__all__ = ["DnCNN", "LectureDenoiser", "main"]


def main(argv: list[str]) -> int:
    """Run ``python -m tasks denoise`` with these arguments; the exit code."""
    from .cli import main

    return main(argv)
