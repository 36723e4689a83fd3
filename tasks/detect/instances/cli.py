"""The command line of the task: train Mask R-CNN and report; segment a user's picture; check a user's data."""

from __future__ import annotations

from ... import command
from ...run import CHECKPOINT
from ..cli import Detect
from .settings import Settings

PROGRAM = f"{command.PROGRAM} instances"
EXAMPLES = f"""examples:
  {PROGRAM}
      train Mask R-CNN on circles, squares and triangles, test it on shapes and backgrounds it has never seen
  {PROGRAM} --checkpoint runs/instances/{CHECKPOINT} --image photo.png
      find them in a picture
  {PROGRAM} --data annotations.json --images FOLDER --check
      look for faults in annotations of your own, as COCO has them, with outlines, keypoints or both
  {PROGRAM} --data annotations.json --images FOLDER --out runs/mine
      train on them: a fifth is kept to test on

Pictures are squares of 96 pixels; shapes are 16 to 44 high. Yours are made to fit, the rest is filled with gray."""


class Instances(Detect):
    """As detect, with masks and keypoints."""

    name = "instances"
    title = "Mask R-CNN: boxes, masks and keypoints of objects."
    examples = EXAMPLES
    settings = Settings
    advice = "was it trained by this task?"


main = Instances().main
