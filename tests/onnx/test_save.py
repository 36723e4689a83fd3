"""save_onnx: names, weights, the free batch, and what is refused before a file is written."""

import re
from typing import NamedTuple

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.core.array_function import made_once
from minidl.onnx.save import file
from minidl.onnx.save.file import as_model
from minidl.onnx.save.recording import SaveError

onnx = pytest.importorskip("onnx")


class Net(nn.Module):
    """A convolution, a batch norm, a shortcut; the head's weight is used twice."""

    def __init__(self):
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Conv2d(4, 4, 1, rng=1)
        self.head = nn.Linear(4, 3, rng=2)
        self.again = nn.Linear(4, 3, bias=False)
        self.again.weight = self.head.weight
        rng = np.random.default_rng(3)
        self.stem[1].running_mean[...], self.stem[1].running_var[...] = rng.normal(size=4), rng.uniform(1, 2, size=4)

    def forward(self, images):
        x = self.stem(images)
        x = F.relu(x + self.block(x))
        x = F.dropout(F.global_avg_pool(x), 0.5, rng=np.random.default_rng(0), training=self.training)
        return self.head(x) + self.again(x)


X = np.random.default_rng(4).normal(size=(2, 2, 5, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    return Net()


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    md.save_onnx(net, X, path)
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    return onnx.load(path)


def arrays_of(proto):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def lengths(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_weights_have_their_names_and_shared_ones_are_there_once(net, saved):
    arrays, state = arrays_of(saved), net.state_dict()
    for name in state.keys() - {"again.weight", "stem.1.num_batches_tracked"}:
        assert np.array_equal(arrays[name], state[name]), name
    assert "again.weight" not in arrays and not any("num_batches" in name for name in arrays)


def test_batch_norm_is_a_node_and_nodes_are_called_by_their_modules(saved):
    nodes = {node.name: node for node in saved.graph.node}
    assert list(nodes["stem.1/BatchNormalization"].input)[1:] == [
        "stem.1.weight", "stem.1.bias", "stem.1.running_mean", "stem.1.running_var",
    ]  # fmt: skip
    assert list(nodes["stem.0/Conv"].input) == ["images", "stem.0.weight", "stem.0.bias"]
    assert list(nodes["head/Gemm"].input)[1:] == ["head.weight", "head.bias"]


def test_the_batch_is_free_and_values_between_have_shapes(saved):
    assert lengths(saved.graph.input[0]) == ["N", 2, 5, 6] and lengths(saved.graph.output[0]) == ["N", 3]
    known = {value.name: lengths(value) for value in saved.graph.value_info}
    assert known["stem.0/Conv"] == ["N", 4, 5, 6]
    assert saved.opset_import[0].version == 18 and saved.ir_version == 8


@pytest.mark.parametrize("n", [1, 2, 7])
def test_outputs_are_equal_and_the_model_stays_in_its_mode(net, saved, n):
    from onnx.reference import ReferenceEvaluator

    x = np.resize(X, (n, 2, 5, 6))
    with net.inference():
        expected = net(md.Tensor(x)).data
    assert net.training
    np.testing.assert_allclose(ReferenceEvaluator(saved).run(None, {"images": x})[0], expected, rtol=1e-5, atol=1e-6)


def test_without_a_free_batch_all_lengths_are_numbers(net):
    proto = as_model(net, X, dynamic_batch=False)
    assert lengths(proto.graph.input[0]) == [2, 2, 5, 6] and lengths(proto.graph.output[0]) == [2, 3]


def test_what_is_made_once_may_be_made_by_operations():
    @made_once
    def table(n):
        return (md.Tensor(np.arange(n, dtype=np.float32)) * 2).data

    assert [node.op_type for node in as_model(lambda x: x + table(6), X).graph.node] == ["Add"]


class Fields(NamedTuple):
    boxes: md.Tensor
    anchors: np.ndarray
    count: int


def test_outputs_are_named_by_key_by_field_or_by_number():
    def names(model, **options):
        return [value.name for value in as_model(model, (X, X), **options).graph.output]

    assert names(lambda x, y: x + y) == ["output"]
    assert names(lambda x, y: (x + y, [x])) == ["output_0", "output_1_0"]
    assert names(lambda x, y: {"out": x + y, "aux": {"a": -x}}) == ["out", "aux.a"]
    assert names(lambda x, y: Fields(x * y, np.ones(3), 4)) == ["boxes", "anchors"]
    assert names(lambda x, y: x + y, output_names=["sum"]) == ["sum"]


def test_inputs_are_called_as_forward_calls_them_and_may_be_renamed():
    model = as_model(lambda left, right: left + right, (X, X), input_names=["a", "b"])
    assert [value.name for value in model.graph.input] == ["a", "b"]
    with pytest.raises(SaveError, match=re.escape("input_names ['a']: the model has 2 inputs, ['left', 'right']")):
        as_model(lambda left, right: left + right, (X, X), input_names=["a"])


def test_an_output_that_is_an_input_or_another_output_has_a_name_of_its_own():
    proto = as_model(lambda x: {"same": x, "a": -x, "b": (y := F.relu(x)), "c": y}, X)
    assert [n.op_type for n in proto.graph.node].count("Identity") == 2
    onnx.checker.check_model(proto, full_check=True)


def test_a_method_of_a_module_is_saved_under_the_names_of_that_module(net):
    class Features(Net):
        def features(self, images):
            return self.stem(images)

    assert "stem.0.weight" in arrays_of(as_model(Features().features, X))


def test_inputs_of_another_length_keep_it():
    boxes = np.array([[0, 1, 1, 4, 4], [1, 0, 0, 3, 5], [0, 2, 1, 5, 4]], np.float32)
    proto = as_model(lambda x, boxes: F.roi_align(x, boxes, 2, sampling_ratio=2), (X, boxes))
    assert [lengths(value) for value in proto.graph.input] == [["N", 2, 5, 6], [3, 5]]
    onnx.checker.check_model(proto, full_check=True)


REFUSED = {
    "batch as a factor": (lambda x: x * (1 / len(x)), "multiply, called by the model itself: an option that was 0.5"),
    "one image at a time": (lambda x: F.stack([x[k] for k in range(len(x))]), "which operations there are depends on"),
    "a value that is read": (lambda x: x / x.max().item(), "item.* reads the value of a tensor"),
    "an array from elsewhere": (lambda x: x + np.sign(x.data), "add, .*an array that no operation made depends on"),
    "a branch": (lambda x: x if x.data.max() > X.max() * 0.9 else -x + 1, "operations there are depends on"),
    "a loss": (lambda x: F.cross_entropy(x, x.argmax(1)), "a part of losses over class numbers"),
    "dropout": (lambda x: F.dropout(x, 0.5, rng=np.random.default_rng(0)), "drawn_mask.*save in eval mode"),
    "suppression": (lambda x: F.nms(x[:, 0, :4, 0] * 1.0, x[:, 0, 0, 0], 0.5), "depends on"),
    "complex numbers": (lambda x: x.astype(np.complex64) * 1j, "ONNX operators take no complex64"),
    "an object": (lambda x: object(), "the model gives a object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_named_and_no_file_is_written(name, tmp_path):
    model, message = REFUSED[name]
    with pytest.raises(SaveError, match=message):
        md.save_onnx(model, X, tmp_path / "no.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_the_module():
    class Bad(nn.Module):
        def forward(self, x):
            return F.cross_entropy(x, np.zeros(x.shape[:1] + x.shape[2:], int), reduction="none")

    with pytest.raises(SaveError, match=r"in module 1\.0"):
        as_model(nn.Sequential(nn.ReLU(), nn.Sequential(Bad())), X)


def test_an_opset_that_is_not_written_is_refused(net, tmp_path):
    with pytest.raises(SaveError, match="opset=12; operators are written from version 18 to"):
        md.save_onnx(net, X, tmp_path / "no.onnx", opset=12)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        md.save_onnx(net, X, tmp_path / "none" / "no.onnx")
    md.save_onnx(net, X, tmp_path / "new.onnx", opset=21)
    assert onnx.load(tmp_path / "new.onnx").opset_import[0].version == 21


def test_many_weights_go_to_a_file_of_their_own_and_replace_older_ones(net, tmp_path, monkeypatch):
    monkeypatch.setattr(file, "LARGEST", 10)
    monkeypatch.setattr(file, "THRESHOLD", 60)
    for _ in range(2):
        md.save_onnx(net, X, tmp_path / "net.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert np.array_equal(arrays_of(onnx.load(tmp_path / "net.onnx"))["block.weight"], net.block.weight.data)
    assert (tmp_path / "net.onnx.data").stat().st_size < 3 * 4096  # once: pages of two weights

def test_what_is_written_is_read_and_written_again_the_same(net, saved):
    again = md.load_onnx(saved)
    with net.inference():
        np.testing.assert_allclose(again(md.Tensor(X)).data, net(md.Tensor(X)).data, rtol=1e-6, atol=1e-7)
    copy = as_model(again, X)
    for part in ("input", "output", "initializer"):
        assert {x.name for x in getattr(copy.graph, part)} == {x.name for x in getattr(saved.graph, part)}
    assert [n.op_type for n in copy.graph.node] == [n.op_type for n in saved.graph.node]


def test_functions_that_reading_adds_are_written_as_what_was_read():
    helper, x = onnx.helper, np.array([[1.5, np.inf, np.nan, -7.0]], np.float32)
    nodes = [
        helper.make_node("IsInf", ["x"], ["a"], detect_negative=0), helper.make_node("IsNaN", ["x"], ["b"]),
        helper.make_node("Hardmax", ["x"], ["c"], axis=1), helper.make_node("Mod", ["x", "two"], ["d"], fmod=1),
    ]  # fmt: skip
    kinds = dict(zip("abcd", (onnx.TensorProto.BOOL,) * 2 + (onnx.TensorProto.FLOAT,) * 2))
    graph = helper.make_graph(
        nodes, "t", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info(name, kind, ["N", 4]) for name, kind in kinds.items()],
        [onnx.numpy_helper.from_array(np.array([2.0], np.float32), "two")],
    )  # fmt: skip
    proto = as_model(md.load_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])), x)
    assert [n.op_type for n in proto.graph.node] == ["IsInf", "IsNaN", "Hardmax", "Mod"]
    assert [value.name for value in proto.graph.output] == list("abcd")


def agrees(model, *arrays):
    """The written model on another batch gives what the model gives."""
    proto = as_model(model, arrays if len(arrays) > 1 else arrays[0])
    more = [np.concatenate([a, -0.5 * a, a[:1]]) for a in arrays]
    found = md.load_onnx(proto)(*more)
    with md.no_grad():
        expected = model(*map(md.Tensor, more))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.data, b.data, atol=2e-6)


def test_places_are_outputs_too():
    def best(x):
        values, places = F.topk(x, 2, 1)
        return values, places, places.astype("float32") * 2, F.sort(x.sum(axis=(1, 2, 3)), 0).indices

    agrees(best, X)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_take_any_batch(kind):
    layer = kind(6, 2, num_layers=2, batch_first=True, bidirectional=True, rng=0)
    agrees(lambda x: (layer(x)[0], layer(x)[0][:, -1]), X[:, 0])


def test_a_name_for_an_input_and_an_output_is_refused():
    with pytest.raises(SaveError, match="'x' names an input and an output"):
        as_model(nn.Linear(6, 2), X, output_names=["x"])


def test_what_is_written_is_read():
    import re
    from pathlib import Path

    from minidl.onnx.operators import OPERATORS
    from minidl.onnx.save import writers

    text = "".join(path.read_text() for path in Path(writers.__file__).parent.glob("*.py"))
    names = {*re.findall(r"\bg\.([A-Z]\w+)\(", text), *re.findall(r'": "([A-Z]\w+)"', text)}
    assert len(names) > 60 and names <= {*OPERATORS}, names - {*OPERATORS}
