"""What a trained autoencoder is shown to do: bits against error on test images, beside Pillow's formats."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..command import each
from ..denoise.evaluate import psnr
from ..run import TABLE, Job
from . import figure
from .codec import Codec
from .model import STEPS

OURS = "ours"
QUALITIES = (3, 7, 14, 25, 40, 60, 75, 87, 95)  # of Pillow
FORMATS = {  # as small as each can make a gray picture
    "JPEG": {"optimize": True}, "WEBP": {"method": 6}, "AVIF": {"speed": 6, "subsampling": "4:0:0"},
}  # fmt: skip
Curve = list[tuple[float, float]]  # (bits per pixel, PSNR in dB), from small files to large ones


def compare(codec: Codec, job: Job, test: Mapping[str, np.ndarray]) -> None:
    """Print how large the files of the test images are and how good the pictures, beside other formats' at the same
    PSNR; leave the table, the numbers and the figure in the job's folder."""
    curves: dict[str, dict[str, Curve]] = {}
    with job.progress("compressing the test images", len(test)) as show:
        for name, image in each(test.items(), show):
            curves[name] = {OURS: ours(codec, image), **{form: of_pillow(form, image) for form in formats()}}
    others = [form for form in next(iter(curves.values())) if form != OURS]
    head = f"{'':<12}{'quality':>9}{'bits/pixel':>12}{'PSNR':>8}" + "".join(f"{f'{form} there':>14}" for form in others)
    lines = [f"files of test images, gray; {job.settings.describe()}", head]
    wins: dict[str, list[float]] = {form: [] for form in others}
    for name, row in curves.items():
        for quality, (rate, quality_db) in zip(reversed(range(len(STEPS))), row[OURS]):
            cells = []
            for form in others:
                there = rate_at(row[form], quality_db)
                cells.append(f"{there:>14.3f}" if there else f"{'-':>14}")
                wins[form] += [rate / there - 1] if there else []
            lines.append(f"{name:<12}{quality:>9}{rate:>12.3f}{quality_db:>8.2f}" + "".join(cells))
    for form, changes in wins.items():
        smaller = sum(change < 0 for change in changes)
        mean = f"{np.mean(changes):+.0%} on average"
        lines.append(f"smaller than {form} at the same PSNR in {smaller} of {len(changes)}; {mean}")
    lines.append("-: the format does not come to that PSNR, or not so low")
    job.table(lines)
    job.write_json("curves.json", curves)
    examples = {name: pictures(codec, image) for name, image in list(test.items())[:2]}
    figure.rate_distortion(job.out / "figure.png", curves, examples)
    written = [TABLE, "curves.json", "figure.png"]
    if log := job.log():
        figure.curve(job.out / "curve.png", log)
        written.append("curve.png")
    print(f"in {job.out}: {', '.join(written)}")


def ours(codec: Codec, image: np.ndarray) -> Curve:
    """Of whole files, from the coarsest quality to the finest."""
    curve = []
    for quality in reversed(range(len(STEPS))):
        content = codec.compressed(image[None], quality)
        curve.append((8 * len(content) / image.size, psnr(image, codec.decompressed(content)[0] / 255)))
    return curve


def of_pillow(form: str, image: np.ndarray) -> Curve:
    return [(8 * len(c) / image.size, psnr(image, opened(c) / 255)) for c in files(form, image)]


def files(form: str, image: np.ndarray) -> Iterator[bytes]:
    """The image in a format of Pillow's, at each of the qualities."""
    from PIL import Image

    picture = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, form, quality=quality, **FORMATS[form])
        yield file.getvalue()


def opened(content: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def formats() -> list[str]:
    """Those that this Pillow writes."""
    from PIL import Image

    Image.init()
    return [form for form in FORMATS if form in Image.SAVE]


def rate_at(curve: Curve, quality_db: float) -> float | None:
    """Bits per pixel at a PSNR, on a line through the logarithms of the rates on either side; None outside."""
    points = sorted((y, x) for x, y in curve)
    if not points[0][0] <= quality_db <= points[-1][0]:
        return None
    levels, rates = zip(*points)
    return float(np.exp(np.interp(quality_db, levels, np.log(rates))))


def pictures(codec: Codec, image: np.ndarray) -> dict[str, np.ndarray]:
    """The image, ours at a small size, and JPEG at the size next to that."""
    content = codec.compressed(image[None], len(STEPS) - 1)
    near = min(files("JPEG", image), key=lambda other: abs(len(other) - len(content)))
    shown: dict[str, Callable[[], np.ndarray]] = {
        "photograph": lambda: image,
        f"{OURS}, {len(content):,} bytes": lambda: codec.decompressed(content)[0] / 255,
        f"JPEG, {len(near):,} bytes": lambda: opened(near) / 255,
    }
    return {name: picture() for name, picture in shown.items()}
