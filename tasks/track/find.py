"""From what the network gives to tubes: proposals of the first stage, and what the second makes of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import Tensor
from minidl import functional as F
from minidl.device import to_device

from .model import Maps, TrackNet
from .scenes import CLASSES, HEIGHT, WIDTH, Clip
from .tubes import decoded, suppressed

BEFORE, AFTER = 80, 24  # proposals of a clip, before and after suppression
ALIKE = 0.6  # overlap from which on of two proposals one goes
SAME = 0.3  # of two tubes in the end
LEAST = 0.05  # the probability of a class below which a tube is not given
ROOM = 3.0  # pictures reach so many times their size, as the view may have been moved


class Proposals(NamedTuple):
    """Tubes (K, T, 4) in the moved view, and how sure the first stage is of each (K,)."""

    tubes: np.ndarray
    scores: np.ndarray

    def with_tubes(self, others: np.ndarray) -> Proposals:
        """These, and others."""
        return Proposals(np.concatenate([self.tubes, others]), np.concatenate([self.scores, np.ones(len(others))]))


class Found(NamedTuple):
    """Tubes (K, T, 4) in pixels of the clip, their classes (K,) and scores (K,), the best first."""

    tubes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def proposals(model: TrackNet, maps: Maps) -> list[Proposals]:
    """Of each clip the tubes that are most likely objects."""
    anchors, found = model.anchors, []
    for logits, offsets in zip(maps.logits.to("cpu").numpy(), maps.offsets.to("cpu").numpy()):
        best = np.argsort(-logits, kind="stable")[:BEFORE]
        tubes = unclipped(offsets[best], anchors[best])
        kept = suppressed(tubes, logits[best], ALIKE, AFTER)
        found.append(Proposals(tubes[kept], 1 / (1 + np.exp(-logits[best][kept].astype(float)))))
    return found


def unclipped(offsets: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Tubes that may leave the picture: where the view was moved, objects do."""
    far = np.float32([WIDTH, HEIGHT, WIDTH, HEIGHT])
    return decoded(offsets, around + far, (ROOM * HEIGHT, ROOM * WIDTH)) - far


def find(model: TrackNet, clips: list[Clip], device: str = "cpu") -> list[Found]:
    """The tubes in clips."""
    x = np.stack([clip.frames for clip in clips]).transpose(0, 2, 1, 3, 4) - np.float32(0.5)
    with model.inference():
        maps = model(
            Tensor(to_device(np.ascontiguousarray(x), device)), np.array([clip.vanishing for clip in clips], np.float32)
        )
        return [second_stage(model, maps, i, p) for i, p in enumerate(proposals(model, maps))]


def second_stage(model: TrackNet, maps: Maps, i: int, given: Proposals) -> Found:
    """What the second stage makes of the proposals of clip i."""
    if not len(given.tubes):
        return Found(np.zeros((0, model.frames, 4), np.float32), np.zeros(0, int), np.zeros(0))
    logits, offsets = model.second(maps.frames, np.full(len(given.tubes), i), given.tubes)
    chances = F.softmax(logits, axis=1).to("cpu").numpy()[:, : len(CLASSES)]
    classes, scores = chances.argmax(axis=1), chances.max(axis=1)
    tubes = unclipped(offsets.to("cpu").numpy(), given.tubes) + np.tile(maps.moved.to("cpu").numpy()[i], 2)
    tubes = tubes.clip(0, np.float32([WIDTH, HEIGHT, WIDTH, HEIGHT]))
    sure = np.flatnonzero(scores >= LEAST)
    kept = sure[suppressed(tubes[sure], scores[sure], SAME)]
    return Found(tubes[kept], classes[kept], scores[kept].astype(float))
