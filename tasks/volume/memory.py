"""How much memory one step of training takes: measured in a process of its own, and counted."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from time import perf_counter

from minidl import Tensor, data, optim
from minidl.kernels.cpu.memory import peak_memory
from minidl.nn.summary import saved_bytes

from .data import WEIGHTS, masks
from .pipeline import loss
from .speckle import generate
from .train import ROWS, Settings, losses, trained_parameters
from .vnet import VNet

GIB = 2**30


def report(settings: Settings) -> str:
    """A line for the pipeline, for a small V-Net and for the paper's, each on one volume of the settings' size."""
    lines = [f"one step of training (forward, backward, update) on one volume of {settings.size}^3 voxels:"]
    for what in MODELS:
        with get_context("spawn").Pool(1) as process:  # a process has one peak: each model gets its own
            lines.append(process.apply(what, (settings,)))
    return "\n".join(lines)


def pipeline(settings: Settings) -> str:
    """The pipeline trained end to end: both stages, and the largest boxes there are, because it knows nothing yet."""
    row = ROWS[-1]
    model = settings.build()
    parameters = trained_parameters(model, row)
    volume = generate(data.generator(settings.seed), settings.size)
    return _step("pipeline, end to end", parameters, lambda: sum(losses(model, row, [volume], "cpu").values()))


def small(settings: Settings) -> str:
    """A V-Net of four stages with 8 to 64 channels and kernels of 3^3, on the whole volume."""
    return _vnet("V-Net, 8 to 64 channels, 3^3", VNet(1, 2, width=8, stages=4, kernel=3, rng=0), settings)


def paper(settings: Settings) -> str:
    """The paper's V-Net on the whole volume."""
    return _vnet("V-Net of the paper", VNet(1, 2, rng=data.generator(settings.seed, WEIGHTS)), settings)


def _vnet(name: str, model: VNet, settings: Settings) -> str:
    volume = generate(data.generator(settings.seed), settings.size)
    truth = masks(volume.labels)
    x = Tensor(volume.image[None, None])
    return _step(name, list(model.parameters()), lambda: loss(model(x), truth))


def _step(name: str, parameters: list, compute: Callable[[], Tensor]) -> str:
    """Two steps, so that the optimiser's state is there too; the peak of the process and the bytes that were kept."""
    optimiser = optim.Adam(parameters, 1e-3)
    for _ in range(2):
        start = perf_counter()
        value = compute()
        kept = saved_bytes(value)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        del value
    seconds = perf_counter() - start
    peak = peak_memory()
    count = sum(p.size for p in parameters)
    return (
        f"  {name:<30}{count:>12,} parameters; kept for the backward pass {kept / GIB:.2f} GiB; "
        f"peak of the process {peak / GIB:.2f} GiB; {seconds:.1f} s"
    )


MODELS = (pipeline, small, paper)
