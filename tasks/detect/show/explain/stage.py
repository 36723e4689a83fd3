"""What the page is made of: stages, whose tables list boxes that are drawn in the picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F
from minidl.study.page import mathml, number

from ...data.records import Target
from ...losses.terms import Terms
from ...models.detector import Detector

MOST = 40  # rows of one kind that are listed and drawn
STEPS = ("x", "y", "w", "h")
EXACT = 256  # pixels along the longer side of pictures that are shown exactly


@dataclass(frozen=True)
class Case:
    """One picture and what a detector makes of it.

    training, prediction: what `Detector.training_pass` and `Detector.predict` return for the picture alone. terms:
    those of the training pass, on the host; losses: their sums. points: of each class the names of its keypoints.
    """

    model: Detector
    training: Any
    prediction: Any
    terms: dict[str, Terms]
    losses: dict[str, float]
    target: Target
    classes: Sequence[str]
    size: tuple[int, int]  # height, width
    points: Sequence[Sequence[str]] | None = None

    def object(self, k: int) -> str:
        """An object of the target, by number and class."""
        return f"{k} “{self.classes[self.target.labels[k]]}”"

    def label(self, label: int) -> str:
        """A class by its name; the number after the last is the background."""
        return self.classes[label] if label < len(self.classes) else "background"

    def point(self, label: int, p: int) -> str:
        """A keypoint of a class by its name."""
        return self.points[label][p] if self.points else f"point {p}"


@dataclass(frozen=True)
class Sheet:
    """A small table without boxes."""

    head: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table and its box. The first cell is a button that chooses it.

    kind: how its box is drawn. groups: it is shown if one of them is. lights: rows of its table that light up with it.
    start, goal, predicted: boxes drawn while it is chosen. grid: box, bins along a side, samples along the side of a
    bin. lattice: as that of a `Group`. details: shown next to the tables. pictures: name, data URI and box (None: only
    shown next to the tables). dots: name, x, y. sentence: shown below the picture, in place of the first
    cells.
    """

    cells: list[str]
    box: Any = None
    kind: str = "anchor"
    groups: list[str] = field(default_factory=list)
    lights: list[int] = field(default_factory=list)
    start: Any = None
    goal: Any = None
    predicted: Any = None
    details: list[Sheet] = field(default_factory=list)
    grid: Any = None
    lattice: Any = None
    pictures: list = field(default_factory=list)
    dots: list = field(default_factory=list)
    sentence: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head; foot: lines below them. group: the table is shown if this group is."""

    head: list[str]
    rows: list[Row]
    caption: str = ""
    foot: list[list[str]] = field(default_factory=list)
    group: str = ""


@dataclass(frozen=True)
class Group:
    """What can be shown or hidden: its name, how many there are, whether it is shown at first.

    lattice: stride, rows and columns of cells whose centres are dotted while it is shown.
    """

    key: str
    name: str
    count: int
    kind: str = "anchor"
    shown: bool = True
    lattice: Any = None


@dataclass(frozen=True)
class Stage:
    """A step of the page. text: HTML. note: what is left out. chosen: the row of the first table to begin with.

    legend: kinds of boxes with what they mean. cells: rows and columns of a grid laid over the picture. zoom: begin
    with the chosen box filling the frame.
    """

    key: str
    part: str
    title: str
    text: str
    tables: list[Table]
    groups: list[Group] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)
    summary: Sheet | None = None
    note: str = ""
    chosen: int = -1
    cells: Any = None
    zoom: bool = False


def as_data(value: Any) -> Any:
    """Stages as dicts, without what is empty; boxes to a hundredth of a pixel, None if they are not finite."""
    if is_dataclass(value):
        entries = ((f.name, as_data(getattr(value, f.name))) for f in fields(value) if f.name != "text")
        return {name: entry for name, entry in entries if not _empty(entry)}
    if isinstance(value, np.ndarray):
        return [round(float(x), 2) for x in value] if np.isfinite(value).all() else None
    if isinstance(value, (list, tuple)):
        return [as_data(entry) for entry in value]
    return value


def _empty(entry: Any) -> bool:
    return entry is None or entry is False or entry == [] or entry == ""


def cells(*values: Any) -> list[str]:
    """Entries of a table: numbers as all pages print them."""
    return [v if isinstance(v, str) else str(v) if isinstance(v, (int, np.integer)) else number(v) for v in values]


def text(words: str, *formulas: str) -> str:
    """A paragraph, and formulas below it."""
    lines = "".join(f"<span>{mathml(formula, block=True)}</span>" for formula in formulas)
    return f"<p>{words}</p>" + (f'<div class="formulas">{lines}</div>' if lines else "")


def left_out(shown: int, count: int, what: str) -> str:
    """The note to a list that is cut off: empty if it is not."""
    return f"{shown} of {count} {what} are listed and drawn." if shown < count else ""


def noted(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")


def counted(n: int, noun: str) -> str:
    """A number and its noun."""
    return f"{n} {noun if n == 1 else plural(noun)}"


def decoded(steps: np.ndarray, boxes: np.ndarray, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> np.ndarray:
    """Where steps (P, 4) lead from boxes (P, 4), as data."""
    with no_grad():
        return F.decode_boxes(Tensor(steps), boxes, weights).data


def sigmoid(x: np.ndarray) -> np.ndarray:
    with no_grad():
        return F.sigmoid(Tensor(x)).numpy()


def uri(pixels: np.ndarray, form: str = "png") -> str:
    """A data URI of uint8 pixels (H, W), (H, W, 3) or, with opacity, (H, W, 4)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, optimize=True, quality=90)
    return f"data:image/{form};base64," + base64.b64encode(file.getvalue()).decode()


def photograph(image: np.ndarray) -> str:
    """A picture (3, H, W) in [0, 1]: exact if it is small, else as a photograph is kept, or the page would be large."""
    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)  # (3, H, W) -> (H, W, 3)
    return uri(pixels, "png" if max(pixels.shape) <= EXACT else "jpeg")


def shade(values: np.ndarray) -> str:
    """Values (H, W) in [0, 1] as a colour that is the more opaque the larger they are."""
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = (255, 90, 200), np.rint(np.nan_to_num(values) * 200)
    return uri(pixels)


def gray(values: np.ndarray) -> str:
    """Values (H, W) in [0, 1], black to white."""
    return uri(np.rint(np.nan_to_num(values) * 255).astype(np.uint8))
