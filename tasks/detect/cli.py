"""The command line of the task: train a detector and report; detect in a user's picture; check a user's data."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minidl import nn
from minidl.data import read_image

from .. import command
from ..command import Parser, UsageError, progress, real, whole, writable
from ..faults import LEFT_OUT
from ..frame import Task
from ..options import given
from ..run import CHECKPOINT, Job, write_text
from ..together import add_together
from . import released
from .data import own
from .data.scenes import Scenes
from .show import explain
from .show.figure import SURE
from .show.found import Found
from .show.report import detect_picture, report, together
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} detect"
TESTED = 200  # pictures
SHOWN = 20  # faults of each kind before training; --check shows all
EXAMPLES = f"""examples:
  {PROGRAM}
      train Faster R-CNN on scenes of handwritten digits, test it on digits and backgrounds it has never seen
  {PROGRAM} --model retinanet --out runs/retinanet
      a detector of one stage
  {PROGRAM} --model rfcn --backbone inception_resnet_v2 --ohem --out runs/rfcn
      regions that vote, on another backbone, trained on the hardest of them
  {PROGRAM} --data annotations.json --images FOLDER --check
      look for faults in annotations of your own, as COCO has them; --data FOLDER for those of PASCAL VOC, YOLO or
      labelme, --data boxes.csv for a table with a row per box
  {PROGRAM} --data annotations.json --images FOLDER --out runs/mine
      train on them: a fifth is kept to test on
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT}
      test a trained detector again
  {PROGRAM} --together runs/detect-*
      several seeds, or detectors, in one table
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT} --image photo.png
      detect in a picture
  {PROGRAM} --weights fasterrcnn_resnet50_fpn_coco.pth --image street.jpg
      detect in a picture with the weights of torchvision, in all its detectors
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
        add("--validation", action="store_true",
            help="test on validation scenes, apart from training and test: choose settings by these")  # fmt: skip
        add("--check", action="store_true", help="only look for faults in --data")
        add("--image", nargs="+", metavar="FILE", help="detect in these, with trained weights or after training")
        add("--score", type=real(0), default=SURE, metavar="X", help=f"show what scores X there at least ({SURE})")
        add("--json", metavar="FILE", help="write it to this file, too")
        step = "write a page that steps through test picture N, with --checkpoint or after training"
        add("--explain", type=whole(0), metavar="N", help=step)
        add = top.add_argument_group("using a network that others trained").add_argument
        known = f"those of torchvision, found out by their names, or of --model: {', '.join(released.RELEASED)}"
        add("--weights", metavar="FILE", help=f"do not train, take these weights: {known}")
        add("--frozen-eps", type=real(0, above=True), metavar="X",
            help="of its frozen batch norm: 1e-5 if it was trained from a classifier's weights")  # fmt: skip
        add_together(top)

    def instead(self, options: argparse.Namespace) -> bool:
        if options.validation and options.weights:
            raise UsageError("--validation is about a network that is trained here: leave it or --weights out")
        if options.validation and "validation" not in self.chosen(options).parts:
            raise UsageError("--validation: these pictures have two parts, training and test; leave it out")
        if options.together:
            print("\n".join(together(options.together, self.settings)))
        elif options.check:
            check(self.chosen(options), print, sys.maxsize)
        elif options.weights:
            self.detect_with_weights(options)
        elif options.frozen_eps:
            raise UsageError("--frozen-eps is about a network of torchvision's: name its --weights")
        else:
            return False
        return True

    def detect_with_weights(self, options: argparse.Namespace) -> None:
        """Detect in --image with a network that others trained."""
        stated = given(self.settings, options)
        if not options.image:
            raise UsageError("--weights takes the network as it is: name an --image to detect in")
        if idle := [f"--{name.replace('_', '-')}" for name in stated if name not in ("model", "bits", "classes")]:
            raise UsageError(f"--weights takes the network as it is: leave out {', '.join(idle)}")
        if options.checkpoint or options.resume:
            raise UsageError("--weights are another's, --checkpoint and --resume of what was trained here: give one")
        images, device = pictures(options.image, stated.get("bits")), command.device(options.device)
        with progress(f"reading {options.weights}", 1, options.quiet):
            network, names = stated.get("model"), stated.get("classes", ())
            detector = released.load(options.weights, network, names, options.frozen_eps)
        detector.model.to(device)
        print(f"{options.weights}: {detector.network}, {len(detector.names)} classes")
        points = [detector.points] * len(detector.names)
        show = Found(writable(options.out), detector.names, detector.numbers, points, options.score)
        records = []
        for file, image in images:
            with progress(f"detecting in {file}", 1, options.quiet):
                found = detector.find([image], options.score, device)[0]
            records.append(show.tell(found, image, file))
        write_json(options.json, records)

    def asked(self, options: argparse.Namespace, settings: Settings) -> list[tuple[str, np.ndarray]] | None:
        """The pictures of --image; none of them for --explain alone."""
        if options.explain is not None:
            explain.require(settings, options.explain)
        if options.image:
            return pictures(options.image, settings.bits)
        return None if options.explain is None else []

    def load(self, settings: Settings, checkpoint: str) -> nn.Module:
        return load(settings, checkpoint, self.advice)

    def read(self, settings: Settings, options: argparse.Namespace, model: nn.Module | None) -> None:
        """Check a user's data: they are read while training."""
        if settings.data:
            check(settings, lambda line: _say(line, options.quiet), SHOWN)

    def train(self, job: Job, data: None) -> nn.Module:
        return train(job)

    def report(self, model: nn.Module, data: None, job: Job, options: argparse.Namespace) -> None:
        report(model, job, options.test, "validation" if options.validation else "test")

    def use(
        self, model: nn.Module, asked: list[tuple[str, np.ndarray]], job: Job, options: argparse.Namespace
    ) -> None:
        settings = job.settings
        show = Found(job.out, settings.names, range(len(settings.names)), settings.points, options.score)
        found = [(detect_picture(model, image, job.device, settings.size), image, file) for file, image in asked]
        write_json(options.json, [show.tell(*each) for each in found])
        if options.explain is not None:
            print(f"step by step: {explain.write(model, settings, options.explain, job.out, job.device)}")


def check(settings: Settings, show: Callable[[str], object], most: int) -> None:
    """Show what is wrong with the data of the settings. Raises ValueError if there are errors."""
    if not settings.data:
        raise UsageError("--check looks at data of your own: name it with --data")
    own.check(settings, settings.seed, settings.build, show, most)


def pictures(files: Sequence[str], bits: int | None) -> list[tuple[str, np.ndarray]]:
    """The pictures of these files (3, H, W), by their names."""
    return [(file, read_image(file, bits=bits)) for file in files]


def write_json(path: str | None, records: list) -> None:
    """Write what was found, if it is asked for, to a file."""
    if path:
        write_text(Path(path), json.dumps(records, indent=1) + "\n")
        print(f"written: {path}")


def _say(line: str, quiet: bool) -> None:
    if not quiet or line.startswith(("error: ", LEFT_OUT)):
        print(line, file=sys.stderr)


main = Detect().main
