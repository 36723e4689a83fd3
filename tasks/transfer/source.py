"""What is learnt first: printed letters, drawn in a way that makes them look like scikit-learn's digits; and the run.

Those are 32x32 bitmaps, of which each pixel counts the 4x4 block below it; so are the letters here. I and O are left
out, as in many fonts they are the digits 1 and 0, and small letters that differ from capitals in nothing but size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from minidl import data, nn, optim

from ..classify import resnet_small
from ..classify.data import Part, PictureBatches, digits
from ..classify.evaluate import tested
from ..classify.train import terms
from ..options import Among, AtLeast, TaskSettings
from ..run import Job

SOURCES = {"letters": "printed letters", "digits": "handwritten digits 0 to 4"}
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghijmnqrty"
FONTS = (  # that come with matplotlib
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic",
    "STIXGeneral", "STIXGeneralItalic", "cmr10", "cmmi10",
)  # fmt: skip
SIDE, CELL = 32, 4  # of the bitmap, and of the blocks that are counted
HELD_OUT = 20  # pictures of each letter to test the pretrained network on
WEIGHTS, PICTURES, TESTED = range(3)  # keep the draws for each purpose apart
RATE = 3e-3
DEPTH = 8  # layers of the network


@dataclass(frozen=True)
class Pretraining(TaskSettings):
    """What decides the pretrained network, to the last bit."""

    # pretraining
    source: Annotated[str, Among(SOURCES)] = "letters"  # letters, then the ten digits; or digits 0 to 4, then 5 to 9
    width: int = 16  # maps that the network begins with
    variants: int = 150  # pictures of each letter
    steps: int = 1000  # of pretraining
    batch: Annotated[int, AtLeast(2)] = 64  # pictures per step of pretraining; with --data 16
    seed: int = 0  # decides all that is random

    def build(self, classes: int, rng: Any) -> nn.Module:
        """The network for some number of classes, with its first weights."""
        return resnet_small(DEPTH, self.width, classes, 1, rng=rng)

    def parts(self) -> tuple[Part, Part]:
        """Pictures of the source: those to train on, and others to test on."""
        if self.source == "digits":
            found = digits()
            return tuple(only(part, range(5)) for part in (found.train, found.test))
        drawn = ((self.variants, PICTURES), (HELD_OUT, TESTED))
        return tuple(letters(n, data.generator(self.seed, key)) for n, key in drawn)

    def target(self) -> tuple[Part, Part, list[str]]:
        """New classes: pictures that labels may be asked for, pictures to test on, names."""
        found = digits()
        names = found.classes[5:] if self.source == "digits" else found.classes
        train, test = (only(part, map(int, names)) for part in (found.train, found.test))
        return train, test, names


def only(part: Part, classes: Any) -> Part:
    """The pictures of some classes, which are numbered from 0 in the order given."""
    classes = list(classes)
    kept = np.isin(part.labels, classes)
    return Part(part.images[kept], np.array([classes.index(c) for c in part.labels[kept]]))


def letters(variants: int, rng: np.random.Generator) -> Part:
    """`variants` pictures of each letter, uint8 (N, 1, 8, 8), in random fonts, sizes, slants and places."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), 2 * SIDE) for name in FONTS]
    pictures = [picture(letter, fonts[rng.integers(len(fonts))], rng) for letter in LETTERS for _ in range(variants)]
    return Part(np.stack(pictures)[:, None], np.repeat(np.arange(len(LETTERS)), variants))


def picture(letter: str, font: Any, rng: np.random.Generator) -> np.ndarray:
    """One letter, uint8 (8, 8)."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(letter)
    page = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(page).text((1 - left, 1 - top), letter, fill=255, font=font)
    height = SIDE * rng.uniform(0.85, 1)
    width = height * np.clip(page.width / page.height, 0.3, 1) * rng.uniform(0.8, 1.2)
    angle, slant, *centre = rng.normal((0, 0, SIDE / 2, SIDE / 2), (0.15, 0.2, 1, 1))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # from a place (x, y) in the picture to one on the page: page centre + matrix (place - centre)
    matrix = np.diag([page.width / width, page.height / height]) @ np.array([[1, slant], [0, 1]]) @ turn
    shift = np.array([page.width / 2, page.height / 2]) - matrix @ centre
    rows = np.column_stack([matrix, shift])
    bitmap = page.transform((SIDE, SIDE), Image.Transform.AFFINE, rows.ravel(), Image.Resampling.BILINEAR)
    cells = (np.asarray(bitmap) > 127).reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).mean((1, 3))
    return np.rint(255 * cells).astype(np.uint8)


def pretrain(job: Job, show: Callable = print) -> nn.Module:
    """Train on the source, or go on; leave checkpoint, log and settings in the folder of the job; tell the accuracy
    through `show`."""
    settings, device = job.settings, job.device
    train, test = settings.parts()
    classes = int(train.labels.max()) + 1
    model = settings.build(classes, data.generator(settings.seed, WEIGHTS)).to(device)
    batches = PictureBatches(train, settings.batch, shift=0, mirror=False, seed=settings.seed)
    job.begin()
    job.fit(model, optim.Adam, lambda model, batch: terms(model, *batch, device), batches, lr=RATE)
    result = tested(model, test, device=device)
    show(
        f"pretrained on {len(train.labels)} pictures of {SOURCES[settings.source]}, {classes} classes: "
        f"{result.accuracy:.1%} of {len(test.labels)} others right"
    )
    return model
