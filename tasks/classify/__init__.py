"""Classify images with the well-known convolutional networks, and learn to."""

from __future__ import annotations

from ..models import *  # noqa: F403
from ..models import MODELS

__all__ = ["MODELS", *MODELS]
