"""The command line of the task: check, train, compare, and segment a user's own picture."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .. import command
from ..command import Parser, UsageError, writable
from ..run import CHECKPOINT, given_settings, known_settings, resumable
from . import figure, folder
from .data import Dataset, bundled
from .losses import LOSSES
from .report import OURS, PLAIN, class_names, report, segment_picture
from .train import OF_DATASET, Settings, load, settings_of, train
from .unet import UNet

PROGRAM = "python -m tasks segment"
PLAIN_RUN = "without-borders"  # the folder, in --out, of the network that is trained for comparison
EXAMPLES = f"""examples:
  {PROGRAM}
      train a small U-Net on the left half of a photograph of coins, test it on the right half
  {PROGRAM} --dataset cells --out runs/cells
      touching cells: count them, with and without U-Net's weights for the borders between them
  {PROGRAM} --data FOLDER --check
      look for faults in FOLDER/images and FOLDER/masks; without --check train on them
  {PROGRAM} --checkpoint runs/segment/{CHECKPOINT} --image photo.png
      segment a picture with what was trained

The coins come with scikit-image; each one's outline was fitted by eye as a circle: --draw-truth shows them.
Masks hold class numbers 0, 1, 2, ..., or 0 and one other value (255); with more classes 255 means unknown."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Segment images with a U-Net.", epilog=EXAMPLES)
    add = top.add_argument_group("data", argument_default=argparse.SUPPRESS).add_argument
    add("--dataset", choices=("coins", "cells"), help="real coins (default), or generated cells that touch")
    add("--data", metavar="FOLDER", help="your own: images/ and masks/ with files of equal names")
    add("--ignore", type=command.whole(0), metavar="N", help="value in the masks of pixels that count for nothing")
    add("--elastic", type=command.real(0), metavar="X", help=f"pixels that patches deform ({_defaults('elastic')})")
    add = top.add_argument_group("network and loss", argument_default=argparse.SUPPRESS).add_argument
    add("--base", type=command.whole(1), metavar="N", help=f"maps of the first level ({Settings.base})")
    add("--depth", type=command.whole(1), metavar="N", help=f"levels below it ({Settings.depth})")
    add("--loss", choices=list(LOSSES), metavar="NAME", help=f"{', '.join(LOSSES)} ({_defaults('loss')})")
    add("--border", type=command.real(0), metavar="W", help="cells: weight of borders; 0: train without only (10)")
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--steps", type=command.whole(1), metavar="N", help=f"({_defaults('steps')})")
    add("--batch", type=command.whole(1), metavar="N", help=f"patches per step ({Settings.batch})")
    add("--patch", type=command.whole(1), metavar="N", help=f"side, a multiple of 2^depth ({Settings.patch})")
    add("--lr", type=command.real(0, above=True), metavar="X", help=f"learning rate ({Settings.lr}), a cosine to 0")
    add("--warmup", type=command.real(0), metavar="X", help=f"share of steps in which it rises ({Settings.warmup})")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random, the split of --data too (0)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--out", default="runs/segment", metavar="DIR", help="where results go (runs/segment)")
    command.add_device(add)
    turns = "see pictures turned and mirrored in 8 ways, not once (not for borders of cells, which it blurs)"
    add("--average", action=argparse.BooleanOptionalAction, help=turns)
    add("--quiet", action="store_true", help="no progress, results only")
    add = top.add_argument_group("instead of training").add_argument
    add("--check", action="store_true", help="only look for faults in --data")
    add("--draw-truth", metavar="FILE", help="draw the circles over the coins; nothing else")
    add("--checkpoint", metavar="FILE", help="take these weights, and the settings.json beside them")
    add("--image", metavar="FILE", help="segment this picture, with --checkpoint or after training")
    return top


def _defaults(name: str) -> str:
    return ", ".join(f"{kind} {own.get(name, getattr(Settings, name))}" for kind, own in OF_DATASET.items())


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    if options.draw_truth:
        Path(options.draw_truth).parent.mkdir(parents=True, exist_ok=True)
        figure.truth(options.draw_truth)
        print(f"drawn: {options.draw_truth}")
        return 0
    given = given_settings(Settings, options)
    settings = settings_of(given, known_settings(Settings, options, given))
    if options.check:
        check(settings, options.quiet)
        return 0
    run(settings, options)
    return 0


def check(settings: Settings, quiet: bool) -> None:
    """Print what is wrong with the data; raise ValueError if there are errors."""
    if settings.data is None:
        raise UsageError("--check looks at a folder of your own: name it with --data")
    checkup = examined(settings, quiet)
    print("\n".join(map(str, checkup.faults)) or "nothing found")
    print(checkup.summary())
    folder.stop_on_errors(checkup)


def examined(settings: Settings, quiet: bool) -> folder.Checkup:
    """What is found in the folder of the settings."""
    return folder.checked(settings.data, patch=settings.patch, seed=settings.seed, ignore=settings.ignore, quiet=quiet)


def run(settings: Settings, options: argparse.Namespace) -> None:
    """Train, or take a checkpoint; report on the test part, or segment --image."""
    device = command.device(options.device)
    if options.image and not Path(options.image).is_file():
        raise FileNotFoundError(2, "no such file", options.image)
    out = writable(options.out)
    average = settings.border is None if options.average is None else options.average
    looks = {"device": device, "average": average, "quiet": options.quiet}
    if options.checkpoint:
        model = load(settings, options.checkpoint).to(device)
        if not options.image:
            report({OURS: model}, settings, read(settings, options.quiet, model), out, **looks)
    else:
        dataset = read(settings, options.quiet)
        models = trained(settings, dataset, out, device, options)
        model = models[OURS]
        report(models, settings, dataset, out, **looks)
    if options.image:
        names = class_names(options.checkpoint or str(out / CHECKPOINT), model.head.weight.shape[0])
        segment_picture(model, options.image, names, out, **looks)


def read(settings: Settings, quiet: bool, model: UNet | None = None) -> Dataset:
    """What the settings name. Raises ValueError if the model has not the channels and the classes of it."""
    dataset = bundled(settings.dataset, settings.seed) if settings.data is None else folder.read(
        examined(settings, quiet), quiet
    )
    if model is not None:
        has = (model.encoder[0].conv1.weight.shape[1], model.head.weight.shape[0])
        needs = (dataset.channels, len(dataset.classes))
        if has != needs:
            said = ["{} channels and {} classes".format(*pair) for pair in (has, needs)]
            raise ValueError(f"the checkpoint is for {said[0]}, {dataset.name} has {said[1]}; name its --data")
    return dataset


def trained(
    settings: Settings, dataset: Dataset, out: Path, device: str, options: argparse.Namespace
) -> dict[str, UNet]:
    """The network of the settings; where borders weigh, also one without that, from the same initial weights."""
    with resumable(PROGRAM, options.out):
        models = {OURS: train(settings, dataset, out, resume=options.resume, device=device, quiet=options.quiet)}
        if settings.border:
            plain, beside = replace(settings, border=0.0), writable(str(out / PLAIN_RUN))
            again = options.resume and (beside / CHECKPOINT).exists()
            models = {PLAIN: train(plain, dataset, beside, resume=again, device=device, quiet=options.quiet), **models}
    return models
