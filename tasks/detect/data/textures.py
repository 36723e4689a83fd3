"""What the made pictures share: how things are laid on a background, backgrounds and paint.

Backgrounds are pieces of real textures and photographs, other ones for training than for testing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import data

from ...photographs import photograph
from .records import Target

SPLITS = {
    "train": ("brick", "grass", "coffee", "rocket", "motorcycle", "china", "flower"),
    "test": ("gravel", "chelsea", "astronaut", "camera"),  # never trained on
}
ZOOM = 2.0
LARGEST = 300  # the shortest side of any of them


class Pictures:
    """``pictures(index)`` is a picture, float32 (3, size, size) in [0, 1], and its `Target`.

    It depends on the seed, the split and the index only, and shows `count` objects, the fewest and the most, whose
    sides are in `sides`; the defaults are those of the kind of picture. Fewer are shown where no place is left; a later
    one lies on top. It has three equal channels if `gray`.
    """

    classes: tuple[str, ...]
    purpose: dict[str, int]  # of the random draws of each split
    grounds: dict[str, tuple[str, ...]] = SPLITS  # the backgrounds of each
    count: tuple[int, int]
    sides: tuple[float, float]

    def __init__(
        self, seed: int, split: str = "train", size: int = 96, *, gray: bool = False,
        count: tuple[int, int] | None = None, sides: tuple[float, float] | None = None,
    ):  # fmt: skip
        self.seed, self.split, self.size, self.gray = seed, split, size, gray
        self.count, self.sides = count or self.count, sides or self.sides
        require(split, tuple(self.grounds), size, self.count, self.sides)

    def __call__(self, index: int) -> tuple[np.ndarray, Target]:
        rng = data.generator(self.seed, self.purpose[self.split], index)
        picture = texture(rng, self.grounds[self.split], self.size, vary=self.split == "train")
        owner = np.full((self.size, self.size), -1)  # which object each pixel shows
        things, areas = [], []  # areas: how many pixels each had before others were laid on it
        for _ in range(rng.integers(self.count[0], self.count[1], endpoint=True)):
            fitting = self.fitting(rng, owner, areas)
            if fitting is None:
                continue
            thing, alpha, place = fitting
            paint(picture, alpha, place, ink(rng, picture[(slice(None), *place)].reshape(3, -1)))
            owner[place][alpha > 0.5] = len(things)
            things.append(thing)
            areas.append(np.count_nonzero(alpha > 0.5))
        masks = owner == np.arange(len(things))[:, None, None]  # (K, H, W)
        return grayed(picture) if self.gray else picture, self.target(things, masks)

    def fitting(
        self, rng: np.random.Generator, owner: np.ndarray, areas: list[int]
    ) -> tuple[Any, np.ndarray, tuple[slice, slice]] | None:
        """Another object, how much of each pixel around it it covers (h, w), and where these are; None if no place was
        found that hides none below too much. owner, areas: see `leaves_enough`."""
        raise NotImplementedError(f"{type(self).__name__} makes no pictures")

    def target(self, things: list[Any], masks: np.ndarray) -> Target:
        """Of the objects that `fitting` gave, and their visible pixels (K, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} makes no pictures")

    def count_of(self, step: int, n: int) -> int:
        """How many pictures `batch` gives."""
        return n

    def batch(self, step: int, n: int, where: slice = slice(None)) -> tuple[np.ndarray, list[Target]]:
        """Pictures step * n to step * n + n - 1, or those `where` among them, float32 (n, 3, size, size), and their
        targets."""
        images, targets = zip(*(self(i) for i in range(step * n, (step + 1) * n)[where]))
        return np.stack(images), list(targets)


def leaves_enough(
    owner: np.ndarray, areas: list[int], place: tuple[slice, slice], ink: np.ndarray, hidden: float
) -> bool:
    """Whether of each object at most a share of `hidden` is hidden once the pixels of `ink`, bool (h, w), are covered.

    owner (H, W): the object that each pixel shows, -1 for none; areas: how many pixels each object has in all.
    """
    after = owner.copy()
    after[place][ink] = -1
    left = np.bincount(after[after >= 0], minlength=len(areas))
    return bool((left >= (1 - hidden) * np.array(areas)).all())


def texture(rng: np.random.Generator, names: Sequence[str], size: int, *, vary: bool) -> np.ndarray:
    """A square of one of these photographs, cut anywhere, mirrored or not: float32 (3, size, size) in [0, 1].

    vary, for training: it is also turned, zoomed by up to ZOOM, its channels are permuted, contrast and brightness
    drawn: a few pictures stand for many.
    """
    picture = photograph(names[rng.integers(len(names))])
    picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)  # (H, W) -> (H, W, 3)
    side = size
    if vary:
        side = min(round(size * np.exp(rng.uniform(-1, 1) * np.log(ZOOM))), *picture.shape[:2])
    top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
    piece = picture[top : top + side, left : left + side]
    piece = piece[:, ::-1] if rng.integers(2) else piece
    if vary:
        piece = _varied(rng, piece, size)
    return np.ascontiguousarray(piece.transpose(2, 0, 1), np.float32) / 255  # (H, W, 3) -> (3, H, W)


def _varied(rng: np.random.Generator, piece: np.ndarray, size: int) -> np.ndarray:
    """A square (S, S, 3) in 0 to 255 turned, resized, recoloured: float32 (size, size, 3)."""
    from PIL import Image

    piece = np.ascontiguousarray(np.rot90(piece, rng.integers(4))[..., rng.permutation(3)])
    piece = np.asarray(Image.fromarray(piece).resize((size, size), Image.Resampling.BILINEAR), np.float32)
    contrast, brightness = rng.uniform(0.4, 1.3), rng.uniform(60, 196)
    return np.clip((piece - piece.mean()) * contrast + brightness, 0, 255)


def require(
    split: str, known: Sequence[str], size: int, count: tuple[int, int], sides: tuple[float, float]
) -> None:
    """See that pictures with these settings can be made. Raises ValueError in one line."""
    if split not in known:
        raise ValueError(f"split={split!r} is none of {', '.join(known)}")
    if not 0 <= count[0] <= count[1]:
        raise ValueError(f"count={count} must be the fewest and the most objects in a picture, at least 0")
    if not 8 <= sides[0] <= sides[1] <= size / 2 or size > LARGEST:
        raise ValueError(
            f"objects of {sides[0]} to {sides[1]} pixels in pictures of {size}x{size}: sides must lie within 8 and "
            f"half the picture's, {size / 2:g}, and the backgrounds end at {LARGEST}x{LARGEST}"
        )


def ink(rng: np.random.Generator, around: np.ndarray) -> np.ndarray:
    """A colour, float32 (3,) in [0, 1], that stands out from pixels (3, N): by 0.35 to 0.9 in its brightness, and by
    more than their own brightness varies (one standard deviation more).

    Where there is no room for it on one side, bright or dark, it is taken from the other.
    """
    mean, spread = around.mean(axis=1), around.mean(axis=0).std()
    contrast = rng.uniform(min(0.35 + spread, 0.9), 0.9)
    sign = 1 if rng.random() < 0.5 else -1
    grey = mean.mean()
    if not 0 <= grey + sign * contrast <= 1:
        sign = 1 if grey < 0.5 else -1
    brightness = np.clip(grey + sign * contrast, 0, 1)
    tint = rng.uniform(-0.35, 0.35, 3)
    return np.clip(brightness + tint - tint.mean(), 0, 1).astype(np.float32)


def paint(picture: np.ndarray, alpha: np.ndarray, place: tuple[slice, slice], colour: np.ndarray) -> None:
    """Lay a colour (3,) over a part of a picture (3, H, W), in place; alpha (h, w) is how much of it covers."""
    part = picture[(slice(None), *place)]
    part += alpha * (colour[:, None, None] - part)


def grayed(picture: np.ndarray) -> np.ndarray:
    """The ITU-R 601 luma of a picture (3, H, W), three times."""
    luma = np.tensordot(np.float32([0.299, 0.587, 0.114]), picture, 1)
    return np.repeat(luma[None], 3, axis=0)
