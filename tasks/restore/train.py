"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device

from ..command import UsageError
from ..options import Above, Among, AtLeast
from ..own_pictures import OwnPictures, images_below
from ..run import Job, load_state, read_state
from .data import WEIGHTS, Patches, smaller, with_holes
from .model import SCALES, UPSAMPLING, Completer, Enlarger

JOBS = {"complete": "fill holes", "superresolve": "enlarge"}
OF_JOB = {"scale": "superresolve", "upsampling": "superresolve"}
LOSSES = {"squared": F.mse_loss, "absolute": F.l1_loss}


@dataclass(frozen=True)
class Settings(OwnPictures):
    """What decides the outcome of a training run, to the last bit."""

    # job
    job: Annotated[str, Among(JOBS)] = "complete"  # fill holes, or enlarge
    scale: Annotated[int, AtLeast(2)] = 2  # how many times larger: 2, 3 or 4
    # network
    width: int = 32  # feature maps of each layer
    blocks: int = 6  # residual blocks
    upsampling: Annotated[str, Among(UPSAMPLING)] = "shuffle"  # how it comes to the larger size
    # training
    data: str | None = None  # train on the images in this folder, not on the bundled photographs
    steps: int = 1000  # of Adam
    batch: int = 8  # patches per step
    patch: int = 64  # side of a patch of the photograph
    loss: Annotated[str, Among(LOSSES)] = "absolute"  # errors whose mean is made small
    lr: Annotated[float, Above(0)] = 2e-3  # learning rate, a cosine to 0
    seed: int = 0  # decides all that is random
    # adversarial term
    adversarial: tuple[float, ...] = ()  # weights: for each, go on from the trained network with this much of the term
    adversarial_steps: int = 150  # for each weight

    own: ClassVar = {
        "complete": {},
        "superresolve": {"blocks": 4, "steps": 500, "batch": 16, "patch": 48},
    }

    @classmethod
    def kind(cls, chosen: Mapping[str, Any]) -> str:
        return chosen.get("job", cls.job)

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Settings:
        settings = super().of(given, known)
        for name, job in OF_JOB.items():
            if name in given and settings.job != job:
                raise UsageError(f"--{name} is for --job {job}")
        if settings.scale not in SCALES:
            raise UsageError(f"--scale {settings.scale}: one of {', '.join(map(str, SCALES))}")
        if settings.job == "superresolve" and settings.patch % settings.scale:
            raise UsageError(f"--patch {settings.patch} is no multiple of --scale {settings.scale}")
        return settings

    def picture_files(self) -> list[Path]:
        return images_below(self.data)

    def build(self) -> Completer | Enlarger:
        """The network, with its initial weights."""
        rng = data.generator(self.seed, WEIGHTS)
        if self.job == "complete":
            return Completer(self.width, self.blocks, rng=rng)
        return Enlarger(self.scale, self.width, self.blocks, self.upsampling, rng=rng)

    def patches(self, photographs: Mapping[str, np.ndarray]) -> Patches:
        damage = with_holes if self.job == "complete" else smaller(self.scale)
        return Patches(photographs, self.patch, self.batch, damage, self.seed)

    def describe(self) -> str:
        """What a caption says of the network."""
        larger = f", {UPSAMPLING[self.upsampling]}" if self.job == "superresolve" else ""
        return f"{self.blocks} residual blocks{larger}, {self.steps} steps"


def load(settings: Settings, checkpoint: str | os.PathLike) -> Completer | Enlarger:
    """The network of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    state = read_state(checkpoint)
    pair = {name.removeprefix("restorer."): array for name, array in state.items() if name.startswith("restorer.")}
    return load_state(settings.build(), pair or state, checkpoint, "name its --job, --scale, --width and the like")


def train(job: Job, photographs: Mapping[str, np.ndarray]) -> Completer | Enlarger:
    """Train a network on patches of photographs; leave checkpoint, log and settings in the job's folder."""
    settings, device = job.settings, job.device
    model = settings.build().to(device)
    batches = data.Prefetch(settings.patches(photographs))
    job.begin(*(path.name for name in ("adversarial-*.npz", "referee.npz") for path in job.out.glob(name)))
    return job.fit(
        model, optim.Adam, lambda model, batch: error(model, batch, device, settings.loss), batches, warmup=0.02
    )


def error(model: nn.Module, batch: tuple[np.ndarray, np.ndarray], device: str, loss: str) -> dict[str, Tensor]:
    """The mean of what the loss makes of restored - clean, and that of the squares."""
    damaged, clean = (Tensor(to_device(array, device)) for array in batch)
    restored = model(damaged)
    return {"loss": LOSSES[loss](restored, clean), "squared error": F.mse_loss(restored.detach(), clean)}
