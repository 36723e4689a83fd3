"""The pictures: all methods side by side on one scale, the photograph, the curves, filters and patches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl import nn

from ..plot import BLUE, GREEN, GREY, ORANGE, PURPLE, pyplot, save, show
from . import curves, evidence, faces, photograph
from .compare import EDGES, NetworkScores, explain
from .evidence import Scenes
from .filters import filter_grid
from .maps import Map
from .methods import METHODS
from .model import Networks, prepared
from .patches import top_patches
from .photograph import Search

SCALE = "RdBu_r"  # red speaks for, blue against, white does not matter
LABEL = "value / largest absolute value of the map:  red for the class, blue against it"
FACES, PLANTED = 2, 3  # rows
SHOWN_PATCHES = 8
STYLES = [  # of the lines of the methods
    (BLUE, "-"), (BLUE, ":"), (BLUE, "--"), (BLUE, "-."), (ORANGE, ":"), (ORANGE, "-"), (GREEN, "-"), (PURPLE, ":"),
    (PURPLE, "-"), (PURPLE, "--"), (GREY, "-"),
]  # fmt: skip


def overview(
    path: str | os.PathLike, networks: Networks, scenes: Scenes, found: Search, comparisons: Sequence[NetworkScores],
    title: str,
) -> None:  # fmt: skip
    """Above, a row per test picture and a column per method; below, the photograph, and the curves of the scores."""
    rows, columns = FACES + PLANTED, len(METHODS) + 1
    figure = pyplot().figure(figsize=(1.72 * columns, 1.78 * rows + 7))
    upper, lower = figure.add_gridspec(2, 1, height_ratios=(1.78 * rows + 0.8, 5.6))
    *places, scale = upper.subgridspec(rows + 1, 1, height_ratios=[1] * rows + [0.1])
    grid = [[figure.add_subplot(cell) for cell in place.subgridspec(1, columns)] for place in places]
    pictures, labels = faces.test_part()
    chosen = np.flatnonzero(labels == 1)[:FACES]
    draw_rows(grid[:FACES], networks.faces, pictures[chosen], labels[chosen], faces.CLASSES)
    first = [int(np.flatnonzero(scenes.labels == c)[0]) for c in range(PLANTED)]
    some = scenes.images[first], scenes.labels[first]
    draw_rows(grid[FACES:], networks.evidence[0], *some, evidence.CLASSES, scenes.masks[first])
    for axes, name in zip(grid[0], ["picture", *METHODS]):
        axes.set_title(name.replace("_", "\n", 1) if len(name) > 12 else name, fontsize=12)
    bar(figure, figure.add_subplot(scale.subgridspec(1, 3, width_ratios=(1, 2, 1))[1]))
    left, right = lower.subgridspec(1, 2, width_ratios=(1, 2.1))
    draw_search(figure.add_subplot(left), found)
    panels = [figure.add_subplot(cell) for cell in right.subgridspec(1, 4, width_ratios=(1, 1, 1, 0.5), wspace=0.32)]
    draw_curves(panels, comparisons)
    figure.suptitle(title, fontsize=14)
    save(figure, path)


def draw_rows(
    grid: Sequence[Sequence[Any]], network: nn.Module, images: np.ndarray, labels: np.ndarray, names: Sequence[str],
    masks: np.ndarray | None = None,
) -> None:  # fmt: skip
    """A row for each image: itself and the map of each method, the truth outlined."""
    maps = [explain(name, network, prepared(images), labels, seed=0) for name in METHODS]
    values = [normalised(found) for found in maps]
    for i, row in enumerate(grid):
        show(row[0], images[i])
        row[0].set_ylabel(names[labels[i]], fontsize=13)
        for axes, found, value in zip(row[1:], maps, values):
            draw_map(axes, value[i], bool(found.empty[i]))
        if masks is not None:
            for axes in row:
                outline(axes, masks[i])


def normalised(found: Map) -> np.ndarray:
    """The map on the shared scale. The figure itself says what is zero everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return found.normalised()


def draw_map(axes: Any, values: np.ndarray, empty: bool) -> None:
    """A map in [-1, 1] on the shared scale."""
    axes.imshow(values, cmap=SCALE, vmin=-1, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    if empty:
        axes.text(0.5, 0.5, "zero\neverywhere", transform=axes.transAxes, ha="center", va="center", color=GREY)


def outline(axes: Any, mask: np.ndarray) -> None:
    """The rectangle around what is True."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corner = columns[0] - 0.5, rows[0] - 0.5
    axes.add_patch(pyplot().Rectangle(corner, len(columns), len(rows), fill=False, edgecolor=GREEN, linewidth=1.8))


def bar(figure: Any, axes: Any) -> None:
    """The shared scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure.colorbar(ScalarMappable(Normalize(-1, 1), SCALE), cax=axes, orientation="horizontal")
    axes.set_xlabel(f"{LABEL};  green: the planted evidence", fontsize=12)


def draw_search(axes: Any, found: Search) -> None:
    """The photograph, what is known to be a face, the best square, and the log odds around it."""
    rectangle = pyplot().Rectangle
    axes.imshow(found.image, cmap="gray", vmin=0, vmax=1)
    size = np.nanmax(np.abs(found.heat[found.heat > 0])) if np.nanmax(found.heat) > 0 else 1.0
    lit = np.where(found.heat > 0, found.heat, np.nan)
    image = axes.imshow(lit, cmap="inferno", vmin=0, vmax=size, alpha=0.55)
    axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="log odds of a face, where above 0")
    for (left, top, right, bottom), colour, style, label in (
        (photograph.FACE, GREEN, "--", "the face, by eye"),
        (found.best, ORANGE, "-", "the best square"),
    ):
        shape = {"fill": False, "edgecolor": colour, "linestyle": style, "linewidth": 2.5, "label": label}
        axes.add_patch(rectangle((left, top), right - left, bottom - top, **shape))
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"the network on faces, run over {photograph.NAME}", fontsize=12)
    axes.legend(loc="lower left", fontsize=11)


def draw_curves(panels: Sequence[Any], comparisons: Sequence[NetworkScores]) -> None:
    """Rank correlation by layer, deletion and insertion: means over the seeds; the last panel is the legend."""
    correlation, deletion, insertion, legend = panels
    share = np.linspace(0, 100, curves.STEPS + 1)
    for name, (colour, style) in zip([*METHODS, EDGES], STYLES, strict=True):
        results = [c.results[name] for c in comparisons]
        line = {"color": colour, "linestyle": style, "linewidth": 2}
        layers = ["none", *results[0].sanity]
        values = np.mean([[1, *r.sanity.values()] for r in results], axis=0)
        correlation.plot(range(len(layers)), values, label=name, **line)
        deletion.plot(share, np.mean([r.deletion for r in results], axis=0), **line)
        insertion.plot(share, np.mean([r.insertion for r in results], axis=0), **line)
    correlation.set_xticks(range(len(layers)), layers, rotation=40, ha="right")
    correlation.set(xlabel="random from the top down to", ylabel="rank correlation with the trained network's map")
    correlation.set_title("sanity: 0 is right", fontsize=12)
    for axes, what, title in ((deletion, "gray", "deletion: low"), (insertion, "sharp", "insertion: high")):
        axes.set(xlabel=f"% of the pixels made {what}", ylim=(0, 1.03))
        axes.set_title(f"{title} is right", fontsize=12)
    deletion.set_ylabel("probability of the class")
    for axes in panels[:-1]:
        axes.grid(alpha=0.3)
    legend.set_axis_off()
    legend.legend(*correlation.get_legend_handles_labels(), loc="center left", fontsize=11, frameon=False)


def patches(path: str | os.PathLike, networks: Networks, scenes: Scenes) -> None:
    """The first filters; for the maps that count most for each class, the squares that drive them most, with boxes."""
    network, layer = networks.evidence[0], "features.12"
    weight = network.head.weight.numpy()
    channels = [(c, int(weight[c].argmax())) for c in range(len(weight))]
    images = prepared(scenes.images)
    figure = pyplot().figure(figsize=(2.1 * SHOWN_PATCHES + 4, 2.2 * len(channels) + 0.8))
    left, right = figure.add_gridspec(1, 2, width_ratios=(1.6, SHOWN_PATCHES))
    axes = figure.add_subplot(left)
    axes.imshow(filter_grid(network, "features.0"), vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[], title="filters of the first layer\n(gray is 0, one scale)")
    grid = right.subgridspec(len(channels), SHOWN_PATCHES)
    for row, (c, channel) in enumerate(channels):
        found = top_patches(network, images, layer, channel, count=SHOWN_PATCHES)
        for column, patch in enumerate(found):
            axes = figure.add_subplot(grid[row, column])
            truth = evidence.CLASSES[scenes.labels[patch.image]]
            show(axes, scenes.images[patch.image], f"{patch.activation:.1f}: {truth}")
            outline(axes, scenes.masks[patch.image])
            top, first, bottom, last = patch.box
            box = pyplot().Rectangle(
                (first - 0.5, top - 0.5), last - first, bottom - top, fill=False, edgecolor=ORANGE, linewidth=2
            )
            axes.add_patch(box)
            if column == 0:
                axes.set_ylabel(f"map {channel}\nfor {evidence.CLASSES[c]}", fontsize=12)
    figure.suptitle(
        f"what drives four maps of {layer} most, of {len(images)} test pictures; orange: what the cell can see, green: "
        "the evidence; below: the activation and the true class"
    )
    save(figure, path)


def picture(path: str | os.PathLike, image: np.ndarray, maps: Mapping[str, Map], title: str) -> None:
    """One photograph (C, H, W) in [0, 1], and its maps on the shared scale."""
    columns = min(4, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    high = rows * (3.3 * image.shape[1] / image.shape[2] + 0.25)
    figure = pyplot().figure(figsize=(3.3 * columns, high + 1.2))
    upper, lower = figure.add_gridspec(2, 1, height_ratios=(high, 0.12))
    cells = iter(upper.subgridspec(rows, columns))
    axes = figure.add_subplot(next(cells))
    show(axes, image)
    axes.set_title("picture", fontsize=12)
    for (name, found), cell in zip(maps.items(), cells):
        axes = figure.add_subplot(cell)
        draw_map(axes, normalised(found)[0], bool(found.empty[0]))
        axes.set_title(name, fontsize=12)
    axes = figure.add_subplot(lower.subgridspec(1, 3, width_ratios=(1, 4, 1))[1])
    bar(figure, axes)
    axes.set_xlabel(LABEL if columns > 2 else LABEL.replace(":  ", "\n"), fontsize=12)
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def page(path: str | os.PathLike, picture: np.ndarray, title: str) -> None:
    """A grid of filters or feature maps, (H, W) or (H, W, 3) in [0, 1]."""
    height, width = picture.shape[:2]
    size = 9 * np.array([width, height]) / max(width, height)
    figure, axes = pyplot().subplots(figsize=tuple(size + [0.4, 0.8]))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    figure.suptitle(title)
    save(figure, path)
