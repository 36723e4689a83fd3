"""Groups of instructions for which ONNX has one operator: passes from program to program, as in minidl.recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...recording.passes.dead import drop_unused
from ...recording.passes.match import Matcher
from ...recording.program import Instruction, Program, Ref

Found = tuple[Instruction, list[Instruction]]  # what takes the place of the last one, and those that it stands for


def joined(program: Program) -> Program:
    """The program with all groups joined, without what nobody reads."""
    program = drop_unused(program)
    for group in (with_bias, product, product_with_bias, mean, window_mean, held, parametric_relu):
        program = drop_unused(_each(program, group))
    return program


def _each(program: Program, group: Callable[[Matcher, Instruction], Found | None]) -> Program:
    matcher, changes, removed = Matcher(program), {}, set()
    for last in program.instructions:
        if (found := group(matcher, last)) is not None:
            changes[id(last)] = [found[0]]
            removed |= {id(part) for part in found[1]}
    return matcher.replaced(changes, removed)


def with_bias(matcher: Matcher, last: Instruction) -> Found | None:
    """``conv(x, w) + reshape(b, (1, F, 1, ...))``: Conv has the bias as its third input; so has ConvTranspose."""
    if last.name != "add":
        return None
    y, other = last.inputs
    conv = matcher.only_for_this(y, "conv") or matcher.only_for_this(y, "conv_transpose")
    if conv is None or "bias" in conv.parameters or not matcher.alike(y, last.output):
        return None
    bias = matcher.per_channel(other, len(matcher.form(y).shape))
    if bias is None or matcher.form(bias).dtype != matcher.form(y).dtype:
        return None
    return replace(conv, parameters={**conv.parameters, "bias": bias}, output=last.output), [conv]


def product(matcher: Matcher, last: Instruction) -> Found | None:
    """``x @ w.T`` of matrices: Gemm takes the weight (O, I) as it is."""
    if last.name != "matmul" or len(matcher.form(last.output).shape) != 2:
        return None
    weight = matcher.made_by(last.inputs[1], "transpose")
    if weight is None or type(last.inputs[0]) is not Ref or type(weight.inputs[0]) is not Ref:
        return None
    return replace(last, name="linear", inputs=(last.inputs[0], weight.inputs[0])), []


def product_with_bias(matcher: Matcher, last: Instruction) -> Found | None:
    """``x @ w.T + b``, if the product is read once."""
    linear = matcher.only_for_this(last.inputs[0], "linear") if last.name == "add" else None
    if linear is None:
        return None
    bias, form = matcher.form(last.inputs[1]), matcher.form(linear.output)
    if bias is None or bias.shape != form.shape[1:] or bias.dtype != form.dtype:
        return None
    return replace(linear, inputs=(*linear.inputs, last.inputs[1]), output=last.output), [linear]


def mean(matcher: Matcher, last: Instruction) -> Found | None:
    """A sum over axes divided by the number of entries."""
    total = matcher.only_for_this(last.inputs[0], "sum") if last.name == "divide" else None
    if total is None or matcher.form(total.inputs[0]) is None or not matcher.alike(total.output, last.output):
        return None
    lengths = [matcher.form(total.inputs[0]).shape[axis] for axis in total.parameters["axis"]]
    counted = lengths[0] if len(lengths) == 1 else math.prod(lengths) if all(type(n) is int for n in lengths) else None
    return (replace(total, name="mean", output=last.output), [total]) if last.inputs[1] == counted else None


def window_mean(matcher: Matcher, last: Instruction) -> Found | None:
    """The sum over each window divided by the number of taps."""
    total = matcher.only_for_this(last.inputs[0], "window_sum") if last.name == "divide" else None
    if total is None or type(last.inputs[1]) is Ref or last.inputs[1] is None:
        return None
    same = type(last.inputs[1]) in (int, float) and last.inputs[1] == total.parameters["window"].taps
    return (replace(total, name="window_mean", output=last.output), [total]) if same else None


def held(matcher: Matcher, last: Instruction) -> Found | None:
    """``where(low < x < high, x, clip(x))``, as hardtanh has it for its derivative: the value is clip(x)."""
    if last.name != "where" or type(last.inputs[1]) is not Ref:
        return None
    bounds = matcher.made_by(last.inputs[1], "held_between")
    if bounds is None or last.parameters["condition"] != bounds.output[0] or last.inputs[0] != bounds.inputs[0]:
        return None
    return replace(bounds, name="clip", output=last.output), []


def parametric_relu(matcher: Matcher, last: Instruction) -> Found | None:
    """``where(x > 0, x, slope * x)`` with one slope, or one per channel."""
    if last.name != "where" or type(last.parameters["condition"]) is not Ref:
        return None
    x, below = last.inputs
    positive, product = matcher.made_by(last.parameters["condition"], "gt"), matcher.only_for_this(below, "multiply")
    if type(x) is not Ref or positive is None or product is None or positive.inputs[0] != x or product.inputs[1] != x:
        return None
    slope: Any = matcher.form(product.inputs[0])
    zero = type(positive.inputs[1]) in (int, float) and positive.inputs[1] == 0
    if slope is None or not zero or not matcher.alike(x, last.output) or slope.dtype != matcher.form(x).dtype:
        return None
    shape = matcher.form(x).shape
    if len(slope.shape) != len(shape) or slope.shape[:1] + slope.shape[2:] != (1,) * (len(shape) - 1):
        return None
    return replace(product, name="prelu", inputs=(x, product.inputs[0]), output=last.output), [product]
