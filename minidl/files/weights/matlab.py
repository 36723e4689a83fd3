"""MATLAB's .mat: versions 5 to 7 by scipy.io, 7.3 (which is HDF5) by h5py. Networks of MatConvNet get PyTorch's names.

A .mat is a nest of numbers, texts, cells and structs; here of arrays, strings, lists and dicts. Functions and objects
in it are not made.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from ..reading import Budget, Entry, WeightsError, held
from ..source import Source
from . import hdf5, matconvnet
from .contents import Contents, leaves

TEXTS = (b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")
NUMERIC = "fciub"


def is_matlab(head: bytes) -> bool:
    """Whether a file begins as those of MATLAB do: a text, and at 126 the order of its bytes."""
    return head[126:128] in (b"IM", b"MI") or head.startswith(TEXTS)


def read(source: Source) -> Contents:
    """The arrays of a .mat of version 5, 6 or 7."""
    from scipy.io import loadmat

    _check_size(source)
    tree = loadmat(source.file(), mat_dtype=False, struct_as_record=True)
    return _contents("MATLAB", {name: _plain(value) for name, value in tree.items() if not name.startswith("__")})


def _check_size(source: Source) -> None:
    """Spend what the compressed variables unfold into. A variable is a type and a size, of 4 bytes each, then that."""
    data, order = source.data, "little" if bytes(source.data[126:128]) == b"IM" else "big"
    place = 128
    while place + 8 <= len(data):
        kind, size = (int.from_bytes(data[place + i : place + i + 4], order) for i in (0, 4))
        place += 8
        if kind == 15:  # miCOMPRESSED
            unpacked, piece = zlib.decompressobj(), data[place : place + size]
            while len(piece):
                source.budget.spend(len(unpacked.decompress(piece, 1 << 20)), "a compressed variable")
                piece = unpacked.unconsumed_tail
        place += size


def _plain(value: Any) -> Any:
    """Arrays, strings, lists and dicts out of what loadmat makes: structs and cells are arrays of objects."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.names:  # a struct, or an array of structs
        structs = [{name: _plain(one[name]) for name in value.dtype.names} for one in value.ravel(order="F")]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype.kind == "O":  # a cell
        return [_plain(one) for one in value.ravel(order="F")]
    if value.dtype.kind in "US":
        texts = [str(one) for one in value.ravel()]
        return texts[0] if len(texts) == 1 else "".join(texts)
    return value


def read_hdf5(file: Any, budget: Budget) -> Contents:
    """The arrays of a .mat of version 7.3: axes in reverse, cells and struct arrays as references."""
    return _contents("MATLAB 7.3", {name: _of_hdf5(file, item, budget, name) for name, item in hdf5.children(file)
                                    if not name.startswith("#")})  # fmt: skip


def _of_hdf5(file: Any, item: Any, budget: Budget, path: str, depth: int = 0) -> Any:
    import h5py

    if depth > hdf5.DEPTH_LIMIT:
        raise WeightsError(f"{path!r} is nested deeper than {hdf5.DEPTH_LIMIT}")
    if hdf5.is_group(item):
        fields = {name: _of_hdf5(file, one, budget, f"{path}.{name}", depth + 1) for name, one in hdf5.children(item)}
        lists = [value for value in fields.values() if isinstance(value, _Structs)]
        if lists and len(lists) == len(fields):  # an array of structs: a list for each field
            return [dict(zip(fields, values)) for values in zip(*lists, strict=True)]
        return fields
    if item.dtype == h5py.ref_dtype:
        kind = list if item.attrs.get("MATLAB_class") == b"cell" else _Structs
        references = np.asarray(item[()]).T.ravel(order="F")
        return kind(_of_hdf5(file, file[one], budget, path, depth + 1) for one in references if one)
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(chr(code) for code in np.asarray(item[()]).T.ravel(order="F"))
    if item.attrs.get("MATLAB_empty", 0):
        return []
    entry = hdf5.entry(path, item, budget)
    return entry.rearranged(tuple(reversed(range(len(entry.shape)))))


class _Structs(list):
    """The values of one field of an array of structs."""


def _contents(form: str, tree: dict[str, Any]) -> Contents:
    found = Contents(form, [])
    if network := matconvnet.network(tree):
        found.form += ", MatConvNet"
        layers, found.notes = matconvnet.converted(network)
        beside = {} if network is tree else {name: value for name, value in tree.items() if value is not network}
        tree = {**layers, **beside}
    for name, leaf in leaves(tree):
        if isinstance(leaf, Entry):
            found.entries.append((name, leaf))
        elif isinstance(leaf, np.ndarray) and leaf.dtype.kind in NUMERIC:
            found.entries.append((name, held(leaf.astype(leaf.dtype.newbyteorder("="), order="C"))))
        elif isinstance(leaf, (bool, int, float)):
            found.entries.append((name, held(np.asarray(leaf))))
        else:
            found.others.append((name, leaf[:40] if isinstance(leaf, str) else type(leaf).__name__))
    return found
