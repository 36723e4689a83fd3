"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidl import Tensor, data, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.train import fit

from ..run import CHECKPOINT, LOG, begin, load_state, read_state
from .data import WATCH, WEIGHTS, Patches, add_noise
from .evaluate import psnr
from .inference import denoise
from .model import Denoiser, DnCNN, LectureDenoiser

BLIND = (0.0, 55.0)  # the range of sigma that a blind model is trained on
WATCHED = 128  # side of the crops of test images that are looked at while training


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a training run, to the last bit."""

    model: str = "lecture"
    target: str = "residual"
    sigma: float = 25.0
    blind: bool = False
    width: int = 64
    depth: int = 17
    steps: int = 1800
    batch: int = 8
    patch: int = 40
    lr: float = 1e-3
    warmup: float = 0.0
    seed: int = 0
    data: str | None = None

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


MODELS = {"lecture": "lecture's network", "dncnn": "DnCNN"}
OF_MODEL: dict[str, dict[str, Any]] = {  # where its defaults differ
    "lecture": {},
    "dncnn": {"steps": 2400, "lr": 4e-3, "warmup": 0.05},
}


def settings_of(given: Mapping[str, Any], known: Mapping[str, Any]) -> Settings:
    """Settings: what is given; else what is known of the run already; else the defaults of the model."""
    chosen = {**known, **given}
    return Settings(**{**OF_MODEL[chosen.get("model", Settings.model)], **chosen})


def load(settings: Settings, checkpoint: str | os.PathLike) -> Denoiser:
    """The model of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    model = settings.build()
    load_state(model, read_state(checkpoint), checkpoint, "name its --model, --width and --depth")
    return model


def train(
    settings: Settings,
    photographs: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    quiet: bool = False,
) -> Denoiser:
    """Train a denoiser on patches of photographs; leave checkpoint, log and settings in `out`."""
    model = settings.build().to(device)
    sigma = BLIND if settings.blind else settings.sigma
    patches = Patches(photographs, settings.patch, settings.batch, sigma, settings.seed)
    every = max(1, settings.steps // 20)
    begin(out, settings, resume)
    fit(
        model,
        optim.Adam(model.parameters(), settings.lr),
        lambda model, batch: squared_error(model, batch, device),
        patches,
        settings.steps,
        schedule=optim.warmup(optim.cosine(settings.lr, settings.steps), int(settings.warmup * settings.steps)),
        evaluate=Watch(model, test, settings, device),
        evaluate_every=every,
        checkpoint=out / CHECKPOINT,
        save_every=every,
        resume=resume,
        log=out / LOG,
        progress=not quiet,
    )
    return model


def squared_error(model: Denoiser, batch: tuple[np.ndarray, np.ndarray], device: str) -> Tensor:
    """The mean of (denoised - clean)^2. For a residual model it is that of (stack(y) - noise)^2, the paper's eq. 1."""
    noisy, clean = (Tensor(to_device(array, device)) for array in batch)
    return F.mse_loss(model(noisy), clean)


class Watch:
    """PSNR on the central crops of test images, to be looked at while training: nothing is chosen by it."""

    def __init__(self, model: Denoiser, test: Mapping[str, np.ndarray], settings: Settings, device: str):
        self.model, self.device = model, device
        self.pairs = []
        for i, image in enumerate(test.values()):
            centre = tuple(slice(max(n - WATCHED, 0) // 2, max(n - WATCHED, 0) // 2 + WATCHED) for n in image.shape)
            clean = image[centre]
            self.pairs.append((clean, add_noise(clean, settings.sigma, data.generator(settings.seed, WATCH, i))))

    def __call__(self, step: int) -> dict[str, float]:
        restored = ((clean, denoise(self.model, noisy, device=self.device)) for clean, noisy in self.pairs)
        return {"test_psnr": float(np.mean([psnr(*pair) for pair in restored]))}
