"""The least time that a GPU can need for a network, layer by layer: the larger of arithmetic and memory.

    seconds = sum over layers of max(FLOP / peak FLOP/s, bytes / peak bytes/s)

Counted by formula. A forward pass reads input and weights and writes the output. A backward pass reads the output's
gradient, the input and the weights, and writes the gradients of both; a convolution or a matrix product does its
multiply-adds twice more, for the weights and for the input. An update reads and writes every parameter and its state.
Each number is moved once; layers that share a pass (batch norm and relu) can be faster, two passes where one would do
are slower. Sums and joins that are no layer of their own count nothing, nor does the loss.
Source: Williams et al., "Roofline", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from .rows import INFERENCE, Row

# Multiply-adds of an SM per clock, by compute capability: in float32, and on its tensor cores in TF32.
# Source: NVIDIA, CUDA C++ Programming Guide, "Arithmetic instructions"; the whitepapers of A100 and H100.
PER_CLOCK = {"80": (64, 512), "86": (128, 128), "89": (128, 128), "90": (128, 1024)}
VIEWS = {"Flatten", "Identity", "Dropout"}  # layers that move nothing here
UPDATE = {"SGD": 5, "Adam": 7, None: 0}  # arrays that an update moves: weight and gradient, weight; state, twice


class Cost(NamedTuple):
    """Of one layer in one call of a row."""

    flops: int
    bytes: int


@dataclass(frozen=True)
class Peaks:
    """What a device can do at most, by its attributes."""

    name: str
    capability: str  # "90"
    multiprocessors: int
    clock: float  # Hz
    memory_clock: float  # Hz
    bus: int  # bits
    memory: int  # bytes

    @classmethod
    def of(cls, cupy: Any) -> Peaks:
        """Those of the device that CuPy uses. Clocks come in kHz."""
        device = cupy.cuda.Device()
        found = device.attributes
        return cls(
            name=cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode(),
            capability=device.compute_capability,
            multiprocessors=found["MultiProcessorCount"],
            clock=found["ClockRate"] * 1e3,
            memory_clock=found["MemoryClockRate"] * 1e3,
            bus=found["GlobalMemoryBusWidth"],
            memory=device.mem_info[1],
        )

    def flops(self, tf32: bool = False) -> float | None:
        """FLOP/s; None where what an SM does in a clock is not known."""
        known = PER_CLOCK.get(self.capability)
        return 2 * known[tf32] * self.multiprocessors * self.clock if known else None

    @property
    def bandwidth(self) -> float:
        """Bytes per second: two transfers in each clock."""
        return 2 * self.memory_clock * self.bus / 8

    def seconds(self, costs: list[Cost], tf32: bool = False) -> float | None:
        """The ceiling, as a time. With TF32 only products are faster."""
        peak = self.flops(tf32)
        return None if peak is None else sum(max(c.flops / peak, c.bytes / self.bandwidth) for c in costs)

    def json(self) -> dict[str, Any]:
        rates = {"float32_flops": self.flops(), "tf32_flops": self.flops(tf32=True), "bytes_per_second": self.bandwidth}
        return asdict(self) | rates


def costs(row: Row, model: Any, x: Any) -> list[Cost]:
    """By layer, of one call on x; the model is minidl's."""
    from minidl import no_grad
    from minidl.nn.module import watch
    from minidl.nn.summary import macs

    found: list[Cost] = []

    def see(module: Any, inputs: tuple, output: Any) -> None:
        if any(module.children()) or type(module).__name__ in VIEWS:
            return
        parameters = sum(p.size for p in module.parameters())
        counts = (sum(i.size for i in inputs), output.size, parameters)
        found.append(cost(row, macs(module, inputs, output), *counts, x.dtype.itemsize, first=not found))

    training = model.training
    model.eval()
    with no_grad(), watch(see):
        model(x)
    model.train(training)
    return found


def cost(row: Row, macs: int, inputs: int, outputs: int, parameters: int, itemsize: int, first: bool) -> Cost:
    """Of one layer with so many numbers in and out; the first needs no gradient of its input."""
    moved = inputs + outputs + parameters
    if row.group == INFERENCE:
        return Cost(2 * macs, itemsize * moved)
    moved += outputs + inputs + 2 * parameters + (0 if first else inputs) + UPDATE[row.optimiser] * parameters
    return Cost(2 * macs * (2 if first else 3), itemsize * moved)
