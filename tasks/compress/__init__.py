"""Compress photographs with an autoencoder whose latents are rounded and coded into a file; decompress them."""

from __future__ import annotations

from .model import Autoencoder

__all__ = ["Autoencoder"]
