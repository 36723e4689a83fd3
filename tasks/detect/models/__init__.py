"""Detectors and their parts: anchors, backbones, heads, one stage and two."""
