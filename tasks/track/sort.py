"""Detect, then track: boxes of single frames, linked from frame to frame.

Source: Bewley et al., "Simple online and realtime tracking", ICIP 2016, with a constant velocity in the place of the
Kalman filter, and with the frames in which a track had no box filled in afterwards, straight from box to box.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .find import Found, find
from .metrics import assigned
from .model import TrackNet
from .scenes import Clip
from .tubes import box_overlap

LINKED = 0.2  # overlap with where a track is expected, at least
PATIENCE = 3  # frames that a track outlives without a box
SMOOTH = 0.5  # of the newest difference in the velocity
LEAST = 0.3  # the score of a box that is linked, at least


@dataclass
class Track:
    """Boxes by frame, and where the next one is expected."""

    boxes: dict[int, np.ndarray]
    votes: list[tuple[int, float]]
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def expected(self, frame: int) -> np.ndarray:
        last = max(self.boxes)
        return self.boxes[last] + (frame - last) * self.velocity

    def add(self, frame: int, box: np.ndarray, label: int, score: float) -> None:
        last = max(self.boxes)
        newest = (box - self.boxes[last]) / (frame - last)
        self.velocity = newest if len(self.boxes) == 1 else SMOOTH * newest + (1 - SMOOTH) * self.velocity
        self.boxes[frame] = box
        self.votes.append((label, score))


def linked(frames: list[Found]) -> Found:
    """The tubes of what was found in each frame of a clip, tubes of one frame; a tube is empty before its first box and
    after its last."""
    tracks: list[Track] = []
    for t, found in enumerate(frames):
        sure = found.scores >= LEAST
        boxes, labels, scores = found.tubes[sure, 0], found.classes[sure], found.scores[sure]
        alive = [track for track in tracks if t - max(track.boxes) <= PATIENCE]
        overlap = box_overlap(np.array([track.expected(t) for track in alive]).reshape(-1, 4), boxes)
        rows, columns = assigned(np.where(overlap >= LINKED, overlap, 0))
        for row, column in zip(rows, columns):
            alive[row].add(t, boxes[column], int(labels[column]), float(scores[column]))
        for column in sorted(set(range(len(boxes))) - set(columns.tolist())):
            tracks.append(Track({t: boxes[column]}, [(int(labels[column]), float(scores[column]))]))
    tubes = np.zeros((len(tracks), len(frames), 4), np.float32)
    classes, sums = np.zeros(len(tracks), int), np.zeros(len(tracks))
    for i, track in enumerate(tracks):
        times = list(track.boxes)
        span = np.arange(times[0], times[-1] + 1)
        tubes[i, span] = np.transpose([np.interp(span, times, side) for side in np.array(list(track.boxes.values())).T])
        weights = np.bincount([label for label, _ in track.votes], [score for _, score in track.votes])
        classes[i], sums[i] = weights.argmax(), sum(score for _, score in track.votes) / len(frames)
    return Found(tubes, classes, sums)


def detect_then_track(model: TrackNet, clips: list[Clip], device: str = "cpu") -> list[Found]:
    """The tubes in clips, by a network for single frames."""
    found = []
    for clip in clips:
        singles = [
            Clip(
                clip.frames[t : t + 1],
                clip.tubes[:, t : t + 1],
                clip.classes,
                clip.visible[:, t : t + 1],
                clip.vanishing,
            )
            for t in range(len(clip.frames))
        ]
        found.append(linked(find(model, singles, device)))
    return found
