"""The command line of the task: train, compare, and denoise a user's own image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

import numpy as np

from minidl.data import image_files

from .. import command
from ..command import Parser, UsageError, progress, writable
from ..frame import Task
from ..models import pretrained
from ..options import given
from ..run import CHECKPOINT, Job
from . import others
from .data import TEST, TRAIN, centre, photographs, read_files
from .model import Denoiser
from .picture import Picture
from .report import compare, restore
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} denoise"
EXAMPLES = f"""examples:
  {PROGRAM}
      train the lecture's network and compare it with classical filters; under 3 minutes on 2 cores
  {PROGRAM} --model dncnn --blind --out runs/blind
      train DnCNN for any noise level
  {PROGRAM} --checkpoint runs/blind/{CHECKPOINT} --image holiday.jpg
      denoise a photograph with what was trained
  {PROGRAM} --with my_engine.py
      train with your own convolution, batch norm and update, written with minidl build; --quick first
  {PROGRAM} --weights ffdnet_color.pth --sigma 15 --image holiday.jpg
      denoise it with others' weights: DnCNN (the authors', KAIR's), FFDNet, which takes the noise level

photographs: trained on {", ".join(TRAIN)}; tested on {", ".join(TEST)}.
They come with scikit-image and scikit-learn (china by danielbuechele, flower by vultilion: CC BY 2.0)."""

QUICK = 16  # pixels, the side of what --quick tests on
EXPORTED = 256  # pixels, the side of what --save-onnx is for
Images = dict[str, np.ndarray]
OF_OTHERS = ("sigma", "bits", "seed")  # settings that go with --weights


class Denoise(Task):
    """Remove noise: train on photographs, compare with classical filters, denoise --image."""

    name = "denoise"
    title = "Remove Gaussian noise from photographs."
    examples = EXAMPLES
    settings = Settings
    others = ("weights",)
    quick: ClassVar = {"width": 4, "steps": 30, "batch": 2, "patch": 12, "lr": 4e-3}
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("using a trained network").add_argument
        add("--image", metavar="FILE", help="denoise this image; gray or colour, any size, 8 or 16 bits, alpha is kept")
        noise = "the image is clean: add noise of --sigma first, and score the result"
        add("--weights", metavar="FILE", help="denoise --image with these weights of others: see below")
        pretrained.add_options(add)
        add("--add-noise", action="store_true", help=noise)

    def instead(self, options: argparse.Namespace) -> bool:
        if options.weights:
            self.use_others(options)
        return bool(options.weights)

    def use_others(self, options: argparse.Namespace) -> None:
        """Denoise --image with the network that --weights belong to."""
        if not options.image or options.checkpoint or options.resume:
            raise UsageError("--weights is for --image FILE, and goes without --checkpoint and --resume")
        if idle := [f"--{name.replace('_', '-')}" for name in given(Settings, options) if name not in OF_OTHERS]:
            raise UsageError(f"--weights takes the network as it is: leave out {', '.join(idle)}")
        settings = self.chosen(options)
        picture = self.asked(options, settings)
        model = others.load(options.weights, options.weights_key, options.strip)
        told = isinstance(model, others.FFDNet)  # the noise level
        if told:
            model.sigma = settings.sigma / 255
        device = command.device(options.device)
        job = Job(settings, writable(options.out), device, False, options.quiet)
        noise = settings.sigma if options.add_noise else None
        restore(model.to(device), job, picture, Path(options.image).stem, noise, advise=told)

    def asked(self, options: argparse.Namespace, settings: Settings) -> Picture | None:
        if options.add_noise and not options.image:
            raise UsageError("--add-noise is for the image that --image names")
        return Picture.read(options.image, settings.bits) if options.image else None

    def read(
        self, settings: Settings, options: argparse.Namespace, model: Denoiser | None
    ) -> tuple[Images, Images]:
        """What is trained on and what is tested on, by name."""
        test = photographs(TEST)
        if options.quick:
            test = {name: centre(image, QUICK) for name, image in test.items()}
        if settings.data is None:
            return photographs(TRAIN), test
        files = image_files(settings.data)
        with progress(f"reading {len(files)} photographs", len(files), options.quiet) as show:
            return read_files(files, show, bits=settings.bits, skip_bad=settings.skip_bad), test

    def train(self, job: Job, data: tuple[Images, Images]) -> Denoiser:
        return train(job, *data)

    def report(self, model: Denoiser, data: tuple[Images, Images], job: Job, options: argparse.Namespace) -> None:
        photographs, test = data
        if options.quick:  # the filters are tuned on small pictures, too
            photographs = {name: centre(image, QUICK) for name, image in photographs.items()}
        compare(model, job, photographs, test)

    def use(self, model: Denoiser, asked: Picture, job: Job, options: argparse.Namespace) -> None:
        noise = job.settings.sigma if options.add_noise else None
        restore(model, job, asked, Path(options.image).stem, noise)

    def exported(self, model: Denoiser, settings: Settings) -> tuple[Denoiser, tuple[int, ...]]:
        return model, (1, next(iter(model.parameters())).shape[1], EXPORTED, EXPORTED)


main = Denoise().main
