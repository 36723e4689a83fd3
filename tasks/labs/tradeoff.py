"""SSD, Faster R-CNN and R-FCN on several backbones at two sizes of the picture: what accuracy costs in time.

A detector is three choices: how it finds objects, what its maps come from, and how large the picture is. Every
combination is a cell: it is trained on scenes of digits and tested on others, and then timed alone, one picture after
another. All three detectors have the same backbones, cut off at stride 16, and pictures; Faster R-CNN and R-FCN have
the same pyramid and the same proposals. Small pictures are the large ones with each 2 x 2 pixels made one, and anchors
half as large.

A cell that is done lies in a file in the folder of results: a run that was stopped goes on with the next one, and cells
are trained again only if what decides them has changed. The time is that of this machine's processor, of all threads.

Source: Huang et al., "Speed/accuracy trade-offs for modern convolutional object detectors", CVPR 2017.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import minidl as md
from minidl import data, nn
from minidl.nn.module import watch
from minidl.nn.summary import macs

from ..command import UsageError
from ..detect.data.records import Detections, Target
from ..detect.data.scenes import Scenes
from ..detect.evaluate.average_precision import coco_ap
from ..detect.models.anchors import SMALL_PYRAMID
from ..detect.models.faster_rcnn import SMALL as TWO_STAGES
from ..detect.models.small import BACKBONES
from ..detect.show.report import detections
from ..detect.train import CLIP, MODELS, SAMPLES, WEIGHTS, centred
from ..options import Above, Among
from ..run import write_text
from . import BLUE, GREY, ORANGE, PURPLE, blank, learn

SIDE = 96  # of the large pictures, and of those that the scenes are made in
DETECTORS = {"ssd": ("SSD", ORANGE), "faster_rcnn": ("Faster R-CNN", BLUE), "rfcn": ("R-FCN", PURPLE)}
MARKERS = dict(zip(BACKBONES, "osD^vP*"))
SCORED, COST = ("ap", "ap50"), ("ms", "macs", "memory", "parameters")
UNITS = {
    "ms": ("milliseconds of the processor a picture", 1), "macs": ("millions of multiply-adds a picture", 1e-6),
    "memory": ("MB at once", 1e-6),
}  # fmt: skip
STAY = 1000  # batches of scenes that stay in memory, as all cells have the same
MUCH = 2.0  # times as fast, at least, is much faster
KEEPS = True  # `measure` is given a folder for its cells


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    models: Annotated[tuple[str, ...], Among(DETECTORS)] = tuple(DETECTORS)  # detectors
    backbones: Annotated[tuple[str, ...], Among(BACKBONES)] = ("resnet", "mobilenet_v1", "inception_v2")  # of each
    widths: Annotated[tuple[float, ...], Above(0)] = (0.5,)  # of the maps of a backbone, times its default
    sizes: tuple[int, ...] = (48, 96)  # sides of the pictures
    digits: int = 4  # in a picture, at most
    tell_apart: bool = False  # a class for each digit, not one for all
    steps: int = 100  # of Adam, of each cell
    batch: int = 8  # pictures in a step
    lr: Annotated[float, Above(0)] = 3e-3  # learning rate; up in a twentieth of the steps, then a cosine to 0
    tested: int = 60  # pictures that average precision is measured on
    timed: int = 4  # of these, that are timed one by one
    seeds: int = 1  # runs of each cell
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if wrong := [size for size in self.sizes if size not in (SIDE, SIDE // 2)]:
            raise UsageError(f"--sizes {wrong[0]}: pictures are {SIDE // 2} or {SIDE} pixels wide")
        if not all(width > 0 for width in self.widths):
            raise UsageError("--widths must be above 0")


QUICK = Settings(
    models=("ssd", "rfcn"), backbones=("resnet", "mobilenet_v1"), widths=(0.25,), sizes=(48,), steps=2, batch=2,
    tested=3, timed=1,
)  # fmt: skip
FULL = Settings(
    backbones=("resnet", "mobilenet_v1", "mobilenet_v2", "inception_v2", "inception_resnet_v2"), widths=(0.5, 1.0),
    digits=6, tell_apart=True, steps=800, tested=200, timed=40, seeds=3,
)  # fmt: skip


# --- pictures and detectors


class Pictures:
    """Scenes of digits of a split, as pictures of this side, float32 in [0, 1], and targets."""

    def __init__(self, settings: Settings, split: str, size: int, seed: int):
        self.scenes = seed, split, settings.digits
        self.size, self.tell_apart = size, settings.tell_apart

    def __call__(self, step: int, count: int) -> tuple[np.ndarray, list[Target]]:
        images, targets = scenes(*self.scenes, step, count)
        each = SIDE // self.size
        images = images.reshape(count, 3, self.size, each, self.size, each).mean(axis=(3, 5), dtype=np.float32) / 255
        return images, [Target(t.boxes / each, t.labels * self.tell_apart) for t in targets]


@lru_cache(STAY)
def scenes(seed: int, split: str, digits: int, step: int, count: int) -> tuple[np.ndarray, list[Target]]:
    """A batch of scenes as files would store them, uint8, and boxes and labels."""
    images, targets = Scenes(seed, split, SIDE, count=(1, digits)).batch(step, count)
    return np.rint(255 * images).astype(np.uint8), [Target(t.boxes, t.labels) for t in targets]


def classes(settings: Settings) -> int:
    """How many there are."""
    return len(Scenes.classes) if settings.tell_apart else 1


def detector(settings: Settings, cell: Cell) -> nn.Module:
    """The detector of a cell with its initial weights; anchors and regions are as large in small pictures, too, against
    the objects."""
    rng = data.generator(cell.seed, WEIGHTS)
    share = cell.size / SIDE
    if cell.model == "ssd":
        options: dict[str, Any] = {"size": cell.size}
    else:
        sizes = tuple(tuple(side * share for side in level) for level in SMALL_PYRAMID)
        options = {"sizes": sizes, "canonical": TWO_STAGES["canonical"] * share}
    body = BACKBONES[cell.backbone](cell.width, rng=rng)
    return MODELS[cell.model](classes(settings), body=body, rng=rng, **options)


# --- a cell


@dataclass(frozen=True)
class Cell:
    """One combination, and one run of it."""

    model: str
    backbone: str
    width: float
    size: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.backbone}-{self.width:g}-{self.size}-{self.seed}"


def cells(settings: Settings) -> Iterator[Cell]:
    """All of them, run by run and in a run backbone by backbone: what is done first can be compared first."""
    s = settings
    for seed in range(s.seed, s.seed + s.seeds):
        for backbone, width, model, size in product(s.backbones, s.widths, s.models, s.sizes):
            yield Cell(model, backbone, width, size, seed)


def conditions(settings: Settings, cell: Cell) -> dict[str, Any]:
    """All that decides what is measured of a cell, as JSON has it."""
    names = ("digits", "tell_apart", "steps", "batch", "lr", "tested", "timed")
    return {**asdict(cell), **{name: getattr(settings, name) for name in names}, "tested_on": [*Scenes.grounds["test"]]}


def kept(settings: Settings, cell: Cell, folder: Path | None) -> dict[str, Any] | None:
    """What was measured of a cell under the same conditions, if its file is there."""
    path = folder and folder / f"{cell.name}.json"
    if not path or not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["measured"] if content["conditions"] == conditions(settings, cell) else None


def measured(settings: Settings, cell: Cell, step: Callable) -> dict[str, Any]:
    """Train a cell, test it and time it."""
    model = trained(settings, cell, step)
    images, targets = Pictures(settings, "test", cell.size, 0)(0, settings.tested)
    scores = coco_ap(targets, detections(model, images, "cpu"), classes(settings))
    return {"ap": float(scores["AP"]), "ap50": float(scores["AP50"]), **costs(model, images[: settings.timed])}


def trained(settings: Settings, cell: Cell, step: Callable) -> nn.Module:
    """The detector of a cell after its steps."""
    pictures, model = Pictures(settings, "train", cell.size, cell.seed), detector(settings, cell)

    def loss(model: nn.Module, at: int) -> dict[str, md.Tensor]:
        images, targets = pictures(at, settings.batch)
        return model.losses(md.Tensor(centred(images)), targets, data.generator(cell.seed, SAMPLES, at))

    learn(
        model, loss, lambda at: at, settings.steps, settings.lr, step, warmup=settings.steps // 20, clip=CLIP,
        record=False,
    )  # fmt: skip
    return model


def detected(model: nn.Module, image: np.ndarray) -> list[Detections]:
    """What is found in one picture (3, H, W)."""
    return model.detect(md.Tensor(centred(image[None])))


def costs(model: nn.Module, images: np.ndarray) -> dict[str, Any]:
    """What one picture costs: milliseconds of the processor (the median over pictures of the best of three),
    multiply-adds of its layers and the most bytes that arrays take at once, besides the parameters (means over
    pictures); the detector's parameters and the multiply-adds of its backbone."""
    body = model.backbone.body
    multiplied, most = zip(*(_counted(model, image) for image in images))
    return {
        "ms": float(np.median([_milliseconds(model, image) for image in images])),
        "macs": float(np.mean(multiplied)), "memory": float(np.mean(most)),
        "parameters": sum(p.size for p in model.parameters()),
        "body": int(md.summary(body, (1, *images.shape[1:])).macs),
    }  # fmt: skip


def _milliseconds(model: nn.Module, image: np.ndarray) -> float:
    tries = []
    for _ in range(3):
        start = time.process_time()
        detected(model, image)
        tries.append(1000 * (time.process_time() - start))
    return min(tries)


def _counted(model: nn.Module, image: np.ndarray) -> tuple[int, int]:
    """Multiply-adds of convolutions and linear layers, and the most bytes that arrays take at once."""
    calls: list[int] = []
    tracemalloc.start()
    with watch(lambda *call: calls.append(macs(*call))):
        detected(model, image)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return sum(calls), most


# --- the lab


def measure(settings: Settings, progress: Callable, folder: Path | None = None) -> dict[str, Any]:
    """Every cell, those in the folder from their files; `rows` are the means over the runs, with their spread."""
    known = {cell: kept(settings, cell, folder) for cell in cells(settings)}
    for n, (cell, found) in enumerate(known.items()):
        if found is not None:
            continue
        with progress(f"cell {n + 1} of {len(known)}: {cell.name}", settings.steps) as step:
            known[cell] = measured(settings, cell, step)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            content = {"conditions": conditions(settings, cell), "measured": known[cell]}
            write_text(folder / f"{cell.name}.json", json.dumps(content, indent=1) + "\n")
    rows: dict[tuple, list] = {}
    for cell, found in known.items():
        rows.setdefault((cell.model, cell.backbone, cell.width, cell.size), []).append(found)
    return {"rows": [_row(*names, runs) for names, runs in rows.items()], "seeds": settings.seeds}


def _row(model: str, backbone: str, width: float, size: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The means over the runs; of the scores also the standard deviation, as "ap_spread"."""
    row: dict[str, Any] = {"model": model, "backbone": backbone, "width": width, "size": size}
    row |= {key: float(np.mean([run[key] for run in runs])) for key in (*SCORED, *COST, "body")}
    row |= {f"{key}_spread": float(np.std([run[key] for run in runs])) for key in SCORED}
    return row | {"runs": runs}


def front(rows: Sequence[dict[str, Any]], cost: str = "ms", score: str = "ap") -> list[int]:
    """The numbers of the rows that none beats: no other is as cheap and better, or as good and cheaper; by cost."""
    best, chosen = -np.inf, []
    for i in sorted(range(len(rows)), key=lambda i: (rows[i][cost], -rows[i][score])):
        if rows[i][score] > best:
            best = rows[i][score]
            chosen.append(i)
    return chosen


def claims(numbers: dict[str, Any]) -> list[str]:
    """A row for each combination, the front, and whether the three statements hold."""
    rows = numbers["rows"]
    width = max(len(label(row)) for row in rows)
    spread = f" (mean and spread of {numbers['seeds']} runs)" if numbers["seeds"] > 1 else ""
    lines = [f"average precision in percent{spread}; of one picture milliseconds of the processor, millions of "
             "multiply-adds, MB at once; parameters"]  # fmt: skip
    best = set(front(rows))
    for i, row in enumerate(rows):
        ap, ap50 = (f"{100 * row[key]:5.1f}" + (f" ± {100 * row[f'{key}_spread']:3.1f}" if spread else "")
                    for key in SCORED)  # fmt: skip
        spent = f"{row['ms']:6.1f} {row['macs'] / 1e6:7.1f} {row['memory'] / 1e6:6.1f}"
        mark = "  on the front" if i in best else ""
        lines.append(f"{label(row):<{width}}  AP {ap}  AP50 {ap50}  {spent} {row['parameters']:>10,.0f}{mark}")
    models = list(dict.fromkeys(rows[i]["model"] for i in front(rows)))
    lines.append(f"on the front of time and AP: {', '.join(DETECTORS[m][0] for m in models)}")
    return [*lines, two_stages(rows), single_stage(rows), backbones(rows)]


def label(row: dict[str, Any]) -> str:
    """A combination in words."""
    return f"{DETECTORS[row['model']][0]}, {row['backbone']} x{row['width']:g}, {row['size']}"


def pairs(rows: Sequence[dict[str, Any]], one: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """Two detectors on the same backbones and pictures: AP of the one less that of the other, and how many times as
    long the one takes."""
    known = {(r["model"], r["backbone"], r["width"], r["size"]): r for r in rows}
    there = [(r, known.get((other, *key[1:]))) for key, r in known.items() if key[0] == one]
    there = [(a, b) for a, b in there if b]
    return np.array([a["ap"] - b["ap"] for a, b in there]), np.array([a["ms"] / b["ms"] for a, b in there])


def two_stages(rows: Sequence[dict[str, Any]]) -> str:
    """Does Faster R-CNN find more, and take longer?"""
    parts, right = [], []
    for other in ("ssd", "rfcn"):
        gain, times = pairs(rows, "faster_rcnn", other)
        if gain.size:
            right += [gain > 0, times > 1]
            parts.append(
                f"than {DETECTORS[other][0]} {100 * gain.mean():+.1f} AP (more in {(gain > 0).sum()} of {gain.size}), "
                f"{_times(times):.2f} times the time (slower in {(times > 1).sum()} of {times.size})"
            )
    return _said("Faster R-CNN is the most accurate and the slowest", parts, right)


def single_stage(rows: Sequence[dict[str, Any]]) -> str:
    """Is SSD much faster, and does it find less?"""
    parts, right = [], []
    for other in ("faster_rcnn", "rfcn"):
        gain, times = pairs(rows, other, "ssd")
        if gain.size:
            right += [gain > 0, times > MUCH]
            parts.append(
                f"{DETECTORS[other][0]} takes {_times(times):.2f} times its time (over {MUCH:g} in "
                f"{(times > MUCH).sum()} of {times.size}) and has {100 * gain.mean():+.1f} AP"
            )
    return _said("SSD is much faster and less accurate", parts, right)


def backbones(rows: Sequence[dict[str, Any]]) -> str:
    """Does a backbone that computes more find more? Within each detector and size, over all backbones and widths."""
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault((row["model"], row["size"]), []).append((row["body"], row["ap"]))
    orders = [_ranks(pairs) for pairs in groups.values() if len({body for body, _ in pairs}) > 1]
    known = np.array([order for order in orders if order is not None])
    parts = [f"rank correlation of multiply-adds and AP {known.mean():+.2f}, above 0 in {(known > 0).sum()} of "
             f"{known.size} groups of one detector and size"] if known.size else []  # fmt: skip
    return _said("the more a backbone computes, the better", parts, [known > 0] if known.size else [])


def _ranks(pairs: list[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None if all are equal."""
    from scipy.stats import rankdata

    ranks = np.array([rankdata(values) for values in zip(*pairs)])
    return float(np.corrcoef(ranks)[0, 1]) if ranks.std(axis=1).all() else None


def _times(ratios: np.ndarray) -> float:
    return float(np.exp(np.log(ratios).mean()))


def _said(what: str, parts: list[str], right: list[np.ndarray]) -> str:
    if not right:
        return f"{what}: cannot be told from these cells"
    share = np.mean(np.concatenate(right))
    verdict = "so" if share == 1 else "NOT so" if share <= 0.5 else "so for the most part"
    return f"{what}: {verdict}; {'; '.join(parts)}"


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """AP against time, with the front, against multiply-adds and against memory: a point for each combination."""
    rows = numbers["rows"]
    figure = blank(15, 5.6)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (cost, (unit, factor)) in zip(panels, UNITS.items()):
        chosen = [rows[i] for i in front(rows, cost)]
        axes.step([factor * r[cost] for r in chosen], [100 * r["ap"] for r in chosen], where="post", color=GREY)
        for row in rows:
            colour, wide = DETECTORS[row["model"]][1], 30 * row["width"] + 25
            axes.errorbar(
                factor * row[cost], 100 * row["ap"], 100 * row["ap_spread"], color=colour, alpha=0.35, linewidth=1
            )
            axes.scatter(
                factor * row[cost], 100 * row["ap"], wide, marker=MARKERS[row["backbone"]], edgecolors=colour,
                facecolors=colour if row["size"] == SIDE else "none",
            )  # fmt: skip
        axes.set(xlabel=unit, xlim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="AP (%)", title="the front: none is as fast and better")
    named = [("s", colour, name) for name, colour in (DETECTORS[m] for m in dict.fromkeys(r["model"] for r in rows))]
    named += [(MARKERS[b], GREY, b) for b in dict.fromkeys(r["backbone"] for r in rows)]
    for marker, colour, name in named:
        panels[2].scatter([], [], marker=marker, color=colour, label=name)
    panels[2].scatter([], [], marker="o", facecolors="none", edgecolors=GREY, label=f"{SIDE // 2} pixels, not {SIDE}")
    panels[2].legend(fontsize=8)
    return figure
