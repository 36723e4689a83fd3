"""Weights on disk: .npz, .safetensors and what torch.save writes, read without ever running a pickle.

state = md.load_weights("resnet18.pth")        # {name: array}
model.load_state_dict(state)
md.save_weights("resnet18.safetensors", model.state_dict())
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.tensor import as_array
from ...device import to_device
from ..atomic import replacing
from ..reading import Budget, WeightsError
from . import npz, safetensors, torch_file
from .names import prefix_under, without

__all__ = ["WeightsError", "load_weights", "save_weights"]

WRITERS = {".npz": npz.write, ".safetensors": safetensors.write}
MISTAKES = {  # how files that are often taken for weights begin
    b"<": "this is a web page: the download went wrong",
    b"version https://git-lfs": "this is a git-lfs pointer: fetch the file itself with git lfs pull",
    b"\x93NUMPY": "this is one .npy array, without a name; use numpy.load",
    b"\x89HDF": "this is an HDF5 file; save its arrays with numpy.savez",
    b"\x1f\x8b": "this is a gzip file; unpack it first",
}


def load_weights(path: str | os.PathLike, key: str | None = None, strip: str | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a .npz, .safetensors or torch file (.pt, .pth) as ``{name: array}``.

    The content decides, not the ending. A torch file is read without running its pickle: tensors, NumPy arrays
    and numbers (as 0-d arrays) are taken; strings and other objects are left, whatever they are.
    ``{"state_dict": {...}}`` is unwrapped; other nesting is joined with dots. bfloat16 and float8 become float32.
    The arrays are fresh, writable and in C order.

    key: read this entry only, its name left out: ``key="model"`` of ``{"model": {...}, "optimizer": {...}}`` or of
        names that begin with "model.", ``key="ema.module"`` of nested ones.
    strip: a part to leave out of the names wherever it stands, such as "module" (of DataParallel) or "_orig_mod" (of
        torch.compile).

    A plain pickle of arrays is read in the same way. Raises FileNotFoundError, or WeightsError (a ValueError) in one
    line for a file that is damaged, hostile or of another kind, and for tensors that have no values here (quantised,
    sparse, meta); no file makes it use much more memory than its size.
    """
    data = Path(path).read_bytes()
    try:
        arrays = _read(data, key)
        return arrays if strip is None else without(arrays, strip)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except Exception as error:  # whatever a parser makes of bytes from anywhere: the file is at fault
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise WeightsError(f"{path}: truncated or damaged ({reason})") from None


def _read(data: bytes, key: str | None) -> dict[str, np.ndarray]:
    budget = Budget(len(data))
    if not data:
        raise WeightsError("the file is empty")
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _read_zip(data, budget, key)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= safetensors.HEADER_LIMIT:
        return _under(safetensors.read(data, budget), key)
    if data[:1] == b"\x80":
        return torch_file.read_legacy(data, budget, key)
    for beginning, advice in MISTAKES.items():
        if data.startswith(beginning):
            raise WeightsError(advice)
    raise WeightsError("neither .npz, nor .safetensors, nor a file of torch.save")


def _read_zip(data: bytes, budget: Budget, key: str | None) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        npz.check_sizes(archive, budget)
        names = archive.namelist()
        if any(name.endswith("/data.pkl") for name in names):
            return torch_file.read_zip(archive, budget, key)
        if names and not any(name.endswith(".npy") for name in names):
            raise WeightsError(f"a zip file without arrays; its first member is {names[0][:60]!r}")
        return _under(npz.read(archive), key)


def _under(arrays: dict[str, np.ndarray], key: str | None) -> dict[str, np.ndarray]:
    prefix = prefix_under(arrays, key)
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def save_weights(path: str | os.PathLike, state: Mapping[str, Any]) -> None:
    """Write ``{name: array or Tensor}`` to `path`, a .npz or a .safetensors file by its ending.

    A crash leaves the old file or the new one, whole: see `files.atomic`. Equal states give equal bytes.
    Raises WeightsError for another ending, or for an array the format cannot hold.
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
