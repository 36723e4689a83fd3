"""The command line of the task: train, compare, and restore a user's own picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl import data, nn
from minidl.data import image_files

from .. import command
from ..command import Parser, UsageError, progress
from ..denoise.data import TEST, TRAIN, photographs, read_files
from ..denoise.picture import Picture
from ..frame import Task
from ..run import CHECKPOINT, Job
from ..together import add_together
from .data import TEST_HOLES
from .holes import HOLES
from .report import compare, together, use
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} restore"
EXAMPLES = f"""examples:
  {PROGRAM} --job complete
      train a network that fills holes, writing and a block; compare it with biharmonic inpainting
  {PROGRAM} --job superresolve --scale 3 --upsampling transposed
      train one that enlarges three times; compare it with bicubic interpolation
  {PROGRAM} --job superresolve --adversarial 0.001 0.01
      go on with an adversarial term of each weight: less like the photograph, more like a photograph
  {PROGRAM} --checkpoint runs/restore/{CHECKPOINT} --image scratched.png --missing scratches.png
      fill what is white in scratches.png, or, without --missing, what is transparent in the picture
  {PROGRAM} --together runs/restore-*
      several seeds in one table

photographs: trained on {", ".join(TRAIN)}; tested on {", ".join(TEST)}.
They come with scikit-image and scikit-learn (china by danielbuechele, flower by vultilion: CC BY 2.0)."""
Images = dict[str, np.ndarray]


class Asked(NamedTuple):
    """A user's picture; which of its pixels are missing, and whether they are known all the same."""

    picture: Picture
    missing: np.ndarray | None
    known: bool


class Restore(Task):
    """Fill holes or enlarge: train on photographs, compare with classical methods, restore --image."""

    name = "restore"
    title = "Fill holes in photographs, or enlarge them."
    examples = EXAMPLES
    settings = Settings
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("using a trained network").add_argument
        add("--image", metavar="FILE", help="restore this picture; gray or colour, any size, 8 or 16 bits")
        add("--missing", metavar="FILE", help="what is white in this picture is missing (what is transparent)")
        add("--damage", choices=list(HOLES), help="the picture is whole: make such holes first, and score the result")
        add_together(top)

    def instead(self, options: argparse.Namespace) -> bool:
        if options.together:
            print("\n".join(together(options.together)))
        return bool(options.together)

    def asked(self, options: argparse.Namespace, settings: Settings) -> Asked | None:
        """The picture and its holes. Raises UsageError if it is not said what is missing."""
        if not options.image:
            if options.missing or options.damage:
                raise UsageError("--missing and --damage are for the picture that --image names")
            return None
        picture = Picture.read(options.image, settings.bits)
        if settings.job == "superresolve":
            if options.missing or options.damage:
                raise UsageError("--missing and --damage are for --job complete")
            return Asked(picture, None, False)
        return Asked(picture, missing_in(picture, options, settings.seed), bool(options.damage))

    def read(self, settings: Settings, options: argparse.Namespace, model: nn.Module | None) -> tuple[Images, Images]:
        """What is trained on and what is tested on, by name."""
        test = photographs(TEST)
        if settings.data is None:
            return photographs(TRAIN), test
        files = image_files(settings.data)
        with progress(f"reading {len(files)} photographs", len(files), options.quiet) as show:
            return read_files(files, show, bits=settings.bits, skip_bad=settings.skip_bad), test

    def train(self, job: Job, data: tuple[Images, Images]) -> nn.Module:
        return train(job, data[0])

    def report(self, model: nn.Module, data: tuple[Images, Images], job: Job, options: argparse.Namespace) -> None:
        compare(model, job, *data)

    def use(self, model: nn.Module, asked: Asked, job: Job, options: argparse.Namespace) -> None:
        use(model, job, asked.picture, Path(options.image).stem, asked.missing, asked.known)


def missing_in(picture: Picture, options: argparse.Namespace, seed: int) -> np.ndarray:
    """Which pixels (H, W) of a user's picture are missing."""
    shape = picture.channels.shape[1:]
    if options.damage:
        return HOLES[options.damage](shape, data.generator(seed, TEST_HOLES))
    if options.missing:
        mask = Picture.read(options.missing).channels
        if mask.shape[1:] != shape:
            sizes = (f"{s[1]}x{s[0]}" for s in (mask.shape[1:], shape))
            raise UsageError("--missing {} is {}, --image is {}".format(options.missing, *sizes))
        missing = mask.mean(axis=0) > 0.5
    elif picture.alpha is not None:
        missing = picture.alpha < 0.5
    else:
        raise UsageError(
            "which pixels are missing? give --missing FILE, a picture that is opaque where it is known, "
            "or --damage KIND"
        )
    if missing.all() or not missing.any():
        raise UsageError(f"{'all' if missing.all() else 'no'} pixels of {options.image} are missing")
    return missing


main = Restore().main
