"""torch.save and torch.load: torch's own files, written at once and read without running anything in them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from ..files.atomic import replacing
from ..files.reading import DTYPES, WeightsError, numbers
from ..files.weights import load_weights, pickles
from ..files.weights.records import ArrayRecord, Dtype, Opaque, TensorRecord
from . import dtypes
from .tensor import Tensor, wrap
from .values import Plain

STORAGES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage",
    "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage", "complex128": "ComplexDoubleStorage",
}  # fmt: skip


class _Name:
    """A name that the pickle asks torch for."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self) -> None:
        """pickle wants what it writes a call of to be callable."""


class _Storage(tuple):
    """What a tensor's entries are called in the file."""


class _Pickler(pickle._Pickler):
    """Writes plain values, and tensors as torch does; refuses what would run code where it is read."""

    def __init__(self, file: Any):
        super().__init__(file, 2)
        self.storages: dict[str, np.ndarray] = {}

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Tensor):
            self._save_tensor(obj)
        elif isinstance(obj, dtypes.dtype):
            self.write(f"ctorch\n{obj.name}\n".encode())
        elif isinstance(obj, dtypes.Size):
            super().save(tuple(obj))
        elif isinstance(obj, dtypes.device):
            self.save_reduce(_Name("torch", "device"), (str(obj),))
        elif isinstance(obj, np.generic):
            super().save(obj.item())
        elif isinstance(obj, PLAIN) or _of_data(obj if isinstance(obj, NAMED) else type(obj)):
            super().save(obj, save_persistent_id)
        else:
            raise TypeError(
                f"torch.save: {type(obj).__name__} is not written, as reading it would run code; save "
                "model.state_dict(), and plain values"
            )

    def _save_tensor(self, t: Tensor) -> None:
        key, array = str(len(self.storages)), np.array(t.value.data, order="C")
        self.storages[key] = array
        storage = _Storage(("storage", _Name("torch", STORAGES[array.dtype.name]), key, "cpu", array.size))
        strides = tuple(s // array.itemsize for s in array.strides)
        parts = (storage, 0, array.shape, strides, t.is_leaf and t.requires_grad, OrderedDict())
        self.save_reduce(_Name("torch._utils", "_rebuild_tensor_v2"), parts)

    def persistent_id(self, obj: Any) -> Any:
        return tuple(obj) if isinstance(obj, _Storage) else None


def _of_data(kind: Any) -> bool:
    """Is this a class, or a function that makes one, of plain data?"""
    return (kind.__module__ or "").partition(".")[0] in ("collections", "argparse", "pathlib", "numpy", "_codecs")


NAMED = (type, FunctionType, BuiltinFunctionType)
PLAIN = (dict, list, tuple, set, str, bytes, int, float, complex, bool, type(None), np.ndarray, np.dtype, slice)


def save(obj: Any, f: Any, *arguments: Any, **options: Any) -> None:
    """Write tensors, in nests of dicts and lists with plain values, as torch.save does; a file is replaced whole."""
    body = io.BytesIO()
    pickler = _Pickler(body)
    pickler.dump(obj)
    if isinstance(f, str | os.PathLike):
        with replacing(f) as file:
            _write(file, body.getvalue(), pickler.storages)
    else:
        _write(f, body.getvalue(), pickler.storages)


def _write(file: Any, body: bytes, storages: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        members = {"data.pkl": body, "byteorder": b"little", "version": b"3\n"}
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
        for key, array in storages.items():
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), array.tobytes())


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: Any = None, **options: Any
) -> Any:
    """What `save`, here or in torch, has written: nothing in the file is run, whatever `weights_only` says.

    Raises WeightsError for what has no plain values, such as a whole pickled module.
    """
    data = Path(f).read_bytes() if isinstance(f, str | os.PathLike) else f.read()
    if data[:4] != b"PK\x03\x04":  # before torch 1.6
        return {name: wrap(Plain(array)) for name, array in load_weights(f).items()}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        start = next((n for n in names if n.endswith("/data.pkl")), None)
        if start is None:
            raise WeightsError("torch.load: a zip file that torch.save did not write; md.load_weights reads others")
        start = start.removesuffix("data.pkl")
        big = f"{start}byteorder" in names and archive.read(f"{start}byteorder") == b"big"
        tree = pickles.load(io.BytesIO(archive.read(f"{start}data.pkl")))
        read = lru_cache(lambda key: archive.read(f"{start}data/{key}"))
        return _wrapped(tree, read, ">" if big else "<")


def _wrapped(x: Any, read: Any, order: str) -> Any:
    """What the pickle describes, with tensors for the records of tensors."""
    if isinstance(x, TensorRecord):
        kind = np.dtype(DTYPES[x.dtype.name]).newbyteorder(order)
        strides = [n * kind.itemsize for n in x.stride]
        array = np.ndarray(x.size, kind, read(x.storage.key), x.offset * kind.itemsize, strides)  # checks the bounds
        return wrap(Plain(np.array(numbers(array.copy(), x.dtype.name))))
    if isinstance(x, ArrayRecord):
        return x.array
    if isinstance(x, Dtype):
        return dtypes.named(x.name)
    if isinstance(x, dict):
        return {name: _wrapped(value, read, order) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x)([_wrapped(part, read, order) for part in x])
    if isinstance(x, Opaque):
        raise WeightsError(
            f"torch.load: the file holds {x.name}, which only its program can make: {x.why or 'save plain values'}; "
            "md.load_weights takes the tensors out of it"
        )
    return x


__all__ = ["load", "save"]
