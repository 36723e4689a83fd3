"""The public names of training: ``from minidl.train import fit``."""

from .training.callbacks import Best, EarlyStopping, State
from .training.checkpoint import Diverged, load_model
from .training.fit import fit
from .training.metrics import Metrics

__all__ = ["Best", "Diverged", "EarlyStopping", "Metrics", "State", "fit", "load_model"]


def __dir__() -> list[str]:
    return __all__
