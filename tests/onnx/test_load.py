"""load_onnx: names, weights, constants, branches, and what is refused."""

import copy
import io
import re
import sys

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.advice import install

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402

from tests.onnx.graphs import graph, load, model, network, values  # noqa: E402

X = np.array([[-3.0, 1.0]], "f4")
W = np.array([1.0, 2.0], "f4")


# --- names and weights


def test_weights_are_parameters_and_statistics_buffers_under_their_own_names():
    net = md.load_onnx(network())
    assert [p.name for p in net.parameters()] == [
        "conv1.weight", "conv1.bias", "bn.weight", "bn.bias", "fc.weight", "fc.bias"
    ]  # fmt: skip
    assert [name for name, _ in net.named_buffers()] == ["bn.mean", "bn.var"]
    assert repr(net) == "OnnxModule(x float32[batch, 2, 4, 4] -> y float32[?])"
    assert net.inputs[0].shape == ("batch", 2, 4, 4)
    other = md.load_onnx(network())
    for p in other.parameters():
        p.data = p.data * 0
    other.load_state_dict(net.state_dict())
    x = np.ones((2, 2, 4, 4), "f4")
    assert (other(x).data == net(x=x).data).all()


def test_a_copy_has_weights_and_statistics_of_its_own():
    net = md.load_onnx(network())
    x = np.ones((1, 2, 4, 4), "f4")
    before, twin = net(x).data, copy.deepcopy(net)
    twin.to("float64")
    dict(twin.named_parameters())["fc.weight"].data = np.zeros((3, 16))
    assert (net(x).data == before).all() and net(x).dtype == np.float32
    assert twin(x.astype(float)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("a", "learns"), [(W, True), (W[:1], False), (np.float32(3), False), (W[:1, None], True)])
def test_a_single_number_is_part_of_a_formula(a, learns):
    assert [*load([("Mul", "x a", "y")], {"x": [1, 2]}, a=a).state_dict()] == ["a"] * learns
    nodes = [("Conv", "x w b", "y")]
    net = load(nodes, {"x": [1, 1, 2, 2]}, w=np.ones((1, 1, 1, 1), "f4"), b=W[:1])
    assert [*net.state_dict()] == ["w", "b"]


def test_a_name_that_a_module_has_already_gets_another():
    net = load([("Add", "x graph", "y")], {"x": [1, 2]}, graph=W)
    assert [*net.state_dict()] == ["graph_"] and net(X).tolist() == [[-2, 3]]


def test_weights_come_through_what_only_rearranges_them():
    nodes = [("Transpose", "w", "t"), ("Identity", "t", "i"), ("MatMul", "x i", "y")]
    net = load(nodes, {"x": [1, 2]}, w=np.eye(3, 2, dtype="f4"))
    assert [*net.state_dict()] == ["w"]
    net(X).sum().backward()
    assert dict(net.named_parameters())["w"].grad.tolist() == [[-3, 1]] * 3


def test_a_quantised_weight_is_the_numbers_it_stands_for():
    net = load(
        [("DequantizeLinear", "q scale zero", "w"), ("MatMul", "x w", "y")], {"x": [1, 2]},
        q=np.array([[3], [1]], "i1"), scale=np.float32(0.5), zero=np.int8(1),
    )  # fmt: skip
    assert net.state_dict()["w"].tolist() == [[1], [0]] and len(net.program.steps) == 1


# --- where constants come from


def test_constant_nodes_and_constants_of_a_shape():
    value = numpy_helper.from_array(np.array([2.0], "f4"))
    nodes = [
        ("Constant", "", "w", {"value": numpy_helper.from_array(W)}),
        ("Constant", "", "two", {"value_ints": [2]}),
        ("ConstantOfShape", "two", "c", {"value": value}),
        ("Mul", "x w", "m"),
        ("Add", "m c", "y"),
    ]
    net = load(nodes, {"x": [1, 2]})
    assert [*net.state_dict()] == ["w", "c"] and net(X).tolist() == [[-1, 4]]


def test_initialisers_may_be_listed_as_inputs():
    proto = model([("Mul", "x w", "y")], {"x": [1, 2], "w": [2]}, w=W)
    assert [value.name for value in md.load_onnx(proto).inputs] == ["x"]


def test_sparse_constants_and_data_beside_the_file(tmp_path):
    at = numpy_helper.from_array(np.array([0, 3]))
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(W, "s"), at, [2, 2])
    proto = model([("MatMul", "x s", "m"), ("Mul", "m w", "y")], {"x": [1, 2]}, w=np.arange(2, dtype="f4"))
    proto.graph.sparse_initializer.append(sparse)
    path = tmp_path / "net.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert (tmp_path / "net.data").exists()
    assert md.load_onnx(path)(X).tolist() == md.load_onnx(str(path))(X).tolist() == [[0, 2]]
    (tmp_path / "net.data").unlink()
    with pytest.raises((ValueError, OSError), match=r"net\.data"):
        md.load_onnx(path)


def test_bytes_and_open_files():
    proto = model([("Relu", "x", "y")], {"x": [1, 2]}).SerializeToString()
    assert md.load_onnx(proto)(X).tolist() == md.load_onnx(io.BytesIO(proto))(X).tolist() == [[0, 1]]


def test_functions_are_written_out():
    double = helper.make_function("mine", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
                                  [helper.make_opsetid("", 21)])  # fmt: skip
    proto = model([("Double", "x", "y", {"domain": "mine"})], {"x": [1, 2]})
    proto.functions.append(double)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    assert md.load_onnx(proto)(X).tolist() == [[-6, 2]]
    attention = load([("Attention", "x x x", "y")], {"x": [1, 1, 2, 2]}, opset=23)  # ONNX defines it by simpler ones
    assert attention(np.eye(2, dtype="f4")[None, None]).data.sum() == pytest.approx(2)


def test_what_an_old_opset_means_otherwise_is_refused():
    proto = model([("Add", "x w", "y", {"broadcast": 1, "axis": 1})], {"x": [1, 2, 2]}, opset=6, w=W)
    with pytest.raises(ValueError, match=r"Add \(opset 6\) of node 'Add_0': the attribute axis, broadcast"):
        md.load_onnx(proto)
    proto = model([("BatchNormalization", "x w w w w", "y")], {"x": [1, 2]}, opset=6, w=W)
    with pytest.raises(ValueError, match=r"\(opset 6\) of node 'BatchNormalization_0': it is here from opset 7 on"):
        md.load_onnx(proto)


# --- branches and loops


def test_branches_read_what_is_around_them_and_have_weights_of_their_own():
    then = graph([("Add", "x w", "t")], {}, "t", w=W)
    other = graph([("Mul", "x v", "m"), ("Mul", "m w", "e")], {}, "e", w=W)
    for condition, right in ((True, [[-2, 3]]), (False, [[-3, 4]])):
        branches = {"then_branch": then, "else_branch": other}
        net = load([("If", "c", "y", branches)], {"x": [1, 2]}, c=np.array(condition), v=W)
        assert net(X).tolist() == right
        assert [*net.state_dict()] == (["w"] if condition else ["v", "w"])
    nodes = [("ReduceSum", "x", "s", {"keepdims": 0}), ("Less", "s zero", "c"), ("If", "c", "y", branches)]
    net = load(nodes, {"x": [1, 2]}, zero=np.float32(0), v=W)
    assert net(X).tolist() == [[-2, 3]] and net(-X).tolist() == [[3, -4]]
    assert {*net.state_dict()} == {"v", "w", "w_"}  # both branches call theirs w


def test_an_input_may_be_fixed():
    then, other = graph([("Neg", "x", "t")], {}, "t"), graph([("Identity", "x", "e")], {}, "e")
    proto = model(
        [("Less", "r limit", "c"), ("If", "c", "i", {"then_branch": then, "else_branch": other}), ("Abs", "i", "y")],
        {"x": [1, 2], "r": []}, limit=np.float32(3),
    )  # fmt: skip
    net = md.load_onnx(proto, fixed={"r": 2})
    assert [value.name for value in net.inputs] == ["x"] and net(X).tolist() == [[3, 1]]
    assert [step.node.operator for step in net.program.steps] == ["Neg", "Identity", "Abs"]
    with pytest.raises(ValueError, match=r"'z' is no input of the graph; these are x float32\[1, 2\]"):
        md.load_onnx(proto, fixed={"z": 1})


def test_a_loop_is_unrolled():
    body = graph([("Identity", "go", "go_on"), ("Mul", "a x", "b"), ("Identity", "b", "each")], {}, "go_on b each")
    counters = [helper.make_tensor_value_info(name, dtype, []) for name, dtype in (("i", 7), ("go", 9))]
    body.input.extend([*counters, *values({"a": [1, 2]})])
    net = load([("Loop", "three _ x", "y all", {"body": body})], {"x": [1, 2]}, "y all", three=np.array(3))
    x = md.tensor(X, requires_grad=True)
    y, every = net(x)
    assert y.tolist() == [[81, 1]] and every.shape == (3, 1, 2)
    assert md.grad(y.sum(), [x])[0].tolist() == [[-108, 4]]


# --- how it runs


def test_values_are_freed_after_their_last_use():
    import weakref

    from minidl.onnx.run import Run

    net = load([("Relu", f"a{i}", f"a{i + 1}") for i in range(6)], {"a0": [1, 2]}, "a6")
    alive, most = [], []

    def look(node, inputs, outputs):
        alive.append(weakref.ref(outputs[0]))
        most.append(sum(ref() is not None for ref in alive))

    with md.no_grad():
        net.program.run(Run(vars(net), look), {}, md.tensor(X))
    assert max(most) <= 2
    one, other = net(X, values=["a1", "a6"])
    assert one.tolist() == other.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="the graph has no value 'a7' while it runs"):
        net(X, values=["a7"])


def test_shapes_are_computed_once_per_shape():
    net = md.load_onnx(network())
    (concat,) = [step for step in net.program.steps if step.node.operator == "Concat"]
    net(np.ones((2, 2, 4, 4), "f4"))
    before = concat.before[1][0]
    net(np.zeros((2, 2, 4, 4), "f4"))
    assert concat.before[1][0] is before
    assert net(np.ones((5, 2, 4, 4), "f4")).shape == (5, 3) and concat.before[1][0].tolist() == [5, -1]


def test_resize_with_aligned_corners_is_that_of_torch():
    scales = np.array([1, 1, 0.6, 0.6], "f4")
    options = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    net = load([("Resize", "x _ scales", "y", options)], {"x": [1, 1, 5, 5]}, scales=scales)
    x = np.random.default_rng(0).random((1, 1, 5, 5)).astype("f4")
    np.testing.assert_allclose(net(x).data, F.interpolate(md.Tensor(x), size=3, mode="linear", align_corners=True).data)


# --- what is refused


def test_all_that_is_not_supported_is_named_before_anything_runs():
    nodes = [
        ("Bernoulli", "x", "a", {"name": "draw"}), ("Relu", "a", "b", {"slope": 1.0}), ("Scan", "b", "c"),
        ("RoiAlign", "c c c", "y", {"mode": "max"}), ("Cast", "y", "z", {"to": 17}), ("Concat", "y", "u"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="the graph 'test' cannot run here") as caught:
        load(nodes, {"x": [2]}, text=np.array(["a"]))
    assert str(caught.value).splitlines()[1:] == [
        "  the constant 'text': no dtype object here",
        "  Bernoulli (opset 21) of node 'draw': no such operator here",
        "  Relu (opset 21) of node 'Relu_1': the attribute slope",
        "  Scan (opset 21) of node 'Scan_2': no such operator here",
        "  RoiAlign (opset 21) of node 'RoiAlign_3': mode='max', of which there is 'avg'",
        "  Cast (opset 21) of node 'Cast_4': to='float8e4m3fn', of which there is 'float', 'double', 'float16', "
        "'bool', " + ", ".join(f"'{sign}int{bits}'" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        "  Concat (opset 21) of node 'Concat_5': no attribute axis",
    ]


def test_an_error_while_it_runs_names_the_node():
    net = md.load_onnx(network())
    with pytest.raises(ValueError, match=r"Conv 'conv1': conv: x \(1, 3, 4, 4\) has 3 channels"):
        net(np.ones((1, 3, 4, 4), "f4"))
    with pytest.raises(ValueError, match=r"the input x float32\[batch, 2, 4, 4\] was given the shape \(2, 4, 4\)"):
        net(np.ones((2, 4, 4), "f4"))
    with pytest.raises(TypeError, match=r"was given uint8; use \.astype\('float32'\)"):
        net(np.ones((1, 2, 4, 4), "u1"))
    for arguments, named in (((), {}), ((X, X), {}), ((X,), {"x": X}), ((), {"z": X})):
        with pytest.raises(TypeError, match="the graph takes 1 inputs, x float32"):
            net(*arguments, **named)


def test_what_is_no_file_of_onnx(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"not a graph at all")
    for path in (tmp_path / "a.onnx", str(tmp_path / "a.onnx")):
        with pytest.raises(ValueError, match=r"a\.onnx: not an ONNX file"):
            md.load_onnx(path)
    with pytest.raises(ValueError, match="no graph with outputs"):
        md.load_onnx(b"")
    with pytest.raises(FileNotFoundError):
        md.load_onnx(tmp_path / "b.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape(install("onnx"))):
        md.load_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize("nodes, message", [
    ([("Add", "x nothing", "y")], "Add 'Add_0' reads 'nothing', which no input"),
    ([("Relu", "a", "y"), ("Abs", "x", "a")], "Relu 'Relu_0' reads 'a'"),
    ([("Relu", "x", "z")], "no node gives its output 'y'"),
])  # fmt: skip
def test_values_that_nothing_makes_are_named(nodes, message):
    with pytest.raises(ValueError, match=message):
        load(nodes, {"x": [2]})


def test_a_weight_may_be_called_as_the_modules_own_attributes_are():
    for name in ("program", "graph", "forward"):
        net = load([("MatMul", f"x {name}", "y")], {"x": [1, 2]}, **{name: np.ones((2, 1), "f4")})
        assert [n for n, _ in net.named_parameters()] == [f"{name}_"] and net(X).data.item() == -2


def test_det():
    assert load([("Det", "x", "y")], {"x": [2, 2]})(np.array([[1.0, 2.0], [3.0, 4.0]], "f4")).data == pytest.approx(-2)
