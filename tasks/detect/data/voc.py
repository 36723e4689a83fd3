"""Reads annotations in PASCAL VOC's format: one xml for each picture; source: host.robots.ox.ac.uk/pascal/VOC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from .catalogue import Catalogue, Picture, Thing

SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: str | os.PathLike, part: str | None = None, classes: Sequence[str] | None = None) -> Catalogue:
    """The pictures of a VOC folder (Annotations, JPEGImages); these are opened when indexed.

    `part` is a list in ImageSets/Main, such as "train"; without it, all of Annotations is read. `classes` are the
    names that may occur; without them, those that do, in alphabetical order. Pixels count from 1 there and the last one
    belongs to the box, so xmin, ymin, xmax, ymax become xmin - 1, ymin - 1, xmax, ymax. "difficult" becomes crowd.
    Raises ValueError in one line if a file is not of this format; its content is checked by `annotations.examine`.
    """
    root = Path(root)
    if part is None:
        files = sorted((root / "Annotations").glob("*.xml"))
    else:
        lines = (root / "ImageSets" / "Main" / f"{part}.txt").read_text(encoding="utf-8").splitlines()
        files = [root / "Annotations" / f"{line.split()[0]}.xml" for line in lines if line.strip()]
    if not files:
        raise FileNotFoundError(f"{root} lists no pictures; looked for Annotations/*.xml")
    pictures = [_picture(file, root / "JPEGImages") for file in files]
    names = {thing.name for picture in pictures for thing in picture.things if thing.name}
    return Catalogue(tuple(sorted(names) if classes is None else classes), pictures, "xyxy")


def _picture(file: Path, images: Path) -> Picture:
    try:
        tree = ElementTree.parse(file).getroot()
        size = tree.find("size")
        if size is not None:
            size = int(size.findtext("height", "")), int(size.findtext("width", ""))
        things = [_thing(element, f"{file.name}, object[{i}]") for i, element in enumerate(tree.findall("object"))]
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{file}: not annotations in VOC's format ({' '.join(str(error).split())[:150]})") from None
    return Picture(file.name, images / tree.findtext("filename", f"{file.stem}.jpg").strip(), size, things)


def _thing(element: ElementTree.Element, where: str) -> Thing:
    box = element.find("bndbox")
    if box is None:
        raise ValueError(f"{where} has no bndbox")
    numbers = [box.findtext(side) for side in SIDES]
    if None in numbers:
        raise ValueError(f"{where} has no {SIDES[numbers.index(None)]}")
    x1, y1, x2, y2 = raw = tuple(float(number) for number in numbers)
    name = (element.findtext("name") or "").strip() or None
    difficult = (element.findtext("difficult") or "0").strip() == "1"
    return Thing(where, name, (x1 - 1, y1 - 1, x2, y2), raw, difficult)
