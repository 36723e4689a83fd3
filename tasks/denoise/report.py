"""What a trained denoiser is shown to do: the comparison on test images, and a user's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from minidl import data

from .. import grids, tiles
from ..command import each
from ..run import SCORES, TABLE, Job
from . import baselines, figure
from .data import TEST_NOISE, add_noise, noise_level, noisy_versions
from .evaluate import psnr, scores, table, verdict
from .inference import TILE, denoise
from .model import Denoiser
from .picture import Picture
from .train import BLIND, Settings

OURS, YOURS = "ours", "yours"  # the network: trained by our engine, or by the user's


def compare(model: Denoiser, job: Job, photographs: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]) -> None:
    """Print the table of all methods on the test images; leave it, the scores, the figure and the curve in the folder
    of the job."""
    settings, out, sigma = job.settings, job.out, job.settings.sigma
    ours = OURS if job.engine is None else YOURS
    with job.progress("choosing the filters' settings on training images", grids.trials(baselines.FILTERS)) as show:
        chosen = baselines.tune(baselines.training_pairs(photographs, sigma, settings.seed), sigma, show)
    estimates = {}
    with job.progress("denoising the test images", len(test)) as show:
        for name, noisy in each(noisy_versions(test, sigma, settings.seed).items(), show):
            filtered = baselines.apply(noisy, sigma, chosen)
            estimates[name] = {"noisy": noisy, **filtered, ours: denoise(model, noisy, device=job.device)}
    results = {name: scores(clean, estimates[name]) for name, clean in test.items()}
    job.table([
        f"PSNR (dB) and SSIM on images never trained on, sigma {sigma:g}; {ours}: {settings.describe()}",
        table(results),
        verdict(results, ours, "total variation", "non-local means"),
        "settings, the best on training images: " + grids.described(chosen),
    ])  # fmt: skip
    plain = {name: {method: s._asdict() for method, s in row.items()} for name, row in results.items()}
    job.write_json(SCORES, plain)
    title = f"Noise of sigma {sigma:g}; {ours}: {settings.describe()}. PSNR of whole images, the best in bold"
    figure.comparison(out / "figure.png", test, estimates, results, title)
    written = [TABLE, SCORES, "figure.png"]
    if log := job.log():
        figure.curve(out / "curve.png", log, level(settings), settings.describe())
        written.append("curve.png")
    print(f"in {out}: {', '.join(written)}")


def level(settings: Settings) -> float:
    """The PSNR of the noisy training patches: the mean of sigma^2 says it."""
    low, high = BLIND if settings.blind else (settings.sigma, settings.sigma)
    return float(-10 * np.log10((low**2 + low * high + high**2) / 3 / 255**2))


def restore(
    model: Denoiser, job: Job, picture: Picture, name: str, add_sigma: float | None, *, advise: bool = True
) -> None:
    """Denoise a user's picture, after adding noise of `add_sigma` if it is given; leave the result in the folder.

    `advise`: say how the noise in the picture compares with what the settings are for.
    """
    settings, out = job.settings, job.out
    pieces = len(picture.values) // model.channels * tiles.count(model, picture.values.shape[1:], TILE)

    def restored(noisy: Picture, **ends: Any) -> np.ndarray:
        with job.progress("denoising the image", pieces) as show:
            return denoise(model, noisy.values, device=job.device, show=show, prepare=noisy.shares, **ends)

    if add_sigma is None:  # a large photograph stays in the numbers of its file
        result = restored(picture, finish=picture.stored, dtype=picture.dtype)
        denoised = replace(picture, values=result, white=picture.top)
        print(_advice(picture, settings if advise else None))
        images, title = {"as it is": picture, "denoised": denoised}, f"{name}, no noise added"
    else:
        clean, rng = picture.channels, data.generator(settings.seed, TEST_NOISE)
        noisy = replace(picture, values=add_noise(clean, add_sigma, rng), white=1)
        denoised = replace(noisy, values=restored(noisy))
        noisy.write(out / f"{name}-noisy.png")
        before, after = psnr(clean, noisy.values), psnr(clean, denoised.values)
        print(f"noise of sigma {add_sigma:g} was added artificially: {before:.2f} dB; denoised: {after:.2f} dB")
        title = f"{name}, noise of sigma {add_sigma:g} added artificially"
        images = {"clean": picture, f"noisy, {before:.2f} dB": noisy, f"denoised, {after:.2f} dB": denoised}
    target = out / f"{name}-denoised.png"
    denoised.write(target)
    views = {label: figure.View.of(image.values, image.shares) for label, image in images.items()}
    figure.before_after(out / f"{name}-figure.png", views, title)
    print(f"in {out}: {target.name} ({picture.bits} bits), {name}-figure.png")


def _advice(noisy: Picture, settings: Settings | None) -> str:
    """How the noise in the image compares with what the network was trained for, if that is known."""
    found = 0.0
    if min(noisy.values.shape[1:]) > 1:
        found = float(np.mean([noise_level(noisy.shares(channel)) for channel in noisy.values]))
    finding = f"no noise was added; the image itself has about sigma {found:.1f}"
    if settings is None:
        return finding
    if settings.blind:
        return f"{finding}, the network is for {BLIND[0]:g} to {BLIND[1]:g}"
    fits = 0.7 * settings.sigma < found < 1.3 * settings.sigma
    advice = "" if fits else ": --blind or another --sigma would fit better"
    return f"{finding}, the network is for {settings.sigma:g}{advice}"
