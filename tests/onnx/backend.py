"""onnx's own backend tests against ours. ``python -m tests.onnx.backend`` runs all of them, without a network, and
prints a table; `test_backend.py` runs those of the operators that networks for images use."""

import functools
import importlib
import pkgutil
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
import onnx.reference.ops.op_pool_common as onnx_pools
from numpy.lib.stride_tricks import sliding_window_view
from onnx import numpy_helper

import minidl as md

DATA = Path(onnx.__file__).parent / "backend/test/data"
FOLDERS = ("simple", "pytorch-operator", "pytorch-converted")

EXCLUDED = {  # the cases that fail, by a pattern for their names, and why
    r"bfloat16|bf16|BFLOAT16|FLOAT8|FLOAT4|INT4|INT2|e4m3|e5m2|e8m0|int4|int2|float4|e2m1": "dtypes that NumPy has not",
    r"string|strnorm|label_encoder|tfidf|regex": "text",
    r"sequence_(model|map|insert)|identity_(sequence|opt)|optional|_opt$|_seq(_none)?$|to_sequence": "sequences",
    r"training_dropout_(default|mask|cpu)|training_dropout$|bernoulli": "random",
    r"ada(grad|m)|test_(nesterov_)?momentum|gradient_of": "training inside a graph",
    r"ai_onnx_ml": "trees and tables",
    r"image_decoder": "picture files inside a graph",
    r"downsample_scales_(linear|cubic)_align": "divides by n * scale - 1 unrounded; onnxruntime and torch by m - 1",
    r"roialign_mode_max": "takes the largest of the weighted corners, of a map of ones .25 to 1; no paper does",
    r"reduction_mul|scatternd_multiply": "products at places that are named twice",
    r"attention_4d_causal_fp16": "float16: the last bit of 2 of 192 entries",
    r"(hann|hamming|blackman)window": "onnx's function has the default of an attribute that its inliner drops",
    r"light_squeezenet": "the softmax of a thousand equal logits of 1e10, where a last bit decides all",
}


class Case(NamedTuple):
    name: str
    model: onnx.ModelProto
    data: list[tuple[list, list]]  # inputs and outputs
    rtol: float = 1e-3
    atol: float = 1e-7


# --- where they come from


def modules() -> list[str]:
    """The modules of the cases of single nodes: one per operator."""
    return [name for _, name, is_package in pkgutil.iter_modules(node_cases.__path__) if not is_package]


@functools.cache
def of_module(name: str) -> list[Case]:
    """The cases of one operator, and those in which simpler ones stand for it. They are made by the import."""
    onnx_pools.pool = pool
    before = len(node_cases._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about the arithmetic of the cases
        importlib.import_module(f"{node_cases.__name__}.{name}")
    return [Case(c.name, c.model, c.data_sets, c.rtol, c.atol) for c in node_cases._NodeTestCases[before:]]


def of_folder(name: str) -> Iterator[Case]:
    """The cases that onnx keeps as files."""
    for path in sorted((DATA / name).glob("*/model.onnx")):
        sets = []
        for folder in sorted(path.parent.glob("test_data_set_*")):
            inputs, outputs = (
                [read(p) for p in sorted(folder.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))]
                for kind in ("input", "output")
            )
            sets.append((inputs, outputs))
        yield Case(path.parent.name, onnx.load(path), sets)


def light(name: str) -> Case:
    """A real network, its weights made by the graph so that the file is small."""
    model = onnx.load(DATA / f"light/light_{name}.onnx")
    constants = {tensor.name for tensor in model.graph.initializer}
    (given,) = [value for value in model.graph.input if value.name not in constants]
    shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / np.float32(np.prod(shape))
    return Case(f"light_{name}", model, [([x], [read(DATA / f"light/light_{name}_output_0.pb")])])


def light_names() -> list[str]:
    return sorted(path.stem.removeprefix("light_") for path in (DATA / "light").glob("*.onnx"))


def read(path: Path) -> np.ndarray:
    return array(onnx.TensorProto.FromString(path.read_bytes()))


def array(x: Any) -> Any:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x


def pool(
    padded, x_shape, kernel, strides, out_shape, kind, pads_required=None, pads=None, dilations=None,
    count_include_pad=0, p=1,
):  # fmt: skip
    """What onnx's function of this name computes in loops over the windows, which takes half a minute for its cases."""
    rank = len(kernel)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    widths = [0] * 2 * rank if pads is None else [*pads] * (2 * rank // len(pads))
    ends = [n + low + high for n, low, high in zip(x_shape[2:], widths, widths[rank:])]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    room = [s * (out - 1) + span for s, out, span in zip(strides, out_shape, spans)]
    more = [(0, max(r - end, 0)) for r, end in zip(room, ends)]
    inside = padded[(..., *(slice(end) for end in ends))].astype(float)
    inside = np.pad(inside, [(0, 0)] * 2 + more, constant_values=np.nan)
    windows = sliding_window_view(inside, spans, range(2, 2 + rank))
    at = [slice(0, s * (out - 1) + 1, s) for s, out in zip(strides, out_shape)]
    windows = windows[(..., *at, *(slice(None, None, d) for d in dilations))]
    axes = tuple(range(-rank, 0))
    if kind == "LPPOOL":
        return (np.nansum(abs(windows) ** p, axes) ** (1 / p)).astype(padded.dtype)
    return {"AVG": np.nanmean, "MAX": np.nanmax}[kind](windows, axes).astype(padded.dtype)


# --- what comes out


def run(case: Case) -> None:
    """Raises AssertionError where ours gives something else, and what loading raises."""
    model = md.load_onnx(case.model)
    for inputs, outputs in case.data:
        with md.no_grad():
            found = model(*map(array, inputs))
        found = found if isinstance(found, tuple) else (found,)
        for got, right in zip(found, map(array, outputs), strict=True):
            assert (got.dtype, got.shape) == (right.dtype, right.shape), case.name
            np.testing.assert_allclose(got.data, right, case.rtol, case.atol, err_msg=case.name)


def reason(case: Case) -> str | None:
    """Why the case is not run, if it is not."""
    return next((why for pattern, why in EXCLUDED.items() if re.search(pattern, case.name)), None)


def failure(case: Case) -> str | None:
    """What is wrong, in a line; None if nothing."""
    try:
        run(case)
    except Exception as error:  # whatever it is, it is what is asked
        return " ".join(f"{case.name}: {type(error).__name__}: {error}".split())[:300]
    return None


def refused(line: str) -> str | None:
    """Why loading refuses a case, if it is not that we compute it wrongly."""
    if "no such operator here" in line:
        return "an operator that is not here"
    return "opset 6" if "(opset 6) of node" in line else None


def main() -> None:
    warnings.simplefilter("ignore")
    kinds = {"node": (case for name in modules() for case in of_module(name))}
    kinds |= {name: of_folder(name) for name in FOLDERS} | {"light": map(light, light_names())}
    reasons: Counter[str] = Counter()
    for kind, cases in kinds.items():
        passed = failed = excluded = 0
        for case in cases:
            line = None
            if why := reason(case) or ((line := failure(case)) and refused(line)):
                excluded, reasons = excluded + 1, reasons + Counter([why])
            elif line:
                failed += 1
                print(line)
            else:
                passed += 1
        print(f"{kind}: {passed} passed, {failed} failed, {excluded} excluded")
    for why, count in reasons.most_common():
        print(f"{count:5} {why}")


if __name__ == "__main__":
    main()
