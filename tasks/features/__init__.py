"""Learn features of pictures without labels, by an autoencoder, and judge them by a linear classifier."""

from __future__ import annotations

from .model import Autoencoder

__all__ = ["Autoencoder"]
