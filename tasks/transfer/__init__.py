"""Learn new classes from few labels with a pretrained network: from scratch, with frozen features, fine-tuned."""

from __future__ import annotations

from .methods import METHODS, features, freeze, head, learn, replace_head, thaw

__all__ = ["METHODS", "features", "freeze", "head", "learn", "replace_head", "thaw"]
