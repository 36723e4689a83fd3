"""The safetensors format: 8 bytes with the length of a JSON header, the header, the entries of every tensor.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np

from ..reading import DTYPES, Budget, Entry, WeightsError, brief, count, numbers
from ..source import Source
from .contents import Contents

NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
CODES = {np.dtype(name): code for code, name in NAMES.items() if not name.startswith(("bfloat", "float8"))}
HEADER_LIMIT = 100_000_000  # the format's own


def read(source: Source) -> Contents:
    """Every tensor of a safetensors file, in the order of its header."""
    data, length = source.data, int.from_bytes(source.data[:8], "little")
    if length > min(len(data) - 8, HEADER_LIMIT):
        raise WeightsError(f"a header of {length} bytes in a file of {len(data)}: truncated, or not safetensors")
    header = json.loads(bytes(data[8 : 8 + length]).decode("utf-8"), object_pairs_hook=_without_duplicates)
    body = data[8 + length :]
    metadata = header.pop("__metadata__", None)
    entries = [(name, _tensor(name, entry, body, source.budget)) for name, entry in header.items()]
    places = sorted(entry["data_offsets"] for entry in header.values())
    if [0, *(end for _, end in places)] != [*(begin for begin, _ in places), len(body)]:
        raise WeightsError(f"the tensors do not fill the {len(body)} bytes after the header: truncated or damaged")
    others = [(str(name), brief(value)) for name, value in metadata.items()] if isinstance(metadata, dict) else []
    return Contents("safetensors", entries, others=others)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise WeightsError("the header names a tensor twice")
    return entries


def _tensor(name: str, entry: dict, body: memoryview, budget: Budget) -> Entry:
    code, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if code not in NAMES:
        raise WeightsError(f"tensor {name!r} has dtype {str(code)[:20]}; one of {', '.join(NAMES)} is read")
    dtype = np.dtype(DTYPES[NAMES[code]]).newbyteorder("<")
    size = count(shape) * dtype.itemsize
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end <= len(body) or end - begin != size:
        raise WeightsError(
            f"tensor {name!r} declares {code}{shape}, {size} bytes, at {begin} to {end} of {len(body)}: "
            "truncated or damaged"
        )
    budget.spend(size, f"tensor {name!r}")
    raw = np.frombuffer(body[begin:end], dtype).reshape(shape)
    return Entry(tuple(shape), NAMES[code], lambda: numbers(raw, NAMES[code]))


def write(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    """Write a safetensors file. The widest dtypes come first, which keeps every tensor aligned."""
    header: dict[str, Any] = {}
    offset = 0
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    for name in names:
        array = arrays[name]
        if array.dtype.newbyteorder("=") not in CODES or name == "__metadata__":
            raise WeightsError(f"array {name!r} of dtype {array.dtype} has no place in safetensors; save an .npz")
        header[name] = {
            "dtype": CODES[array.dtype.newbyteorder("=")],
            "shape": list(array.shape),
            "data_offsets": [offset, offset := offset + array.nbytes],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        array = arrays[name]
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
