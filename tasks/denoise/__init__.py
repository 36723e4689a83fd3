"""Remove Gaussian noise from photographs with a convolutional network, and compare with classical filters."""

from __future__ import annotations

from .model import DnCNN, LectureDenoiser

__all__ = ["DnCNN", "LectureDenoiser"]
