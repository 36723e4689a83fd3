"""The forms of checkpoint of docs/weights.md: each is read to the same arrays, or says in one line what to do."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

import minidl as md
from minidl.files.reading import Budget
from minidl.files.weights import examine
from tests.files.test_weights import entry, refused, safetensors
from tests.support.torch_files import Global, Made, Storage, Tensor, torch_file, zipped
from tests.support.weight_files import cell, darknet, hdf5, keras_zip, matlab, tflite

W, B = np.arange(24, dtype="f4").reshape(2, 3, 2, 2) - 4, np.array([0.5, -2.0], "f4")
STATE = {"conv.weight": W, "conv.bias": B}
TENSORS = {name: Tensor(array) for name, array in STATE.items()}
HWIO = W.transpose(2, 3, 1, 0)
UPPER = {name: Tensor((array.view("u4") >> 16).astype("u2"), "BFloat16Storage") for name, array in STATE.items()}
CFG = "[net]\nheight=4\nwidth=4\nchannels=3\n[convolutional]\nfilters=2\nsize=2\n"
LAYER = {"config": {"name": "conv", "filters": 2}, "class_name": "Conv2D"}
MODEL = {"class_name": "Sequential", "config": {"layers": [LAYER]}}


def saved(save, *arguments, **options):
    """What a function writes to a file that it is given."""
    file = io.BytesIO()
    save(file, *arguments, **options)
    return file.getvalue()


def module(tensors=TENSORS, name="Net"):
    """A whole torch module, of a class that is nowhere."""
    conv = Made(Global("net", "Conv"), state={"_parameters": {n.partition(".")[2]: t for n, t in tensors.items()},
                                              "_buffers": {}, "_modules": {}, "stride": (1, 1)})  # fmt: skip
    hidden = {"_buffers": {"left_out": Tensor(B)}, "_non_persistent_buffers_set": {"left_out"}}
    return Made(Global("net", name), state={"_parameters": {"none": None}, **hidden, "_modules": {"conv": conv}})


def torchscript():
    conv = Made(Global("__torch__.net", "Conv"), state={"training": False, "weight": TENSORS["conv.weight"],
                                                        "bias": TENSORS["conv.bias"], "sizes": [1, 2]})  # fmt: skip
    data = torch_file(Made(Global("__torch__.net", "Net"), state={"training": False, "conv": conv}))
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(()))
        archive.writestr("archive/code/__torch__/net.py", "class Net(Module): ...")
    return file.getvalue()


def without_save():
    """A pickle of tensors, each with a file of torch before 1.6 in it, which holds its storage."""

    def tensor(a):
        data = torch_file(Storage(Global("torch", "FloatStorage"), "0", a.size), legacy=True)
        data = data[: data.rindex(b"\x80\x02]")] + pickle.dumps(["0"], 2) + struct.pack("<Q", a.size) + a.tobytes()
        storage = Made(Global("torch.storage", "_load_from_bytes"), data)
        strides = tuple(s // 4 for s in a.strides)
        return Made(Global("torch._utils", "_rebuild_tensor_v2"), storage, 0, a.shape, strides, False, {})

    return torch_file({name: tensor(a) for name, a in STATE.items()}, legacy=True).split(b"\x80\x02", 4)[4]


def joblib(path, compress=0):
    pytest.importorskip("joblib").dump(STATE, path, compress=compress)
    return path.read_bytes()


def simplenn(old=False):
    weights = {"filters": HWIO, "biases": B} if old else {"weights": cell(HWIO, B)}
    return {"net": {"layers": cell({"type": "conv", "name": "conv", **weights}, {"type": "relu"})}}


def dagnn():
    params = np.array([("f", HWIO), ("b", B)], [("name", object), ("value", object)])
    layers = np.array([("conv", "dagnn.Conv", cell("f", "b")), ("r", "dagnn.ReLU", cell())],
                      [("name", object), ("type", object), ("params", object)])  # fmt: skip
    return {"net": {"params": params, "layers": layers}}


def shards(path):
    for i, name in enumerate(STATE):
        md.save_weights(path.parent / f"part{i}.safetensors", {name: STATE[name]})
    return json.dumps({"metadata": {}, "weight_map": {n: f"part{i}.safetensors" for i, n in enumerate(STATE)}}).encode()


def with_cfg(path, **options):
    path.with_suffix(".cfg").write_text(CFG)
    return darknet([*B, *W.ravel()], **options)


def numpy_2_or_older(protocol):
    """As Python 2 wrote it: other names of modules."""
    return pickle.dumps(STATE, protocol).replace(b"numpy._core", b"numpy.core")


LOADED = {
    "torch, zip": lambda path: torch_file(TENSORS),
    "torch, before 1.6": lambda path: torch_file(TENSORS, legacy=True),
    "torch, under state_dict": lambda path: torch_file({"state_dict": TENSORS, "epoch": 3}),
    "torch, old storages": lambda path: torch_file({n: Tensor(a, old=True) for n, a in STATE.items()}, legacy=True),
    "torch, old parameters": lambda path: torch_file(
        {n: Made(Global("torch.nn.parameter", "Parameter"), t, True) for n, t in TENSORS.items()}, legacy=True),
    "torch, bfloat16": lambda path: torch_file(UPPER),
    "torch, half": lambda path: torch_file({n: Tensor(a.astype("f2")) for n, a in STATE.items()}),
    "torch, no save": lambda path: without_save(),
    "whole module, zip": lambda path: torch_file(module()),
    "whole module, before 1.6": lambda path: torch_file(module(), legacy=True),
    "whole module, protocol 4": lambda path: torch_file(module(), protocol=4),
    "TorchScript": lambda path: torchscript(),
    "safetensors": lambda path: (md.save_weights(p := path.with_suffix(".safetensors"), STATE), p.read_bytes())[1],
    "safetensors, BF16": lambda path: safetensors(
        {"conv.weight": entry("BF16", W.shape, (0, 48)), "conv.bias": entry("BF16", (2,), (48, 52))},
        b"".join((a.view("u4") >> 16).astype("<u2").tobytes() for a in STATE.values())),
    "parts": shards,
    "npz": lambda path: saved(np.savez, **STATE),
    "npz, packed": lambda path: saved(np.savez_compressed, **STATE),
    "npy of a dict": lambda path: saved(np.save, np.array(STATE, object)),
    "pickle, protocol 0": lambda path: numpy_2_or_older(0),
    "pickle, protocol 2": lambda path: numpy_2_or_older(2),
    "pickle, protocol 5": lambda path: pickle.dumps(STATE, 5),
    "joblib": joblib,
    "joblib, zlib": lambda path: joblib(path, 3),
    "joblib, gzip": lambda path: joblib(path, ("gzip", 3)),
    "gzip": lambda path: gzip.compress(torch_file(TENSORS)),
    "bzip2": lambda path: bz2.compress(torch_file(TENSORS, legacy=True)),
    "xz": lambda path: lzma.compress(pickle.dumps(STATE)),
    "mat 5": lambda path: matlab({"conv": {"weight": W, "bias": B}}),
    "mat 7": lambda path: matlab({"conv": {"weight": W, "bias": B}}, True),
    "MatConvNet": lambda path: matlab(simplenn()),
    "MatConvNet, older": lambda path: matlab(simplenn(old=True)),
    "MatConvNet, DagNN": lambda path: matlab(dagnn()),
    "Darknet 0.1": lambda path: with_cfg(path, version=(0, 1, 0)),
    "Darknet 0.2": lambda path: with_cfg(path),
    "TFLite": lambda path: tflite({n: (a, 0, False) for n, a in STATE.items()}),
}  # fmt: skip
HDF5 = {
    "HDF5": lambda path: hdf5(path, {n.replace(".", "/"): a for n, a in STATE.items()}),
    "mat 7.3": lambda path: _mat73(path, hdf5(path, {"conv/weight": W.T, "conv/bias": B}, 512)),
    "Keras, .h5": lambda path: hdf5(path, {
        "/": {"layer_names": [b"conv"]}, "conv": {"weight_names": [b"conv/kernel:0", b"conv/bias:0"]},
        "conv/conv/kernel:0": HWIO, "conv/conv/bias:0": B}),
    "Keras 1, .h5": lambda path: hdf5(path, {
        "/": {"layer_names": ["conv"]}, "conv": {"weight_names": ["conv_W_1:0", "conv_b_1:0"]},
        "conv/conv_W_1:0": HWIO, "conv/conv_b_1:0": B}),
    "Keras, .weights.h5": lambda path: hdf5(path, {
        "layers/conv2d/vars": {"name": "conv"}, "layers/conv2d/vars/0": HWIO, "layers/conv2d/vars/1": B}),
    "Keras, .keras": lambda path: keras_zip(path, MODEL, {
        "layers/conv2d/vars": {"name": "conv"}, "layers/conv2d/vars/0": HWIO, "layers/conv2d/vars/1": B}),
}  # fmt: skip


def _mat73(path, data):
    return b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + data[128:]


@pytest.mark.parametrize("form", [*LOADED, *HDF5])
def test_a_form_is_read(tmp_path, form):
    if form in HDF5:
        pytest.importorskip("h5py", reason='reads HDF5: pip install "minidl[weights]"')
    path = tmp_path / "weights"
    data = {**LOADED, **HDF5}[form](path)
    path.write_bytes(data)
    loaded = md.load_weights(path, "0" if form.startswith("Darknet") else None)
    assert sorted(loaded) == sorted(STATE)
    for name, array in STATE.items():
        assert np.array_equal(loaded[name].reshape(array.shape), array) and loaded[name].dtype.kind == "f", name
        assert loaded[name].flags.writeable and loaded[name].flags.c_contiguous
    assert set(examine(path).under("0" if form.startswith("Darknet") else None)) == set(STATE)


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return file.getvalue()


def zip_of(*names):
    return zipped(dict.fromkeys(names, b"{}"))


UNREADABLE = Made(Global("torch._utils", "_rebuild_qtensor"), Tensor(B), 0)
INDEX = bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
NAMED = {
    "a quantised tensor": ("w", torch_file({"w": UNREADABLE}), "'w' is quantised .*dequantize"),
    "TFLite, quantised": ("w", tflite({"w": (B.view("i1"), 9, True)}), "'w' is quantised.*without optimizations"),
    "a quantised module": ("w", torch_file({"m": Made(Global("torch.ao.nn.quantized", "Linear"), state={})}),
                           "'m' is quantised .*before its conversion"),
    "quantised TorchScript": ("w", torch_file({"m": Made(Global("__torch__.torch.classes.quantized", "P"), state=0)}),
                              "'m' is quantised .*before its conversion"),
    "torch.package": ("w.pt", zip_of(".data/version", ".data/extern_modules"), r"torch\.package.*state_dict\(\)"),
    "GGUF": ("w", b"GGUF\3\0\0\0", "GGUF.*safetensors"),
    "ONNX": ("w.onnx", b"\x08\x08\x12\x07pytorch", r"md\.load_onnx"),
    "ONNX, another ending": ("w.bin", b"\x08\x08\x12\x07pytorch\x1a\x032.0", r"md\.load_onnx"),
    "Core ML": ("w.mlmodel", b"\x08\x01\x12\x04\n\x02ab", "Core ML.*coremltools"),
    "TensorFlow, checkpoint": ("w.index", INDEX, r"tf\.train\.load_checkpoint.*np\.savez"),
    "TensorFlow, its values": ("w.data-00000-of-00001", bytes(64), "the .index beside it names them"),
    "TensorFlow, graph": ("w.pb", b"\n\x05abc", r"saved_model\.load"),
    "Flax": ("w", b"\x82\xa6params\x81", r"Flax.*msgpack_restore"),
    "MXNet": ("w.params", b"\x12\1\0\0\0\0\0\0", r"MXNet.*mx\.nd\.load"),
    "Caffe": ("w.caffemodel", b"\n\x03VGG", r"Caffe.*readNet"),
    "Lua Torch": ("w.t7", b"\4\0\0\0", "Lua Torch.*torchfile"),
    "PyTorch Mobile": ("w.ptl", b"\x18\0\0\0PTMF", r"Mobile.*state_dict\(\)"),
    "torch.export": ("w.pt2", zip_of("models/model.json", "data/weights/w"), r"torch\.export.*state_dict\(\)"),
    "lz4": ("w", b"\x04\x22\x4d\x18abc", "lz4 -d"),
    "Zstandard": ("w", b"\x28\xb5\x2f\xfdabc", "zstd -d"),
    "tar": ("w", tar(), "tar archive.*tar xf"),
    "a web page": ("w", b"<!DOCTYPE html>", "web page: the download went wrong"),
    "git-lfs": ("w", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "Darknet without .cfg": ("w", darknet([1, 2, 3]), r"Darknet 0\.2\.5, 3 numbers without names: give config=FILE"),
    "packed twice": ("w", gzip.compress(gzip.compress(b"abc")), "more than once; unpack it first"),
    "parts that are not there": ("w.json", b'{"weight_map": {"a": "b.bin"}}', "names the part 'b.bin', which is not"),
    "parts elsewhere": ("w.json", b'{"weight_map": {"a": "../b.bin"}}', "'../b.bin', which does not lie beside"),
    "another zip": ("w", zip_of("word/document.xml"), "without arrays"),
    "nothing known": ("w", b"hello", r"neither .*docs/weights\.md"),
}  # fmt: skip


@pytest.mark.parametrize("form", NAMED)
def test_a_form_that_is_not_read_is_named_with_what_to_do(tmp_path, form):
    name, data, match = NAMED[form]
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, match)


@pytest.mark.parametrize("inside, match", [
    ("saved_model.pb", "SavedModel.*variables"), ("Manifest.json", "Core ML package"), ("_METADATA", "Orbax"),
    ("a", "name a file in it"),
    (".metadata", "dcp_to_torch_save"), ("model.safetensors", "load model.safetensors in it"),
])  # fmt: skip
def test_folders_are_named(tmp_path, inside, match):
    (tmp_path / inside).touch()
    with pytest.raises(md.WeightsError, match=match):
        md.load_weights(tmp_path)


def test_an_array_alone_has_the_name_of_its_file(tmp_path):
    np.save(tmp_path / "w.npy", W)
    assert np.array_equal(md.load_weights(tmp_path / "w.npy")["w"], W)
    np.save(tmp_path / "o.npy", np.array([{"a": W}, {"b": B}], object))
    assert list(md.load_weights(tmp_path / "o.npy")) == ["0.a", "1.b"]


def test_nothing_is_read_that_is_not_asked_for(tmp_path):
    """A damaged storage does not matter where another is asked for."""
    data = torch_file({"a": {"w": Tensor(W)}, "b": {"w": Tensor(B)}})
    (tmp_path / "w").write_bytes(data.replace(W.tobytes(), (W + 1).tobytes()))
    assert np.array_equal(md.load_weights(tmp_path / "w", "b")["w"], B)
    assert [name for name, _ in examine(tmp_path / "w").entries] == ["a.w", "b.w"]
    with pytest.raises(md.WeightsError, match="Bad CRC-32 for member 'archive/data/0'"):
        md.load_weights(tmp_path / "w", "a")


def test_what_is_packed_unfolds_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(Budget, "__init__", lambda self, size: vars(self).update(limit=size + 2**20, left=size + 2**20))
    for data in (gzip.compress(bytes(2**21)), zlib.compress(bytes(2**21)), matlab({"w": np.zeros(2**18)}, True)):
        (tmp_path / "w").write_bytes(data)
        with pytest.raises(md.WeightsError, match="unfolds into"):
            md.load_weights(tmp_path / "w")
