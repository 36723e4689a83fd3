"""What torch and safetensors write is read back equal, and what we write they read."""

import argparse
import collections
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.reference

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import minidl as md  # noqa: E402

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int64", "int32", "int16", "int8", "uint8",
    "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


def as_numpy(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def assert_same(state, loaded):
    assert list(loaded) == list(state)
    for name, tensor in state.items():
        wanted = as_numpy(tensor)
        assert loaded[name].dtype == wanted.dtype and loaded[name].shape == wanted.shape, name
        assert loaded[name].tobytes() == np.ascontiguousarray(wanted).tobytes(), name
        assert loaded[name].flags.writeable and loaded[name].flags.c_contiguous


@st.composite
def tensors(draw):
    """Any dtype, 0 to 4 axes, empty ones too; sliced, transposed, flipped in stride, expanded."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = getattr(torch, draw(st.sampled_from(DTYPES)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    tensor = (torch.randn(shape, generator=generator) * 50).abs().to(dtype)
    if shape and draw(st.booleans()):
        tensor = tensor[..., :: draw(st.integers(1, 3))]
    if shape and draw(st.booleans()):
        tensor = tensor[draw(st.integers(0, shape[0])) :]
    if draw(st.booleans()):
        tensor = tensor.permute(draw(st.permutations(range(tensor.ndim))))
    if draw(st.booleans()):
        tensor = tensor.expand(draw(st.integers(0, 3)), *tensor.shape)
    if tensor.is_complex() and draw(st.booleans()):
        tensor = tensor.conj()
    return tensor


states = st.dictionaries(st.text("abcw.0", min_size=1, max_size=8), tensors(), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states, zipped=st.booleans())
def test_state_dicts_of_torch_load_equal(tmp_path, state, zipped):
    path = tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert_same(state, md.load_weights(path))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states)
def test_safetensors_load_equal(tmp_path, state):
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = {n: t.clone().contiguous() for n, t in state.items() if t.dtype is not torch.complex128}
    save_file(state, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    loaded = md.load_weights(tmp_path / "weights.safetensors")
    assert_same(state, {name: loaded[name] for name in state})
    assert len(loaded) == len(state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_model_buffers_parameters_and_shared_storage(tmp_path, zipped, protocol):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 2).half())
    whole = torch.arange(12.0)
    state = model.state_dict()
    state.update(left=whole[:6], odd=whole[1::2], parameter=torch.nn.Parameter(whole.reshape(3, 4).T))
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    torch.save(state, tmp_path / "weights.pth", **options)
    loaded = md.load_weights(tmp_path / "weights.pth")
    assert_same(state, loaded)
    loaded["left"][:] = -1
    assert loaded["odd"].min() == 1, "arrays of one storage share no memory once loaded"


@pytest.mark.parametrize("zipped", [True, False])
def test_training_checkpoint_is_unwrapped_or_joined_with_dots(tmp_path, zipped):
    model = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    adam.step()
    path = tmp_path / "checkpoint.pt"
    state = model.state_dict()
    torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    assert_same(dict(state), md.load_weights(path))

    mean, std = np.array([0.5, 0.25]), np.float32(0.125)
    tree = {"model": state, "adam": adam.state_dict(), "epoch": 3, "best": 0.5, "name": "net", "mean": mean, "std": std}
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    loaded = md.load_weights(path)
    assert set(loaded) >= {"model.weight", "model.bias", "adam.state.0.exp_avg", "adam.param_groups.0.lr", "epoch"}
    assert "name" not in loaded
    assert loaded["epoch"].shape == () and loaded["epoch"] == 3 and loaded["best"] == 0.5
    assert np.array_equal(loaded["mean"], mean) and loaded["std"] == std and loaded["std"].dtype == np.float32
    assert np.array_equal(loaded["adam.param_groups.0.betas"], [0.9, 0.999])
    assert np.array_equal(loaded["adam.state.0.exp_avg"], adam.state_dict()["state"][0]["exp_avg"].numpy())


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "complex64", "int16", "bool"])
def test_file_of_a_big_endian_machine(tmp_path, dtype):
    """Swap the entries of a file by hand; torch, told so by archive/byteorder, reads what we read."""
    tensor = (torch.arange(6) * 1.5).to(getattr(torch, dtype))
    little, big = io.BytesIO(), tmp_path / "big.pth"
    torch.save({"w": tensor.reshape(2, 3).T}, little)
    unit = {"bfloat16": 2, "complex64": 4, "bool": 1}.get(dtype, tensor.element_size())
    with zipfile.ZipFile(little) as source, zipfile.ZipFile(big, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if name.endswith("data/0"):
                data = np.frombuffer(data, f"V{unit}").astype(f"V{unit}").tobytes()
                data = np.frombuffer(data, np.uint8).reshape(-1, unit)[:, ::-1].tobytes()
            target.writestr(name, data)
    assert torch.equal(torch.load(big)["w"], tensor.reshape(2, 3).T)
    assert_same({"w": tensor.reshape(2, 3).T}, md.load_weights(big))


def test_neighbours_of_the_tensors(tmp_path):
    """What lies in checkpoints of real training scripts."""
    net = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    beside = {
        "args": argparse.Namespace(lr=0.1), "path": Path("x"), "seen": {1, 2}, "names": {(0, 1): "a"},
        "history": collections.defaultdict(list), "optimiser": optimiser, "state": optimiser.state,
        "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimiser, [3]), "layout": torch.strided,
        "milestones": torch.optim.lr_scheduler.MultiStepLR(optimiser, [3]).state_dict(), "qint": torch.qint8,
        "criterion": torch.nn.CrossEntropyLoss(), "generator": torch.Generator().get_state(), "relu": torch.relu,
        "table": {torch.float32: torch.ones(2)}, "size": torch.Size([2]), "device": torch.device("cuda:0"),
    }  # fmt: skip
    for zipped in (True, False):
        for protocol in (2, 4):
            for name, value in [*beside.items(), ("all", beside)]:
                tree = {"model": net.state_dict(), name: value}
                options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
                torch.save(tree, path := tmp_path / "c.pth", **options)
                assert_same(net.state_dict(), md.load_weights(path, "model"))
                assert list(md.load_weights(path))[:2] == ["model.weight", "model.bias"]


@pytest.mark.parametrize("dtype", [name for name in dir(torch) if name.startswith("float8")])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_value_of_float8(tmp_path, dtype, zipped):
    tensor = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype)).reshape(16, 16)
    torch.save({"w": tensor, "t": tensor.T}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = md.load_weights(tmp_path / "w.pth")
    assert loaded["w"].dtype == np.float32
    np.testing.assert_array_equal(loaded["w"], tensor.float())
    np.testing.assert_array_equal(loaded["t"], tensor.T.float())


def test_a_file_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(6.0)}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert md.load_weights(tmp_path / "w.pth")["w"].tolist() == [0, 1, 2, 3, 4, 5]


def test_torch_tensors_handed_to_a_layer():
    linear = torch.nn.Linear(2, 2)
    for dtype in ("bfloat16", "float16", "float8_e4m3fn", "float64"):
        given = {name: p.to(getattr(torch, dtype)) for name, p in linear.state_dict(keep_vars=True).items()}
        layer = md.nn.Linear(2, 2)
        layer.load_state_dict(given)
        np.testing.assert_array_equal(layer.weight.data, given["weight"].detach().float())
    for other, message in ((linear.weight.detach().to_sparse(), "to_dense"), (linear.weight.to("meta"), "meta")):
        with pytest.raises(TypeError, match=f"weight is a torch tensor without plain numbers.*{message}"):
            md.nn.Linear(2, 2).load_state_dict({"weight": other, "bias": linear.bias})


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
def test_hostile_pickle_is_refused_and_not_run(tmp_path, zipped, place):
    marker, path = tmp_path / "was_here", tmp_path / "weights.pth"
    attack = Attack(marker)
    trees = {"alone": attack, "beside": {"w": torch.ones(2), "x": attack}, "inside": {"state_dict": {"w": attack}}}
    torch.save(trees[place], path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(md.WeightsError, match=r"asks for '(posix|nt)\.system'; only tensors are read") as refused:
        md.load_weights(path)
    assert "\n" not in str(refused.value)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the attack is a real one
    assert marker.exists()


class Network(torch.nn.Module):
    """Shared, lazy and non-persistent parts, and an attribute of a class that is nowhere else."""

    def __init__(self):
        super().__init__()
        block = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.PReLU())
        self.body, self.again = torch.nn.ModuleList([block, torch.nn.Dropout()]), block
        self.scale = torch.nn.ParameterDict({"a": torch.nn.Parameter(torch.ones(2))})
        self.register_buffer("mean", torch.arange(3.0))
        self.register_buffer("left_out", torch.arange(3.0), persistent=False)
        self.register_parameter("none", None)
        self.half, self.settings = torch.nn.Linear(2, 2).bfloat16(), argparse.Namespace(lr=0.1)

    def forward(self, x):
        return self.body[0](x) * self.mean[0]


@pytest.mark.parametrize("protocol", [2, 4])
def test_whole_models_give_their_state_dict(tmp_path, protocol):
    """Written with their classes, read without them; the names and the order are those of state_dict()."""
    path, model = tmp_path / "model.pt", torch.nn.DataParallel(Network())
    for zipped in (True, False):
        torch.save(model, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        assert_same(model.state_dict(), md.load_weights(path))
        torch.save({"net": model, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
        assert_same(model.module.state_dict(), md.load_weights(path, "net.module"))
    with open(path, "wb") as file:
        pickle.dump(model, file, protocol)
    assert_same(model.state_dict(), md.load_weights(path))


def test_torchscript_gives_its_tensors(tmp_path):
    model = Network().eval()
    model.half = model.settings = None
    torch.jit.trace(model, torch.ones(1, 2, 5, 5)).save(tmp_path / "m.pt")
    loaded = md.load_weights(tmp_path / "m.pt")
    theirs = torch.jit.load(tmp_path / "m.pt").state_dict()
    assert theirs and set(theirs) <= set(loaded)
    assert all(np.array_equal(loaded[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dicts_pickled_without_torch_save(tmp_path, protocol):
    state = {"w": torch.arange(6.0).reshape(2, 3).T, "h": torch.ones(3).half(), "b": torch.ones(2).bfloat16()}
    for tree in (state, collections.OrderedDict(state), {"a": {"w": torch.nn.Parameter(torch.ones(2))}}):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(tree, protocol))
        assert_same(tree if "w" in tree else {"a.w": tree["a"]["w"]}, md.load_weights(tmp_path / "w.pkl"))


def test_other_kinds_of_tensors_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.pt"
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    for tensor, match in (
        (torch.eye(3).to_sparse(), "_rebuild_sparse_tensor.*to_dense"),
        (torch.eye(3).to_sparse_csr(), "_rebuild_sparse.*to_dense"),
        (quantised, r"_rebuild_qtensor.*dequantize|QInt8Storage.*dequantize"),
        (torch.ones(2, device="meta"), "without values"),
        (torch.ones(2, dtype=torch.uint8).view(torch.bits8), r"torch\.bits8, which is not read"),
    ):
        for zipped in (True, False):
            torch.save({"w": tensor, "b": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
            with pytest.raises(md.WeightsError, match=match):
                md.load_weights(path)
    torch.save(torch.ones(3), path)
    with pytest.raises(md.WeightsError, match="without a name"):
        md.load_weights(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_of_torch_give_one_line(tmp_path, zipped):
    """Cut anywhere, and with any byte changed: an error in one line, or the file read with other numbers."""
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.arange(20.0), "b": torch.ones(2, 3).T}, path, _use_new_zipfile_serialization=zipped)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in rng.integers(0, len(good), 60):
        path.write_bytes(good[:size])
        with pytest.raises(md.WeightsError) as refused:
            md.load_weights(path)
        assert "\n" not in str(refused.value)
    for position in rng.integers(0, len(good), 600):
        bad = bytearray(good)
        bad[position] ^= rng.integers(1, 256)
        path.write_bytes(bad)
        try:
            md.load_weights(path)
        except md.WeightsError as refused:
            assert "\n" not in str(refused)


def test_safetensors_reads_what_we_save(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    rng = np.random.default_rng(0)
    state = {"conv.weight": rng.normal(size=(2, 3, 3)), "flag": np.array(True), "n": np.arange(3, dtype=np.int8)}
    state["half"] = rng.normal(size=(4, 1)).astype(np.float16).T
    md.save_weights(tmp_path / "w.safetensors", state)
    theirs, ours = load_file(tmp_path / "w.safetensors"), md.load_weights(tmp_path / "w.safetensors")
    for name, array in state.items():
        assert np.array_equal(theirs[name], array) and theirs[name].dtype == array.dtype
        assert np.array_equal(ours[name], array) and ours[name].dtype == array.dtype
