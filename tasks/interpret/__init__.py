"""Look inside a network: filters, patches, and saliency maps that are scored against the truth."""

from __future__ import annotations
