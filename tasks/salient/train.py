"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from minidl import Tensor, data, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.ranks.share import SharedEvaluation

from ..options import Above, AtLeast, TaskSettings
from ..run import Job, load_state, read_state
from .metrics import auc_judd
from .model import SaliencyNet
from .scenes import scene

WEIGHTS = 33  # keeps the draw apart from those of scenes
WATCHED = 16  # validation scenes that are looked at while training
SHARE = 5.0  # times that a pixel of the odd thing weighs as much as another: it covers about a fiftieth


@dataclass(frozen=True)
class Settings(TaskSettings):
    """What decides the outcome of a training run, to the last bit."""

    # network
    width: Annotated[int, AtLeast(2)] = 32  # feature maps
    # training
    steps: int = 250  # of Adam
    batch: int = 8  # scenes per step
    side: Annotated[int, AtLeast(32)] = 64  # of a scene, in pixels
    lr: Annotated[float, Above(0)] = 5e-3  # learning rate, a cosine to 0
    seed: int = 0  # decides all that is random

    def build(self) -> SaliencyNet:
        """The network, with its initial weights."""
        return SaliencyNet(self.width, rng=data.generator(self.seed, WEIGHTS))

    def describe(self) -> str:
        """What a caption says of the network."""
        return f"{self.steps} steps"


class Scenes(data.RandomBatches):
    """``scenes(step)`` is that step's batch: pictures (batch, 3, side, side) and truths (batch, 1, side, side)."""

    def __init__(self, settings: Settings):
        self.settings, self.seed = settings, settings.seed

    def size(self, step: int) -> int:
        return self.settings.batch

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        s = self.settings  # scenes have numbers, which decide all that is random in them
        batch = [scene(s.side, "train", s.seed, i) for i in range(step * s.batch, (step + 1) * s.batch)[where]]
        return np.stack([x.image for x in batch]), np.stack([x.truth[None] for x in batch]).astype(np.float32)


def load(settings: Settings, checkpoint: str | os.PathLike) -> SaliencyNet:
    """The network of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    return load_state(settings.build(), read_state(checkpoint), checkpoint, "name its --width")


def train(job: Job) -> SaliencyNet:
    """Train on scenes that are made on the way; leave checkpoint, log and settings in the job's folder."""
    settings, device = job.settings, job.device
    model = settings.build().to(device)
    watched = [scene(settings.side, "validation", settings.seed, i) for i in range(WATCHED)]

    weight = np.array(SHARE, np.float32)  # one array for all steps, or they could not be recorded

    def loss(model: SaliencyNet, batch: tuple[np.ndarray, np.ndarray]) -> Tensor:
        image, truth = (Tensor(to_device(array, device)) for array in batch)
        return F.binary_cross_entropy_with_logits(model(image), truth, pos_weight=weight)

    watch = SharedEvaluation(
        watched, lambda x: float(auc_judd(saliency(model, x.image, device), x.truth)),
        lambda found: {"validation_auc": float(np.mean(found))},
    )  # fmt: skip
    job.begin()
    return job.fit(model, optim.Adam, loss, data.Prefetch(Scenes(settings)), warmup=0.05, evaluate=watch)


def saliency(model: SaliencyNet, image: np.ndarray, device: str = "cpu") -> np.ndarray:
    """The map (H, W) in [0, 1] of a picture (3, H, W) of any size."""
    with model.inference():
        logits = model(Tensor(to_device(np.ascontiguousarray(image, np.float32)[None], device))).to("cpu").numpy()[0, 0]
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
