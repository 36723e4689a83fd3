"""Which mask belongs to which picture: the folders and the names in which they come.

    images/NAME.png, masks/NAME.png        masks may be in labels/, and be called NAME_mask, NAME_masks, NAME_label ...
    imagesTr/NAME_0000.nii.gz, labelsTr/   nnU-Net and the Medical Segmentation Decathlon
    NAME.png, NAME_masks.png               Cellpose, beside each other; or NAME_seg.npy
    NAME.npz                               both in one file, as the arrays "image" and "mask"
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from minidl.data import IMAGE_ENDINGS
from minidl.files.pictures import visible

from ..formats import named, unknown
from ..stacks import ARRAYS, Page, ending, entries, stem

FOLDERS = (("images", "masks"), ("images", "labels"), ("imagesTr", "labelsTr"))
SUFFIXES = ("", "_masks", "_mask", "_labels", "_label", "_segmentation", "_seg", "_gt")  # of masks
LEFT = ("_flows", "_cp_output", "_outlines")  # what else Cellpose writes
ENDINGS = {*IMAGE_ENDINGS, *ARRAYS}
KNOWN = (
    "images/ and masks/ with files of equal names, NAME.png beside NAME_masks.png or NAME_seg.npy, NAME.npz with image "
    "and mask; as pictures, TIFF stacks, .npy, .nii, .nii.gz"
)
Found = Path | Page
Say = Callable[[str, Path | str, str], None]  # kind of a fault, the file or the folder, the text


def found_pairs(folder: Path, say: Say) -> list[tuple[Found, Found]]:
    """Pictures and masks, a pair for each page of a stack. Raises FileNotFoundError if there is nothing of the kind."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; --data needs {KNOWN}")
    pairs: list[tuple[Found, Found]] = []
    for image, mask in _files(folder, say):
        try:
            several = [entries(image, "image"), entries(mask, "mask")]
        except (ValueError, OSError) as error:
            say("error", image, str(error).removeprefix(f"{image}: "))
            continue
        if len({len(pages) for pages in several}) > 1:
            say("error", mask, "has {1} pages, the picture {0}: they must be as many".format(*map(len, several)))
            continue
        pairs += zip(*several)
    return pairs


def _files(folder: Path, say: Say) -> list[tuple[Path, Path]]:
    for images, masks in FOLDERS:
        if (folder / images).is_dir() and (folder / masks).is_dir():
            return _of_folders(folder / images, folder / masks, say)
    inside = folder / "images" if (folder / "images").is_dir() else folder
    if beside := _beside(inside, say):
        return beside
    both = [file for file in sorted(folder.glob("*.npz")) if visible(file, folder)]
    if not both:
        if inside != folder or (folder / "masks").is_dir():
            lacking = folder / ("masks" if inside != folder else "images")
            raise FileNotFoundError(f"{lacking}: no such folder; --data needs {KNOWN}")
        raise FileNotFoundError(unknown(folder, KNOWN))
    return [(file, file) for file in both]


def _of_folders(images: Path, masks: Path, say: Say) -> list[tuple[Path, Path]]:
    pictures, truths = by_name(images, say), by_name(masks, say)
    pairs = []
    for name, image in sorted(pictures.items()):
        names = [name + suffix for suffix in SUFFIXES] + [name.removesuffix("_0000")]
        if known := next((other for other in names if other in truths), None):
            pairs.append((image, truths.pop(known)))
        else:
            say("error", image, f"has no mask: add {masks / name}.png, or take the picture away")
    for _, mask in sorted(truths.items()):
        say("warning", mask, f"has no picture in {images}: left out")
    return pairs


def _beside(folder: Path, say: Say) -> list[tuple[Path, Path]]:
    """As Cellpose leaves them; nothing if no file of the folder has a mask beside it."""
    files = by_name(folder, lambda *fault: None)
    pairs = {}
    for suffix in SUFFIXES[1:]:
        for name, mask in files.items():
            own = name.removesuffix(suffix)
            image = files.get(own, files.get(f"{own}_img"))
            if own != name and image is not None:
                pairs.setdefault(image, mask)
    others = set(files.values()) - pairs.keys() - set(pairs.values())
    for file in sorted(others) if pairs else ():
        if not stem(file).endswith((*LEFT, *SUFFIXES[1:])):
            say("error", file, f"has no mask: add {stem(file)}_masks.png, or take the picture away")
    return sorted(pairs.items())


def by_name(folder: Path, say: Say) -> dict[str, Path]:
    """The pictures and arrays in a folder by their names without ending."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not visible(path, folder) or not path.is_file():
            continue
        if ending(path) not in ENDINGS:
            kind = named(path)
            say("warning", path, f"left out, as it is {kind}" if kind else "no image by its ending: left out")
        elif stem(path) in files:
            say("error", path, f"has the name of {files[stem(path)].name}: keep one of them")
        else:
            files[stem(path)] = path
    return files
