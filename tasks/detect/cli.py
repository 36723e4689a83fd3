"""The command line of the task: train a detector and report; detect in a user's picture; check a user's data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from minidl import nn
from minidl.data import read_image

from ..command import Parser, UsageError, whole
from ..faults import LEFT_OUT
from ..frame import Task
from ..run import CHECKPOINT, Job
from .data import own
from .data.scenes import Scenes
from .show import explain
from .show.report import detect_picture, report
from .train import Settings, load, train

PROGRAM = "python -m tasks detect"
TESTED = 200  # pictures
SHOWN = 20  # faults of each kind before training; --check shows all
EXAMPLES = f"""examples:
  {PROGRAM}
      train Faster R-CNN on scenes of handwritten digits, test it on digits and backgrounds it has never seen
  {PROGRAM} --model retinanet --out runs/retinanet
      a detector of one stage
  {PROGRAM} --data annotations.json --images FOLDER --check
      look for faults in annotations of your own, as COCO has them; --data FOLDER for those of PASCAL VOC, YOLO or
      labelme, --data boxes.csv for a table with a row per box
  {PROGRAM} --data annotations.json --images FOLDER --out runs/mine
      train on them: a fifth is kept to test on
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT}
      test a trained detector again
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT} --image photo.png
      detect in a picture
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT} --explain 3
      see on one page what it does with test picture 3, step by step, and what each loss is made of

Pictures are squares of 96 pixels; digits are {Scenes.sides[0]} to {Scenes.sides[1]} high. Yours are made to
fit, the rest is filled with gray."""


class Detect(Task):
    """Train a detector and report; detect in --image; explain a test picture; check --data."""

    name = "detect"
    title = "Detect digits, or what your own data has: boxes."
    examples = EXAMPLES
    settings = Settings
    advice = "name its --model"  # for weights that do not fit

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("looking at pictures").add_argument
        add("--test", type=whole(1), default=TESTED, metavar="N", help=f"pictures to test on, at most ({TESTED})")
        add("--check", action="store_true", help="only look for faults in --data")
        add("--image", metavar="FILE", help="detect in this picture, with --checkpoint or after training")
        step = "write a page that steps through test picture N, with --checkpoint or after training"
        add("--explain", type=whole(0), metavar="N", help=step)

    def instead(self, options: argparse.Namespace) -> bool:
        if options.check:
            check(self.chosen(options), print, sys.maxsize)
        return options.check

    def asked(self, options: argparse.Namespace, settings: Settings) -> np.ndarray | bool | None:
        """The picture of --image; True for --explain alone."""
        if options.explain is not None:
            explain.require(settings, options.explain)
        if options.image:
            return read_image(options.image, bits=settings.bits)
        return True if options.explain is not None else None

    def load(self, settings: Settings, checkpoint: str) -> nn.Module:
        return load(settings, checkpoint, self.advice)

    def read(self, settings: Settings, options: argparse.Namespace, model: nn.Module | None) -> None:
        """Check a user's data: they are read while training."""
        if settings.data:
            check(settings, lambda line: _say(line, options.quiet), SHOWN)

    def train(self, job: Job, data: None) -> nn.Module:
        return train(job)

    def report(self, model: nn.Module, data: None, job: Job, options: argparse.Namespace) -> None:
        report(model, job, options.test)

    def use(self, model: nn.Module, asked: np.ndarray | bool, job: Job, options: argparse.Namespace) -> None:
        settings = job.settings
        if options.image:
            side = settings.size
            detect_picture(model, asked, options.image, job.out, job.device, settings.names, settings.points, side)
        if options.explain is not None:
            print(f"step by step: {explain.write(model, settings, options.explain, job.out, job.device)}")


def check(settings: Settings, show: Callable[[str], object], most: int) -> None:
    """Show what is wrong with the data of the settings. Raises ValueError if there are errors."""
    if not settings.data:
        raise UsageError("--check looks at data of your own: name it with --data")
    own.check(settings, settings.seed, settings.build, show, most)


def _say(line: str, quiet: bool) -> None:
    if not quiet or line.startswith(("error: ", LEFT_OUT)):
        print(line, file=sys.stderr)


main = Detect().main
