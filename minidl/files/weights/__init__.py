"""Weights on disk, in the forms that the world uses, read without ever running a pickle.

state = md.load_weights("resnet18.pth")        # {name: array}
model.load_state_dict(state)
md.save_weights("resnet18.safetensors", model.state_dict())

`forms` knows a file by its content. A reader gives `Contents`: entries that are read when they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...core.tensor import as_array
from ...device import to_device
from ..atomic import replacing
from ..reading import WeightsError
from . import forms, npz, safetensors
from .contents import Contents, read_all
from .names import without

__all__ = ["Contents", "WeightsError", "examine", "load_weights", "save_weights"]

WRITERS = {".npz": npz.write, ".safetensors": safetensors.write}


def load_weights(
    path: str | os.PathLike[str],
    key: str | None = None,
    strip: str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
) -> dict[str, np.ndarray]:
    """Read the arrays of a file of weights as ``{name: array}``; docs/weights.md lists the forms.

    The content decides, not the ending: .npz, .npy, .safetensors, what torch.save wrote (state dicts, checkpoints and
    whole models, of any version), TorchScript, pickles and joblib's files of arrays, Keras (.keras, .weights.h5, .h5),
    MATLAB (.mat, of MatConvNet above all), Darknet, TFLite. No pickle is run: tensors, NumPy arrays and numbers (as
    0-d arrays) are taken; strings and other objects are left, whatever they are. Names and axes become PyTorch's.
    ``{"state_dict": {...}}`` is unwrapped; other nesting is joined with dots. bfloat16 and float8 become float32.
    The arrays are fresh, writable and in C order; what is not asked for is not read.

    key: read this entry only, its name left out: ``key="model"`` of ``{"model": {...}, "optimizer": {...}}`` or of
        names that begin with "model.", ``key="ema.module"`` of nested ones.
    strip: a part to leave out of the names wherever it stands, such as "module" (of DataParallel) or "_orig_mod" (of
        torch.compile).
    config: a file that says what the file does not: the .cfg of the network for .weights of Darknet, which have no
        names (the one beside it, if there is one); the .keras or the JSON of the model for .h5 of Keras.

    Raises FileNotFoundError, or WeightsError (a ValueError) in one line for a file that is damaged, hostile or of
    another kind, and for tensors that have no values here (quantised, sparse, meta); no file makes it use much more
    memory than its size.

        >>> md.save_weights("weights.safetensors", {"w": np.ones((2, 2), "f")})
        >>> md.load_weights("weights.safetensors")["w"].shape
        (2, 2)
    """
    with _one_line(path):
        arrays = read_all(_read(path, config).under(key))
        return arrays if strip is None else without(arrays, strip)


def examine(path: str | os.PathLike[str], config: str | os.PathLike[str] | None = None) -> Contents:
    """The contents of a file of weights: names, shapes and what lies beside; no array is read.

    Raises what `load_weights` raises.
    """
    with _one_line(path):
        return _read(path, config)


def _read(path: str | os.PathLike[str], config: str | os.PathLike[str] | None) -> Contents:
    return forms.read(Path(path), None if config is None else Path(config))


@contextmanager
def _one_line(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever a parser makes of bytes from anywhere, the file is at fault: a WeightsError in one line."""
    try:
        yield
    except FileNotFoundError:
        raise
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except Exception as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise WeightsError(f"{path}: truncated or damaged ({reason})") from None


def save_weights(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write ``{name: array or Tensor}`` to `path`, a .npz or a .safetensors file by its ending.

    A crash leaves the old file or the new one, whole: see `files.atomic`. Equal states give equal bytes.
    Raises WeightsError for another ending, or for an array the format cannot hold.

        >>> model = nn.Linear(2, 3, rng=0)
        >>> md.save_weights("model.npz", model.state_dict())
        >>> sorted(md.load_weights("model.npz"))
        ['bias', 'weight']
    """
    write = WRITERS.get(Path(path).suffix)
    if write is None:
        raise WeightsError(f"{path}: weights are saved as {' or '.join(WRITERS)}, by the ending of the name")
    arrays = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path}: names are strings, one is {name!r}")
        arrays[name] = np.asarray(to_device(as_array(value), "cpu"))
    with replacing(path) as file:
        write(file, arrays)
