"""Settings, and the training of an autoencoder of each kind and seed. No label is looked at here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from minidl import Tensor, data, optim
from minidl import functional as F
from minidl.device import to_device

from ..options import Above, AtLeast
from ..own_pictures import OwnPictures, images_below
from ..run import Job
from .model import Autoencoder

KINDS = {"undercomplete": "autoencoder", "denoising": "denoising autoencoder"}
WEIGHTS, ORDER, NOISE = range(3)  # keep the draws for each purpose apart


@dataclass(frozen=True)
class Settings(OwnPictures):
    """What decides the outcome, to the last bit."""

    # data
    data: str | None = None  # MNIST, CIFAR-10, a .npz, or a folder of a folder per class; else scikit-learn's digits
    side: Annotated[int | None, AtLeast(4)] = None  # of the pictures, a multiple of 4; as they are if not given
    # network
    width: int = 16  # feature maps of the first layer
    code: int = 16  # numbers that a picture is reduced to
    # training
    noise: Annotated[float, Above(0)] = 0.45  # standard deviation of what a denoising one takes away, white is 1
    steps: int = 600  # of Adam, for each autoencoder
    batch: int = 64  # pictures per step
    lr: Annotated[float, Above(0)] = 3e-3  # learning rate, a cosine to 0
    seed: int = 0  # the first of the seeds
    # comparison
    seeds: int = 5  # each with other first weights and other labelled pictures
    labels: tuple[int, ...] = (1, 3, 10, 30)  # labelled pictures per class

    def picture_files(self) -> list[Path]:
        return images_below(self.data)

    def runs(self) -> range:
        """The seeds."""
        return range(self.seed, self.seed + self.seeds)


class Pictures(data.RandomBatches):
    """``pictures(step)``: what the network is given and what it is to give, float32 (batch, C, side, side) in [0, 1].

    noise: the standard deviation of Gaussian noise in what it is given; 0 for none. Source: Vincent et al., "Extracting
    and composing robust features with denoising autoencoders", ICML 2008.
    """

    purpose = NOISE

    def __init__(self, images: np.ndarray, batch: int, noise: float, seed: int):
        self.images, self.noise, self.seed = images, noise, seed
        self.order = data.Batches(len(images), min(batch, len(images)), seed=seed, drop_last=True)

    def size(self, step: int) -> int:
        return self.order.size(step)

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clean = in_range(self.images[self.order(step)[where]])
        if not self.noise:
            return clean, clean
        return clean + np.float32(self.noise) * rng.standard_normal(clean.shape, np.float32), clean


def in_range(images: np.ndarray) -> np.ndarray:
    """Bytes as float32 in [0, 1]."""
    return images.astype(np.float32) / 255


def train(job: Job, images: np.ndarray, kind: str, seed: int) -> Autoencoder:
    """An autoencoder of a kind; checkpoint and log are left in the job's folder under its name."""
    settings = job.settings
    rng = data.generator(seed, WEIGHTS)
    model = Autoencoder(*images.shape[1:3], settings.width, settings.code, rng=rng).to(job.device)
    batches = Pictures(images, settings.batch, settings.noise if kind == "denoising" else 0.0, seed)

    def loss(model: Autoencoder, batch: tuple[np.ndarray, np.ndarray]) -> Tensor:
        given, clean = (Tensor(to_device(array, job.device)) for array in batch)
        return F.mse_loss(model(given), clean)

    name = f"{kind}-{seed}"
    return job.fit(model, optim.Adam, loss, batches, warmup=0.05, files=(f"{name}.npz", f"{name}.jsonl"))


def codes(model: Autoencoder, images: np.ndarray, device: str) -> np.ndarray:
    """The codes (N, code) of pictures."""
    with model.inference():
        parts = np.array_split(in_range(images), max(1, len(images) // 256))
        return np.concatenate([model.encoder(Tensor(to_device(x, device))).to("cpu").numpy() for x in parts])


Features = Callable[[np.ndarray], np.ndarray]  # from pictures, bytes (N, C, side, side), to numbers (N, F)
