"""save_onnx: a model as an ONNX file that has been checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...core.advice import install
from ...version import __version__
from .graph import Graph, Node, Value
from .recording import SaveError, Size, record
from .write import written
from .writers import REASONS, WRITERS

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the first in which all that is used is there
THRESHOLD = 1024  # bytes: smaller arrays stay in the graph
LARGEST = 2**31 - 2**24  # bytes of arrays in one file: a protocol buffer ends at 2 GiB
PAGE = 4096  # bytes


def save_onnx(
    model: Callable[..., Any], example: Any, path: str | os.PathLike[str], *,
    dynamic_batch: bool = True, opset: int = OPSET, input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Write what a model computes in eval mode as an ONNX file, for other programs to run.

        md.save_onnx(model, np.zeros((1, 3, 224, 224), np.float32), "model.onnx")

    `example` is an input, or a tuple of inputs, of the shapes and dtypes that the graph is to take. With
    `dynamic_batch` the first axis of the first, and of those of the same length, is free and called N; other lengths
    are those of the example. `opset` (18 or later) is the version of ONNX's operators. Inputs are called what `forward`
    calls them, outputs "output", or their keys, unless other names are given.

    Weights have their names of the state dict, a shared one is there once, and nothing is folded: batch normalisation
    is a node with the running statistics as they are. Nodes are called by the module that they come from. More than
    2 GiB of weights go to a file of their own, ``model.onnx.data``. The file is checked, shapes included, before it
    takes its place.

    Raises SaveError before anything is written, with the operation and the module, if the model does what has no
    counterpart in ONNX, what depends on the values of its input, or on the batch in a way that is no shape.
    """
    onnx = package()
    if not OPSET <= opset <= onnx.defs.onnx_opset_version():
        raise SaveError(
            f"save_onnx: opset={opset}; operators are written from version {OPSET} to "
            f"{onnx.defs.onnx_opset_version()}, the newest of onnx {onnx.__version__}"
        )
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", os.fspath(path.parent))
    name, parts = _name(model), _parts(model, example, dynamic_batch, input_names, output_names)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        part, data = Path(folder, path.name), Path(folder, f"{path.name}.data")
        if sum(array.nbytes for array in parts[0].arrays.values()) > LARGEST:
            with open(data, "wb") as file:
                made = _proto(onnx, name, opset, *parts, partial(_outside, onnx, file, data.name))
        else:
            made = _proto(onnx, name, opset, *parts)
        part.write_bytes(made.SerializeToString())
        onnx.checker.check_model(os.fspath(part), full_check=True)
        if data.exists():
            os.replace(data, path.with_name(data.name))
        os.replace(part, path)


def as_model(
    model: Callable[..., Any], example: Any, dynamic_batch: bool = True, opset: int = OPSET,
    input_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """What `save_onnx` writes, in memory; at most 2 GiB."""
    parts = _parts(model, example, dynamic_batch, input_names, output_names)
    return _proto(package(), _name(model), opset, *parts)


Parts = tuple[Graph, list[Value], list[Value], list[Value]]  # the graph; inputs, outputs, values between


def _parts(model: Callable, example: Any, dynamic_batch: bool, *given: Sequence[str] | None) -> Parts:
    recording = record(model, example, dynamic_batch, WRITERS, REASONS)
    for kind, names in zip(("input", "output"), given):
        own = getattr(recording, f"{kind}s")
        if names is not None:
            if len(names) != len(own) or len(set(names)) != len(own):
                raise SaveError(f"save_onnx: {kind}_names {list(names)}: the model has {len(own)} {kind}s, {own}")
            own[:] = names
    if both := set(recording.inputs) & set(recording.outputs):
        raise SaveError(f"save_onnx: {min(both)!r} names an input and an output; give input_names or output_names")
    return written(recording)


def _name(model: Callable) -> str:
    return getattr(model, "__name__", type(model).__name__)


def _proto(
    onnx: Any, name: str, opset: int, graph: Graph, inputs: list[Value], outputs: list[Value], between: list[Value],
    tensor: Callable | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """The graph as the onnx package has it. `tensor`: from a name and an array to what holds it."""
    helper, tensor, known = onnx.helper, tensor or partial(_inside, onnx), {value.name for value in outputs}
    proto = helper.make_graph(
        [_node(onnx, node) for node in graph.nodes],
        name,
        [_form(onnx, value) for value in inputs],
        [_form(onnx, value) for value in outputs],
        [tensor(*item) for item in graph.arrays.items()],
        value_info=[_form(onnx, value) for value in between if value.name not in known],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        proto, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="minidl", producer_version=__version__,
    )  # fmt: skip


def _inside(onnx: Any, name: str, array: np.ndarray) -> Any:
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _outside(onnx: Any, file: BinaryIO, location: str, name: str, array: np.ndarray) -> Any:
    """An array whose bytes stand in another file, from a whole page on, so that it can be mapped."""
    if array.nbytes < THRESHOLD:
        return _inside(onnx, name, array)
    file.write(bytes(-file.tell() % PAGE))
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_location=onnx.TensorProto.EXTERNAL)
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    for key, value in (("location", location), ("offset", file.tell()), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    file.write(memoryview(np.ascontiguousarray(array)).cast("B"))
    return tensor


def package() -> Any:
    """The package that reads and checks ONNX files. Raises ImportError that says how to get it."""
    try:
        import onnx
    except ImportError:
        raise ImportError(f'save_onnx needs the package onnx: {install("onnx")}') from None
    return onnx


def _node(onnx: Any, node: Node) -> Any:
    attributes = {
        name: onnx.helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
        for name, value in node.attributes.items()
    }
    return onnx.helper.make_node(node.operator, node.inputs, node.outputs, name=node.name, **attributes)


def _form(onnx: Any, value: Value) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    lengths = [str(n) if isinstance(n, Size) else int(n) for n in value.shape]
    return onnx.helper.make_tensor_value_info(value.name, kind, lengths)
