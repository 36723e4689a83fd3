"""MATLAB's .mat, of versions 5 to 7 and 7.3 (which is HDF5): a nest of numbers, texts, cells and structs. Networks of
MatConvNet get PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reading import Budget, Entry, WeightsError, brief
from ..source import Source
from . import hdf5, mat5, matconvnet
from .contents import Contents, leaves

TEXTS = (b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")


def is_matlab(head: bytes) -> bool:
    """Whether a file begins as those of MATLAB do: a text, and at 126 the order of its bytes."""
    return head[126:128] in (b"IM", b"MI") or head.startswith(TEXTS)


def read(source: Source) -> Contents:
    """The arrays of a .mat of version 5, 6 or 7."""
    return _contents("MATLAB", mat5.read(source))


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
        else:
            found.others.append((name, brief(leaf) if isinstance(leaf, str) else leaf.name))
    return found
