"""Detectors of one stage and of two, each with its loss, and their parts: backbones, anchors, heads, suppression."""
