"""Real input: scikit-image's photographs and a page of text; and sounds that are made, as none are bundled."""

from __future__ import annotations

import numpy as np

from tasks.classify.data import square
from tasks.photographs import photograph

RATE = 16000  # samples a second, as both networks for sound ask for


def astronaut() -> np.ndarray:
    """uint8 (512, 512, 3): a face that looks at us."""
    return photograph("astronaut")


def two_views(side: int = 128) -> list[np.ndarray]:
    """A photograph and a blurred one, float32 (1, 3, side, side) in [-1, 1]."""
    from scipy.ndimage import gaussian_filter

    picture = square((photograph("astronaut") / np.float32(255)).transpose(2, 0, 1), side, side)
    sharp = picture[None] / np.float32(127.5) - 1
    return [sharp, gaussian_filter(sharp, (0, 0, 1.5, 1.5))]


def glide(seconds: float = 0.6, low: float = 110.0, high: float = 440.0) -> tuple[np.ndarray, np.ndarray]:
    """A tone with three overtones that rises two octaves, float32, and its pitch in Hz at every sample."""
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = low * (high / low) ** (t / seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 5)).astype(np.float32), pitch


def frames(sound: np.ndarray, size: int = 1024, hop: int = 160) -> np.ndarray:
    """Pieces of a sound (N, size), each of mean 0 and deviation 1: `preprocess` in torchcrepe/core.py."""
    pieces = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop]
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    return pieces / np.maximum(1e-10, pieces.std(axis=1, ddof=1, keepdims=True))


def syllables(seconds: float = 2.0) -> np.ndarray:
    """Something like speech between silences: a buzz of 120 Hz through two resonances, four times a second."""
    from scipy.signal import lfilter

    rng, n = np.random.default_rng(0), int(seconds * RATE)
    buzz = (np.arange(n) % (RATE // 120) == 0) * 1.0 + 0.01 * rng.standard_normal(n)
    for centre, width in ((700, 100), (1200, 120)):
        r, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * centre / RATE
        buzz = lfilter([1 - r], [1, -2 * r * np.cos(angle), r**2], buzz)
    t = np.arange(n) / RATE
    loud = np.sin(2 * np.pi * 2 * t).clip(0) * (t > seconds / 4)
    sound = buzz * loud / np.abs(buzz).max() + 1e-4 * rng.standard_normal(n)
    return (0.5 * sound).astype(np.float32)


def chunks(sound: np.ndarray, size: int = 512, before: int = 64) -> np.ndarray:
    """Pieces of `size` samples with the `before` that precede them, (N, before + size): `__call__` in silero_vad."""
    padded = np.concatenate([np.zeros(before, np.float32), sound])
    return np.stack([padded[i : i + before + size] for i in range(0, len(sound) - size + 1, size)])


def page() -> np.ndarray:
    """scikit-image's page of text as PP-OCR's detection sees it: float32 (1, 3, H, W), sides multiples of 32."""
    from PIL import Image

    picture = Image.fromarray(photograph("page")).convert("RGB").resize((768, 384), Image.Resampling.BILINEAR)
    return _centred(np.asarray(picture))


def lines(height: int = 48, width: int = 480, count: int = 3) -> np.ndarray:
    """The lines of the page that have most ink, float32 (count, 3, height, width), as recognition sees them."""
    from PIL import Image

    pixels = photograph("page")
    ink = (pixels < 110).sum(axis=1) > 8
    edges = np.flatnonzero(np.diff(np.concatenate([[0], ink, [0]])))
    spans = sorted(zip(edges[::2], edges[1::2]), key=lambda span: -int((pixels[slice(*span)] < 110).sum()))
    tall = [span for span in spans if span[1] - span[0] >= 8][:count]
    crops = [Image.fromarray(pixels[max(a - 3, 0) : b + 3]).convert("RGB") for a, b in sorted(tall)]
    sizes = [(min(width, round(crop.width * height / crop.height)), height) for crop in crops]
    resized = [np.asarray(crop.resize(size, Image.Resampling.BILINEAR)) for crop, size in zip(crops, sizes)]
    return np.concatenate([np.pad(_centred(r), [(0, 0)] * 3 + [(0, width - r.shape[1])]) for r in resized])


def _centred(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) as float32 (1, 3, H, W) in [-1, 1]."""
    return (pixels.transpose(2, 0, 1)[None] / np.float32(127.5) - 1).astype(np.float32)
