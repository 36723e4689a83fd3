"""Find what stands out in a picture: a map of visual saliency, compared with classical ones."""

from __future__ import annotations

from .model import SaliencyNet

__all__ = ["SaliencyNet"]
