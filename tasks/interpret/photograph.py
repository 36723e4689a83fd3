"""The network on faces, run over a whole photograph: where does it light up?

Convolutions do not ask how large a picture is. The score of a square is the mean of the class activation map over it
plus a bias, so one pass over the photograph scores every square of 25x25 of it, 2 pixels apart; smaller copies of the
photograph give larger squares. Unlike a square that is cut out, a place in the photograph has neighbours: at its rim
the network sees them, not zeros. So that this holds for all squares, the photograph's own edge is drawn out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F
from minidl.device import to_device

from ..photographs import photograph
from .faces import SIDE, gray, scaled
from .model import GAPNet, prepared

Box = tuple[float, float, float, float]  # left, top, right, bottom
NAME, FACE = "astronaut", (172.0, 68.0, 272.0, 186.0)  # the photograph, and its face by eye: hairline to chin, ears
MARGIN = 10  # pixels of drawn-out edge: more than half of the 18 that a cell sees, and whole cells
SQUARES = (64, 80, 100, 125, 156)  # sides, in pixels of the photograph, of what is taken for 25x25


@dataclass(frozen=True)
class Search:
    """What a search found: the scores of squares, by the pixel in their middle, and the best square.

    heat: (H, W), the largest log odds of a face, log p / (1 - p), of the squares around a pixel; nan where none fits.
    elsewhere: the largest log odds of a square whose middle is not in the face.
    """

    image: np.ndarray
    heat: np.ndarray
    best: Box
    score: float
    elsewhere: float

    @property
    def found(self) -> bool:
        """Whether the middle of the best square lies in the face."""
        return inside(middle(self.best), FACE)


def search(network: GAPNet, *, device: str = "cpu", sides: Sequence[int] = SQUARES) -> Search:
    """Score all squares of these sides in the photograph."""
    image = gray(photograph(NAME))
    heat = np.full(image.shape, -np.inf)
    best: tuple[float, Box] = (-np.inf, (0, 0, 0, 0))
    for side in sides:
        found = odds(network, scaled(image, SIDE / side), device)
        i, j = np.unravel_index(found.argmax(), found.shape)
        pixel = side / SIDE  # of the copy, in pixels of the photograph
        box = tuple(float(v) for v in pixel * np.array([2 * j, 2 * i, 2 * j + SIDE, 2 * i + SIDE]))
        best = max(best, (float(found[i, j]), box))
        heat = np.maximum(heat, spread(found, pixel, image.shape))
    heat[np.isinf(heat)] = np.nan
    left, top, right, bottom = (round(v) for v in FACE)
    outside = np.ones(image.shape, bool)
    outside[top:bottom, left:right] = False
    return Search(image, heat, best[1], best[0], float(np.nanmax(heat[outside])))


@no_grad()
def odds(network: GAPNet, image: np.ndarray, device: str) -> np.ndarray:
    """The log odds of a face for each square of SIDE pixels of a gray image (H, W), every 2 pixels: (rows, columns)."""
    wide = np.pad(image, MARGIN, mode="edge")
    maps = network.features(Tensor(to_device(prepared(wide[None, None]), device)))
    cells = MARGIN // 2
    maps = maps[:, :, cells:-cells, cells:-cells]
    weight, bias = network.head.weight.data, network.head.bias.data
    difference = (weight[1] - weight[0]).reshape(1, -1, 1, 1)  # two logits: their difference is the log odds
    activation = F.conv(maps, difference)
    return F.avg_pool(activation, SIDE // 2, stride=1).numpy()[0, 0] + float(bias[1] - bias[0])


def spread(found: np.ndarray, pixel: float, shape: tuple[int, int]) -> np.ndarray:
    """Scores of squares at every pixel of the photograph, bilinear between their middles; minus infinity elsewhere."""
    from scipy.ndimage import map_coordinates

    rows, columns = (((np.arange(n) + 0.5) / pixel - SIDE / 2) / 2 for n in shape)
    grid = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(found, grid, order=1, cval=-np.inf, output=float)


def middle(box: Box) -> tuple[float, float]:
    """(x, y) of the middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def inside(point: tuple[float, float], box: Box) -> bool:
    """Whether (x, y) lies in a box."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    return float(F.box_iou(np.array([a]), np.array([b])).numpy()[0, 0])


def sentence(found: Search) -> str:
    """What a search found, in words."""
    x, y = middle(found.best)
    place = "in the face" if found.found else "NOT in the face"
    left, top, right, bottom = FACE
    return (
        f"{NAME}: the best square has its middle at x {x:.0f}, y {y:.0f}, {place} (x {left:.0f} to {right:.0f}, "
        f"y {top:.0f} to {bottom:.0f}; IoU {overlap(found.best, FACE):.2f}); log odds {found.score:.1f}, "
        f"elsewhere at most {found.elsewhere:.1f}"
    )
