"""The command line of the task: train, compare with other formats, compress and decompress files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl.data import image_files
from minidl.files.atomic import replacing
from minidl.ranks.group import Alone

from .. import command
from ..command import Parser, UsageError, progress, whole
from ..denoise.data import TEST, TRAIN, photographs, read_files
from ..denoise.picture import Picture
from ..frame import Task
from ..run import CHECKPOINT, Job
from .codec import Codec, DamagedFile
from .model import STEPS, Autoencoder
from .report import compare
from .train import Settings, load, read_codec, train

PROGRAM = f"{command.PROGRAM} compress"
TRAINED = f"runs/compress/{CHECKPOINT}"
EXAMPLES = f"""examples:
  {PROGRAM}
      train an autoencoder, and compare its files with JPEG, WebP and AVIF
  {PROGRAM} photo.png photo.mdc --quality 3
      compress a photograph with the network in {TRAINED}
  {PROGRAM} photo.mdc out.png
      decompress it

photographs: trained on {", ".join(TRAIN)}; tested on {", ".join(TEST)}.
They come with scikit-image and scikit-learn (china by danielbuechele, flower by vultilion: CC BY 2.0)."""
SUFFIX = ".mdc"
Images = dict[str, np.ndarray]


class Asked(NamedTuple):
    """A file to read, the file to write, and what is in the first: a picture, or bytes that hold one."""

    source: str
    target: Path
    content: Picture | bytes


class Compress(Task):
    """Compress pictures: train on photographs, compare with other formats, compress and decompress files."""

    name = "compress"
    title = "Compress photographs with an autoencoder."
    examples = EXAMPLES
    settings = Settings
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("using a trained network").add_argument
        add("files", nargs="*", metavar="FILE", help=f"a picture and the {SUFFIX} to write, or the other way round")
        add("--quality", type=whole(0), default=2, metavar="N", help=f"0, the best, to {len(STEPS) - 1} (2)")

    def run(self, options: argparse.Namespace, group: Alone) -> None:
        if options.files and not options.checkpoint:
            options.checkpoint = TRAINED
        super().run(options, group)

    def asked(self, options: argparse.Namespace, settings: Settings) -> Asked | None:
        """The files, read. Raises UsageError unless one is a picture and one is compressed."""
        if options.quality >= len(STEPS):
            raise UsageError(f"--quality {options.quality}: 0, the best, to {len(STEPS) - 1}")
        if not options.files:
            return None
        compressed = [name.lower().endswith(SUFFIX) for name in options.files]
        if len(options.files) != 2 or sum(compressed) != 1:
            raise UsageError(f"give a picture and the {SUFFIX} to write, or a {SUFFIX} and the picture to write")
        source, target = options.files
        if compressed[0]:
            if not target.lower().endswith(".png"):
                raise UsageError(f"{target}: the picture is written as PNG, all others would change it; name it so")
            return Asked(source, Path(target), Path(source).read_bytes())
        picture = Picture.read(source, settings.bits)
        if picture.alpha is not None:
            raise UsageError(f"{source} has transparent parts, which a {SUFFIX} cannot hold; flatten it")
        return Asked(source, Path(target), picture)

    def read(self, settings: Settings, options: argparse.Namespace, model: Autoencoder | None) -> tuple[Images, Images]:
        """What is trained on and what is tested on, by name."""
        test = photographs(TEST)
        if settings.data is None:
            return photographs(TRAIN), test
        files = image_files(settings.data)
        with progress(f"reading {len(files)} photographs", len(files), options.quiet) as show:
            return read_files(files, show, bits=settings.bits, skip_bad=settings.skip_bad), test

    def train(self, job: Job, data: tuple[Images, Images]) -> Autoencoder:
        return train(job, data[0])

    def report(self, model: Autoencoder, data: tuple[Images, Images], job: Job, options: argparse.Namespace) -> None:
        compare(codec(model, job, options), job, data[1])

    def use(self, model: Autoencoder, asked: Asked, job: Job, options: argparse.Namespace) -> None:
        with replacing(asked.target) as file:
            if isinstance(asked.content, bytes):
                try:
                    pixels = self.decompressed(codec(model, job, options), asked.content, job)
                except DamagedFile as error:
                    raise ValueError(f"{asked.source}: {error}") from None
                Picture(pixels.astype(np.float32) / 255, None, 8).write(file.name)
            else:
                file.write(codec(model, job, options).compressed(asked.content.channels, options.quality))
        before, after = Path(asked.source).stat().st_size, asked.target.stat().st_size
        print(f"{asked.source}, {before:,} bytes -> {asked.target}, {after:,} bytes")

    def decompressed(self, codec: Codec, content: bytes, job: Job) -> np.ndarray:
        with job.progress("decompressing", 1) as show:
            return codec.decompressed(content, show)


def codec(model: Autoencoder, job: Job, options: argparse.Namespace) -> Codec:
    """The network with the tables beside its checkpoint."""
    return read_codec(model, options.checkpoint or job.out / CHECKPOINT, job.device)


main = Compress().main
