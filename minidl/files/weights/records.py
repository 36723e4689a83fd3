"""What the machine of `pickles` makes in place of objects: plain records of tensors and arrays, names of the rest."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..reading import DTYPES, WeightsError, brief, count

# Nothing is run in any case. A file that asks for these is no file of weights, and its user should know.
PROGRAMS = {"os", "posix", "nt", "subprocess", "pty", "sys", "shutil", "socket", "ctypes", "importlib", "runpy"}
QUANTISED = tuple(f"{start}.quantized" for start in ("torch.ao.nn", "torch.nn", "__torch__.torch.classes"))
NOTHING_IS_RUN = "only tensors are read, nothing is run; save model.state_dict() instead"


class Dtype(NamedTuple):
    """Stands for torch.float32, torch.FloatStorage and the like; "bytes" for an untyped storage."""

    name: str

    @property
    def itemsize(self) -> int:
        return 1 if self.name == "bytes" else np.dtype(DTYPES[self.name]).itemsize


class Opaque:
    """Something that is not a tensor, or a tensor that cannot be read (`why` says it): a name, never the object.

    members: what is in it, if it is a set. parts: the named tensors and modules in it, if it is a module.
    """

    def __init__(self, name: str, why: str = "", members: Iterable[Any] = ()):
        self.name, self.why, self.members = name, why, list(members)
        self.parts: dict[str, Any] | None = None

    @property
    def itemsize(self) -> int:
        raise WeightsError(f"tensors of type {self.name} are not read; save what dequantize() gives")


@dataclass(frozen=True)
class StorageRecord:
    """`numel` entries that lie elsewhere in the file, under `key`, or are `data`; a part of them from `start` on."""

    key: str
    dtype: Dtype | Opaque
    numel: int
    start: int = field(default=0, compare=False)
    data: bytes | memoryview | None = field(default=None, compare=False, repr=False)


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


def find(module: Any, attribute: Any) -> Any:
    """What stands for ``module.attribute``: a record of `GLOBALS`, or its name."""
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise WeightsError(f"the pickle asks for a name out of {brief(module)} and {brief(attribute)}")
    name = f"{'builtins' if module == '__builtin__' else module}.{attribute}"
    return GLOBALS.get(name) or Opaque(name[:100])


def call(function: Any, arguments: Any, options: Any = None) -> Any:
    """What stands for the value of ``function(*arguments, **options)``. Refuses to stand for running a program."""
    if isinstance(function, Opaque):
        module, _, name = function.name.partition(".")
        if module in PROGRAMS or (module == "builtins" and not isinstance(vars(builtins).get(name, type), type)):
            raise WeightsError(f"the file asks for {function.name!r}; {NOTHING_IS_RUN}")
        return Opaque(function.name, function.why)
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
        raise WeightsError(f"the pickle calls a {type(function).__name__}")
    return function.call(*arguments, **(options or {}))


def set_state(target: Any, state: Any) -> None:
    """What stands for setting the attributes of an object."""
    if isinstance(target, InlineArray):
        target.describe(**state)
    elif isinstance(target, (ArrayRecord, DtypeRecord)):
        target.set_state(*state)
    elif isinstance(target, Opaque):
        if target.name.startswith(QUANTISED):
            target.why = f"is quantised ({target.name}); save the model before its conversion"
        elif isinstance(state, dict):
            target.parts = _module(state) if "_parameters" in state else _script(target.name, state)
    elif not isinstance(target, (dict, TensorRecord)):  # attributes, such as the _metadata of a state_dict, are left
        raise WeightsError(f"the pickle sets the state of a {type(target).__name__}")


def _module(state: dict) -> dict[str, Any]:
    """The state_dict of a torch.nn.Module out of its attributes, by torch's rule: parameters, buffers, modules."""
    parameters, buffers, modules = (state.get(name) or {} for name in ("_parameters", "_buffers", "_modules"))
    members = getattr(state.get("_non_persistent_buffers_set"), "members", ())
    left_out = {member for member in members if isinstance(member, str)}
    kept = {name: value for name, value in buffers.items() if name not in left_out}
    return {name: value for name, value in {**parameters, **kept, **modules}.items() if value is not None}


def _script(name: str, state: dict) -> dict[str, Any] | None:
    """The tensors and modules among the attributes of a TorchScript module; None for an object of another kind."""
    if not name.startswith("__torch__."):
        return None
    return {name: value for name, value in state.items() if _has_tensors(value)}


def _has_tensors(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return any(isinstance(entry, (TensorRecord, Opaque)) for entry in inner)


def _getattr(target: Any, name: Any) -> Opaque:
    """A class inside a class, or a member of an enumeration, as Python before pickle protocol 4 names them."""
    if not isinstance(target, Opaque):
        raise WeightsError(f"the file asks for 'builtins.getattr'; {NOTHING_IS_RUN}")
    return Opaque(f"{target.name}.{brief(name)}")


def pairs(items: list) -> dict:
    """[key, value, key, value, ...] as a dict. Keys are plain: hashing a nested one could take for ever."""
    if not all(map(_is_plain, items[::2])):
        raise WeightsError("the pickle has a dict with keys other than strings, numbers and short tuples of them")
    return dict(zip(items[::2], items[1::2], strict=True))


def _is_plain(key: Any, depth: int = 3) -> bool:
    if isinstance(key, tuple):
        return depth > 0 and len(key) <= 20 and all(_is_plain(entry, depth - 1) for entry in key)
    return key is None or isinstance(key, (str, int, float, complex, bytes, Opaque, TensorRecord))


# --- torch


def storage(tag: str, dtype: Any, key: str, location: str = "", numel: int = 0, view: Any = None) -> Any:
    """What a persistent id stands for: ("storage", dtype, key, location, numel), or ("module", class, file, source)."""
    if tag == "module":
        return dtype
    if tag != "storage" or not isinstance(dtype, Dtype | Opaque) or not isinstance(key, str):
        raise WeightsError(f"the pickle refers to {brief(tag)}, which is no storage")
    start = view[1] if isinstance(view, tuple) and len(view) == 3 else 0  # before torch 0.4: (key, offset, size)
    count((numel, start))
    return StorageRecord(key, dtype, numel, start)


def _tensor(storage: StorageRecord, offset: int, size: tuple, stride: tuple, *rest: Any) -> TensorRecord | Opaque:
    """_rebuild_tensor(..., stride) and _rebuild_tensor_v2(..., requires_grad, hooks, metadata=None)."""
    dtype = getattr(storage, "dtype", None)
    return _view(storage, dtype, offset, size, stride, rest[2] if len(rest) > 2 else None)


def _tensor_of_dtype(
    storage: StorageRecord, offset: int, size: tuple, stride: tuple, grad: Any, hooks: Any, dtype: Dtype, *rest: Any
) -> TensorRecord | Opaque:
    """_rebuild_tensor_v3(..., dtype, metadata=None): the storage is bytes, the dtype stands apart."""
    return _view(storage, dtype, offset, size, stride, rest[0] if rest else None)


def _view(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, metadata: Any) -> TensorRecord | Opaque:
    for part in (storage, dtype):
        if isinstance(part, Opaque):
            return Opaque(part.name, part.why or f"is of type {part.name}, which is not read; save it in another")
    if not isinstance(storage, StorageRecord) or not isinstance(dtype, Dtype):
        raise WeightsError("the pickle makes a tensor of something else than a storage")
    if dtype.name == "bytes":
        raise WeightsError("the pickle has a tensor without a dtype")
    count((offset,)), count(size), count(stride)
    if len(size) != len(stride):
        raise WeightsError(f"a tensor of size {size} has stride {stride}: one stride per axis")
    bits = metadata if isinstance(metadata, dict) else {}
    conjugate, negative = bool(bits.get("conj")), bool(bits.get("neg"))
    offset += storage.start
    return TensorRecord(storage, dtype, offset, tuple(size), tuple(stride), conjugate, negative)


def _subclass(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """_rebuild_from_type_v2: a tensor with attributes; the attributes are left."""
    return call(function, arguments)


# --- NumPy


class ArrayRecord:
    """What numpy's _reconstruct makes: an array whose entries come later, in BUILD.

    `array` is None if they are no numbers; if they are Python objects, those are `objects`, as a list.
    """

    array: np.ndarray | None = None
    objects: list | None = None

    def set_state(self, version: int, shape: tuple, dtype: Any, fortran: bool, raw: Any) -> None:
        if isinstance(dtype, Opaque):
            self.objects = raw if isinstance(raw, list) else None
            return
        raw = _bytes(raw)
        if count(shape) * dtype.dtype.itemsize != len(raw):
            raise WeightsError(f"the pickle has an array {dtype.dtype}{list(shape)} of {len(raw)} bytes")
        entries = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")
        self.array = entries.astype(dtype.dtype.newbyteorder("="), order="C")


class InlineArray(ArrayRecord):
    """An array as joblib dumps it: its entries follow in the file, after the instruction that describes it.

    Source: joblib/numpy_pickle.py, NumpyArrayWrapper.
    """

    def describe(self, shape: tuple, order: str, dtype: Any, numpy_array_alignment_bytes: Any = None, **rest: Any):
        self.shape, self.fortran, self.dtype, self.aligned = shape, order == "F", dtype, numpy_array_alignment_bytes

    def read(self, file: BinaryIO) -> None:
        """Take the entries from the file."""
        if not isinstance(self.dtype, DtypeRecord):
            raise WeightsError("the file has a joblib array of Python objects, which are not read")
        if self.aligned is not None:
            file.read(file.read(1)[0])  # padding, after its length
        size = count(self.shape) * self.dtype.dtype.itemsize
        self.set_state(1, self.shape, self.dtype, self.fortran, file.read(size))


class DtypeRecord:
    """numpy.dtype("f8", align, copy) of a number; its byte order comes later, in BUILD."""

    def __init__(self, code: str):
        self.dtype = np.dtype(code)

    def set_state(self, version: int, order: str, *rest: Any) -> None:
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


def _dtype(code: Any, *rest: Any) -> DtypeRecord | Opaque:
    if isinstance(code, str) and code[:1] in "fciub" and code[1:].isdigit():
        return DtypeRecord(code)
    return Opaque(f"a NumPy array of dtype {brief(code)}")


def _scalar(dtype: Any, raw: Any) -> Any:
    return dtype if isinstance(dtype, Opaque) else np.frombuffer(_bytes(raw), dtype.dtype, count=1)[0]


def _from_buffer(raw: Any, dtype: DtypeRecord, shape: tuple, order: str, *rest: Any) -> ArrayRecord:
    record = ArrayRecord()
    record.set_state(1, shape, dtype, order == "F", raw)
    return record


def _bytes(raw: Any) -> bytes:
    """Bytes; a pickle of Python 2 has them as a string."""
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))


GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": Function(lambda items=(): pairs([part for pair in items for part in pair])),
    "collections.defaultdict": Function(lambda factory=None: {}),
    "builtins.bytes": Function(lambda: b""),
    "builtins.set": Function(lambda items=(): Opaque("builtins.set", members=items)),
    "joblib.numpy_pickle.NumpyArrayWrapper": Function(lambda *arguments: InlineArray()),
    "builtins.complex": Function(lambda real, imaginary: complex(real, imaginary)),
    "builtins.getattr": Function(_getattr),
    "_codecs.encode": Function(lambda text, encoding: text.encode("latin-1")),
    "torch.Size": Function(lambda size=(): tuple(size)),
    "torch.device": Function(lambda *where: None),
    "torch._utils._rebuild_tensor": Function(_tensor),
    "torch._utils._rebuild_tensor_v2": Function(_tensor),
    "torch._utils._rebuild_tensor_v3": Function(_tensor_of_dtype),
    "torch._tensor._rebuild_from_type_v2": Function(_subclass),
    "torch.storage.UntypedStorage": Dtype("bytes"),
    "torch.nn.parameter.Parameter": Function(lambda tensor, *rest: tensor),  # as torch before 0.4 wrote them
    "torch.autograd.variable.Variable": Function(lambda tensor, *rest: tensor),
    "numpy.dtype": Function(_dtype),
}
for _wrapper in (
    "parameter", "parameter_with_state", "xla_tensor", "device_tensor_from_numpy", "device_tensor_from_cpu_tensor"
):  # fmt: skip
    GLOBALS[f"torch._utils._rebuild_{_wrapper}"] = Function(lambda tensor, *rest: tensor)
for _kind, (_is, _advice) in {
    "qtensor": ("quantised", "what dequantize() gives"),
    "sparse_tensor": ("sparse", "what to_dense() gives"),
    "sparse_csr_tensor": ("sparse", "what to_dense() gives"),
    "nested_tensor": ("nested", "what to_padded_tensor(0) gives"),
    "meta_tensor_no_storage": ("on the device 'meta', without values", "the model once it has its weights"),
    "wrapper_subclass": ("of a class that wraps others", "the plain tensors in it"),
}.items():
    _name = f"torch._utils._rebuild_{_kind}"
    GLOBALS[_name] = Opaque(_name, f"is {_is} ({_name}); save {_advice}")
for _list in ("intlist", "doublelist", "boollist", "tensorlist"):
    GLOBALS[f"torch.jit._pickle.build_{_list}"] = Function(lambda values: values)
GLOBALS["torch.jit._pickle.restore_type_tag"] = Function(lambda value, kind: value)
for _package in ("numpy.core", "numpy._core"):
    GLOBALS[f"{_package}.multiarray._reconstruct"] = Function(lambda *arguments: ArrayRecord())
    GLOBALS[f"{_package}.multiarray.scalar"] = Function(_scalar)
    GLOBALS[f"{_package}.numeric._frombuffer"] = Function(_from_buffer)
for _storage_name, _dtype_name in {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool",
}.items():  # fmt: skip
    GLOBALS[f"torch.{_storage_name}Storage"] = GLOBALS[f"torch.cuda.{_storage_name}Storage"] = Dtype(_dtype_name)
for _dtype_name in DTYPES:
    GLOBALS[f"torch.{_dtype_name}"] = Dtype(_dtype_name)
