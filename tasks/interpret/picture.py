"""A photograph seen by a network of `tasks classify`: real weights of torchvision, or a run of ours."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from minidl import nn
from minidl.data import read_image

from .. import command
from ..classify.data import like_imagenet, square
from ..classify.evaluate import predict
from ..classify.train import Settings as ClassifySettings
from ..classify.train import load as load_run
from ..command import UsageError, progress, writable
from ..models import MODELS, pretrained
from ..run import CLASSES, saved_settings
from . import figure, layers
from .filters import filter_grid, map_grid
from .maps import Map
from .methods import METHODS, applicable
from .targets import Target, class_score

TOGETHER = 4  # copies of a photograph in the network at once: memory stays bounded


def explain_picture(options: argparse.Namespace) -> None:
    """What the options ask of a network and --image: maps, filters, feature maps, each a figure in --out."""
    check(options)
    device = command.device(options.device)
    with progress(f"reading {options.weights}", 1, options.quiet):
        model, how, bits = network(options)
    model = model.to(device)
    out, name = writable(options.out), Path(options.image or options.weights).stem
    if options.filters:
        written(out / f"{name}-filters.png", filter_grid(model), "filters of the first layer: gray is 0, one scale")
    if not options.image:
        return
    channels = pretrained.dimensions_of(model)["in_channels"]
    pixels = square(read_image(options.image, gray=channels == 1, bits=bits), **how)[None]
    image = like_imagenet(pixels)
    if options.features:
        maps = layers.maps_of(model, image, options.features)
        title = f"{options.features}: {maps.shape[1]} maps of {maps.shape[2]}x{maps.shape[3]}, one scale"
        written(out / f"{name}-features.png", map_grid(maps[0]), title)
    if options.method or not (options.filters or options.features):
        c, label = chosen_class(model, image, device, options)
        maps = explained(model, image, class_score(c), options)
        path = out / f"{name}-maps.png"
        figure.picture(path, pixels[0] / 255, maps, f"{Path(options.image).name}: what speaks for {label}")
        print(f"drawn: {path}")


def check(options: argparse.Namespace) -> None:
    """Raise UsageError for options that make no sense together."""
    if options.checkpoint or options.resume:
        raise UsageError("--weights are of another network, --checkpoint and --resume of one trained here: give one")
    wanting = [f"--{n}" for n in ("method", "features", "class", "layer", "classes") if vars(options)[n] is not None]
    if not options.image and wanting:
        raise UsageError(f"{', '.join(wanting)} need{'s' * (len(wanting) == 1)} --image FILE, a picture to look at")
    if not options.image and not options.filters:
        raise UsageError("--weights needs --image FILE, a picture to explain, or --filters")


def network(options: argparse.Namespace) -> tuple[nn.Module, dict, int | None]:
    """The network of --weights, how pictures are made ready for it (see `square`), and the bits they were read by.

    A checkpoint of `tasks classify` has its settings beside it; other files need --model.
    """
    if options.model is not None:
        model = pretrained.load(options.model, options.weights, options.weights_key, options.strip)
        return model, pretrained.preparation(options.model, model), None
    if not Path(options.weights).is_file():
        raise FileNotFoundError(2, "no such file", options.weights)
    known = saved_settings(ClassifySettings, options.weights)
    if not known:
        raise UsageError(f"--weights needs --model NAME, the network that they are of: {', '.join(MODELS)}")
    settings = ClassifySettings.of({}, known)
    model, side = load_run(settings, options.weights).eval(), settings.size
    return model, {"short": side, "side": side} if side else pretrained.preparation(settings.model), settings.bits


def chosen_class(
    model: nn.Module, image: np.ndarray, device: str, options: argparse.Namespace
) -> tuple[int, str]:
    """The number of --class, or of the likeliest class, and its name for people. Prints the likeliest."""
    probabilities = predict(model, image, device=device)[0]
    count = len(probabilities)
    beside = Path(options.weights).with_name(CLASSES)
    file = options.classes or (beside if beside.exists() and options.model is None else None)
    names = pretrained.class_names(file, count) if file else None
    c = vars(options)["class"]
    if c is not None and c >= count:
        raise UsageError(f"--class {c} is out of range: the network has {count} classes, 0 to {count - 1}")
    print(pretrained.ranking(options.image, probabilities, names))
    c = int(probabilities.argmax()) if c is None else c
    return c, f"class {c}" + (f", {names[c]}" if names else "") + f" ({probabilities[c]:.1%})"


def explained(
    model: nn.Module, image: np.ndarray, target: Target, options: argparse.Namespace, together: int = TOGETHER
) -> dict[str, Map]:
    """The map of each method that is asked for and can be used; prints the seconds each takes, or why it cannot."""
    asked = list(METHODS) if options.method in (None, "all") else [options.method]
    reasons = {name: applicable(name, model, image) for name in asked}
    if len(asked) == 1 and reasons[asked[0]]:
        raise ValueError(f"{asked[0]}: {reasons[asked[0]]}")
    maps = {}
    for name in asked:
        if reasons[name]:
            print(f"{name:<21} left out: {reasons[name]}")
            continue
        start = time.perf_counter()
        with counted(name, options.quiet) as count:
            maps[name] = METHODS[name](
                model, image, target, layer=options.layer, rng=options.seed, progress=count,
                batch_size=together, **patch_of(name, image, options),
            )  # fmt: skip
        empty = "; the map is zero everywhere: nothing speaks for the score" if maps[name].empty[0] else ""
        print(f"{name:<21}{time.perf_counter() - start:7.2f} s{empty}")
    return maps


def patch_of(name: str, image: np.ndarray, options: argparse.Namespace) -> dict[str, int]:
    """What occlusion covers: a seventh of the side at once, in steps of half of that, unless the options say more."""
    if name != "occlusion":
        return {}
    patch = options.patch or max(1, image.shape[2] // 7)
    return {"patch": patch, "stride": options.stride or max(1, patch // 2)}


@contextmanager
def counted(label: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar for a method, which says how many images are done and of how many."""
    with ExitStack() as stack:
        before, show = 0, None

        def count(done: int, total: int) -> None:
            nonlocal before, show
            show = show or stack.enter_context(progress(label, total, quiet))
            for _ in range(done - before):
                show()
            before = done

        yield count


def written(path: Path, picture: np.ndarray, title: str) -> None:
    """Draw a page and say so."""
    figure.page(path, picture, title)
    print(f"drawn: {path}")
