"""Reads labelme's annotations: a json for each picture, with shapes; source: github.com/wkentaro/labelme."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minidl.files.pictures import visible

from ...faults import Fault, error, warning
from .catalogue import Catalogue, Picture, Thing
from .coco import BAD
from .named import PictureFiles
from .outlines import as_runs, bounds, masked

ROUND = 64  # corners that a circle is drawn with
THIN = ("point", "points", "line", "linestrip")  # shapes without area


def is_labelme(content: object) -> bool:
    """Whether this content of a json is labelme's."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read_labelme(
    data: str | os.PathLike, images: str | os.PathLike | None = None, classes: Sequence[str] = ()
) -> Catalogue:
    """The pictures of all labelme files in a folder and below, or of one; they are opened when indexed.

    Polygons, rectangles, circles and masks become objects with outlines; shapes of one label and one group_id are one
    object. Points and lines have no area and are left out with a warning. Classes are in alphabetical order. The
    picture is imagePath beside the json, or of that name in `images`, or the one named as the json.
    """
    root = Path(data)
    files = [root] if root.is_file() else sorted(file for file in root.rglob("*.json") if visible(file, root))
    faults: list[Fault] = []
    pictures = []
    folders: dict[Path, PictureFiles] = {}
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not is_labelme(content):
                raise ValueError("has no list of shapes")
            size = tuple(content.get(side) for side in ("imageHeight", "imageWidth"))
            size = tuple(map(int, size)) if None not in size else None
            found = folders.setdefault(folder := Path(images or file.parent), PictureFiles(folder))
            stated = str(content.get("imagePath") or "").replace("\\", "/")
            names = [stated.split("/")[-1], stated] if images else [stated, stated.split("/")[-1]]
            path = found.find(*filter(None, [*names, f"{file.stem}.jpg"]))
            pictures.append(Picture(file.name, path, size, _things(content["shapes"], file.name, size, faults)))
        except BAD as reason:
            faults.append(error(f"{file}: not labelme's format ({' '.join(str(reason).split())[:150]})", str(file)))
    names = sorted({thing.name for picture in pictures for thing in picture.things if thing.name})
    return Catalogue(tuple(classes) or tuple(names), pictures, "shares", faults=tuple(faults))


def _things(shapes: list, file: str, size: tuple[int, int] | None, faults: list[Fault]) -> list[Thing]:
    groups: dict[object, list[Thing]] = {}
    for i, shape in enumerate(shapes):
        where = f"{file}, shapes[{i}]"
        try:
            kind = shape.get("shape_type", "polygon")
            if kind in THIN:
                faults.append(warning(f"{where}: a {kind} has no area: left out"))
                continue
            thing = _thing(shape, kind, where, size)
        except BAD as reason:
            faults.append(error(f"{where}: {' '.join(str(reason).split())[:150]}", where))
            continue
        group = shape.get("group_id")
        groups.setdefault(i if group is None else (thing.name, group), []).append(thing)
    return [things[0] if len(things) == 1 else _together(things, size) for things in groups.values()]


def _thing(shape: dict, kind: str, where: str, size: tuple[int, int] | None) -> Thing:
    points = np.array(shape["points"], float).reshape(-1, 2)
    name = str(shape["label"]).strip() or None
    if kind in ("rectangle", "mask") and len(points) != 2 and not (kind == "rectangle" and len(points) == 4):
        raise ValueError(f"a {kind} has 2 corners, got {len(points)}")
    if kind == "mask":
        x, y = np.floor(points.min(axis=0)).astype(int)
        inside = _decoded(shape["mask"])
        if size is None or x < 0 or y < 0 or y + inside.shape[0] > size[0] or x + inside.shape[1] > size[1]:
            raise ValueError(f"a mask of {inside.shape} at x={x} y={y} leaves the picture, {size}")
        whole = np.zeros(size, bool)
        whole[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        box = (float(x), float(y), float(x + inside.shape[1]), float(y + inside.shape[0]))
        return Thing(where, name, box, box, outline=as_runs(whole))
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        points = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    elif kind == "circle":
        if len(points) != 2:
            raise ValueError(f"a circle is its centre and a point on it, got {len(points)} points")
        angle = 2 * np.pi * np.arange(ROUND) / ROUND
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    elif kind not in ("polygon", "oriented_rectangle"):
        raise ValueError(f"shape_type {kind!r} is none of polygon, rectangle, circle, mask, {', '.join(THIN)}")
    if len(points) < 3:
        raise ValueError(f"a polygon has at least 3 corners, got {len(points)}")
    outline = [points.ravel().tolist()]
    return Thing(where, name, bounds(outline), bounds(outline), outline=outline)


def _decoded(text: str) -> np.ndarray:
    """A mask out of the base64 text of a PNG, bool (H, W)."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as file:
        return np.asarray(file.convert("L")) > 0


def _together(things: list[Thing], size: tuple[int, int] | None) -> Thing:
    """Several shapes of one object: the box around all, their outlines."""
    corners = np.array([thing.box for thing in things])
    box = (*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist())
    outlines = [thing.outline for thing in things]
    if any(isinstance(outline, dict) for outline in outlines):
        outline = as_runs(np.any([masked(outline, size) for outline in outlines], axis=0))
    else:
        outline = [polygon for outline in outlines for polygon in outline]
    return Thing(things[0].where, things[0].name, box, box, outline=outline)
