"""Segment a large and a small organ in noisy 3-D volumes, coarse to fine, with V-Nets trained end to end."""

from __future__ import annotations

from .vnet import VNet

__all__ = ["VNet"]
