"""Reads YOLO's text labels: a .txt for each picture, a line for each object.

    class x y width height              centre and size of the box
    class x1 y1 x2 y2 x3 y3 ...         the corners of an outline, at least 3
    class x y width height x1 y1 v1 ... the box and keypoints, if data.yaml has their number as kpt_shape

The class is the position of its name from 0 on, all others are shares of the picture's sides.
Source: docs.ultralytics.com/datasets/detect, /segment and /pose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.data import image_files
from minidl.files.pictures import visible
from minidl.files.pixels import image_size

from ...faults import Fault, error, warning
from .catalogue import PARTS, Catalogue, Picture, Thing
from .outlines import bounds
from .small_yaml import read_yaml

FOLDERS = {"images": "labels", "JPEGImages": "labels"}  # where labels lie for pictures in a folder of this name
NAMES = ("classes.txt", "obj.names", "labels/classes.txt", "names.txt", "*.names")
LINES = r"\s*(\d+( +-?[\d.eE+-]+){4,}\s*)*"  # what a file of labels holds
OVER = 0.01  # by which a share may exceed 1 before pixels are suspected


def find_labels(root: Path, images: Path | None = None) -> dict[Path, Path]:
    """The file of labels for each picture below `root` (or `images`): in the folder labels that stands beside its
    folder images, in the folder itself, or, with `images`, in root by the same name. Those without are left out."""
    pairs = {}
    for picture in image_files(images or root):
        for label in _places(picture, root, images):
            if label.is_file():
                pairs[picture] = label
                break
    return pairs


def _places(picture: Path, root: Path, images: Path | None) -> Iterator[Path]:
    if images is not None:
        yield (root / picture.relative_to(images)).with_suffix(".txt")
        yield (root / picture.name).with_suffix(".txt")
    parts = list(picture.relative_to(images or root).parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] in FOLDERS:
            yield (images or root).joinpath(*parts[:i], FOLDERS[parts[i]], *parts[i + 1 :]).with_suffix(".txt")
    yield picture.with_suffix(".txt")


def read_yolo(
    data: Path, images: Path | None = None, classes: Sequence[str] = (), *, upright: bool = True
) -> Catalogue:
    """The pictures of a folder with labels, or of its data.yaml; they are opened when indexed.

    Names of the classes come from `classes`, data.yaml or classes.txt; else the numbers are names. Pictures below a
    folder train are trained on, those below val, valid or test are tested on, if there are both; pictures without a
    file of labels are there without objects. Labels that cannot be read are not there but among the `faults`.
    Raises ValueError in one line if the yaml cannot be read.
    """
    setup = read_setup(data)
    root = Path(setup["root"])
    pairs, faults = find_labels(root, images), []
    shape, names = setup["points"], tuple(classes) or setup["names"]
    pictures = []
    used: set[int] = set()
    for picture in image_files(images or root):
        label = pairs.get(picture)
        where = str((label or picture).relative_to(root) if (label or picture).is_relative_to(root) else picture)
        entry = Picture(where, picture, None, part=_part(picture.relative_to(images or root).parts[:-1]))
        for line in _lines(label, where, picture, upright, faults) if label else ():
            try:
                number, thing = _thing(*line, names, shape)
            except (ValueError, OverflowError) as reason:
                faults.append(error(f"{line[1]}: {reason}", line[1]))
                continue
            used.add(number)
            entry.things.append(thing)
        pictures.append(entry)
    faults += _strays(root, set(pairs.values()))
    names = names or tuple(map(str, range(max(used, default=-1) + 1)))
    return Catalogue(names, pictures, "shares", _point_names(setup), faults=tuple(faults), upright=upright)


def read_setup(data: Path) -> dict[str, Any]:
    """root: the folder; names: of the classes, () if there are none; points: kpt_shape or None; flips: flip_idx."""
    files = [data] if data.is_file() else sorted([*data.glob("*.yaml"), *data.glob("*.yml")])
    contents = ((file, read_yaml(file)) for file in files)
    file, content = next(((f, c) for f, c in contents if "names" in c), (None, {}))
    root = data if data.is_dir() else data.parent
    if (stated := content.get("path")) and not data.is_dir():
        near = [Path(str(stated)), data.parent / str(stated)]
        root = next((folder for folder in near if folder.is_dir()), root)
    names = content.get("names", ())
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{file}: names must count from 0 without gaps, got {sorted(names)}")
        names = [names[i] for i in sorted(names)]
    if not names:
        found = next((f for name in NAMES for f in sorted(root.glob(name))), None)
        names = [line.strip() for line in found.read_text("utf-8").splitlines() if line.strip()] if found else ()
    shape = content.get("kpt_shape")
    if shape is not None and not (isinstance(shape, list) and len(shape) == 2 and shape[1] in (2, 3)):
        raise ValueError(f"{file}: kpt_shape is the number of keypoints and 2 or 3, got {shape}")
    return {"root": root, "names": tuple(map(str, names)), "points": shape, "flips": content.get("flip_idx")}


def _point_names(setup: dict[str, Any]) -> tuple[str, ...]:
    """Names by which `own.mirrored` exchanges the keypoints that flip_idx does."""
    count = setup["points"][0] if setup["points"] else 0
    flips = setup["flips"] if setup["flips"] and len(setup["flips"]) == count else range(count)
    return tuple(
        f"point {i}" if i == j else f"{'left' if i < j else 'right'} point {min(i, j)}" for i, j in enumerate(flips)
    )


def _part(folders: Sequence[str]) -> str:
    return next((PARTS[name.lower()] for name in reversed(folders) if name.lower() in PARTS), "")


def _lines(
    label: Path, where: str, picture: Path, upright: bool, faults: list[Fault]
) -> Iterator[tuple[list[float], str, tuple[int, int]]]:
    """The numbers of each line, its name, and the (height, width) of the picture; nothing if that cannot be read, which
    the check of the pictures says."""
    try:
        size = image_size(picture, upright=upright)
    except (OSError, ValueError):
        return
    for i, line in enumerate(label.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        if line.strip():
            name = f"{where}, line {i}"
            try:
                yield [float(word) for word in line.split()], name, size
            except ValueError:
                shown = line.strip()[:60]
                faults.append(error(f"{name}: {shown!r} are no numbers with spaces, class x y width height", name))


def _thing(
    numbers: list[float], where: str, size: tuple[int, int], names: Sequence[str], shape: list[int] | None
) -> tuple[int, Thing]:
    """The number of the class and the object. Raises ValueError."""
    number, values = int(numbers[0]), np.array(numbers[1:])
    if number != numbers[0] or number < 0:
        raise ValueError(f"a class is a whole number from 0, got {numbers[0]:g}")
    name = (names[number] if number < len(names) else None) if names else str(number)
    scale = np.array(size[::-1], float)  # x, y
    keypoints = outline = None
    if shape and len(values) == 4 + shape[0] * shape[1]:
        points = values[4:].reshape(shape[0], shape[1])
        seen = points[:, 2] if shape[1] == 3 else 2.0 * points.any(axis=1)
        keypoints = np.column_stack([points[:, :2] * scale, seen]).ravel().tolist()
        values = values[:4]
    elif len(values) >= 6 and len(values) % 2 == 0:
        outline = [(values.reshape(-1, 2) * scale).ravel().tolist()]
    elif len(values) != 4:
        wanted = "4 after the class: x y width height, or 6 and more, an even number, the corners of an outline"
        raise ValueError(f"{len(values)} numbers; {wanted}; keypoints need kpt_shape in data.yaml")
    if (values > 1 + OVER).any() or (values < -OVER).any():
        far = values[np.abs(values - 0.5).argmax()]
        raise ValueError(f"{far:g} is no share of a picture's side, 0 to 1: are these pixels?")
    if outline:
        box = bounds(outline)
    else:
        centre, half = values[:2] * scale, values[2:4] * scale / 2
        box = tuple(np.concatenate([centre - half, centre + half]).tolist())
    return number, Thing(where, name, box, box, outline=outline, keypoints=keypoints)


def _strays(root: Path, used: set[Path]) -> list[Fault]:
    """Errors for labels without a picture, a warning for lists of pictures, which do not decide the parts."""
    faults, folders = [], {label.parent for label in used}
    for file in sorted(root.rglob("*.txt")):
        if file in used or not visible(file, root) or file.name == "classes.txt":
            continue
        if file.parent in folders and re.fullmatch(LINES, file.read_text("utf-8", "replace")):
            faults.append(error(f"{file.relative_to(root)}: labels without a picture of this name", str(file)))
        elif file.stem.lower() in PARTS:
            line = "a list of pictures is not read: folders train and val, or --split, divide them"
            faults.append(warning(f"{file.relative_to(root)}: {line}"))
    return faults
