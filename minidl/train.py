"""The public names of training: ``from minidl.train import fit``."""

from .training.checkpoint import Diverged, load_model
from .training.fit import fit

__all__ = ["Diverged", "fit", "load_model"]


def __dir__() -> list[str]:
    return __all__
