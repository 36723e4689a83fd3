"""Which of the readers takes a file or a folder of annotations: told by what is in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from minidl.files.pictures import visible

from ...command import UsageError
from ...formats import unknown
from .catalogue import Catalogue
from .coco import read_coco
from .csv_boxes import read_csv
from .labelme import is_labelme, read_labelme
from .voc import read_voc
from .yolo_labels import find_labels, read_yolo

KNOWN = (
    "a json of COCO, a folder of PASCAL VOC (Annotations/*.xml, JPEGImages/), of YOLO (images/, labels/*.txt) or its "
    "data.yaml, a folder of labelme's jsons, a .csv with a row per box"
)
LOOKED_AT = 5  # jsons of a folder, in case the first are damaged
TABLES = (".csv", ".tsv")


def read_annotations(
    data: str, images: str | None = None, classes: Sequence[str] = (), *, upright: bool = True
) -> Catalogue:
    """The pictures and objects that a file or a folder holds; `images` is where the pictures lie, if not there.

    Raises FileNotFoundError, or ValueError in one line that names the format if there is no reader for it.
    """
    path, folder = Path(data), Path(images) if images else None
    if not path.exists():
        raise FileNotFoundError(2, "no such file or folder", data)
    if path.is_dir():
        return _folder(path, folder, classes, upright)
    ending = path.suffix.lower()
    if ending in (".yaml", ".yml"):
        return read_yolo(path, folder, classes, upright=upright)
    if ending in TABLES:
        return read_csv(path, folder, classes, upright=upright)
    if ending == ".json":
        content = _json(path)
        if is_labelme(content):
            return read_labelme(path, folder, classes)
        if kind := other_json(content):
            raise ValueError(f"{path}: {kind}; export it as COCO's json")
        return read_coco(path, folder or path.parent)
    if ending == ".xml":
        if b"<annotations" in path.read_bytes()[:400]:
            raise ValueError(f"{path}: an XML of CVAT; export it as COCO's json")
        raise ValueError(f"{path}: one picture of PASCAL VOC; name the folder that Annotations/ and JPEGImages/ lie in")
    raise ValueError(unknown(path, KNOWN))


def _folder(path: Path, images: Path | None, classes: Sequence[str], upright: bool) -> Catalogue:
    if (path / "Annotations").is_dir():
        if images:
            raise UsageError(f"{path} is a VOC folder, which has its JPEGImages: leave --images out")
        return read_voc(path)
    jsons, tables = (sorted(f for f in path.rglob(f"*{e}") if visible(f, path)) for e in (".json", ".csv"))
    if any(path.glob("*.y*ml")) or _has_labels(path, images):
        return read_yolo(path, images, classes, upright=upright)
    if any(is_labelme(_json(file)) for file in jsons[:LOOKED_AT]):
        return read_labelme(path, images, classes)
    if len(found := jsons or tables) == 1:
        return read_annotations(str(found[0]), str(images) if images else None, classes, upright=upright)
    if found:
        listed = ", ".join(str(file.relative_to(path)) for file in found[:4]) + (", ..." if len(found) > 4 else "")
        raise ValueError(f"{path} holds several files of annotations ({listed}): name one of them")
    raise ValueError(unknown(path, KNOWN))


def _has_labels(path: Path, images: Path | None) -> bool:
    try:
        return bool(find_labels(path, images))
    except FileNotFoundError:  # there are no pictures
        return False


def other_json(content: object) -> str | None:
    """Which format a json is of that is not read here; None if that is not known."""
    first = content
    if isinstance(content, (list, dict)) and content:
        first = content[0] if isinstance(content, list) else next(iter(content.values()))
    if isinstance(content, list) and isinstance(first, dict):
        if {"image_id", "score"} <= first.keys():
            return "COCO's results, which are detections without pictures and classes"
        if {"image", "annotations"} <= first.keys():
            return "CreateML's json"
        if {"data", "annotations"} <= first.keys():
            return "Label Studio's json"
    if isinstance(content, dict):
        if "_via_img_metadata" in content or (isinstance(first, dict) and {"filename", "regions"} <= first.keys()):
            return "a project of the VGG Image Annotator"
        if {"objects", "size"} <= content.keys():
            return "Supervisely's json"
    return None


def _json(path: Path) -> object:
    """The content of a json; None if it is none, which the reader of COCO says."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
