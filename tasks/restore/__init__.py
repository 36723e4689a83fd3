"""Fill holes in photographs, or enlarge them, with a convolutional network, and compare with classical methods."""

from __future__ import annotations

from .model import Completer, Enlarger

__all__ = ["Completer", "Enlarger"]
