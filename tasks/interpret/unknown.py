"""`--onnx FILE`: which pixels of a picture decide in a network of unknown origin."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import data

from ..classify.data import MEAN, STD
from ..command import Parser, UsageError, progress, writable
from ..models.pretrained import class_names, ranking
from . import figure, layers, letters
from .filters import map_grid
from .graph import LAYOUTS, Form, GraphNetwork, at, prepared, probabilities
from .picture import TOGETHER, explained, written
from .targets import Target, class_score, pixel_score

READING = "grad_cam"  # the method by which letters light up unless another is asked for


def add_options(top: Parser) -> None:
    add = top.add_argument_group("a network of unknown origin").add_argument
    add("--onnx", metavar="FILE", help="an ONNX file in place of --weights; --layer names one of its values")
    add("--size", metavar="HxW", help="height and width that the picture is brought to; 48x keeps its proportions")
    add("--mean", type=float, nargs="+", metavar="X", help="taken off, for all channels or each (ImageNet's)")
    add("--std", type=float, nargs="+", metavar="X", help="what they are divided by (ImageNet's)")
    add("--scale", type=float, metavar="X", help="what white is before that: 1, or 255")
    add("--bgr", action="store_true", help="blue comes first")
    add("--layout", choices=LAYOUTS, help="where the channels are (as the graph's input says)")
    add("--output", metavar="NAME", help="which output (the first)")
    add("--at", metavar="I,J", help="explain one number of the output: class,y,x of a map, for example")
    add("--blank", type=int, metavar="N", help="of a network that reads text: the class that is no letter (0)")


ABOUT = ("size", "mean", "std", "scale", "bgr", "layout", "output", "at", "blank")  # options of --onnx alone


def explain_unknown(options: argparse.Namespace) -> None:
    """What the options ask of the graph and the picture: a figure in --out."""
    if not options.image:
        raise UsageError("--onnx needs --image FILE, a picture to explain")
    with progress(f"reading {options.onnx}", 1, options.quiet):
        network = md.load_onnx(options.onnx)
    form = Form.of(network, options.layout)
    model = GraphNetwork(network, form.layout, options.output)
    pixels = sized(data.read_image(options.image, gray=form.channels == 1), size_of(options.size, form.size))[None]
    image = prepared(pixels, *statistics(options, form.channels), options.scale or 1.0, options.bgr)
    print(described(model, form, image, options))
    out, name = writable(options.out), Path(options.image).stem
    if options.features:
        found = layers.maps_of(model, image, options.features)
        title = f"{options.features}: {found.shape[1]} maps, one scale"
        written(out / f"{name}-features.png", map_grid(found[0]), title)
        if not options.method:
            return
    try:
        with model.inference():
            output = model(md.Tensor(image)).numpy()[0]
    except ValueError as error:
        height, width = image.shape[2:]
        raise ValueError(f"not a picture for this network, {height}x{width}: {error}; try another --size") from None
    if output.ndim == 2 and not options.at and vars(options)["class"] is None:
        return read_text(model, form, image, pixels, output, options, out / f"{name}-letters.png")
    target, label = chosen(output, model.ending, options)
    maps = explained(model, image, target, options, form.batch or TOGETHER)
    path = out / f"{name}-maps.png"
    figure.picture(path, pixels[0] / 255, maps, f"{Path(options.image).name}: what speaks for {label}")
    print(f"drawn: {path}")


# --- the picture


def size_of(text: str | None, fixed: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    """Height and width, None for one that is free: what the graph fixes, and what --size says. Raises UsageError if
    they contradict each other."""
    if text is None:
        return fixed
    found = re.fullmatch(r"(\d*)x(\d*)|(\d+)", text)
    if not found or text == "x":
        raise UsageError(f"--size {text}: height and width are needed, such as 224x224, 224, or 48x")
    both = (found[3], found[3]) if found[3] else (found[1], found[2])
    asked = tuple(int(n) if n else None for n in both)
    if any(a is not None and f is not None and a != f for a, f in zip(asked, fixed)):
        raise UsageError(f"--size {text}: the graph takes {fixed[0] or 'any'} x {fixed[1] or 'any'}")
    return tuple(a or f for a, f in zip(asked, fixed))


def sized(image: np.ndarray, size: tuple[int | None, int | None]) -> np.ndarray:
    """A picture (C, H, W) in [0, 1] as uint8 of this size, bilinear over all pixels that one of the result covers; a
    side that is free keeps the proportions."""
    from PIL import Image

    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)  # (C, H, W) -> (H, W, C)
    height, width = pixels.shape[:2]
    new = (
        size[0] or (height if size[1] is None else max(1, round(height * size[1] / width))),
        size[1] or (width if size[0] is None else max(1, round(width * size[0] / height))),
    )
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture = picture.resize(new[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(*new, -1).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)


def statistics(options: argparse.Namespace, channels: int) -> tuple[Any, Any]:
    """--mean and --std, ImageNet's unless given."""
    found = []
    for option, usual in (("mean", MEAN), ("std", STD)):
        given = vars(options)[option]
        if given is None:
            given = (usual if channels == 3 else usual.mean(keepdims=True)) * (options.scale or 1.0)
            given = given[::-1] if options.bgr else given
        if len(given) not in (1, channels):
            raise UsageError(f"--{option} {' '.join(map(str, given))}: 1 or {channels} numbers are needed")
        if option == "std" and not all(given):
            raise UsageError("--std must not be 0: pixels are divided by it")
        found.append(given)
    return tuple(found)


def described(model: GraphNetwork, form: Form, image: np.ndarray, options: argparse.Namespace) -> str:
    """How the network is used, so that a wrong guess is seen."""
    mean, std = (" ".join(f"{x:.4g}" for x in v) for v in statistics(options, form.channels))
    order = "gray" if form.channels == 1 else "BGR" if options.bgr else "RGB"
    end = f", before its {model.ending}" if model.ending else ""
    height, width = image.shape[2:]
    return (
        f"input: {height}x{width}, {order}, {form.layout}, 0 to {options.scale or 1:g}, less {mean}, over {std}; "
        f"explained: {model.output}{end}"
    )


# --- what is explained


def chosen(output: np.ndarray, ending: str | None, options: argparse.Namespace) -> tuple[Target, str]:
    """The target, and its name for people, of an output without its batch axis: scores (C,), maps (C, H, W), or any
    with --at. Prints the likeliest classes of scores."""
    if options.at:
        try:
            position = [int(part) for part in options.at.split(",")]
        except ValueError:
            raise UsageError(f"--at {options.at}: whole numbers are needed, such as 3,10,20") from None
        return at(position), f"the output at {options.at}"
    c = vars(options)["class"]
    if c is not None and output.ndim and c >= len(output):
        raise UsageError(f"--class {c} is out of range: the output has {len(output)} classes, 0 to {len(output) - 1}")
    names = class_names(options.classes, len(output)) if options.classes else None
    if output.ndim == 1:
        found = probabilities(output, ending, 0)
        print(ranking(options.image, found, names))
        c = int(output.argmax()) if c is None else c
        return class_score(c), named(c, names, f"{found[c]:.1%}")
    if output.ndim == 3:
        threshold = 0.0 if ending == "Sigmoid" else 0.5
        best = output.argmax(axis=0) if len(output) > 1 else np.where(output[0] > threshold, 0, -1)
        if c is None:
            counts = np.bincount(best[best >= 0], minlength=len(output))
            c = int(counts[1:].argmax() + 1) if len(output) > 1 and counts[1:].any() else 0  # class 0 is often nothing
        mask = best == c
        where = f"{mask.mean():.1%} of all pixels" if mask.any() else "which no pixel has: all are explained"
        return pixel_score(c, mask if mask.any() else None), named(c, names, where)
    raise UsageError(f"the output of an image has the shape {output.shape}: name one number of it, --at I,J,...")


def named(c: int, names: list[str] | None, what: str) -> str:
    return f"class {c}" + (f", {names[c]}" if names else "") + f" ({what})"


# --- letters


def read_text(
    model: GraphNetwork, form: Form, image: np.ndarray, pixels: np.ndarray, output: np.ndarray,
    options: argparse.Namespace, path: Path,
) -> None:  # fmt: skip
    """A sequence (T, classes): the letters that it reads, and where it sees each."""
    likely = probabilities(output, model.ending, 1)
    blank, characters = options.blank or 0, characters_of(options)
    found = letters.decoded(likely, blank)
    names = letters.alphabet(characters, output.shape[1], blank) if characters else None
    labels = [names[letter.number] if names else str(letter.number) for letter in found]
    if not found:
        print("read: nothing, every step is blank; is it another --size, --mean, --std or --blank?")
        return
    print(f"read: {('' if names else ' ').join(labels)}")
    options.method = options.method or READING
    rows = []
    for letter, label in zip(found, labels):
        print(f"{label!r} at step {letter.step} of {len(output)}, {letter.probability:.1%}")
        (one,) = explained(model, image, at((letter.step, letter.number)), options, form.batch or TOGETHER).values()
        rows.append((label, np.abs(one.values[0])))
    title = f"{Path(options.image).name}: where each letter is seen ({options.method})"
    letters.draw(path, pixels[0] / 255, rows, title)
    print(f"drawn: {path}")


def characters_of(options: argparse.Namespace) -> list[str] | None:
    """The characters of --classes, a line each, or those that the file carries, as PaddleOCR's do."""
    if options.classes:
        return Path(options.classes).read_text(encoding="utf-8").split("\n")
    import onnx

    carried = onnx.load(options.onnx, load_external_data=False).metadata_props
    text = next((entry.value for entry in carried if entry.key == "character"), None)
    return None if text is None else text.split("\n")
