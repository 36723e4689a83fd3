"""The rows of the tables: what is built, on what input, and what one timed call does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from .interface import Library
from .meters import Mark, repeat
from .networks import denoiser, dncnn, layer, lenet, mlp, mobilenet, resnet18, resnet20, unet, vgg16

LAYER, STEP, INFERENCE = "layer", "training step", "inference"  # the groups
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Row:
    """A network on an input. What one call does is the group's:

    layer: forward and backward from a random cotangent (or from the loss), parameters and input;
    training step: forward, loss, backward to the parameters, update, in the library's own training loop if it has one;
    inference: forward alone, in evaluation mode and without a graph.
    """

    name: str
    group: str
    network: Callable[..., Any]  # (library, **options) -> module
    shape: tuple[int, ...]
    tiny: tuple[int, ...]  # the input of a trial run
    tiny_options: dict[str, Any] = field(default_factory=dict)  # and the network's options then
    loss: str | None = None  # a class of nn
    optimiser: str | None = None  # a class of optim
    first: bool = False  # does a layer see the data, which need no gradient?

    @property
    def needs_input_gradient(self) -> bool:
        return self.group == LAYER and not self.first


class Job:
    """A row built in one library. Weights, input, cotangent and target depend on the row alone."""

    def __init__(self, row: Row, library: Library, tiny: bool = False, dtype: str = "float32"):
        self.row, self.library, self.dtype = row, library, dtype
        self.model = library.cast(row.network(library, **(row.tiny_options if tiny else {})), dtype)
        self.x = library.tensor(self._normal("input", row.tiny if tiny else row.shape), row.needs_input_gradient)
        self.leaves = dict(self.model.named_parameters())
        if row.needs_input_gradient:
            self.leaves["input"] = self.x
        self.loss = getattr(library.nn, row.loss)() if row.loss else None
        self.optimiser = self._optimiser() if row.optimiser else None
        self.given: Any = None  # see _given
        self.call: Callable[..., Any] = self.model  # what infers: see finish
        self.load()
        if row.group == INFERENCE:
            self.model.eval()

    def _optimiser(self) -> Any:
        options = {"momentum": 0.9} if self.row.optimiser == "SGD" else {}
        return getattr(self.library.optim, self.row.optimiser)(self.model.parameters(), lr=LEARNING_RATE, **options)

    def load(self) -> None:
        """Give the model the weights that it starts with."""
        state = {name: self.library.tensor(self._weight(name, p.shape)) for name, p in self.model.named_parameters()}
        self.model.load_state_dict(state, strict=False)

    def finish(self) -> None:
        """Compile or export the network, where the library does that."""
        self.call = self.library.finish(self.model, self.x)

    def run(self, calls: int = 1, mark: Mark = lambda: None, *, before: int = 0) -> None:
        """So many calls as they are timed; `mark` is called before, between and after them. In a training loop, so many
        steps `before`."""
        if self.row.group == STEP:

            def batches(step: int) -> None:
                if step >= before:
                    mark()

            self.library.train(self.model, self.optimiser, self._loss, batches, calls + before)
            mark()
        else:
            repeat(self.infer if self.row.group == INFERENCE else self.differentiate, calls, mark)

    def infer(self) -> Any:
        """The output, without a graph."""
        with self.library.no_grad():
            return self.call(self.x)

    def differentiate(self) -> Any:
        """The output; the gradients are left where the library leaves them."""
        for leaf in self.leaves.values():
            self.library.clear_gradient(leaf)
        y = self.model(self.x)
        if self.loss is None:
            self.library.backward(y, self._given(y))
        else:
            self.library.backward(self.loss(y, self._given(y)), None)
        return y

    def _loss(self, model: Any, batch: Any) -> Any:
        """What is minimised; the batch is always the same."""
        y = model(self.x)
        return self.loss(y, self._given(y))

    def results(self) -> dict[str, np.ndarray]:
        """Output and gradients at the first weights."""
        self.load()
        if self.row.group == INFERENCE:
            return {"output": self.library.array(self.infer())}
        found = {"output": self.library.array(self.differentiate())}
        return found | {f"gradient of {name}": self.library.array(leaf.grad) for name, leaf in self.leaves.items()}

    # --- numbers that do not depend on the library

    def _generator(self, what: str) -> np.random.Generator:
        return np.random.default_rng(crc32(f"{self.row.name}: {what}".encode()))

    def _normal(self, what: str, shape: Sequence[int]) -> np.ndarray:
        return self._generator(what).standard_normal(tuple(shape), self.dtype)

    def _weight(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """He's initialisation for kernels and matrices; scales near 1, biases near 0."""
        normal = self._normal(name, shape)
        if len(shape) > 1:
            normal *= math.sqrt(2 / math.prod(shape[1:]))
            return normal
        return 0.1 * normal + (1 if name.endswith("weight") else 0)

    def _given(self, y: Any) -> Any:
        """The target or the cotangent of an output, drawn once: its shape is then known."""
        if self.given is None and self.row.loss == "CrossEntropyLoss":  # one class for each image or each pixel
            n, classes, *space = y.shape
            self.given = self.library.tensor(self._generator("target").integers(classes, size=(n, *space)))
        elif self.given is None:
            self.given = self.library.tensor(self._normal("target", y.shape))
        return self.given


# --- the rows


def conv(
    name: str, inputs: int, outputs: int, kernel: int, size: int, *,
    kind: str = "Conv", rank: int = 2, first: bool = False, **options: Any,
) -> Row:  # fmt: skip
    """A convolution as its class makes it, with a bias, on a batch of 8."""
    options = {"in_channels": inputs, "out_channels": outputs, "kernel_size": kernel, **options}
    network = partial(layer, kind=f"{kind}{rank}d", **options)
    return Row(name, LAYER, network, (8, inputs, *[size] * rank), (2, inputs, *[10] * rank), first=first)


def single(name: str, kind: str, shape: tuple[int, ...], loss: str | None = None, **options: Any) -> Row:
    """Another layer, or a loss after the identity."""
    tiny = (2, shape[1], *[10] * len(shape[2:]))
    return Row(name, LAYER, partial(layer, kind=kind, **options), shape, tiny, loss=loss)


def step(
    name: str, network: Callable[..., Any], shape: tuple[int, ...], tiny: tuple[int, ...], loss: str, optimiser: str,
    **tiny_options: Any,
) -> Row:  # fmt: skip
    return Row(name, STEP, network, shape, tiny, tiny_options, f"{loss}Loss", optimiser)


ROWS = [
    conv("conv3x3-3-64-128", 3, 64, 3, 128, padding=1, first=True),
    conv("conv3x3-64-64-56", 64, 64, 3, 56, padding=1),
    conv("conv3x3-64-64-128", 64, 64, 3, 128, padding=1),
    conv("conv3x3-128-128-28", 128, 128, 3, 28, padding=1),
    conv("conv3x3-256-256-14", 256, 256, 3, 14, padding=1),
    conv("conv1x1-64-256-56", 64, 256, 1, 56),
    conv("conv3x3-dilated2-64-64-56", 64, 64, 3, 56, padding=2, dilation=2),
    conv("conv7x7-stride2-3-64-224", 3, 64, 7, 224, padding=3, stride=2, first=True),
    conv("transposed2x2-stride2-128-64-28", 128, 64, 2, 28, kind="ConvTranspose", stride=2),
    conv("conv3x3x3-16-16-32", 16, 16, 3, 32, rank=3, padding=1),
    conv("depthwise3x3-64-56", 64, 64, 3, 56, padding=1, groups=64),
    single("maxpool2x2-64-112", "MaxPool2d", (8, 64, 112, 112), kernel_size=2),
    single("maxpool3x3-stride2-64-112", "MaxPool2d", (8, 64, 112, 112), kernel_size=3, stride=2, padding=1),
    single("batchnorm-64-128", "BatchNorm2d", (8, 64, 128, 128), num_features=64),
    single("relu-64-128", "ReLU", (8, 64, 128, 128)),
    single("crossentropy-1000", "Identity", (1024, 1000), loss="CrossEntropyLoss"),
    single("crossentropy-pixels", "Identity", (8, 21, 128, 128), loss="CrossEntropyLoss"),
    step("denoiser", denoiser, (8, 1, 64, 64), (2, 1, 12, 12), "MSE", "SGD", width=8),
    step("dncnn17", dncnn, (16, 1, 40, 40), (2, 1, 10, 10), "MSE", "Adam", width=8, depth=5),
    step("unet", unet, (4, 1, 128, 128), (2, 1, 16, 16), "CrossEntropy", "SGD", base=4, levels=2),
    step("resnet18-32", resnet18, (32, 3, 32, 32), (4, 3, 64, 64), "CrossEntropy", "SGD", classes=10, width=8),
    step("resnet18-224", resnet18, (4, 3, 224, 224), (3, 3, 72, 72), "CrossEntropy", "SGD", classes=10, width=8),
    step("unet3d", partial(unet, base=8, levels=3, rank=3), (2, 1, 32, 32, 32), (1, 1, 8, 8, 8), "CrossEntropy", "Adam",
         base=4, levels=2),
    step("unet3d-16", partial(unet, base=16, levels=3, rank=3), (1, 1, 48, 48, 48), (1, 1, 8, 8, 8), "CrossEntropy",
         "Adam", base=4, levels=2),
    step("mlp", mlp, (64, 1, 28, 28), (4, 1, 6, 6), "CrossEntropy", "SGD", pixels=36, width=8),
    step("lenet", lenet, (64, 1, 28, 28), (4, 1, 16, 16), "CrossEntropy", "SGD", side=16),
    step("resnet20", resnet20, (128, 3, 32, 32), (4, 3, 16, 16), "CrossEntropy", "SGD", width=4),
    step("mobilenet", mobilenet, (4, 3, 224, 224), (3, 3, 64, 64), "CrossEntropy", "SGD", classes=10, width=4),
    Row("vgg16-inference", INFERENCE, vgg16, (1, 3, 224, 224), (1, 3, 64, 64), {"width": 8, "hidden": 32}),
    Row("resnet18-inference", INFERENCE, resnet18, (1, 3, 224, 224), (1, 3, 64, 64), {"width": 8, "classes": 10}),
    Row("mobilenet-inference", INFERENCE, mobilenet, (1, 3, 224, 224), (1, 3, 64, 64), {"width": 4, "classes": 10}),
]  # fmt: skip


def macs(row: Row, summary: Any) -> int:
    """Multiply-adds of one call, by formula, from those of the forward pass.

    A backward pass costs those of the forward pass twice, for the weights and for the inputs; once in a layer
    whose input needs no gradient.
    """
    forward = [r.macs for r in summary.rows if r.macs]
    if row.group == INFERENCE or not forward:
        return sum(forward)
    return 3 * sum(forward) - (0 if row.needs_input_gradient else forward[0])
