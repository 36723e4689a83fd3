"""What torch.save writes: a pickle of records (see `pickles`), and the entries of the storages they refer to.

Since torch 1.6 the file is a zip: ``archive/data.pkl``, ``archive/data/KEY`` for each storage, ``archive/byteorder``.
Before, it was one stream: three pickles that identify it, the pickle of records, a pickle of the storage keys, then
each storage: its length in 8 bytes and its entries, little-endian on every machine.
Source: torch/serialization.py and torch/csrc/serialization.cpp of PyTorch.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..reading import DTYPES, Budget, WeightsError, brief, count, numbers
from . import pickles
from .names import NESTED, prefix_under
from .npz import read_member
from .records import NOTHING_IS_RUN, ArrayRecord, Opaque, StorageRecord, TensorRecord

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
DEPTH_LIMIT = 32
VISITS_LIMIT = 1_000_000


def read_zip(archive: zipfile.ZipFile, budget: Budget, key: str | None) -> dict[str, np.ndarray]:
    """The tensors and numbers of a file of torch 1.6 or later."""
    if not any(info.CRC for info in archive.infolist()):  # torch.serialization.set_crc32_options(False)
        for info in archive.infolist():
            info.CRC = None  # nothing to compare with
    members = {info.filename: info for info in archive.infolist()}
    prefix = next(name for name in members if name.endswith("/data.pkl")).removesuffix("data.pkl")
    if prefix + "constants.pkl" in members:
        raise WeightsError("this is a TorchScript program; save the state_dict() of the model instead")
    order = "<"
    if prefix + "byteorder" in members:
        order = {b"little": "<", b"big": ">"}[read_member(archive, members[prefix + "byteorder"])]

    def storage(record: StorageRecord) -> bytes:
        name = f"{prefix}data/{record.key}"
        if name not in members:
            raise WeightsError(f"storage {record.key!r} is missing")
        data = read_member(archive, members[name])
        if len(data) != record.numel * record.dtype.itemsize:
            raise WeightsError(_misfit(record, len(data)))
        return data

    tree = pickles.load(io.BytesIO(read_member(archive, members[prefix + "data.pkl"])))
    return named_arrays(tree, storage, order, budget, key)


def read_legacy(data: bytes, budget: Budget, key: str | None) -> dict[str, np.ndarray]:
    """The tensors and numbers of a file of torch before 1.6, or the arrays and numbers of a plain pickle."""
    file = io.BytesIO(data)
    first = pickles.load(file)
    if first != MAGIC:
        return named_arrays(first, lambda record: b"", "<", budget, key)
    pickles.load(file)  # the version of the protocol
    pickles.load(file)  # the machine it was written on
    records: dict[str, StorageRecord] = {}
    tree = pickles.load(file, records)
    order = pickles.load(file)
    contents: dict[str, memoryview] = {}
    start = file.tell()
    for name in order:
        if name not in records:
            raise WeightsError(f"storage {brief(name)} belongs to no tensor")
        record = records[name]
        size = record.numel * record.dtype.itemsize
        contents[name] = memoryview(data)[start + 8 : start + 8 + size]
        if int.from_bytes(data[start : start + 8], "little") != record.numel or len(contents[name]) != size:
            raise WeightsError(_misfit(record, len(contents[name])))
        start += 8 + size

    def storage(record: StorageRecord) -> memoryview:
        if record.key not in contents:
            raise WeightsError(f"storage {record.key!r} is missing")
        return contents[record.key]

    return named_arrays(tree, storage, "<", budget, key)


def _misfit(record: StorageRecord, size: int) -> str:
    wanted = f"{record.numel} {record.dtype.name}"
    return f"storage {record.key!r} declares {wanted}, {size} bytes are there: truncated or damaged"


def named_arrays(
    tree: Any, storage: Callable, order: str, budget: Budget, key: str | None = None
) -> dict[str, np.ndarray]:
    """Every tensor and number under `key` by its path joined with dots; without a key a state_dict is unwrapped."""
    if isinstance(tree, Opaque):
        raise WeightsError(f"the file asks for {tree.name!r}; {NOTHING_IS_RUN}")
    if key is None and isinstance(tree, dict) and isinstance(tree.get(NESTED), dict):
        tree = tree[NESTED]
    if not isinstance(tree, (dict, list, tuple)):
        raise WeightsError("the file holds one object without a name; save a dict, such as model.state_dict()")
    found = list(leaves(tree))
    prefix = prefix_under((name for name, _ in found), key)
    arrays: dict[str, np.ndarray] = {}
    cache: dict[StorageRecord, Any] = {}
    opaque = None
    for name, leaf in found:
        if not name.startswith(prefix):
            continue
        name = name.removeprefix(prefix)
        if isinstance(leaf, TensorRecord):
            if leaf.storage not in cache:
                cache[leaf.storage] = storage(leaf.storage)
            array = _tensor(name, leaf, cache[leaf.storage], order, budget)
        elif isinstance(leaf, ArrayRecord) and leaf.array is not None:
            array = leaf.array
        elif isinstance(leaf, (bool, int, float, complex, list, tuple, np.generic)):
            array = np.asarray(leaf)
            if array.dtype.kind == "O":  # integers beyond 64 bits
                continue
        else:  # strings, None, objects: not for an engine
            if isinstance(leaf, Opaque):
                opaque = leaf
                if leaf.why:
                    raise WeightsError(f"{name!r} {leaf.why}")
            continue
        if name in arrays:
            raise WeightsError(f"two entries are called {name!r} once nested names are joined with dots")
        arrays[name] = array
    if opaque and not arrays:
        raise WeightsError(f"the file asks for {opaque.name!r}; {NOTHING_IS_RUN}")
    return arrays


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """(path joined with dots, value) of everything in a nest of dicts and lists. A list of numbers is one value.

    A key that is no name, such as a tuple, is "#" and its place.
    """
    stack, visits = [("", tree, 0)], 0
    while stack:
        path, value, depth = stack.pop()
        visits += 1
        if depth > DEPTH_LIMIT or visits > VISITS_LIMIT:  # a small pickle can nest for ever, in itself too
            raise WeightsError(f"the entries are nested deeper than {DEPTH_LIMIT}, or more than {VISITS_LIMIT}")
        if isinstance(value, dict):
            items: Any = value.items()
        elif isinstance(value, (list, tuple)) and not _numeric(value):
            items = list(enumerate(value))
        else:
            yield path, value
            continue
        start = f"{path}." if path else ""
        below = [(f"{start}{_name(key, i)}", entry, depth + 1) for i, (key, entry) in enumerate(items)]
        stack += reversed(below)


def _name(key: Any, place: int) -> str:
    return str(key) if isinstance(key, (str, int, float)) else f"#{place}"


def _numeric(values: Any) -> bool:
    return bool(values) and all(isinstance(value, (bool, int, float)) for value in values)


def _tensor(name: str, record: TensorRecord, raw: Any, order: str, budget: Budget) -> np.ndarray:
    dtype = np.dtype(DTYPES[record.dtype.name]).newbyteorder(order)
    entries = count(record.size)
    if not entries:
        return numbers(np.empty(record.size, dtype), record.dtype.name)
    budget.spend(entries * dtype.itemsize, f"tensor {name!r}")
    last = record.offset + sum((n - 1) * stride for n, stride in zip(record.size, record.stride, strict=True))
    if (last + 1) * dtype.itemsize > len(raw):
        raise WeightsError(
            f"tensor {name!r} reaches entry {last} of a storage with {len(raw) // dtype.itemsize}: "
            f"offset {record.offset}, size {record.size}, stride {record.stride}"
        )
    strides = [dtype.itemsize * stride if n > 1 else 0 for n, stride in zip(record.size, record.stride, strict=True)]
    array = numbers(np.ndarray(record.size, dtype, raw, record.offset * dtype.itemsize, strides), record.dtype.name)
    if record.conjugate:
        np.conjugate(array, out=array)
    if record.negative:
        np.negative(array, out=array)
    return array
