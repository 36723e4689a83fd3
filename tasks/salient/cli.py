"""The command line of the task: train, compare, and look at a user's own picture."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minidl.data import read_image

from .. import command
from ..command import Parser
from ..frame import Task
from ..run import CHECKPOINT, Job
from ..together import add_together
from .model import SaliencyNet
from .report import compare, together, use
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} salient"
EXAMPLES = f"""examples:
  {PROGRAM}
      train on scenes with one thing that is odd, and compare on new ones with classical maps
  {PROGRAM} --checkpoint runs/salient/{CHECKPOINT} --image street.jpg
      what stands out in a photograph
  for seed in 0 1 2 3 4; do {PROGRAM} --seed $seed --out runs/salient-$seed; done
  {PROGRAM} --together runs/salient-*
      five seeds in one table

Textures are photographs that come with scikit-image; those of test scenes are in no training scene."""


class Salient(Task):
    """Find what stands out: train on scenes of known truth, compare with classical maps."""

    name = "salient"
    title = "Find what stands out in a picture."
    examples = EXAMPLES
    settings = Settings
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("using a trained network").add_argument
        add("--image", metavar="FILE", help="the map of this picture")
        add_together(top)

    def instead(self, options: argparse.Namespace) -> bool:
        if options.together:
            print("\n".join(together(options.together)))
        return bool(options.together)

    def asked(self, options: argparse.Namespace, settings: Settings) -> np.ndarray | None:
        """The picture, uint8 (H, W, 3)."""
        if not options.image:
            return None
        image = read_image(options.image)  # (C, H, W) in [0, 1]
        image = np.repeat(image, 3, axis=0) if len(image) == 1 else image[:3]
        return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)  # (C, H, W) -> (H, W, C)

    def train(self, job: Job, data: None) -> SaliencyNet:
        return train(job)

    def report(self, model: SaliencyNet, data: None, job: Job, options: argparse.Namespace) -> None:
        compare(model, job)

    def use(self, model: SaliencyNet, asked: np.ndarray, job: Job, options: argparse.Namespace) -> None:
        use(model, job, asked, Path(options.image).stem)


main = Salient().main
