"""The command line of the task: train, compare, and denoise a user's own image."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minidl.data import image_files

from ..command import Parser, UsageError, progress
from ..frame import Task
from ..run import CHECKPOINT, Job
from .data import TEST, TRAIN, photographs, read_files
from .model import Denoiser
from .picture import Picture
from .report import compare, restore
from .train import Settings, load, train

PROGRAM = "python -m tasks denoise"
EXAMPLES = f"""examples:
  {PROGRAM}
      train the lecture's network and compare it with classical filters; under 3 minutes on 2 cores
  {PROGRAM} --model dncnn --blind --out runs/blind
      train DnCNN for any noise level
  {PROGRAM} --checkpoint runs/blind/{CHECKPOINT} --image holiday.jpg
      denoise a photograph with what was trained

photographs: trained on {", ".join(TRAIN)}; tested on {", ".join(TEST)}.
They come with scikit-image and scikit-learn (china by danielbuechele, flower by vultilion: CC BY 2.0)."""

Images = dict[str, np.ndarray]


class Denoise(Task):
    """Remove noise: train on photographs, compare with classical filters, denoise --image."""

    name = "denoise"
    title = "Remove Gaussian noise from photographs."
    examples = EXAMPLES
    settings = Settings
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("using a trained network").add_argument
        add("--image", metavar="FILE", help="denoise this image; gray or colour, any size, 8 or 16 bits, alpha is kept")
        noise = "the image is clean: add noise of --sigma first, and score the result"
        add("--add-noise", action="store_true", help=noise)

    def asked(self, options: argparse.Namespace, settings: Settings) -> Picture | None:
        if options.add_noise and not options.image:
            raise UsageError("--add-noise is for the image that --image names")
        return Picture.read(options.image, settings.bits) if options.image else None

    def read(
        self, settings: Settings, options: argparse.Namespace, model: Denoiser | None
    ) -> tuple[Images, Images]:
        """What is trained on and what is tested on, by name."""
        test = photographs(TEST)
        if settings.data is None:
            return photographs(TRAIN), test
        files = image_files(settings.data)
        with progress(f"reading {len(files)} photographs", len(files), options.quiet) as show:
            return read_files(files, show, bits=settings.bits, skip_bad=settings.skip_bad), test

    def train(self, job: Job, data: tuple[Images, Images]) -> Denoiser:
        return train(job, *data)

    def report(self, model: Denoiser, data: tuple[Images, Images], job: Job, options: argparse.Namespace) -> None:
        compare(model, job, *data)

    def use(self, model: Denoiser, asked: Picture, job: Job, options: argparse.Namespace) -> None:
        noise = job.settings.sigma if options.add_noise else None
        restore(model, job, asked, Path(options.image).stem, noise)


main = Denoise().main
