"""The command line of the task: train Mask R-CNN and report; segment a user's picture; check a user's data."""

from __future__ import annotations

from ...command import Parser
from ...run import CHECKPOINT
from ..cli import add_options, run
from .settings import Settings, settings_of

PROGRAM = "python -m tasks instances"
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


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Mask R-CNN: boxes, masks and keypoints of objects.", epilog=EXAMPLES)
    add_options(top, lambda name: str(getattr(Settings, name)), "runs/instances")
    return top


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    run(parser().parse_args(argv), PROGRAM, Settings, settings_of, "was it trained by this task?")
    return 0
