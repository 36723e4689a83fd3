"""Reads boxes from a table: a row for each object, its columns known by the names in the header.

    filename,width,height,class,xmin,ymin,xmax,ymax          TensorFlow, Roboflow; width and height of the picture
    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax  Open Images: shares of the picture's sides
    image_id,width,height,bbox,source                        Kaggle's wheat: bbox is [x, y, width, height]
    image,x,y,w,h,label                                      width and height of the box, as there are no other corners
    path/to/picture.jpg,x1,y1,x2,y2,class                    keras-retinanet: no header; path,,,,, has no objects
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from minidl.files.pixels import image_size

from ...faults import Fault, error
from .catalogue import PARTS, Catalogue, Picture, Thing
from .named import PictureFiles

ALIASES = {  # names of columns in small letters and digits alone
    "file": "filename file filepath image imageid imagename imagepath imagefile img imgname imgpath path frame id",
    "name": "class label labelname name category classname object categoryname classid labelid categoryid",
    "x1": "xmin x1 left bboxx1 bboxxmin x bboxx boxx",
    "y1": "ymin y1 top bboxy1 bboxymin y bboxy boxy",
    "x2": "xmax x2 right bboxx2 bboxxmax",
    "y2": "ymax y2 bottom bboxy2 bboxymax",
    "cx": "xcenter xcentre cx centerx centrex",
    "cy": "ycenter ycentre cy centery centrey",
    "width": "width w bboxwidth bboxw boxwidth boxw",
    "height": "height h bboxheight bboxh boxheight boxh",
    "bbox": "bbox box boundingbox",
    "part": "split set subset part usage",
}
HEADLESS = ("file", "x1", "y1", "x2", "y2", "name")
FORMS = (  # the columns of the four numbers, the form of the box
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("x1", "y1", "width", "height"), "xywh"),
    (("cx", "cy", "width", "height"), "centre"),
    (("bbox",), "xywh"),
)
ALONE = "object"  # the class where the table has none


class Columns(NamedTuple):
    """Where in a row what stands, which columns hold the box, and its form."""

    place: dict[str, int]
    box: tuple[str, ...]
    form: str


def read_csv(
    table: Path, images: Path | None = None, classes: Sequence[str] = (), *, upright: bool = True
) -> Catalogue:
    """The pictures that a table names, in the folder `images` (its own, or images/ in it).

    Numbers that all lie within 0 and 1 are shares of the picture's sides. Classes are in alphabetical order. Rows that
    cannot be read are not there but among the `faults`. A column split, set or subset with train, val or test divides
    the pictures. Raises ValueError in one line if the columns are not known.
    """
    rows = _rows(table)
    columns = _columns(table, rows)
    first = 0 if _headless(rows[0]) else 1
    beside = table.parent / "images"
    files = PictureFiles(images or (beside if beside.is_dir() else table.parent))
    pictures: dict[str, Picture] = {}
    faults: list[Fault] = []
    for i, row in enumerate(rows[first:], first + 1):
        where = f"{table.name}, row {i}"
        try:
            _add(row, where, columns, files, pictures)
        except (ValueError, IndexError) as reason:
            faults.append(error(f"{where}: {reason}", where))
    found = list(pictures.values())
    form = "xyxy" if columns.form == "centre" else columns.form
    numbers = [number for picture in found for thing in picture.things for number in thing.raw]
    if numbers and all(0 <= number <= 1 for number in numbers):
        found, form = [_scaled(picture, upright) for picture in found], "shares"
    names = tuple(classes) or tuple(sorted({t.name for p in found for t in p.things if t.name}))
    return Catalogue(names, found, form, faults=tuple(faults), upright=upright)


def _rows(table: Path) -> list[list[str]]:
    text = table.read_text("utf-8-sig", errors="replace")
    first = text.split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=mark) if any(row)]
    except csv.Error as reason:
        raise ValueError(f"{table}: not a table ({reason})") from None
    if not rows:
        raise ValueError(f"{table}: an empty table")
    return rows


def _headless(row: Sequence[str]) -> bool:
    """Whether the first row is path,x1,y1,x2,y2,class with numbers."""
    return len(row) == len(HEADLESS) and all(re.fullmatch(r"-?[\d.]*", cell) for cell in row[1:5])


def _columns(table: Path, rows: Sequence[Sequence[str]]) -> Columns:
    head = HEADLESS if _headless(rows[0]) else [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in rows[0]]
    place: dict[str, int] = {}
    for meaning, names in ALIASES.items():
        known = [meaning, *names.split()] if head is HEADLESS else names.split()
        if found := next((name for name in known if name in head), None):
            place[meaning] = head.index(found)
    box, form = next((form for form in FORMS if place.keys() >= set(form[0])), (None, None))
    if "file" not in place or box is None:
        lacks = "the picture's file" if "file" not in place else "the box"
        raise ValueError(
            f"{table}: no column for {lacks} among {', '.join(rows[0])[:100]}; such as filename, xmin, ymin, "
            "xmax, ymax, class, or filename, x, y, width, height, class"
        )
    return Columns(place, box, form)


def _add(row: Sequence[str], where: str, columns: Columns, files: PictureFiles, pictures: dict[str, Picture]) -> None:
    place = columns.place
    name = row[place["file"]]
    if not name:
        raise ValueError("names no picture")
    part = PARTS.get(row[place["part"]].lower(), "") if "part" in place else ""
    if name not in pictures:
        pictures[name] = Picture(where, files.find(name, name.replace("\\", "/").split("/")[-1]), None, part=part)
    cells = [row[place[column]] for column in columns.box]
    if columns.box == ("bbox",):
        cells = re.findall(r"[^\s,;\[\]()]+", cells[0])
    if not any(cells):
        return  # a picture without objects
    if len(cells) != 4 or not all(cells):
        raise ValueError(f"a box is 4 numbers, got {', '.join(cells)}")
    a, b, c, d = raw = tuple(float(cell.replace(",", ".")) for cell in cells)
    centred = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    box = {"xyxy": raw, "xywh": (a, b, a + c, b + d), "centre": centred}[columns.form]
    label = row[place["name"]] or None if "name" in place else ALONE
    pictures[name].things.append(Thing(where, label, box, box if columns.form == "centre" else raw))


def _scaled(picture: Picture, upright: bool) -> Picture:
    """With boxes in pixels instead of shares; without them if the picture cannot be read, which its check says."""
    try:
        height, width = image_size(picture.path, upright=upright)
    except (OSError, ValueError):
        return replace(picture, things=[])
    sides = (width, height, width, height)
    boxes = [tuple(n * side for n, side in zip(thing.box, sides)) for thing in picture.things]
    return replace(picture, things=[replace(t, box=box, raw=box) for t, box in zip(picture.things, boxes)])
