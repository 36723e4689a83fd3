"""Reads annotations in COCO's format (instances_*.json, person_keypoints_*.json); source: cocodataset.org."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...faults import Fault, error, warning
from .catalogue import Catalogue, Picture, Thing
from .named import PictureFiles

BAD = (AttributeError, KeyError, TypeError, ValueError, OverflowError)  # what a record of another form raises


def read_coco(annotations: str | os.PathLike, images: str | os.PathLike) -> Catalogue:
    """The pictures of a COCO json whose files lie in the folder `images`; these are opened when indexed.

    Classes are the "categories" by ascending id. Boxes x, y, w, h become x, y, x + w, y + h; "iscrowd" becomes crowd.
    Records that cannot be read are not there but among its `faults`. Raises ValueError in one line if the file is not
    of this format; its content is checked by `annotations.examine`.
    """
    path, files = Path(annotations), PictureFiles(images)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = {entry["id"]: entry for entry in sorted(content["categories"], key=lambda entry: entry["id"])}
        names = tuple(str(entry["name"]) for entry in categories.values())
        points = max((tuple(entry.get("keypoints", ())) for entry in categories.values()), key=len, default=())
        entries = [list(enumerate(content[key])) for key in ("images", "annotations")]
    except BAD as reason:
        raise ValueError(f"{path}: not annotations in COCO's format (the file {_said(reason)})") from None
    pictures: dict[Any, Picture] = {}
    strays: list[Thing] = []
    faults: list[Fault] = []
    for i, entry in entries[0]:
        where = f"{path.name}, images[{i}]"
        try:
            if entry["id"] in pictures:
                raise ValueError(f"has the id {entry['id']} of another")
            pictures[entry["id"]] = _picture(entry, where, files)
        except BAD as reason:
            faults.append(error(f"{where} {_said(reason)}", where))
    for i, entry in entries[1]:
        where = f"{path.name}, annotations[{i}]"
        try:
            thing, picture = _thing(entry, where, categories), pictures.get(entry["image_id"])
            (picture.things if picture else strays).append(thing)
            if entry.get("id") == 0 and type(entry["id"]) is int:
                line = f"{thing.where}: pycocotools takes the id 0 for none and never counts it as found; count from 1"
                faults.append(warning(line))
        except BAD as reason:
            faults.append(error(f"{where} {_said(reason)}", where))
    return Catalogue(names, list(pictures.values()), "xywh", points, tuple(strays), tuple(faults))


def _said(reason: Exception) -> str:
    return f"has no {reason}" if isinstance(reason, KeyError) else " ".join(str(reason).split())[:150]


def _picture(entry: dict, where: str, files: PictureFiles) -> Picture:
    size = (int(float(entry["height"])), int(float(entry["width"]))) if {"height", "width"} <= entry.keys() else None
    name = str(entry["file_name"])
    return Picture(f"{where} ({name})", files.find(name, name.replace("\\", "/").split("/")[-1]), size)


def _thing(entry: dict, where: str, categories: dict) -> Thing:
    x, y, width, height = raw = tuple(float(number) for number in entry["bbox"])
    return Thing(
        where=f"{where} (id {entry['id']})" if "id" in entry else where,
        name=str(categories[entry["category_id"]]["name"]) if entry["category_id"] in categories else None,
        box=(x, y, x + width, y + height),
        raw=raw,
        crowd=bool(entry.get("iscrowd", 0)),
        outline=entry.get("segmentation"),
        keypoints=entry.get("keypoints"),
        area=None if entry.get("area") is None else float(entry["area"]),
    )
