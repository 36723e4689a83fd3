"""Files as torch.save writes them, both formats, made without torch: of a nest with `Tensor`s and any objects in it."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "u1": "ByteStorage"}
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for; it need not exist."""

    module: str
    name: str

    def __call__(self):
        """pickle wants what it writes a call of to be callable."""


class Made:
    """An object that is a call of `function` with `arguments`, and then gets `state`."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        return (self.function, self.arguments) + ((self.state,) if self.state is not None else ())


@dataclass(frozen=True)
class Storage:
    dtype: Global
    key: str
    numel: int
    view: tuple = ()


class Tensor:
    """Pickled as a torch tensor in C order, its entries in a storage of its own; of the class `kind`, not by dtype.

    old: as torch before 0.4 wrote it, its storage a view of a larger one.
    """

    def __init__(self, array, kind=None, old=False):
        self.array, self.kind, self.old = np.array(array, order="C"), kind, old


class _Pickler(pickle._Pickler):
    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages: dict[str, np.ndarray] = {}

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Tensor):
            self.save_tensor(obj)
        else:
            super().save(obj, save_persistent_id)

    def save_tensor(self, tensor):
        a, key = tensor.array, str(len(self.storages))
        kind = Global("torch", tensor.kind or STORAGES[a.dtype.str[1:]])
        strides = tuple(s // a.itemsize for s in a.strides)
        if tensor.old:
            self.storages[key] = np.concatenate([[7, 7], a.ravel()]).astype(a.dtype)
            storage = Storage(kind, key, a.size + 2, ((f"{key}v", 2, a.size),))
            self.save_reduce(Global("torch._utils", "_rebuild_tensor"), (storage, 0, a.shape, strides))
        else:
            self.storages[key] = a
            arguments = (Storage(kind, key, a.size), 0, a.shape, strides, False, OrderedDict())
            self.save_reduce(Global("torch._utils", "_rebuild_tensor_v2"), arguments)

    def persistent_id(self, obj):
        return ("storage", obj.dtype, obj.key, "cpu", obj.numel, *obj.view) if isinstance(obj, Storage) else None


def torch_file(tree, legacy=False, protocol=2, crc=True):
    """The bytes of a file that holds the tree; `crc=False` as with torch.serialization.set_crc32_options(False)."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol)
    pickler.dump(tree)
    if legacy:
        start = [MAGIC, VERSION, {"protocol_version": VERSION, "little_endian": True}]
        parts = [*(pickle.dumps(p, protocol) for p in start), file.getvalue()]
        parts.append(pickle.dumps(list(pickler.storages), protocol))
        parts += [part for a in pickler.storages.values() for part in (struct.pack("<Q", a.size), a.tobytes())]
        return b"".join(parts)
    storages = {f"data/{key}": a.tobytes() for key, a in pickler.storages.items()}
    return zipped({"data.pkl": file.getvalue(), "byteorder": b"little", "version": b"3\n", **storages}, crc)


def zipped(members, crc=True):
    """The members as torch packs them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
            if not crc:
                archive.infolist()[-1].CRC = 0
    return file.getvalue()
