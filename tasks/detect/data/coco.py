"""Reads annotations in COCO's format (instances_*.json, person_keypoints_*.json); source: cocodataset.org."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .catalogue import Catalogue, Picture, Thing


def read_coco(annotations: str | os.PathLike, images: str | os.PathLike) -> Catalogue:
    """The pictures of a COCO json whose files lie in the folder `images`; these are opened when indexed.

    Classes are the "categories" by ascending id. Boxes x, y, w, h become x, y, x + w, y + h; "iscrowd" becomes crowd.
    Raises ValueError in one line if the file is not of this format; its content is checked by `annotations.examine`.
    """
    path = Path(annotations)
    reading = "the file"  # what an error belongs to
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = {entry["id"]: entry for entry in sorted(content["categories"], key=lambda entry: entry["id"])}
        pictures: dict[Any, Picture] = {}
        strays: list[Thing] = []
        for i, entry in enumerate(content["images"]):
            reading = f"images[{i}]"
            if entry["id"] in pictures:
                raise ValueError(f"has the id {entry['id']} of another")
            pictures[entry["id"]] = _picture(entry, f"{path.name}, {reading}", Path(images))
        reading = "the file"
        for i, entry in enumerate(content["annotations"]):
            reading = f"annotations[{i}]"
            picture = pictures.get(entry["image_id"])
            (picture.things if picture else strays).append(_thing(entry, f"{path.name}, {reading}", categories))
    except FileNotFoundError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:150]
        raise ValueError(f"{path}: not annotations in COCO's format ({reading} {what})") from None
    names = tuple(str(entry["name"]) for entry in categories.values())
    points = max((tuple(entry.get("keypoints", ())) for entry in categories.values()), key=len, default=())
    return Catalogue(names, list(pictures.values()), "xywh", points, tuple(strays))


def _picture(entry: dict, where: str, folder: Path) -> Picture:
    size = (int(entry["height"]), int(entry["width"])) if "height" in entry and "width" in entry else None
    return Picture(f"{where} ({entry['file_name']})", folder / entry["file_name"], size)


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
        area=entry.get("area"),
    )
