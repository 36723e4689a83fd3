"""summary: what each layer of a model gives, has and costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..core.context import enable_grad, no_grad
from ..core.tensor import Parameter, Placeholder, Tensor
from ..device import namespace
from ..table import table
from .conv import Conv, ConvTranspose
from .linear import Linear
from .module import Module, same_modes, watch


@dataclass(frozen=True)
class Row:
    """One call of one layer."""

    name: str
    type: str
    output_shape: Any  # a tuple, or a tuple of tuples for a layer with several outputs
    parameters: int  # its own, at its first call; 0 after, and for parameters that an earlier layer shares
    macs: int
    bytes: int  # of its output; 0 where that is its input, or a view of it


@dataclass(frozen=True)
class Summary:
    """The rows in the order of the calls, and totals. Prints as a table."""

    model: str
    input_shapes: tuple[tuple[int, ...], ...]
    rows: list[Row]
    parameters: int  # of the whole model, those that no row shows included
    trainable: int
    macs: int
    bytes: int  # of the outputs of all rows together
    saved: int | None  # bytes saved for the backward pass, where training was asked for

    def __str__(self) -> str:
        head = ("layer", "type", "output", "parameters", "MACs", "bytes")
        body = [
            (r.name, r.type, _shape_text(r.output_shape), *map(_count_text, (r.parameters, r.macs, r.bytes)))
            for r in self.rows
        ]
        lines = table([head, *body], "<<<>")
        rule = "-" * len(lines[0])
        inputs = " and ".join(map(str, self.input_shapes))
        total = f"{self.parameters:,} parameters, {self.trainable:,} trainable; {self.macs:,} MACs"
        memory = f"outputs {self.bytes:,} bytes"
        if self.saved is not None:
            memory += f"; {self.saved:,} bytes are saved for the backward pass"
        return "\n".join([f"{self.model} on {inputs}", rule, lines[0], rule, *lines[1:], rule, total, memory])

    __repr__ = __str__


def summary(model: Module, *input_shapes: Sequence[int], training: bool = False) -> Summary:
    """What each layer gives, has and costs when the model runs on zeros of these shapes, batch included.

        >>> md.summary(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (1, 3, 32, 32))
        Sequential on (1, 3, 32, 32)
        ----------------------------------------------------------
        layer  type    output          parameters     MACs   bytes
        ----------------------------------------------------------
        0      Conv2d  (1, 8, 30, 30)         224  194,400  28,800
        1      ReLU    (1, 8, 30, 30)           -        -  28,800
        ----------------------------------------------------------
        224 parameters, 224 trainable; 194,400 MACs
        outputs 57,600 bytes

    One row for each call of a module without children, or with parameters of its own. MACs are the multiplications
    of convolutions (``N * F * output * C/groups * kernel``), transposed convolutions (``N * C * input * F/groups *
    kernel``) and linear layers (``rows * in * out``) that are modules; biases, other layers and functions count 0.
    Bytes are those of the outputs, all of which exist at once in no pass without gradients; what functions between
    the modules make is in no row.
    The pass is in eval mode and without gradients. With `training` it is as in training, recorded, and `saved` is what
    the graph then holds until the backward pass: the model's input, outputs of modules and functions, masks;
    parameters not counted, nor what layers need while they compute, nor gradients.
    Modes, buffers and random streams are put back.
    """
    names = {}
    for name, module in model.named_modules():
        names[module] = name or type(model).__name__
    rows: list[Row] = []
    counted: set[Tensor] = set()

    def add_row(module: Module, inputs: tuple, output: Any) -> None:
        own = [value for value in vars(module).values() if isinstance(value, Parameter)]
        if own or not any(module.children()):
            new = [p for p in own if p not in counted]
            counted.update(new)
            rows.append(
                Row(
                    names.get(module, ""),
                    type(module).__name__,
                    _shape(output),
                    sum(p.size for p in new),
                    macs(module, inputs, output),
                    _new_bytes(inputs, output),
                )
            )

    with unchanged(model), enable_grad() if training else no_grad(), watch(add_row):
        model.train(training)
        outputs = model(*(_zeros(model, shape) for shape in input_shapes))
    parameters = list(model.parameters())
    return Summary(
        type(model).__name__,
        tuple(tuple(shape) for shape in input_shapes),
        rows,
        sum(p.size for p in parameters),
        sum(p.size for p in parameters if p.requires_grad),
        sum(r.macs for r in rows),
        sum(r.bytes for r in rows),
        saved_bytes(outputs) if training else None,
    )


def macs(module: Module, inputs: tuple, output: Any) -> int:
    """The multiply-adds of one call of a convolution, a transposed convolution or a linear layer; 0 of any other."""
    if isinstance(module, Conv | Linear):  # each output entry: a dot product with one row of the weight
        return output.size * math.prod(module.weight.shape[1:])
    if isinstance(module, ConvTranspose):  # each input entry: times one row of the weight
        return inputs[0].size * math.prod(module.weight.shape[1:])
    return 0


def saved_bytes(outputs: Any) -> int:
    """The bytes of all arrays that the graph below the outputs holds, the outputs included, parameters not."""
    stack, seen = list(tensors(outputs)), set()
    arrays, parameters = [], []
    while stack:
        x = stack.pop()
        if not isinstance(x, Placeholder):
            (parameters if isinstance(x, Parameter) else arrays).append(x.data)
        if x.node is not None and x.node not in seen:
            seen.add(x.node)
            stack += [i for i in x.node.inputs or () if isinstance(i, Tensor)]
            if x.node.output is not None:
                arrays.append(x.node.output)
            arrays += [value for value in (x.node.parameters or {}).values() if hasattr(value, "nbytes")]
    owners = {id(owner): owner.nbytes for owner in map(_owner, arrays)}
    for owner in map(_owner, parameters):  # of which an array may be a view: a transposed weight
        owners.pop(id(owner), None)
    return sum(owners.values())


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a value: itself, or those in its tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def _new_bytes(inputs: tuple, output: Any) -> int:
    """The memory of the output that is not that of an input: a view has none of its own."""
    old = {id(_owner(x.data)) for x in tensors(inputs)}
    return sum(y.data.nbytes for y in tensors(output) if id(_owner(y.data)) not in old)


def _owner(array: Any) -> Any:
    """The array whose memory it is."""
    while hasattr(array.base, "nbytes"):
        array = array.base
    return array


def _zeros(model: Module, shape: Sequence[int]) -> Tensor:
    """Zeros in the dtype and on the device of the model's first parameter; float32 on the CPU if it has none."""
    array = next((p.data for p in model.parameters()), None)
    if array is None:
        return Tensor(namespace([]).zeros(tuple(shape), "float32"))
    return Tensor(namespace([array]).zeros(tuple(shape), array.dtype))


@contextmanager
def unchanged(model: Module) -> Iterator[None]:
    """After the block, the modes, buffers and random streams of all modules are what they were before it."""
    buffers = [(array, array.copy()) for array in model.buffers()]
    streams = model.random_state()
    try:
        with same_modes(model):
            yield
    finally:
        for array, before in buffers:
            array[...] = before
        model.load_random_state(streams)


def _shape(output: Any) -> Any:
    if isinstance(output, dict):
        output = tuple(output.values())
    return tuple(_shape(o) for o in output) if isinstance(output, tuple | list) else getattr(output, "shape", ())


def _shape_text(shape: Any) -> str:
    return " ".join(map(_shape_text, shape)) if shape and isinstance(shape[0], tuple) else str(shape)


def _count_text(n: int) -> str:
    return f"{n:,}" if n else "-"
