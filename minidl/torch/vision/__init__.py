"""What stands for torchvision under ``minidl run``: datasets and transforms over minidl's files, models and ops.

`models` and `ops` are torchvision's own sources where it is installed: they run on minidl.torch as they are.
"""

from __future__ import annotations

from typing import Any

from . import datasets, transforms, utils

__version__ = "0.28.0"
__all__ = ["datasets", "transforms", "utils"]


def set_image_backend(backend: str) -> None:
    """Accepted: pictures are read by Pillow."""


def _is_tracing() -> bool:
    """Nothing is traced."""
    return False


def disable_beta_transforms_warning() -> None:
    """Accepted."""


def __getattr__(name: str) -> Any:
    if name in ("models", "ops"):
        raise AttributeError(
            f"torchvision.{name}: install torchvision beside minidl (its sources then run here under `minidl run`), or "
            "take a network of minidl's: from tasks.models import MODELS"
        )
    raise AttributeError(f"torchvision.{name} is not in minidl.torch; datasets, transforms and utils are")
