"""What kind of file it is, by its content: who reads it, or what to do with one that is not read."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path

from ..reading import WeightsError
from ..source import PIECE, Source, inflated, mapped
from . import darknet, hdf5, keras, matlab, npz, safetensors, tflite, torch_file
from .contents import Contents
from .zips import Archive

UNPACKED = {  # how files that one program of the standard library packed begin
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"\x78\x01": ("zlib", None), b"\x78\x5e": ("zlib", None), b"\x78\x9c": ("zlib", None), b"\x78\xda": ("zlib", None),
}  # fmt: skip
ZIP, PICKLE = (b"PK\x03\x04", b"PK\x05\x06"), re.compile(rb"\x80[\2-\5]|\([dl](p\d|q)|c[\w.]+\n\w+\n|[]}]q")

# What is not read: how it begins (at a place), what it is, what to do.
NAMED = [
    (0, b"<", "this is a web page: the download went wrong"),
    (0, b"version https://git-lfs", "this is a git-lfs pointer: fetch the file itself with git lfs pull"),
    (0, b"GGUF", "this is GGUF, of llama.cpp, mostly quantised; load the .safetensors that it was made from"),
    (0, b"\x04\x22\x4d\x18", "this is packed with lz4; unpack it first: lz4 -d FILE"),
    (0, b"\x28\xb5\x2f\xfd", "this is packed with Zstandard; unpack it first: zstd -d FILE"),
    (4, b"PTMF", "this is PyTorch Mobile's flatbuffer; save model.state_dict() of the model it was made from"),
    (257, b"ustar", "this is a tar archive; unpack it first: tar xf FILE"),
    (-8, b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "this is the index of a TensorFlow checkpoint; in TensorFlow: "
     "r = tf.train.load_checkpoint(PREFIX); "
     "np.savez('w.npz', **{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})"),
    (0, b"\x12\x01\0\0\0\0\0\0", "this is .params of MXNet; in MXNet: np.savez('w.npz', **{n: a.asnumpy() for n, a in "
     "mx.nd.load(FILE).items()})"),
]  # fmt: skip
ENDINGS = {  # of files that do not say what they are
    ".onnx": "this is an ONNX graph: md.load_onnx(path) reads it, with its weights",
    ".mlmodel": "this is a Core ML model; coremltools gives the weights of the model it was converted from",
    ".pb": "this is a graph of TensorFlow; its variables are read with tf.saved_model.load(FOLDER).variables",
    ".caffemodel": "this is a network of Caffe; cv2.dnn.readNet(PROTOTXT, FILE) of OpenCV 4 reads its layers' blobs",
    ".t7": "this is a file of Lua Torch; torchfile.load(FILE) of the package torchfile reads it",
    ".msgpack": "this is MessagePack, of Flax; flax.serialization.msgpack_restore(open(FILE, 'rb').read()) reads it",
    ".engine": "this is a compiled engine of TensorRT, which gives no weights back; load what it was built from",
}
FOLDERS = {  # a file in it: what the folder is
    "saved_model.pb": "a SavedModel of TensorFlow: its variables are read with tf.saved_model.load(FOLDER).variables",
    "Manifest.json": "a Core ML package: coremltools gives the weights of the model it was converted from",
    ".metadata": "a distributed checkpoint: torch.distributed.checkpoint.format_utils.dcp_to_torch_save makes a file",
    "_METADATA": "a checkpoint of Orbax: orbax.checkpoint's PyTreeCheckpointer().restore(FOLDER) reads it",
    "model.safetensors": "a folder; load model.safetensors in it",
    "model.safetensors.index.json": "a folder; load model.safetensors.index.json in it, which names its parts",
    "pytorch_model.bin": "a folder; load pytorch_model.bin in it",
    "data.pkl": "an unpacked file of torch.save; pack it again, as zip, or load the file it came from",
}


def read(path: Path, config: Path | None = None) -> Contents:
    """The contents of a file of any form. Raises WeightsError for a form that is not read, and says what to do."""
    if path.is_dir():
        found = [what for name, what in FOLDERS.items() if (path / name).exists()]
        raise WeightsError(f"this is {found[0] if found else 'a folder; name a file in it'}")
    return _read(Source(path, mapped(path), config=config))


def _read(source: Source, packed: bool = False) -> Contents:
    data = source.data
    head = bytes(data[:512])
    if not data:
        raise WeightsError("the file is empty")
    if head[:4] in ZIP:
        return _read_zip(source)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= safetensors.HEADER_LIMIT:
        return safetensors.read(source)
    if head.startswith(b"\x93NUMPY"):
        return npz.read_alone(source)
    if hdf5.is_hdf5(data):
        return _read_hdf5(source)
    if matlab.is_matlab(head):
        return matlab.read(source)
    if head[4:8] == b"TFL3":
        return tflite.read(source)
    if darknet.is_darknet(head):
        return darknet.read(source)
    if PICKLE.match(head):
        return torch_file.read_legacy(source)
    if head.lstrip().startswith(b"{") and b'"weight_map"' in bytes(data[:1_000_000]):
        return _read_shards(source)
    for beginning, (program, opener) in UNPACKED.items():
        if head.startswith(beginning):
            if packed:
                raise WeightsError(f"this is packed with {program} more than once; unpack it first")
            return _read(_unpacked(source, program, opener), packed=True)
    raise WeightsError(_advice(source))


def _advice(source: Source) -> str:
    """What a file is that is not read."""
    for place, beginning, advice in NAMED:
        start = place % max(len(source.data), 1)
        if bytes(source.data[start : start + len(beginning)]) == beginning:
            return advice
    if source.path.suffix.lower() in ENDINGS:
        return ENDINGS[source.path.suffix.lower()]
    head = bytes(source.data[:40])
    if re.match(rb"\x08[\1-\x1e]\x12[\1-\x20][\w.\- ]+", head):  # ir_version, then the name of the producer
        return ENDINGS[".onnx"]
    if re.match(rb"[\x81-\x8f][\xa1-\xbf]\w|\xde..[\xa1-\xbf]\w|\xdf.{4}[\xa1-\xbf]\w", head, re.DOTALL):
        return ENDINGS[".msgpack"]
    if re.search(r"\.data-\d+-of-\d+$", source.path.name):
        return "these are the values of a TensorFlow checkpoint; the .index beside it names them"
    return "neither .npz, nor .safetensors, nor a file of torch.save, nor another form that docs/weights.md lists"


def _read_zip(source: Source) -> Contents:
    archive = Archive(source)
    names = list(archive.members)
    if any(name.endswith("/data.pkl") for name in names):
        return torch_file.read_zip(archive, source.budget)
    if "model.weights.h5" in names:
        return keras.read_zip(archive, source)
    if any(name.endswith(".npy") for name in names) or not names:
        return npz.read(archive)
    if any(name.endswith(("serialized_exported_program.json", "/models/model.json")) for name in names):
        raise WeightsError("this is a program of torch.export; save model.state_dict() of the model it was made from")
    if any(name.endswith("/.data/extern_modules") for name in names):
        raise WeightsError("this is a package of torch.package, with its code; save model.state_dict() of its model")
    raise WeightsError(f"a zip file without arrays; its first member is {names[0][:60]!r}")


def _read_hdf5(source: Source) -> Contents:
    file = hdf5.opened(source)
    if matlab.is_matlab(bytes(source.data[:128])):
        return matlab.read_hdf5(file, source.budget)
    if keras.is_keras(file) and (found := keras.read(file, source)).entries:
        return found
    return Contents("HDF5", list(hdf5.datasets(file, source.budget)))


def _read_shards(source: Source) -> Contents:
    """The parts that an index of Hugging Face names, which lie beside it."""
    parts = dict.fromkeys(json.loads(bytes(source.data))["weight_map"].values())
    whole = Contents("an index of parts", [])
    for name in parts:
        if not isinstance(name, str) or Path(name).name != name:
            raise WeightsError(f"the index names the part {str(name)[:60]!r}, which does not lie beside it")
        if not (source.path.parent / name).is_file():
            raise WeightsError(f"the index names the part {name!r}, which is not beside it")
        part = read(source.path.parent / name)
        whole.form = f"{len(parts)} parts, {part.form}"
        whole.entries += part.entries
    return whole


def _unpacked(source: Source, program: str, opener: Callable | None) -> Source:
    """The bytes that a program packed, as long as they stay within the budget."""
    what = f"what {program} packed"
    if opener is None:
        return Source(source.path, memoryview(inflated(source.data, source.budget, what)), source.budget, source.config)
    pieces: list[bytes] = []
    with opener(source.file()) as file:
        while piece := file.read(PIECE):
            pieces.append(piece)
            source.budget.spend(len(piece), what)
    return Source(source.path, memoryview(b"".join(pieces)), source.budget, source.config)
