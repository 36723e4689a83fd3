"""What torch.save writes: a pickle of records (see `pickles`), and the entries of the storages they refer to.

Since torch 1.6 the file is a zip: ``archive/data.pkl``, ``archive/data/KEY`` for each storage, ``archive/byteorder``.
Before, it was one stream: three pickles that identify it, the pickle of records, a pickle of the storage keys, then
each storage: its length in 8 bytes and its entries, little-endian on every machine.
Source: torch/serialization.py and torch/csrc/serialization.cpp of PyTorch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from ..reading import DTYPES, Budget, Entry, WeightsError, brief, count, held, numbers
from ..source import Source
from . import pickles
from .contents import Contents, leaves
from .names import NESTED
from .records import GLOBALS, NOTHING_IS_RUN, ArrayRecord, Function, Opaque, StorageRecord, TensorRecord
from .zips import Archive

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
Bytes = bytes | memoryview


def read_zip(archive: Archive, budget: Budget) -> Contents:
    """The tensors and numbers of a file of torch 1.6 or later, or of a TorchScript program."""
    prefix = next(name for name in archive.members if name.endswith("/data.pkl")).removesuffix("data.pkl")
    order = "<"
    if prefix + "byteorder" in archive.members:
        order = {b"little": "<", b"big": ">"}[bytes(archive.read(prefix + "byteorder"))]
    members: dict[str, Callable[[], memoryview]] = {}

    def storage(record: StorageRecord) -> Bytes:
        name = f"{prefix}data/{record.key}"
        if name not in archive.members:
            raise WeightsError(f"storage {record.key!r} is missing")
        if name not in members:
            members[name] = archive.later(name)
        data = members[name]()
        if len(data) != record.numel * record.dtype.itemsize:
            raise WeightsError(_misfit(record, len(data)))
        return data

    script = prefix + "constants.pkl" in archive.members
    tree = pickles.load(io.BytesIO(archive.read(prefix + "data.pkl")))
    return contents("TorchScript, zip" if script else "PyTorch, zip", tree, storage, order, budget)


def read_legacy(source: Source) -> Contents:
    """The tensors and numbers of a file of torch before 1.6, or the arrays and numbers of a plain pickle."""
    file = source.file()
    first = pickles.load(file)
    if first != MAGIC:
        return contents("a pickle", first, _nowhere, "<", source.budget)
    return contents("PyTorch before 1.6", *_legacy(source.data, file), "<", source.budget)


def _legacy(data: Bytes, file: BinaryIO) -> tuple[Any, Callable[[StorageRecord], Bytes]]:
    """The tree of a file of torch before 1.6, and what gives the bytes of its storages; `file` is after the magic."""
    pickles.load(file)  # the version of the protocol
    pickles.load(file)  # the machine it was written on
    records: dict[str, StorageRecord] = {}
    tree = pickles.load(file, records)
    order = pickles.load(file)
    places: dict[str, Bytes] = {}
    start = file.tell()
    for name in order:
        if name not in records:
            raise WeightsError(f"storage {brief(name)} belongs to no tensor")
        record = records[name]
        size = record.numel * record.dtype.itemsize
        places[name] = data[start + 8 : start + 8 + size]
        if int.from_bytes(data[start : start + 8], "little") != record.numel or len(places[name]) != size:
            raise WeightsError(_misfit(record, len(places[name])))
        start += 8 + size

    def storage(record: StorageRecord) -> Bytes:
        if record.key not in places:
            raise WeightsError(f"storage {record.key!r} is missing")
        return places[record.key]

    return tree, storage


def _storage_alone(raw: Any) -> StorageRecord:
    """What torch.storage._load_from_bytes stands for in a plain pickle: a file of torch before 1.6 with one storage."""
    try:
        if b"_load_from_bytes" in raw:  # one in another, and so on, would copy for ever
            raise WeightsError("one in another")
        file = io.BytesIO(raw)
        if pickles.load(file) != MAGIC:
            raise WeightsError("another file")
        record, storage = _legacy(raw, file)
        return replace(record, data=storage(record))
    except Exception as error:
        what = f"the pickle has a strange torch.storage._load_from_bytes ({' '.join(str(error).split())[:80]})"
        raise WeightsError(f"{what}; save the state_dict with torch.save") from None


GLOBALS["torch.storage._load_from_bytes"] = Function(_storage_alone)


def _nowhere(record: StorageRecord) -> Bytes:
    raise WeightsError(f"storage {record.key!r} is missing")


def _misfit(record: StorageRecord, size: int) -> str:
    wanted = f"{record.numel} {record.dtype.name}"
    return f"storage {record.key!r} declares {wanted}, {size} bytes are there: truncated or damaged"


def contents(form: str, tree: Any, storage: Callable[[StorageRecord], Bytes], order: str, budget: Budget) -> Contents:
    """Every tensor and number of a tree by its path joined with dots. The weights are a state_dict, if there is one."""
    if isinstance(tree, Opaque) and tree.parts is not None:
        form = f"{form}: a whole model, {tree.name}"
    elif isinstance(tree, ArrayRecord) and tree.objects is not None:
        tree = tree.objects[0] if len(tree.objects) == 1 else tree.objects
    elif isinstance(tree, Opaque):
        raise WeightsError(f"the file asks for {tree.name!r}; {NOTHING_IS_RUN}")
    elif not isinstance(tree, (dict, list, tuple)):
        raise WeightsError("the file holds one object without a name; save a dict, such as model.state_dict()")
    found = Contents(form, [])
    if isinstance(tree, dict) and (isinstance(inner := tree.get(NESTED), dict) or getattr(inner, "parts", None)):
        found.prefix = f"{NESTED}."
    opaque = None
    for name, leaf in leaves(tree, lambda value: getattr(value, "parts", None)):
        entry, short = None, name.removeprefix(found.prefix)
        if isinstance(leaf, TensorRecord):
            entry = _tensor(short, leaf, storage, order, budget)
        elif isinstance(leaf, ArrayRecord) and leaf.array is not None:
            entry = held(leaf.array)
        elif isinstance(leaf, (bool, int, float, complex, list, tuple, np.generic)):
            array = np.asarray(leaf)
            entry = held(array) if array.dtype.kind != "O" else None  # integers beyond 64 bits
        elif isinstance(leaf, Opaque):
            opaque = leaf
            entry = _refused(short, leaf) if leaf.why else None
        if entry is not None:
            found.entries.append((name, entry))
        else:  # strings, None, objects: not for an engine
            found.others.append((name, leaf.name if isinstance(leaf, Opaque) else brief(leaf)))
    if opaque and not found.entries:
        raise WeightsError(f"the file asks for {opaque.name!r}; {NOTHING_IS_RUN}")
    return found


def _refused(name: str, leaf: Opaque) -> Entry:
    """The entry of a tensor that has no values here."""

    def read() -> np.ndarray:
        raise WeightsError(f"{name!r} {leaf.why}")

    return Entry((), "not read", read)


def _tensor(
    name: str, record: TensorRecord, storage: Callable[[StorageRecord], Bytes], order: str, budget: Budget
) -> Entry:
    dtype = np.dtype(DTYPES[record.dtype.name]).newbyteorder(order)
    size = count(record.size)

    def read() -> np.ndarray:
        raw = storage(record.storage) if record.storage.data is None else record.storage.data
        if not size:
            return numbers(np.empty(record.size, dtype), record.dtype.name)
        budget.spend(size * dtype.itemsize, f"tensor {name!r}")
        last = record.offset + sum((n - 1) * stride for n, stride in zip(record.size, record.stride, strict=True))
        if (last + 1) * dtype.itemsize > len(raw):
            raise WeightsError(
                f"tensor {name!r} reaches entry {last} of a storage with {len(raw) // dtype.itemsize}: "
                f"offset {record.offset}, size {record.size}, stride {record.stride}"
            )
        strides = [dtype.itemsize * step if n > 1 else 0 for n, step in zip(record.size, record.stride, strict=True)]
        array = numbers(np.ndarray(record.size, dtype, raw, record.offset * dtype.itemsize, strides), record.dtype.name)
        if record.conjugate:
            np.conjugate(array, out=array)
        if record.negative:
            np.negative(array, out=array)
        return array

    return Entry(tuple(record.size), record.dtype.name, read)
