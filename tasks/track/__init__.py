"""Track objects through video as tubes, found in whole clips by 2-D and 3-D convolutions together."""

from __future__ import annotations

from .model import TrackNet

__all__ = ["TrackNet"]
