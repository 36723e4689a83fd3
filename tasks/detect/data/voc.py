"""Reads annotations in PASCAL VOC's format: one xml for each picture; source: host.robots.ox.ac.uk/pascal/VOC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from minidl.files.pictures import visible

from ...faults import Fault, error
from .catalogue import Catalogue, Picture, Thing
from .named import PictureFiles

SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: str | os.PathLike, part: str | None = None, classes: Sequence[str] | None = None) -> Catalogue:
    """The pictures of a VOC folder (Annotations, JPEGImages); these are opened when indexed.

    `part` is a list in ImageSets/Main, such as "train"; without it, all of Annotations is read. `classes` are the
    names that may occur; without them, those that do, in alphabetical order. Pixels count from 1 there and the last one
    belongs to the box, so xmin, ymin, xmax, ymax become xmin - 1, ymin - 1, xmax, ymax. "difficult" becomes crowd.
    A picture goes by its "filename", in any case and with any ending, or else by the name of the xml. Records that
    cannot be read are not there but among the `faults`; the content is checked by `annotations.examine`.
    """
    root = Path(root)
    if part is None:
        files = sorted(file for file in (root / "Annotations").glob("*.xml") if visible(file, root))
    else:
        lines = (root / "ImageSets" / "Main" / f"{part}.txt").read_text(encoding="utf-8").splitlines()
        files = [root / "Annotations" / f"{line.split()[0]}.xml" for line in lines if line.strip()]
    if not files:
        raise FileNotFoundError(f"{root} lists no pictures; looked for Annotations/*.xml")
    images = PictureFiles(root / "JPEGImages")
    faults: list[Fault] = []
    pictures = [picture for file in files if (picture := _picture(file, images, faults)) is not None]
    names = {thing.name for picture in pictures for thing in picture.things if thing.name}
    known = tuple(sorted(names) if classes is None else classes)
    return Catalogue(known, pictures, "xyxy", faults=tuple(faults))


def _picture(file: Path, images: PictureFiles, faults: list[Fault]) -> Picture | None:
    """What an xml says; None, and a fault, if it cannot be read."""
    try:
        tree = ElementTree.parse(file).getroot()
        size = _size(tree.find("size"))
    except (ElementTree.ParseError, OSError, OverflowError, ValueError) as reason:
        text = " ".join(str(reason).split())[:150]
        faults.append(error(f"{file}: not annotations in VOC's format ({text})", str(file)))
        return None
    things = []
    for i, element in enumerate(tree.findall("object")):
        where = f"{file.name}, object[{i}]"
        try:
            things.append(_thing(element, where))
        except ValueError as reason:
            faults.append(error(f"{where}: {reason}", where))
    name = (tree.findtext("filename") or "").replace("\\", "/").split("/")[-1].strip()
    return Picture(file.name, images.find(*filter(None, [name, f"{file.stem}.jpg"])), size, things)


def _size(element: ElementTree.Element | None) -> tuple[int, int] | None:
    """Height and width, which some programs write as 500.0, or as 0 for unknown."""
    if element is None:
        return None
    height, width = (int(float(element.findtext(side, ""))) for side in ("height", "width"))
    return (height, width) if height or width else None


def _thing(element: ElementTree.Element, where: str) -> Thing:
    box = element.find("bndbox")
    if box is None:
        raise ValueError("has no bndbox")
    numbers = [box.findtext(side) for side in SIDES]
    if None in numbers:
        raise ValueError(f"has no {SIDES[numbers.index(None)]}")
    x1, y1, x2, y2 = raw = tuple(float(number) for number in numbers)
    name = (element.findtext("name") or "").strip() or None
    difficult = (element.findtext("difficult") or "0").strip() == "1"
    return Thing(where, name, (x1 - 1, y1 - 1, x2, y2), raw, difficult)
