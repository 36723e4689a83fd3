"""Twenty training steps of networks that others wrote, in torch and in minidl.torch, from equal weights on equal data.

    python -m tests.reference.steps --unet CLONE --dncnn CLONE        # of milesial/Pytorch-UNet and of cszn/KAIR

It prints by how much losses differ from torch's in double precision, at most: ours in double and in single precision,
and between these, as a yardstick where rounding grows from step to step, torch's in single precision, computed in four
ways.
"""

import argparse
import importlib
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from minidl.table import table
from minidl.torch.run import in_place_of_torch

STEPS = 20


class Case(NamedTuple):
    """A network of a module in a clone, its optimiser and loss by torch's names, and what they are called with."""

    module: str
    network: str
    options: dict
    optimizer: str
    settings: dict
    loss: str
    shape: tuple

    def batch(self, step, dtype):
        """Input and target of a step."""
        rng = np.random.default_rng(step)
        x = rng.random(self.shape).astype(np.float32).astype(dtype)
        if self.loss == "CrossEntropyLoss":
            return x, rng.integers(0, 2, (self.shape[0], *self.shape[2:]))
        return x, rng.random(self.shape).astype(np.float32).astype(dtype)


ROOT_MEAN_SQUARE = "RMSprop", {"lr": 1e-5, "weight_decay": 1e-8, "momentum": 0.999}, "CrossEntropyLoss"  # its train.py
DNCNN = {"in_nc": 1, "out_nc": 1, "nc": 64, "nb": 17, "act_mode": "BR"}
CASES = {
    "U-Net": Case("unet.unet_model", "UNet", {"n_channels": 3, "n_classes": 2}, *ROOT_MEAN_SQUARE, (2, 3, 50, 62)),
    "U-Net, bilinear": Case(
        "unet.unet_model", "UNet", {"n_channels": 3, "n_classes": 2, "bilinear": True}, *ROOT_MEAN_SQUARE,
        (2, 3, 50, 62),
    ),
    "DnCNN": Case("models.network_dncnn", "DnCNN", DNCNN, "Adam", {"lr": 1e-4}, "L1Loss", (8, 1, 40, 40)),
}  # fmt: skip


def built(case, clone):
    """The network, of the framework that `import torch` gives now."""
    package = case.module.partition(".")[0]
    sys.path.insert(0, str(clone))
    try:
        return getattr(importlib.import_module(case.module), case.network)(**case.options)
    finally:
        sys.path.remove(str(clone))
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


def losses(framework, case, clone, state, dtype, steps, **layout):
    """Those of the steps, from the weights of a state of arrays."""
    network = built(case, clone)
    network.load_state_dict({name: framework.from_numpy(array.copy()) for name, array in state.items()})
    network.to(getattr(framework, dtype), **layout).train()
    optimizer = getattr(framework.optim, case.optimizer)(network.parameters(), **case.settings)
    loss_of, found = getattr(framework.nn, case.loss)(), []
    for step in range(steps):
        x, target = map(framework.from_numpy, case.batch(step, dtype))
        optimizer.zero_grad()
        loss = loss_of(network(x), target)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def row(name, clone, steps):
    case = CASES[name]
    torch.manual_seed(0)
    state = {key: t.numpy() for key, t in built(case, clone).state_dict().items()}

    def theirs(dtype="float32", threads=1, onednn=True, memory_format=torch.contiguous_format):
        torch.set_num_threads(threads)
        with nullcontext() if onednn else torch.backends.mkldnn.flags(enabled=False):
            return losses(torch, case, clone, state, dtype, steps, memory_format=memory_format)

    exact = theirs("float64")
    others = [theirs(), theirs(threads=2), theirs(onednn=False), theirs(memory_format=torch.channels_last)]
    with in_place_of_torch():
        import torch as layer

        ours = [losses(layer, case, clone, state, dtype, steps) for dtype in ("float64", "float32")]
    apart = [f"{abs(each - exact).max():.1e}" for each in (ours[0], *others, ours[1])]
    return [name, f"{exact[0]:.4f}", f"{exact[-1]:.4f}", *apart]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.reference.steps", description=__doc__.splitlines()[0])
    parser.add_argument("--unet", type=Path, help="a clone of milesial/Pytorch-UNet")
    parser.add_argument("--dncnn", type=Path, help="a clone of cszn/KAIR")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(argv)
    ways = ["torch, float32", "on 2 threads", "without oneDNN", "channels last"]
    rows = [["network", "first loss", "last loss", "ours, float64", *ways, "ours, float32"]]
    for name in CASES:
        if clone := options.dncnn if name == "DnCNN" else options.unet:
            rows.append(row(name, clone, options.steps))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    if len(rows) == 1:
        parser.error("name a clone: --unet, --dncnn or both")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
