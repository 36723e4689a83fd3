"""Pickles, read as the little programs they are, by a machine that cannot run anything.

A pickle is a list of instructions for a stack machine, and some of them call any function of any module: to
unpickle a file is to run a program of its author. This machine knows the instructions that build numbers,
strings, lists and dicts, and looks functions up in one table, `GLOBALS`, of plain records below. Whatever else
a file asks for is refused by name. Python's own `pickletools` cuts the bytes into instructions.

`load` gives what the pickle describes, with every torch tensor as a `TensorRecord`, every NumPy array as an
`ArrayRecord`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..reading import DTYPES, WeightsError, count

INSTRUCTIONS_LIMIT = 10_000_000
LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class Dtype(NamedTuple):
    """Stands for torch.float32, torch.FloatStorage and the like; "bytes" for an untyped storage."""

    name: str

    @property
    def itemsize(self) -> int:
        return 1 if self.name == "bytes" else np.dtype(DTYPES[self.name]).itemsize


@dataclass(frozen=True)
class StorageRecord:
    """`numel` entries that lie elsewhere in the file, under `key`."""

    key: str
    dtype: Dtype
    numel: int


@dataclass(frozen=True)
class TensorRecord:
    """A strided view of a storage: entry i lies at ``offset + sum of i * stride``."""

    storage: StorageRecord
    dtype: Dtype
    offset: int
    size: tuple
    stride: tuple
    conjugate: bool = False
    negative: bool = False


class Function(NamedTuple):
    """The only kind of thing that the machine calls."""

    call: Callable


def load(file: BinaryIO, storages: dict[str, StorageRecord] | None = None) -> Any:
    """Read one pickle from `file`, up to its end mark; the file stays there. `storages` collects those it refers to."""
    stack: list = []
    marks: list[list] = []
    memo: dict[int, Any] = {}
    for position, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if position > INSTRUCTIONS_LIMIT:
            raise WeightsError(f"the pickle has more than {INSTRUCTIONS_LIMIT} instructions")
        name = opcode.name
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "MARK":
            marks.append(stack)
            stack = []
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("TUPLE", "LIST", "DICT"):
            items, stack = stack, marks.pop()
            stack.append({"TUPLE": tuple, "LIST": list, "DICT": _pairs}[name](items))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in ("APPENDS", "SETITEMS"):
            items, stack = stack, marks.pop()
            _fill(stack[-1], items)
        elif name in ("APPEND", "SETITEM"):
            n = 1 if name == "APPEND" else 2
            items = stack[-n:]
            del stack[-n:]
            _fill(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(_find(argument.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_find(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == "BUILD":
            _set_state(state=stack.pop(), target=stack[-1])
        elif name == "BINPERSID":
            record = _storage(*stack.pop())
            if storages is not None and storages.setdefault(record.key, record) != record:
                raise WeightsError(f"storage {record.key!r} is declared twice, differently")
            stack.append(record)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise WeightsError(f"the pickle uses the instruction {name}, which no file of tensors needs")
    raise WeightsError("the pickle has no end")


def _fill(target: Any, items: list) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, dict):
        target.update(_pairs(items))
    else:
        raise WeightsError(f"the pickle fills a {type(target).__name__}")


def _pairs(items: list) -> dict:
    """[key, value, key, value, ...] as a dict. Keys are plain: hashing a nested one could take for ever."""
    pairs = dict(zip(items[::2], items[1::2], strict=True)) if all(map(_is_plain, items[::2])) else None
    if pairs is None:
        raise WeightsError("the pickle has a dict with keys other than strings and numbers")
    return pairs


def _is_plain(key: Any) -> bool:
    return key is None or isinstance(key, (str, int, float, bytes))


def _find(name: str) -> Any:
    try:
        return GLOBALS[name]
    except KeyError:
        raise WeightsError(
            f"the file asks for {name[:100]!r}; only tensors are read, nothing is run. "
            "If it is a whole pickled model, save model.state_dict() instead"
        ) from None


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
        raise WeightsError(f"the pickle calls a {type(function).__name__}")
    return function.call(*arguments)


# --- torch


def _storage(tag: str, dtype: Dtype, key: str, location: str, numel: int, view: Any = None) -> StorageRecord:
    if tag != "storage" or view is not None or not isinstance(dtype, Dtype) or not isinstance(key, str):
        raise WeightsError("the pickle refers to a storage as torch before 0.4 did; save it again with a newer one")
    count((numel,))
    return StorageRecord(key, dtype, numel)


def _tensor(storage: StorageRecord, offset: int, size: tuple, stride: tuple, *rest: Any) -> TensorRecord:
    """_rebuild_tensor(..., stride) and _rebuild_tensor_v2(..., requires_grad, hooks, metadata=None)."""
    return _view(storage, storage.dtype, offset, size, stride, rest[2] if len(rest) > 2 else None)


def _tensor_of_dtype(
    storage: StorageRecord, offset: int, size: tuple, stride: tuple, grad: Any, hooks: Any, dtype: Dtype, *rest: Any
) -> TensorRecord:
    """_rebuild_tensor_v3(..., dtype, metadata=None): the storage is bytes, the dtype stands apart."""
    return _view(storage, dtype, offset, size, stride, rest[0] if rest else None)


def _view(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, metadata: Any) -> TensorRecord:
    if not isinstance(storage, StorageRecord) or not isinstance(dtype, Dtype):
        raise WeightsError("the pickle makes a tensor of something else than a storage")
    if dtype.name == "bytes":
        raise WeightsError("the pickle has a tensor without a dtype")
    count((offset,)), count(size), count(stride)
    if len(size) != len(stride):
        raise WeightsError(f"a tensor of size {size} has stride {stride}: one stride per axis")
    bits = metadata if isinstance(metadata, dict) else {}
    conjugate, negative = bool(bits.get("conj")), bool(bits.get("neg"))
    return TensorRecord(storage, dtype, offset, tuple(size), tuple(stride), conjugate, negative)


def _subclass(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """_rebuild_from_type_v2: a tensor with attributes; the attributes are left."""
    return _call(function, arguments)


# --- NumPy


class ArrayRecord:
    """What numpy's _reconstruct makes: an array whose entries come later, in BUILD."""

    array: np.ndarray | None = None

    def set_state(self, version: int, shape: tuple, dtype: DtypeRecord, fortran: bool, raw: Any) -> None:
        raw = _bytes(raw)
        if count(shape) * dtype.dtype.itemsize != len(raw):
            raise WeightsError(f"the pickle has an array {dtype.dtype}{list(shape)} of {len(raw)} bytes")
        entries = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")
        self.array = entries.astype(dtype.dtype.newbyteorder("="), order="C")


class DtypeRecord:
    """numpy.dtype("f8", align, copy); its byte order comes later, in BUILD."""

    def __init__(self, code: str, *rest: Any):
        if not isinstance(code, str) or code[:1] not in "fciub" or not code[1:].isdigit():
            raise WeightsError(f"the pickle has an array of dtype {str(code)[:20]!r}; only numbers are read")
        self.dtype = np.dtype(code)

    def set_state(self, version: int, order: str, *rest: Any) -> None:
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


def _scalar(dtype: DtypeRecord, raw: Any) -> np.ndarray:
    return np.frombuffer(_bytes(raw), dtype.dtype, count=1)[0]


def _from_buffer(raw: Any, dtype: DtypeRecord, shape: tuple, order: str, *rest: Any) -> ArrayRecord:
    record = ArrayRecord()
    record.set_state(1, shape, dtype, order == "F", raw)
    return record


def _bytes(raw: Any) -> bytes:
    """Bytes; a pickle of Python 2 has them as a string."""
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))


def _set_state(target: Any, state: Any) -> None:
    if isinstance(target, (ArrayRecord, DtypeRecord)):
        target.set_state(*state)
    elif not isinstance(target, (dict, TensorRecord)):  # attributes, such as the _metadata of a state_dict, are left
        raise WeightsError(f"the pickle sets the state of a {type(target).__name__}")


GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": Function(lambda items=(): _pairs([part for pair in items for part in pair])),
    "__builtin__.bytes": Function(lambda: b""),
    "_codecs.encode": Function(lambda text, encoding: text.encode("latin-1")),
    "torch.Size": Function(lambda size=(): tuple(size)),
    "torch.device": Function(lambda *where: None),
    "torch._utils._rebuild_tensor": Function(_tensor),
    "torch._utils._rebuild_tensor_v2": Function(_tensor),
    "torch._utils._rebuild_tensor_v3": Function(_tensor_of_dtype),
    "torch._utils._rebuild_parameter": Function(lambda tensor, *rest: tensor),
    "torch._utils._rebuild_parameter_with_state": Function(lambda tensor, *rest: tensor),
    "torch._tensor._rebuild_from_type_v2": Function(_subclass),
    "torch.Tensor": None,
    "torch.nn.parameter.Parameter": None,
    "torch.nn.parameter.Buffer": None,
    "torch.storage.UntypedStorage": Dtype("bytes"),
    "numpy.dtype": Function(DtypeRecord),
    "numpy.ndarray": None,
}
for _package in ("numpy.core", "numpy._core"):
    GLOBALS[f"{_package}.multiarray._reconstruct"] = Function(lambda *arguments: ArrayRecord())
    GLOBALS[f"{_package}.multiarray.scalar"] = Function(_scalar)
    GLOBALS[f"{_package}.numeric._frombuffer"] = Function(_from_buffer)
for _storage_name, _dtype in {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool",
}.items():  # fmt: skip
    GLOBALS[f"torch.{_storage_name}Storage"] = GLOBALS[f"torch.cuda.{_storage_name}Storage"] = Dtype(_dtype)
for _dtype in DTYPES:
    GLOBALS[f"torch.{_dtype}"] = Dtype(_dtype)
