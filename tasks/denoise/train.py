"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from minidl import Tensor, data, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.ranks.share import SharedEvaluation

from ..command import UsageError
from ..options import Above, Among, AtLeast
from ..own_pictures import OwnPictures, images_below
from ..run import Job, load_state, read_state
from .data import WATCH, WEIGHTS, Patches, add_noise, centre
from .evaluate import psnr
from .inference import denoise
from .model import TARGETS, Denoiser, DnCNN, LectureDenoiser

BLIND = (0.0, 55.0)  # the range of sigma that a blind model is trained on
WATCHED = 128  # side of the crops of test images that are looked at while training
MODELS = {"lecture": "lecture's network", "dncnn": "DnCNN"}


@dataclass(frozen=True)
class Settings(OwnPictures):
    """What decides the outcome of a training run, to the last bit."""

    # network
    model: Annotated[str, Among(MODELS)] = "lecture"  # four layers as in the lecture, or DnCNN
    target: Annotated[str, Among(TARGETS)] = "residual"  # what the network puts out: the noise, or the clean image
    width: int = 64  # feature maps per layer
    depth: Annotated[int, AtLeast(2)] = 17  # convolutions of DnCNN
    # noise
    sigma: Annotated[float, Above(0)] = 25.0  # standard deviation on the 0..255 scale
    blind: bool = False  # train for every sigma from 0 to 55; test at --sigma
    # training
    data: str | None = None  # train on the images in this folder, not on the bundled photographs
    steps: int = 1800  # of Adam
    batch: int = 8  # patches per step
    patch: int = 40  # side of a patch
    lr: Annotated[float, Above(0)] = 1e-3  # learning rate, a cosine to 0
    warmup: float = 0.0  # share of steps in which it rises
    seed: int = 0  # decides all that is random

    own: ClassVar = {"lecture": {}, "dncnn": {"steps": 2400, "lr": 4e-3, "warmup": 0.05}}

    @classmethod
    def of(cls, given: Mapping, known: Mapping | None = None) -> Settings:
        settings = super().of(given, known)
        if "depth" in given and settings.model != "dncnn":
            raise UsageError("--depth is for --model dncnn: the lecture's network has four layers")
        return settings

    def picture_files(self) -> list[Path]:
        return images_below(self.data)

    def build(self) -> Denoiser:
        """The model, with its initial weights."""
        rng = data.generator(self.seed, WEIGHTS)
        if self.model == "lecture":
            return LectureDenoiser(width=self.width, target=self.target, rng=rng)
        return DnCNN(depth=self.depth, width=self.width, target=self.target, rng=rng)

    def describe(self) -> str:
        """What a caption says of the model."""
        noise = f"blind, sigma {BLIND[0]:g} to {BLIND[1]:g}" if self.blind else f"sigma {self.sigma:g}"
        return f"{MODELS[self.model]}, {noise}, {self.steps} steps"


def load(settings: Settings, checkpoint: str | os.PathLike) -> Denoiser:
    """The model of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    return load_state(settings.build(), read_state(checkpoint), checkpoint, "name its --model, --width and --depth")


def train(job: Job, photographs: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]) -> Denoiser:
    """Train a denoiser on patches of photographs; leave checkpoint, log and settings in the job's folder."""
    settings, device = job.settings, job.device
    model = settings.build().to(device)
    sigma = BLIND if settings.blind else settings.sigma
    patches = Patches(photographs, settings.patch, settings.batch, sigma, settings.seed)
    watch = watched(model, test, settings, device)
    job.begin()
    return job.fit(
        model, optim.Adam, lambda model, batch: squared_error(model, batch, device), patches,
        warmup=settings.warmup, parts=20, evaluate=watch,
    )  # fmt: skip


def squared_error(model: Denoiser, batch: tuple[np.ndarray, np.ndarray], device: str) -> Tensor:
    """The mean of (denoised - clean)^2. For a residual model it is that of (stack(y) - noise)^2, the paper's eq. 1."""
    noisy, clean = (Tensor(to_device(array, device)) for array in batch)
    return F.mse_loss(model(noisy), clean)


def watched(model: Denoiser, test: Mapping[str, np.ndarray], settings: Settings, device: str) -> SharedEvaluation:
    """PSNR on the central crops of test images, to be looked at while training: nothing is chosen by it."""
    pairs = []
    for i, image in enumerate(test.values()):
        clean = centre(image, WATCHED)
        pairs.append((clean, add_noise(clean, settings.sigma, data.generator(settings.seed, WATCH, i))))

    def measure(pair: tuple[np.ndarray, np.ndarray]) -> float:
        clean, noisy = pair
        return psnr(clean, denoise(model, noisy, device=device))

    return SharedEvaluation(pairs, measure, lambda found: {"test_psnr": float(np.mean(found))})
