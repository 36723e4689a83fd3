"""Settings of a training run, and the run: both stages are trained at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from minidl import Tensor, data, optim
from minidl import functional as F
from minidl.device import to_device

from ..command import UsageError
from ..detect.losses.matching import sample
from ..options import Above, Among, TaskSettings
from ..run import CHECKPOINT, LOG, Job, load_state, read_state
from . import scenes
from .find import Proposals, proposals
from .model import STREAMS, VIEWS, Maps, TrackNet
from .scenes import CLASSES, Clip
from .tubes import encoded, tube_overlap

SINGLE = ("frames.npz", "frames.jsonl")  # checkpoint and log of the rival, the network for single frames
WEIGHTS, SAMPLING = 43, 45  # keep the draws apart from those of clips
POSITIVE, NEGATIVE = 0.4, 0.25  # overlap of an anchor from which on it is one; below which it is none
ANCHORS, REGIONS, SHARE = 48, 24, 0.4  # of each clip, anchors and proposals that are trained on; positives at most
AROUND = 3  # proposals that are made of each object while training, so that some are right from the start
RIGHT = 0.4  # overlap from which on a proposal is of the object's class


@dataclass(frozen=True)
class Settings(TaskSettings):
    """What decides the outcome of a training run, to the last bit."""

    # network
    streams: Annotated[str, Among(STREAMS)] = "both"  # 2-D convolutions, 3-D convolutions, or both
    view: Annotated[str, Among(VIEWS)] = "none"  # how views are made alike: not, by the known vanishing point, learnt
    frames: int = 8  # of a clip
    width: int = 8  # feature maps of the first layer
    # training
    steps: int = 300  # of Adam
    batch: int = 4  # clips per step
    lr: Annotated[float, Above(0)] = 4e-3  # learning rate, a cosine to 0
    seed: int = 0  # decides all that is random

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Settings:
        settings = super().of(given, known)
        if settings.frames == 1 and settings.streams != "2d":
            raise UsageError("--frames 1 has no motion: take --streams 2d with it")
        return settings

    def build(self) -> TrackNet:
        """The network, with its initial weights."""
        rng = data.generator(self.seed, WEIGHTS)
        return TrackNet(self.frames, self.streams, self.view, self.width, rng=rng)

    def describe(self) -> str:
        """What a caption says of the network."""
        return f"{STREAMS[self.streams]} convolutions, view {VIEWS[self.view]}, {self.steps} steps"


class Clips(data.RandomBatches):
    """``clips(step)`` is that step's batch: a list of Clips."""

    purpose = 44

    def __init__(self, settings: Settings):
        self.settings, self.seed = settings, settings.seed

    def size(self, step: int) -> int:
        return self.settings.batch

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> list[Clip]:
        s = self.settings
        numbers = range(step * s.batch, (step + 1) * s.batch)[where]
        return [scenes.clip("train", s.seed, number, s.frames) for number in numbers]


def load(settings: Settings, checkpoint: str | os.PathLike) -> TrackNet:
    """The network of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    advice = "name its --streams, --view, --frames and --width"
    return load_state(settings.build(), read_state(checkpoint), checkpoint, advice)


def train(job: Job, files: tuple[str, str] = (CHECKPOINT, LOG), begin: bool = True) -> TrackNet:
    """Train on clips that are made on the way; leave checkpoint and log, and with `begin` settings, in the folder."""
    settings = job.settings
    model = settings.build().to(job.device)
    loss = Loss(settings.seed)
    if begin:
        job.begin(SINGLE[0])
    return job.fit(
        model,
        optim.Adam,
        lambda model, batch: loss(model, batch, job.device),
        data.Prefetch(Clips(settings)),
        warmup=0.05,
        clip=5.0,
        record=False,
        generators={"sampling": loss.rng},
        files=files,
    )


class Targets(NamedTuple):
    """What is trained on: positions, whether they are objects or their classes, and the offsets of positive ones."""

    chosen: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray


class Loss:
    """The four terms, each a mean over what is trained on: objectness and offsets of anchors, classes and offsets of
    proposals. The proposals are taken as they are: no gradient goes through them."""

    def __init__(self, seed: int):
        self.rng = data.generator(seed, SAMPLING)  # of anchors and proposals

    def __call__(self, model: TrackNet, clips: list[Clip], device: str) -> dict[str, Tensor]:
        x, vanishing = stacked(clips)
        maps = model(Tensor(to_device(x, device)), vanishing)
        moved = maps.moved.numpy()
        truths = [in_view(clip.tubes, m) for clip, m in zip(clips, moved)]
        anchors = model.anchors
        first = [anchor_targets(anchors, truth, self.rng) for truth in truths]
        terms = self._first(maps, first)
        found = [p.with_tubes(self._near(truth)) for p, truth in zip(proposals(model, maps), truths)]
        second = [
            region_targets(p.tubes, truth, clip.classes, self.rng) for p, truth, clip in zip(found, truths, clips)
        ]
        return terms | self._second(model, maps, found, second)

    def _near(self, truth: np.ndarray) -> np.ndarray:
        """Tubes that are nearly right, AROUND for each object: moved and resized by up to a fifth of its box."""
        tubes = np.repeat(truth, AROUND, axis=0)
        size = tubes[..., 2:] - tubes[..., :2]  # (K, T, 2)
        off = self.rng.uniform(-0.2, 0.2, (len(tubes), 1, 4)).astype(np.float32)
        return tubes + off * np.concatenate([size, size], axis=-1)

    def _first(self, maps: Maps, targets: list[Targets]) -> dict[str, Tensor]:
        rows = np.concatenate([np.full(len(t.chosen), i) for i, t in enumerate(targets)])
        columns = np.concatenate([t.chosen for t in targets])
        labels = np.concatenate([t.labels for t in targets])
        positive = labels > 0
        logits = maps.logits[rows, columns]
        terms = {"objectness": F.binary_cross_entropy_with_logits(logits, labels.astype(np.float32))}
        wanted = np.concatenate([t.offsets for t in targets])
        offsets = maps.offsets[rows[positive], columns[positive]]
        return terms | {"motion": F.smooth_l1_loss(offsets, wanted, beta=0.1) * 4}

    def _second(self, model: TrackNet, maps: Maps, found: list[Proposals], targets: list[Targets]) -> dict[str, Tensor]:
        clip = np.concatenate([np.full(len(t.chosen), i) for i, t in enumerate(targets)])
        tubes = np.concatenate([p.tubes[t.chosen] for p, t in zip(found, targets)])
        labels = np.concatenate([t.labels for t in targets])
        positive = np.flatnonzero(labels < len(CLASSES))
        logits, offsets = model.second(maps.frames, clip, tubes)
        wanted = np.concatenate([t.offsets for t in targets])
        return {
            "class": F.cross_entropy(logits, labels),
            "refinement": F.smooth_l1_loss(offsets[positive], wanted, beta=0.1) * 4,
        }


def stacked(clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Their frames (N, 1, T, H, W) less a half, and their vanishing points (N, 2)."""
    x = np.stack([clip.frames for clip in clips]).transpose(0, 2, 1, 3, 4) - np.float32(
        0.5
    )  # (N, T, 1, ...) -> (N, 1, T
    return np.ascontiguousarray(x), np.array([clip.vanishing for clip in clips], np.float32)


def in_view(tubes: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Tubes in the view that was moved by so many pixels (2,)."""
    return tubes - np.tile(moved, 2)


def anchor_targets(anchors: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Targets:
    """Anchors that overlap an object, or are the best of one, and some that overlap none."""
    overlap = tube_overlap(anchors, truth)
    labels = np.full(len(anchors), -1)  # -1: neither
    labels[overlap.max(axis=1) < NEGATIVE] = 0
    labels[overlap.max(axis=1) >= POSITIVE] = 1
    best = overlap.argmax(axis=0)
    labels[best] = 1
    of = overlap.argmax(axis=1)
    of[best] = np.arange(len(truth))
    positive, negative = sample(labels, ANCHORS, SHARE, rng)
    chosen = np.concatenate([positive, negative])
    return Targets(chosen, labels[chosen], encoded(truth[of[positive]], anchors[positive]))


def region_targets(tubes: np.ndarray, truth: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> Targets:
    """Proposals with the class of the object that they overlap most, or none."""
    overlap = tube_overlap(tubes, truth)
    of, right = overlap.argmax(axis=1), overlap.max(axis=1) >= RIGHT
    positive, negative = sample(right.astype(int), REGIONS, SHARE, rng)
    chosen = np.concatenate([positive, negative])
    labels = np.where(right, classes[of], len(CLASSES))[chosen]
    return Targets(chosen, labels, encoded(truth[of[positive]], tubes[positive]))
