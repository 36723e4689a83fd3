"""Weights on disk, without torch: round trips, and files that are damaged, hostile or something else."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as md
from minidl.files.weights import contents

in_a_folder = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

integers = hnp.integer_dtypes() | hnp.unsigned_integer_dtypes()
dtypes = (
    integers | hnp.boolean_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64)) | hnp.complex_number_dtypes(sizes=(64,))
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
trees = st.recursive(
    st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.booleans() | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner),
    max_leaves=6,
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


def refused(path, match):
    """In one line that names the file, without using much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(md.WeightsError, match=match) as error:
            md.load_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 2**25 + 8 * path.stat().st_size
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: ")


@pytest.mark.slow
@in_a_folder
@given(state=st.dictionaries(names.filter(lambda n: n != "__metadata__"), arrays, max_size=4),
       ending=st.sampled_from([".npz", ".safetensors"]), layout=st.sampled_from(["C", "F", "reversed"]))  # fmt: skip
def test_what_is_saved_is_loaded(tmp_path, state, ending, layout):
    path = tmp_path / ("w" + ending)
    given = {n: a[::-1] if layout == "reversed" and a.ndim else np.asarray(a, order="F") for n, a in state.items()}
    md.save_weights(path, given)
    loaded = md.load_weights(path)
    assert set(loaded) == set(given)
    for name, array in given.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=") and loaded[name].shape == array.shape
        assert np.array_equal(loaded[name], array, equal_nan=array.dtype.kind in "fc")
        assert loaded[name].flags.writeable and loaded[name].flags.c_contiguous
    assert os.listdir(tmp_path) == [path.name], "nothing is left beside"
    path.unlink()


@in_a_folder
@given(state=st.dictionaries(st.text("abc./", min_size=1, max_size=6), arrays, max_size=3), packed=st.booleans())
def test_numpy_reads_ours_and_we_read_numpys(tmp_path, state, packed):
    md.save_weights(tmp_path / "ours.npz", state)
    with np.load(tmp_path / "ours.npz") as theirs:
        assert all(theirs[name].tobytes() == array.tobytes() for name, array in state.items())
    (np.savez_compressed if packed else np.savez)(tmp_path / "theirs.npz", **state)
    loaded = md.load_weights(tmp_path / "theirs.npz")
    assert set(loaded) == set(state)
    for name, array in state.items():
        assert loaded[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


def test_tensors_modules_and_plain_numbers_are_saved(tmp_path):
    model = md.nn.Sequential(md.nn.Linear(2, 3, rng=0), md.nn.BatchNorm1d(3))
    for path in (tmp_path / "w.npz", tmp_path / "w.safetensors"):
        md.save_weights(path, {**model.state_dict(), "t": md.tensor([1.0, 2.0]), "n": 3})
        loaded = md.load_weights(path)
        assert loaded.pop("t").tolist() == [1, 2] and loaded.pop("n") == 3
        fresh = md.nn.Sequential(md.nn.Linear(2, 3, rng=1), md.nn.BatchNorm1d(3))
        fresh.load_state_dict(loaded)
        assert np.array_equal(fresh[0].weight.data, model[0].weight.data)


def test_equal_states_give_equal_files(tmp_path):
    state = {"b": np.arange(3.0), "a": np.ones((2, 2), np.float16)}
    for ending in (".npz", ".safetensors"):
        md.save_weights(tmp_path / f"1{ending}", state)
        md.save_weights(tmp_path / f"2{ending}", state)
        assert (tmp_path / f"1{ending}").read_bytes() == (tmp_path / f"2{ending}").read_bytes()


def test_saving_refuses_in_one_line_and_keeps_the_old_file(tmp_path):
    for name in ("w.pth", "w", "w.npy"):
        with pytest.raises(md.WeightsError, match=r"saved as \.npz or \.safetensors"):
            md.save_weights(tmp_path / name, {})
    for ending, array in ((".npz", np.array([object()])), (".safetensors", np.ones(2, complex))):
        path = tmp_path / ("w" + ending)
        md.save_weights(path, {"a": np.ones(2)})
        before = path.read_bytes()
        with pytest.raises((md.WeightsError, TypeError)):
            md.save_weights(path, {"a": np.zeros(2), "b": array})
        assert path.read_bytes() == before
        with pytest.raises(md.WeightsError, match="names are strings"):
            md.save_weights(path, {3: np.ones(2)})
    assert sorted(os.listdir(tmp_path)) == ["w.npz", "w.safetensors"]


def test_the_content_decides_not_the_ending(tmp_path):
    md.save_weights(tmp_path / "w.npz", {"a": np.ones(2)})
    os.rename(tmp_path / "w.npz", tmp_path / "w.safetensors")
    assert md.load_weights(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]
    with pytest.raises(FileNotFoundError):
        md.load_weights(tmp_path / "nothing.npz")


def test_other_files_are_recognised(tmp_path):
    path = tmp_path / "w"
    for content, match in (
        (b"", "empty"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x93NUMPY\x01\x00", "declares a header"),
        (b"hello, these are no weights", "neither"),
        (b"PK\x03\x04", "truncated or damaged"),
        (pickle.dumps([1, "a", None]), None),
        (pickle.dumps(print), "builtins.print"),
        (pickle.dumps(3), "without a name"),
    ):
        path.write_bytes(content)
        if match:
            refused(path, match)
        else:
            assert md.load_weights(path)["0"] == 1
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "")
    refused(path, "without arrays.*word/document.xml")
    np.savez(path.with_suffix(".npz"), a=np.array([{}, []], object))
    refused(path.with_suffix(".npz"), "'a' holds Python objects")
    np.savez(path.with_suffix(".npz"), a=np.zeros(2, "i4,f4"))
    refused(path.with_suffix(".npz"), "only numbers")


# --- safetensors, byte by byte


def safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_bfloat16_becomes_float32(tmp_path):
    """The upper half of a float32: 1.0 is 0x3f80, -2.5 is 0xc020, infinity 0x7f80, the smallest 2**-133."""
    body = struct.pack("<4H", 0x3F80, 0xC020, 0x7F80, 0x0001)
    (tmp_path / "w").write_bytes(safetensors({"w": entry("BF16", (4,), (0, 8)), "__metadata__": {"a": "b"}}, body))
    loaded = md.load_weights(tmp_path / "w")
    assert list(loaded) == ["w"] and loaded["w"].dtype == np.float32
    assert loaded["w"].tolist() == [1.0, -2.5, np.inf, 2.0**-133]


@pytest.mark.parametrize(
    "content, match",
    [
        (safetensors({"w": entry(offsets=(0, 800), shape=(200,))}, bytes(8)), "800 bytes, at 0 to 800 of 8"),
        (safetensors({"w": entry(offsets=(0, 4))}, bytes(8)), "declares F32"),
        (safetensors({"w": entry(offsets=(8, 0))}, bytes(8)), "declares F32"),
        (safetensors({"w": entry(offsets=(-8, 0))}, bytes(8)), "declares F32"),
        (safetensors({"w": entry(offsets=(0.0, 8.0))}, bytes(8)), "declares F32"),
        (safetensors({"w": entry(shape=(-1, -2))}, bytes(8)), "no length"),
        (safetensors({"w": entry(shape=(2.0,))}, bytes(8)), "no length"),
        (safetensors({"w": entry(shape=(True,), offsets=(0, 4))}, bytes(4)), "no length"),
        (safetensors({"w": entry(shape=(2**62, 2**62))}, bytes(8)), "declares F32"),
        (safetensors({"w": entry(shape=(0, 2**62), offsets=(0, 0))}), "damaged"),
        (safetensors({"w": entry(shape=(1,) * 65, offsets=(0, 4))}, bytes(4)), "not a shape"),
        (safetensors({"w": entry("F4", (16,))}, bytes(8)), "F4"),
        (safetensors({"w": entry(), "v": entry()}, bytes(8)), "do not fill"),
        (safetensors({"w": entry()}, bytes(9)), "do not fill"),
        (safetensors({"w": entry(offsets=(1, 9))}, bytes(9)), "do not fill"),
        (safetensors({"w": 3}), "damaged"),
        (safetensors({"w": {}}), "damaged"),
        (safetensors(b"{" + b'"a":{' * 100_000), "damaged"),
        (safetensors(b'{"w":' + b"[" * 100_000), "damaged"),
        (safetensors(b'{"w": {}, "w": {}}'), "twice"),
        (struct.pack("<Q", 10**8) + b"{}", "a header of 100000000 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "neither"),
    ],
)
def test_hostile_safetensors(tmp_path, content, match):
    (tmp_path / "w").write_bytes(content)
    refused(tmp_path / "w", match)


# --- .npz, by hand


def npz(header, body=b"", compression=zipfile.ZIP_STORED):
    text = header.encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body)
    return file.getvalue()


def described(shape, descr="'<f8'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "content, match",
    [
        (npz(described("(1000000000000,)"), bytes(8)), "but 8 bytes follow"),
        (npz(described("(-1, -1)"), bytes(8)), "no length"),
        (npz(described("(-1,)"), bytes(8)), "no length"),
        (npz(described("(True,)"), bytes(8)), "no length"),
        (npz(described("5"), bytes(8)), "not a shape"),
        (npz(described("(2,)"), bytes(8)), "but 8 bytes follow"),
        (npz(described("(1,)", "'|O'"), bytes(8)), "Python objects"),
        (npz(described("(1,)", "[('a', '<f8')]"), bytes(8)), "only numbers"),
        (npz(described("(1,)", "__import__('os')"), bytes(8)), "damaged"),
        (npz("{'descr': '<f8'}", bytes(8)), "damaged"),
        (npz("(" * 5000, bytes(8)), "damaged"),
        (npz("x" * 20_000, bytes(8)), "header of 20000 bytes"),
    ],
)
def test_hostile_npz(tmp_path, content, match):
    (tmp_path / "w").write_bytes(content)
    refused(tmp_path / "w", match)


def test_zip_bombs_are_refused_before_they_unfold(tmp_path):
    """26 members of 64 MiB that are the same few bytes: refused; one such member is read."""
    path = tmp_path / "w.npz"
    np.savez_compressed(path, **{"0": np.zeros(2**23)})
    assert not md.load_weights(path)["0"].any()
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start, info = archive.start_dir, archive.getinfo("0.npy")
    directory = content[start : content.rindex(b"PK\x05\x06")]
    many = b"".join(directory.replace(b"0.npy", bytes([i]) + b".npy") for i in range(65, 91))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 26, 26, len(many), start, 0)
    path.write_bytes(content[:start] + many + end)
    with zipfile.ZipFile(path) as archive:
        assert sum(i.file_size for i in archive.infolist()) == 26 * info.file_size > 2**30
    refused(path, "unfolds into")


# --- pickles


def torch_zip(pickled, storages=(), byteorder=b"little"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", byteorder)
        for key, data in dict(storages).items():
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def tensor_pickle(offset=0, size=(2, 3), stride=(3, 1), numel=6, key="0", kind="FloatStorage"):
    """The pickle of {"w": tensor} as torch writes it, with any numbers in it."""

    def integers(values):
        return b"(" + b"".join(integer(v) for v in values) + b"t"

    def integer(v):
        if type(v) is not int:
            return pickle.dumps(v, protocol=2)[2:-1]
        data = v.to_bytes(v.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def text(s):
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + integer(numel) + b"tQ"
    arguments = b"(" + storage + integer(offset) + integers(size) + integers(stride) + b"\x89}t"
    return b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


FLOATS = np.arange(6, dtype="<f4").tobytes()


def test_the_pickles_made_here_are_sound(tmp_path):
    """So that what the next test refuses is refused for what is wrong with it."""
    (tmp_path / "w").write_bytes(torch_zip(tensor_pickle(), {"0": FLOATS}))
    assert md.load_weights(tmp_path / "w")["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    (tmp_path / "w").write_bytes(torch_zip(tensor_pickle(1, (2, 2), (1, 3)), {"0": FLOATS}))
    assert md.load_weights(tmp_path / "w")["w"].tolist() == [[1, 4], [2, 5]]
    (tmp_path / "w").write_bytes(torch_zip(tensor_pickle(5, (7, 1), (0, 10**30)), {"0": FLOATS}))
    assert md.load_weights(tmp_path / "w")["w"].tolist() == [[5]] * 7


@pytest.mark.parametrize(
    "numbers, match",
    [
        ({"offset": 1}, "reaches entry 6 of a storage with 6"),
        ({"offset": -1}, "no length"),
        ({"offset": 2**70}, "reaches entry"),
        ({"offset": 1.0}, "no length"),
        ({"size": (2, -3)}, "no length"),
        ({"size": (2**40, 2**40)}, "unfolds into"),
        ({"size": (3, 3)}, "reaches entry 8"),
        ({"size": (0, 2**62)}, "damaged"),
        ({"size": (2, True)}, "no length"),
        ({"size": (2,)}, "one stride per axis"),
        ({"size": (1,) * 65, "stride": (1,) * 65}, "not a shape"),
        ({"stride": (3, -1)}, "no length"),
        ({"stride": (2**62, 2**62)}, "reaches entry"),
        ({"size": (10**11, 3), "stride": (0, 1)}, "unfolds into"),
        ({"numel": 7}, "declares 7 float32, 24 bytes are there"),
        ({"numel": 2**60}, "declares"),
        ({"numel": -6}, "no length"),
        ({"key": "../../1"}, "is missing"),
        ({"kind": "DoubleStorage"}, "declares 6 float64"),
        ({"kind": "QInt8Storage"}, "torch.QInt8Storage"),
    ],
)
def test_hostile_tensors(tmp_path, numbers, match):
    (tmp_path / "w").write_bytes(torch_zip(tensor_pickle(**numbers), {"0": FLOATS}))
    refused(tmp_path / "w", match)


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def nested(levels, wrap):
    value = ()
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("container", [torch_zip, bytes])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_pickle_is_ever_run(tmp_path, container, protocol):
    marker = tmp_path / "was_here"
    code = f"__import__('os').mkdir({str(marker)!r})"
    attacks = [Call(os.mkdir, str(marker)), Call(eval, code), Call(getattr, "", "mkdir")]
    for attack in attacks:
        for tree in (attack, {"w": attack}, {"state_dict": {"w": [attack]}}, {"a": np.ones(2), "b": attack}):
            (tmp_path / "w").write_bytes(container(pickle.dumps(tree, protocol=protocol)))
            refused(tmp_path / "w", "asks for '.*(mkdir|eval|getattr)'; only tensors are read")
    assert not marker.exists()


@pytest.mark.parametrize(
    "pickled, match",
    [
        (b"\x80\x02(U\x04echo U\x03hi.", "damaged|pickle"),
        (b"\x80\x02(i__builtin__\neval\n.", "INST"),
        (b"\x80\x02]\x82\x01.", "EXT1"),
        (b"\x80\x02}U\x01aU\x01bb.", "damaged|sets the state"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "damaged"),
        (b"\x80\x02ctorch\nfloat32\n)R.", "calls a Dtype"),
        (b"\x80\x02K\x03)R.", "calls a int"),
        (b"\x80\x02R.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02}r\xff\xff\xff\xff.", None),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "damaged"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "damaged"),
        (b"\x80\x02}" + b"}K\x00h\x00s" * 3, "damaged"),
        (b"\x80\x02}q\x00U\x01ah\x00s.", "nested deeper"),
        (b"\x80\x02](K\x01e}]K\x01s.", "keys other than"),
        (b"\x80\x02}" + b")" + b"\x85" * 20_000 + b"K\x01s.", "keys other than"),
        (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "nested deeper"),
        (b"\x80\x02}q\x00" + b"".join(b"}q%c(U\x01ah%cU\x01bh%cu" % (i, i - 1, i - 1) for i in range(1, 30)) + b".",
         "or more than"),  # two to the power of 29 names in 500 bytes
        (b"\x80\x02cnumpy\ndtype\nU\x02O8\x89\x88\x87R.", "dtype 'O8'"),
        (b"\x80\x02}U\x03a.bK\x01sU\x01a}U\x01bK\x02ss.", "called 'a.b'"),
    ],
)  # fmt: skip
def test_strange_pickles(tmp_path, monkeypatch, pickled, match):
    monkeypatch.setattr(contents, "VISITS_LIMIT", 20_000)  # a million takes a second
    for container in (torch_zip, bytes):
        (tmp_path / "w").write_bytes(container(pickled))
        if match:
            refused(tmp_path / "w", match)
        else:
            assert md.load_weights(tmp_path / "w") == {}


@in_a_folder
@given(tree=trees, protocol=st.integers(2, 5))
def test_plain_pickles_of_arrays_load(tmp_path, tree, protocol):
    """Against pickle itself, for what is harmless."""
    (tmp_path / "w").write_bytes(pickle.dumps({"root": tree}, protocol=protocol))
    loaded = md.load_weights(tmp_path / "w")

    def expected(path, value):
        if isinstance(value, list) and not (value and all(isinstance(v, (bool, int, float)) for v in value)):
            value = {str(i): entry for i, entry in enumerate(value)}
        if not isinstance(value, dict):
            return {path: np.asarray(value)}
        return {name: leaf for key, entry in value.items() for name, leaf in expected(f"{path}.{key}", entry).items()}

    wanted = expected("root", tree)
    assert list(loaded) == list(wanted)
    for name, array in wanted.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=") and loaded[name].shape == array.shape
        assert np.array_equal(loaded[name], array, equal_nan=array.dtype.kind in "fc")


def test_old_files_of_two_big_numbers_are_not_mistaken(tmp_path):
    """The magic number alone is not a file of torch.save."""
    (tmp_path / "w").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
    refused(tmp_path / "w", "damaged")


@in_a_folder
@given(cut=st.integers(0, 10_000), flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=3))
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_damage_anywhere_gives_one_line(tmp_path, ending, cut, flips):
    path = tmp_path / ("w" + ending)
    md.save_weights(path, {"a": np.arange(20.0), "b.c": np.ones((2, 3), np.float16)})
    bad = bytearray(path.read_bytes())
    for position, change in flips:
        bad[position % len(bad)] ^= change
    if not flips:
        bad = bad[: cut % len(bad)]
    path.write_bytes(bad)
    try:
        md.load_weights(path)
        assert flips, "a truncated file was read"
    except md.WeightsError as error:
        assert "\n" not in str(error)
