"""Settings of a training run, and the run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from minidl import Tensor, data, load_weights, optim
from minidl.device import to_device
from minidl.files.atomic import replacing
from minidl.files.weights import npz
from minidl.ranks.share import on_first

from ..command import UsageError
from ..options import Above, AtLeast
from ..own_pictures import OwnPictures, images_below
from ..run import CHECKPOINT, Job, load_state, read_state
from . import entropy
from .codec import Codec
from .data import WEIGHTS, Patches
from .model import CHANNELS, SIDE, STEPS, Autoencoder

TABLES = "tables.npz"  # beside the checkpoint


@dataclass(frozen=True)
class Settings(OwnPictures):
    """What decides the outcome of a training run, to the last bit."""

    # network
    width: int = 24  # feature maps of the filter
    layers: Annotated[int, AtLeast(2)] = 4  # convolutions of the filter
    # training
    data: str | None = None  # train on the images in this folder, not on the bundled photographs
    steps: int = 500  # of Adam
    batch: int = 8  # patches per step
    patch: int = 64  # side of a patch, a multiple of 8
    lr: Annotated[float, Above(0)] = 1e-3  # learning rate, a cosine to 0
    seed: int = 0  # decides all that is random

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Settings:
        settings = super().of(given, known)
        if settings.patch % SIDE:
            raise UsageError(f"--patch {settings.patch} is no multiple of {SIDE}")
        return settings

    def picture_files(self) -> list[Path]:
        return images_below(self.data)

    def describe(self) -> str:
        """What a caption says of the network."""
        return f"{SIDE}x{SIDE} blocks that overlap, a filter of {self.layers} layers, {self.steps} steps"

    def build(self) -> Autoencoder:
        """The network, with its initial weights."""
        return Autoencoder(self.width, self.layers, rng=data.generator(self.seed, WEIGHTS))


def load(settings: Settings, checkpoint: str | os.PathLike) -> Autoencoder:
    """The network of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    return load_state(settings.build(), read_state(checkpoint), checkpoint, "name its --width and --layers")


def train(job: Job, photographs: Mapping[str, np.ndarray]) -> Autoencoder:
    """Train an autoencoder on patches of photographs, and count its tables on the photographs; leave checkpoint, log,
    settings and tables in the job's folder."""
    settings = job.settings
    model = settings.build().to(job.device)
    patches = Patches(photographs, settings.patch, settings.batch, settings.seed)
    job.begin(TABLES)
    job.fit(
        model, optim.Adam, lambda model, batch: rate_and_distortion(model, batch, job.device), data.Prefetch(patches),
        warmup=0.05, clip=1.0,
    )  # fmt: skip
    on_first(job.group, write_tables, job, model, photographs)
    return model


def rate_and_distortion(model: Autoencoder, batch: tuple[np.ndarray, ...], device: str) -> dict[str, Tensor]:
    """The loss: squared error per pixel in steps squared, plus ln(2) / 6 times the bits per pixel.

    That ratio is the one at which a uniform quantiser of this step, fine enough, trades error for bits: its error is
    step^2 / 12, and one bit more makes it a quarter. Source: Gish and Pierce, "Asymptotically efficient quantizing",
    1968.
    """
    clean, quality, step, noise = (Tensor(to_device(array, device)) for array in batch)
    decoded, bits = model(clean, quality, step, noise)
    error = (((decoded - clean) / step) ** 2).mean()
    rate = bits.mean() / math.prod(clean.shape[1:])
    return {"error": error, "bits per pixel": rate, "loss": error + math.log(2) / 6 * rate}


def write_tables(job: Job, model: Autoencoder, photographs: Mapping[str, np.ndarray]) -> None:
    """Count how often each number occurs in the latents of the photographs, at each quality."""
    codec, found = Codec(model, np.empty(0), job.device), []
    with job.progress("counting latents", len(STEPS)) as show:
        for quality in range(len(STEPS)):
            latents = [codec.latents(image, quality) for image in photographs.values()]
            found.append(entropy.tables(entropy.counted(latents, CHANNELS)))
            show()
    with replacing(job.out / TABLES) as file:
        npz.write(file, {"frequencies": np.stack(found).astype(np.int32)})


def read_codec(model: Autoencoder, checkpoint: str | os.PathLike, device: str) -> Codec:
    """The network with the tables beside its checkpoint."""
    path = Path(checkpoint).with_name(TABLES)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no tables beside {checkpoint}: finish its training with --resume")
    return Codec(model, load_weights(path)["frequencies"].astype(np.int64), device)


def codec_of(job: Job, model: Autoencoder) -> Codec:
    """The same for what was trained in the job's folder."""
    return read_codec(model, job.out / CHECKPOINT, job.device)
