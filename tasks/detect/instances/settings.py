"""What decides a run: Mask R-CNN on made shapes, or on a user's pictures with outlines or keypoints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Self

from minidl import data

from ...faults import Fault, error
from ...options import Above
from ..data.own import Source
from ..data.shapes import POINTS, Shapes
from ..models.faster_rcnn import FasterRCNN, faster_rcnn_small
from ..models.heads import HeadSettings
from ..train import WEIGHTS

MASKS, KEYPOINTS = "masks", "keypoints"
HEAD = HeadSettings(sample=16)  # four positive regions of an image at most: more of them cost more than they teach
MARGIN = 0.125  # of the sides of regions for the keypoints: corners lie on the borders of their boxes, or just outside


@dataclass(frozen=True)
class Settings(Source):
    """What decides the outcome of a training run, to the last bit.

    heads: "masks" where the data has outlines, "keypoints" where it has those; points: how many of them objects of each
    class have. Both are filled in by `completed`.
    """

    # training
    steps: int = 1100  # of Adam
    batch: int = 8  # pictures per step
    lr: Annotated[float, Above(0)] = 2e-3  # learning rate, a cosine to 0
    warmup: float = 0.05  # share of steps in which it rises
    seed: int = 0  # decides all that is random but the test pictures

    made, made_words = Shapes, ("pictures", "shapes")
    heads: tuple[str, ...] = ()
    points: tuple[int, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        for name in ("heads", "points"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list, as it comes from a file

    def completed(self) -> Self:
        """With the classes, the heads and the keypoints that the data has."""
        if self.heads:
            return self
        if not self.data:
            return replace(self, heads=(MASKS, KEYPOINTS), points=tuple(sum(map(bool, names)) for names in POINTS))
        full, found = super().completed(), self.catalogue
        outlines = any(thing.outline for picture in found.pictures for thing in picture.things)
        heads = [name for name, there in ((MASKS, outlines), (KEYPOINTS, found.points)) if there]
        points = [len(found.points)] * len(full.classes) if found.points else []
        return replace(full, heads=heads, points=points)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of average precision."""
        return ("boxes", *self.heads)

    def describe(self) -> str:
        """The run in a caption."""
        return f"Mask R-CNN, {self.steps} steps of {self.batch}"

    def faults(self) -> list[Fault]:
        """Outlines or keypoints that a user's data lacks for this task, besides what `annotations.examine` finds."""
        things = [thing for picture in self.catalogue.pictures for thing in picture.things]
        if not self.heads:
            reason = "no outlines and no keypoints; python -m tasks detect trains on boxes alone"
            return [error(f"{self.data} has {reason}")]
        if MASKS not in self.heads:
            return []
        bare = [thing for thing in things if not thing.outline]
        others = len(things) - len(bare)
        return [error(f"{thing.where}: no outline, but {others} others have one", thing) for thing in bare]

    def build(self) -> FasterRCNN:
        """Mask R-CNN for these classes and heads, with its initial weights."""
        return faster_rcnn_small(
            len(self.names), masks=MASKS in self.heads, num_keypoints=max(self.points, default=0),
            head=HEAD, keypoint_margin=MARGIN, rng=data.generator(self.seed, WEIGHTS),
        )  # fmt: skip
