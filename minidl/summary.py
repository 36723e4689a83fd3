"""summary: what each layer of a model gives, has and costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .device import namespace
from .mode import no_grad
from .nn.conv import _Conv, _ConvTranspose
from .nn.linear import Linear
from .nn.module import Module, watch
from .tensor import Tensor


@dataclass(frozen=True)
class Row:
    """One call of one layer."""

    name: str
    type: str
    output_shape: Any  # a tuple, or a tuple of tuples for a layer with several outputs
    parameters: int  # its own, at its first call; 0 after, and for parameters that an earlier layer shares
    macs: int


@dataclass(frozen=True)
class Summary:
    """The rows in the order of the calls, and totals. Prints as a table."""

    model: str
    input_shapes: tuple[tuple[int, ...], ...]
    rows: list[Row]
    parameters: int  # of the whole model, those that no row shows included
    trainable: int
    macs: int

    def __str__(self) -> str:
        head = ("layer", "type", "output", "parameters", "MACs")
        body = [
            (r.name, r.type, _shape_text(r.output_shape), _count_text(r.parameters), _count_text(r.macs))
            for r in self.rows
        ]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(5)]
        lines = ["  ".join(_aligned(line, widths)).rstrip() for line in [head, *body]]
        rule = "-" * (sum(widths) + 8)
        inputs = " and ".join(map(str, self.input_shapes))
        total = f"{self.parameters:,} parameters, {self.trainable:,} trainable; {self.macs:,} MACs"
        return "\n".join([f"{self.model} on {inputs}", rule, lines[0], rule, *lines[1:], rule, total])

    __repr__ = __str__


def summary(model: Module, *input_shapes: Sequence[int]) -> Summary:
    """What each layer gives, has and costs when the model runs on zeros of these shapes, batch included.

        >>> md.summary(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (1, 3, 32, 32))

    One row for each call of a module without children, or with parameters of its own. MACs are the multiplications
    of convolutions (``N * F * output * C/groups * kernel``), transposed convolutions (``N * C * input * F/groups *
    kernel``) and linear layers (``rows * in * out``) that are modules; biases, other layers and functions count 0.
    The pass is in eval mode and without gradients; the mode of every module is put back.
    """
    names = {}
    for name, module in model.named_modules():
        names[module] = name or type(model).__name__
    rows: list[Row] = []
    counted: set[Tensor] = set()

    def see(module: Module, inputs: tuple, output: Any) -> None:
        own = list(module.parameters(recurse=False))
        if own or not any(module.children()):
            new = [p for p in own if p not in counted]
            counted.update(new)
            size = sum(p.size for p in new)
            row = Row(names.get(module, ""), type(module).__name__, _shape(output), size, macs(module, inputs, output))
            rows.append(row)

    with _eval_mode(model), no_grad(), watch(see):
        model(*(_zeros(model, shape) for shape in input_shapes))
    parameters = list(model.parameters())
    return Summary(
        type(model).__name__,
        tuple(tuple(shape) for shape in input_shapes),
        rows,
        sum(p.size for p in parameters),
        sum(p.size for p in parameters if p.requires_grad),
        sum(r.macs for r in rows),
    )


def macs(module: Module, inputs: tuple, output: Any) -> int:
    """The multiply-adds of one call of a convolution, a transposed convolution or a linear layer; 0 of any other."""
    if isinstance(module, _Conv | Linear):  # each output entry: a dot product with one row of the weight
        return output.size * math.prod(module.weight.shape[1:])
    if isinstance(module, _ConvTranspose):  # each input entry: times one row of the weight
        return inputs[0].size * math.prod(module.weight.shape[1:])
    return 0


def _zeros(model: Module, shape: Sequence[int]) -> Tensor:
    """Zeros in the dtype and on the device of the model's first parameter; float32 on the CPU if it has none."""
    array = next((p.data for p in model.parameters()), None)
    if array is None:
        return Tensor(namespace([]).zeros(tuple(shape), "float32"))
    return Tensor(namespace([array]).zeros(tuple(shape), array.dtype))


@contextmanager
def _eval_mode(model: Module) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _shape(output: Any) -> Any:
    if isinstance(output, dict):
        output = tuple(output.values())
    return tuple(_shape(o) for o in output) if isinstance(output, tuple | list) else getattr(output, "shape", ())


def _shape_text(shape: Any) -> str:
    return " ".join(map(_shape_text, shape)) if shape and isinstance(shape[0], tuple) else str(shape)


def _count_text(n: int) -> str:
    return f"{n:,}" if n else "-"


def _aligned(line: tuple[str, ...], widths: list[int]) -> list[str]:
    """Names to the left, numbers to the right."""
    return [cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
