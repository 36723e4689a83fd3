"""Checkpoints as people save them: tensors with other objects beside them, prefixes, and tensors without numbers."""

import argparse
import collections
import datetime
import enum
import fractions
import pathlib

import numpy as np
import pytest

import minidl as md
from minidl.files import reading
from minidl.files.atomic import replacing
from tests.files.test_weights import entry as tensor_entry
from tests.files.test_weights import refused, safetensors
from tests.support.torch_files import Global, Made, Tensor, torch_file

WEIGHTS = {"weight": np.arange(6, dtype="f4").reshape(2, 3), "bias": np.array([1.0, -2.0], "f4")}
STATE = {name: Tensor(array) for name, array in WEIGHTS.items()}
CLASS, FUNCTION = Global("my.net", "Config"), Global("torch.serialization", "_get_layout")
Kind = enum.Enum("Kind", "A B")
Kind.__qualname__, Kind.__module__ = "Kind", __name__

BESIDE = {
    "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("runs")),
    "scheduler": {"milestones": collections.Counter([3, 3, 7]), "gamma": 0.1},
    "history": collections.defaultdict(list, {1: [0.5, "a"]}),
    "seen": {1, 2},
    "frozen": frozenset([Kind.A]),
    "names": {(0, 1): "a", (2, (3, 4)): "b", None: 1, 0.5: 2, b"a": 3, Kind.A: 4},
    "when": datetime.datetime(2026, 1, 2),
    "kind": Kind.B,
    "amplitude": 1 + 2j,
    "layout": Made(FUNCTION, "torch.strided"),
    "config": Made(CLASS, 1, state={"lr": 0.1, "w": Tensor(np.ones(2))}),
    "loss": Made(Global("torch.nn", "CrossEntropyLoss"), state={"_parameters": {}, "_buffers": {"weight": None}}),
    "types": [CLASS, int, print, fractions.Fraction(1, 3), range(3), slice(1), bytearray(b"a"), 2**100],
    "objects": np.array([{}, "a"], object),
    "words": np.array(["a", "b"]),
    "days": np.array(["2026-01-02"], "M8[D]"),
    "rows": np.zeros(2, "i4,f4"),
    "rng": np.random.RandomState(0),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_read_whatever_lies_beside_them(tmp_path, legacy, protocol):
    path = tmp_path / "c.pth"
    for name, value in [*BESIDE.items(), ("all", BESIDE)]:
        path.write_bytes(torch_file({"model": STATE, name: value, "state": STATE}, legacy, protocol))
        loaded = md.load_weights(path)
        for key in ("model", "state"):
            assert all(np.array_equal(loaded[f"{key}.{n}"], a) for n, a in WEIGHTS.items()), name
            assert list(md.load_weights(path, key)) == list(WEIGHTS)
    assert loaded["all.amplitude"] == 1 + 2j and loaded["all.names.0.5"] == 2 and loaded["all.names.#2"] == 1


def test_only_objects_are_no_weights(tmp_path):
    path = tmp_path / "c.pth"
    for tree, match in (
        (argparse.Namespace(a=1), "asks for 'argparse.Namespace'.*save model.state_dict"),
        ({"config": BESIDE["config"]}, "asks for 'my.net.Config'"),
        ({"model": STATE, "e": Made(Global("os", "system"), "true")}, r"asks for 'os.system'; only tensors are read"),
        ({"model": STATE, "e": Made(Global("builtins", "eval"), "1")}, r"asks for 'builtins.eval'; only tensors"),
    ):
        for legacy in (False, True):
            path.write_bytes(torch_file(tree, legacy))
            refused(path, match)


UNREADABLE = {"_rebuild_sparse_tensor": "to_dense", "_rebuild_qtensor": "dequantize",
              "_rebuild_meta_tensor_no_storage": "once it has", "_rebuild_nested_tensor": "to_padded"}


@pytest.mark.parametrize("name, advice", list(UNREADABLE.items()))
def test_tensors_without_plain_numbers_say_what_to_do(tmp_path, name, advice):
    tree = {"state_dict": {**STATE, "w": Made(Global("torch._utils", name), Tensor(np.ones(2)), 0)}}
    (tmp_path / "c.pth").write_bytes(torch_file(tree))
    refused(tmp_path / "c.pth", rf"'w' is .*{name}\); save .*{advice}")
    tree["other"] = tree.pop("state_dict")  # beside what is asked for it does not matter
    (tmp_path / "c.pth").write_bytes(torch_file({"model": STATE, **tree}))
    assert list(md.load_weights(tmp_path / "c.pth", "model")) == list(WEIGHTS)


def test_a_plain_pickle_of_torch_tensors_says_how_to_save_them(tmp_path):
    storage = Made(Global("torch.storage", "_load_from_bytes"), b"")
    tensor = Made(Global("torch._utils", "_rebuild_tensor_v2"), storage, 0, (2,), (1,), False, {})
    (tmp_path / "c.pkl").write_bytes(torch_file({"w": tensor}))
    refused(tmp_path / "c.pkl", "save the state_dict with torch.save")


def test_a_file_without_checksums_is_read_and_a_wrong_checksum_is_not(tmp_path):
    path = tmp_path / "c.pth"
    path.write_bytes(torch_file(STATE, crc=False))
    assert np.array_equal(md.load_weights(path)["weight"], WEIGHTS["weight"])
    good = torch_file(STATE)
    path.write_bytes(good.replace(WEIGHTS["weight"].tobytes(), (1 + WEIGHTS["weight"]).tobytes()))
    refused(path, "Bad CRC-32")


@pytest.mark.parametrize("save", [torch_file, None])
def test_an_entry_is_read_by_its_key_and_a_part_of_the_names_left_out(tmp_path, save):
    path = tmp_path / "c"
    state = {f"module.net._orig_mod.{name}": array for name, array in WEIGHTS.items()}
    if save:
        nested = {"state_dict": {n: Tensor(a) for n, a in state.items()}, "ema": STATE, "epoch": 3}
        path.write_bytes(save(nested))
        assert list(md.load_weights(path)) == list(state)
        assert list(md.load_weights(path, "state_dict")) == list(state)
        assert list(md.load_weights(path, "ema")) == list(WEIGHTS)
    else:
        path = path.with_suffix(".safetensors")
        md.save_weights(path, {**state, "epoch": 3})
    assert set(md.load_weights(path, "module.net._orig_mod")) == set(WEIGHTS)
    assert set(md.load_weights(path, "module.net", strip="_orig_mod")) == set(WEIGHTS)
    assert set(md.load_weights(path, "module", strip="net._orig_mod.")) == set(WEIGHTS)
    with pytest.raises(md.WeightsError, match=r"nothing is under 'model'; the entries are .*epoch"):
        md.load_weights(path, "model")
    with pytest.raises(md.WeightsError, match="no name has the part 'mod'"):
        md.load_weights(path, strip="mod")


def test_two_names_that_become_one_are_refused(tmp_path):
    md.save_weights(tmp_path / "w.npz", {"module.w": 1, "w": 2})
    with pytest.raises(md.WeightsError, match="two entries are called 'w' once 'module' is left out"):
        md.load_weights(tmp_path / "w.npz", strip="module")


def test_float8_becomes_float32(tmp_path):
    """Codes by hand, from the tables of the formats: 1, the largest, the smallest, minus 1, NaN."""
    tables = {"F8_E4M3": ([0x38, 0x7E, 0x01, 0xB8, 0x7F], 448, 2**-9),
              "F8_E5M2": ([0x3C, 0x7B, 0x01, 0xBC, 0x7F], 57344, 2**-16),
              "F8_E4M3FNUZ": ([0x40, 0x7F, 0x01, 0xC0, 0x80], 240, 2**-10),
              "F8_E5M2FNUZ": ([0x40, 0x7F, 0x01, 0xC0, 0x80], 57344, 2**-17)}  # fmt: skip
    for code, (codes, largest, smallest) in tables.items():
        (tmp_path / "w").write_bytes(safetensors({"w": tensor_entry(code, (5, 1), (0, 5))}, bytes(codes)))
        loaded = md.load_weights(tmp_path / "w")["w"]
        assert loaded.dtype == np.float32 and loaded.shape == (5, 1)
        np.testing.assert_array_equal(loaded[:, 0], [1, largest, smallest, -1, np.nan], err_msg=code)
    (tmp_path / "w").write_bytes(safetensors({"w": tensor_entry("F8_E8M0", (3,), (0, 3))}, bytes([127, 0, 255])))
    np.testing.assert_array_equal(md.load_weights(tmp_path / "w")["w"], [1, 2.0**-127, np.nan])


def test_errors_do_not_write_out_what_a_file_nests():
    """A shape of 2**200 entries in 200 tuples."""
    nest = ()
    for _ in range(200):
        nest = (nest, nest)
    for shape in (nest, {0: nest}):
        with pytest.raises(md.WeightsError, match=r"no length|not a shape"):
            reading.count(shape)


def test_a_file_in_a_folder_that_is_missing_names_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "missing" / "weights.npz"):
        pass
    assert caught.value.filename == str(tmp_path / "missing")
