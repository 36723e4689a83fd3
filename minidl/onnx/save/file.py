"""save_onnx: a model as an ONNX file that has been checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import Node, Value
from .recording import SaveError, Size, record
from .write import written
from .writers import REASONS, WRITERS

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the first in which all that is used is there
THRESHOLD = 1024  # bytes: smaller arrays stay in the graph
LARGEST = 2**31 - 2**20  # bytes of arrays in one file: a protocol buffer ends at 2 GiB


def save_onnx(
    model: Callable, example: Any, path: str | os.PathLike, *,
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
    made = as_model(model, example, dynamic_batch, opset, input_names, output_names)
    size = sum(len(tensor.raw_data) for tensor in made.graph.initializer)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        part, data = Path(folder, path.name), f"{path.name}.data"
        if size > LARGEST:
            onnx.save_model(made, part, save_as_external_data=True, location=data, size_threshold=THRESHOLD)
        else:
            onnx.save_model(made, part)
        onnx.checker.check_model(os.fspath(part), full_check=True)
        if size > LARGEST:
            os.replace(Path(folder, data), path.with_name(data))
        os.replace(part, path)


def as_model(
    model: Callable, example: Any, dynamic_batch: bool = True, opset: int = OPSET,
    input_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """What `save_onnx` writes, in memory."""
    onnx = package()
    from minidl import __version__

    recording = record(model, example, dynamic_batch, WRITERS, REASONS)
    for kind, names in (("input", input_names), ("output", output_names)):
        own = getattr(recording, f"{kind}s")
        if names is not None:
            if len(names) != len(own) or len(set(names)) != len(own):
                raise SaveError(f"save_onnx: {kind}_names {list(names)}: the model has {len(own)} {kind}s, {own}")
            own[:] = names
    graph, inputs, outputs, between = written(recording)
    helper = onnx.helper
    proto = helper.make_graph(
        [_node(onnx, node) for node in graph.nodes],
        type(model).__name__ if not hasattr(model, "__name__") else model.__name__,
        [_form(onnx, value) for value in inputs],
        [_form(onnx, value) for value in outputs],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n) for n, a in graph.arrays.items()],
        value_info=[_form(onnx, value) for value in between if value.name not in {v.name for v in outputs}],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        proto, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="minidl", producer_version=__version__,
    )  # fmt: skip


def package() -> Any:
    """The package that reads and checks ONNX files. Raises ImportError that says how to get it."""
    try:
        import onnx
    except ImportError:
        raise ImportError('save_onnx needs the package onnx: pip install "minidl[onnx]"') from None
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
