"""Segment instances: a mask and keypoints for each object, with Mask R-CNN."""

from __future__ import annotations
