"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.ranks.shards import part

from ..classify.evaluate import predict
from ..options import Above, AtLeast, TaskSettings
from ..run import Job, load_state, read_state
from . import evidence, faces
from .model import Networks, prepared

FACES, EVIDENCE, TEST = range(3)  # keep the draws for each purpose apart
WARMUP = 0.05


@dataclass(frozen=True)
class Settings(TaskSettings):
    """What decides the outcome of a training run, to the last bit. With `batch` pictures twice as many faces are seen;
    the networks on planted evidence have the seeds seed, seed + 1, ..."""

    # training
    steps: int = 400  # of Adam
    batch: Annotated[int, AtLeast(4)] = 32  # pictures per step and network
    lr: Annotated[float, Above(0)] = 0.01  # learning rate, a cosine to 0
    seed: int = 0  # decides all that is random
    seeds: int = 1  # train and score N networks on planted evidence

    def build(self) -> Networks:
        """The networks, with their initial weights."""
        return Networks(len(faces.CLASSES), len(evidence.CLASSES), seed=self.seed, seeds=self.seeds)

    def describe(self) -> str:
        """What a caption says of the run."""
        return f"{self.steps} steps; seed {self.seed}" + (f" to {self.seed + self.seeds - 1}" if self.seeds > 1 else "")


Labelled = tuple[np.ndarray, np.ndarray]  # images in [0, 1], labels


class Batches:
    """``batches(step)``: a batch of faces, and one of planted evidence for each seed, prepared."""

    def __init__(self, settings: Settings):
        self.settings = settings

    def size(self, step: int) -> int:
        return self.settings.batch

    def __call__(self, step: int) -> tuple[Labelled, list[Labelled]]:
        return self.samples(step, slice(0, self.settings.batch))

    def shard(self, step: int, shard: int, shards: int) -> tuple[Labelled, list[Labelled]]:
        return self.samples(step, part(self.settings.batch, shard, shards), shard)

    def samples(self, step: int, where: slice, *shard: int) -> tuple[Labelled, list[Labelled]]:
        """Those in a slice of the batch. Classes are balanced over the whole of it, the rest is drawn by shard."""
        s, count = self.settings, where.stop - where.start
        squares = faces.batch(2 * count, data.generator(s.seed, FACES, step, *shard), 2 * where.start)
        pictures = []
        for seed in range(s.seed, s.seed + s.seeds):
            rng = data.generator(seed, EVIDENCE, step)
            labels = evidence.balanced(s.batch, rng)[where]
            scenes = evidence.scenes(labels, data.generator(seed, EVIDENCE, step, *shard) if shard else rng, test=False)
            pictures.append((prepared(scenes.images), scenes.labels))
        return (prepared(squares[0]), squares[1]), pictures


def train(job: Job) -> Networks:
    """Train the networks; leave checkpoint, log and settings in the folder of the job. They come back in eval mode."""
    networks, device = job.settings.build().to(job.device), job.device
    job.begin()
    return job.fit(
        networks, optim.Adam, lambda networks, batch: terms(networks, *batch, device), Batches(job.settings),
        warmup=WARMUP,
    ).eval()  # fmt: skip


def terms(networks: Networks, squares: Labelled, pictures: list[Labelled], device: str) -> Mapping[str, Tensor]:
    """The cross entropy of each network."""
    losses = [loss(network, *part, device) for network, part in zip(networks.evidence, pictures)]
    return {"faces": loss(networks.faces, *squares, device), "evidence": sum(losses[1:], losses[0])}


def loss(network: nn.Module, images: np.ndarray, labels: np.ndarray, device: str) -> Tensor:
    """The cross entropy of a batch of prepared images."""
    return F.cross_entropy(network(Tensor(to_device(images, device))), to_device(labels, device))


def load(settings: Settings, checkpoint: str | os.PathLike) -> Networks:
    """The networks of a checkpoint, in eval mode. Raises ValueError in one line if it is of something else."""
    state = read_state(checkpoint)
    found = len({name.split(".")[1] for name in state if name.startswith("evidence.")})
    if not found:
        raise ValueError(f"{checkpoint} is no checkpoint of this task; a classifier's is named by --weights")
    if found != settings.seeds:
        wanted = f"not {settings.seeds}; say --seeds {found}"
        raise ValueError(f"{checkpoint} has {found} networks on planted evidence, {wanted}")
    networks = settings.build()
    return load_state(networks, state, checkpoint, "train anew, without --checkpoint").eval()


def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray, device: str) -> float:
    """The share of images in [0, 1] that a network gives their class."""
    return float((predict(network, prepared(images), device=device).argmax(axis=1) == labels).mean())


def test_scenes(seed: int, n: int) -> evidence.Scenes:
    """n pictures with planted evidence that no network of this seed was trained on: other textures."""
    rng = data.generator(seed, TEST)
    return evidence.scenes(evidence.balanced(n, rng), rng, test=True)
