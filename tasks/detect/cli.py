"""The command line of the task: train a detector and report; detect in a user's picture; check a user's data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from minidl.data import read_image

from .. import command
from ..command import Parser, UsageError, writable
from ..run import CHECKPOINT, given_settings, known_settings, resumable
from .data import own
from .data.own import Source
from .data.scenes import Scenes
from .show import explain
from .show.report import detect_picture, report
from .train import MODELS, OF_MODEL, Settings, load, settings_of, train

PROGRAM = "python -m tasks detect"
TESTED = 200  # pictures
SHOWN = 20  # faults of each kind before training; --check shows all
EXAMPLES = f"""examples:
  {PROGRAM}
      train Faster R-CNN on scenes of handwritten digits, test it on digits and backgrounds it has never seen
  {PROGRAM} --model retinanet --out runs/retinanet
      a detector of one stage
  {PROGRAM} --data annotations.json --images FOLDER --check
      look for faults in annotations of your own, as COCO has them; --data FOLDER for PASCAL VOC's
  {PROGRAM} --data annotations.json --images FOLDER --out runs/mine
      train on them: a fifth is kept to test on
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT}
      test a trained detector again
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT} --image photo.png
      detect in a picture
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT} --explain 3
      see on one page what it does with test picture 3, step by step, and what each loss is made of

Pictures are squares of 96 pixels; digits are {Scenes.sides[0]} to {Scenes.sides[1]} high. Yours are made to
fit, the rest is filled with gray."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Detect digits, or what your own data has: boxes.", epilog=EXAMPLES)
    add = top.add_argument_group("network", argument_default=argparse.SUPPRESS).add_argument
    add("--model", choices=list(MODELS), metavar="NAME", help=f"{', '.join(MODELS)} ({Settings.model})")
    add_options(top, _defaults, "runs/detect")
    return top


def add_options(top: Parser, default: Callable[[str], str], out: str) -> None:
    """What this task and instances have in common; default: that of a setting, in words."""
    add = top.add_argument_group("data of your own", argument_default=argparse.SUPPRESS).add_argument
    add("--data", metavar="PATH", help="a COCO json, or a PASCAL VOC folder with Annotations/ and JPEGImages/")
    add("--images", metavar="FOLDER", help="where the pictures of a COCO json are (its own folder)")
    add("--classes", nargs="+", metavar="NAME", help="the names that may occur, in this order (those in the data)")
    add("--split", type=command.real(0, above=True), metavar="X", help=f"share that is tested on ({Source.split})")
    add("--size", type=command.whole(1), metavar="N", help=f"side of the square that pictures fill ({Source.size})")
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--steps", type=command.whole(1), metavar="N", help=f"({default('steps')})")
    add("--batch", type=command.whole(1), metavar="N", help=f"pictures per step ({default('batch')})")
    lr = f"learning rate ({default('lr')}), a cosine to 0"
    add("--lr", type=command.real(0, above=True), metavar="X", help=lr)
    add("--warmup", type=command.real(0), metavar="X", help=f"share of steps in which it rises ({default('warmup')})")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random but the test scenes (0)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--out", default=out, metavar="DIR", help=f"where results go ({out})")
    command.add_device(add)
    add("--test", type=command.whole(1), default=TESTED, metavar="N", help=f"pictures to test on, at most ({TESTED})")
    add("--quiet", action="store_true", help="no progress, results only")
    add = top.add_argument_group("instead of training").add_argument
    add("--check", action="store_true", help="only look for faults in --data")
    add("--checkpoint", metavar="FILE", help="take these weights, and the settings.json beside them")
    add("--image", metavar="FILE", help="detect in this picture, with --checkpoint or after training")
    step = "write a page that steps through test picture N, with --checkpoint or after training"
    add("--explain", type=command.whole(0), metavar="N", help=step)


def _defaults(name: str) -> str:
    """The default of a setting: one for all models, or that of each."""
    of_all = {model: defaults.get(name, getattr(Settings, name)) for model, defaults in OF_MODEL.items()}
    if len(set(of_all.values())) == 1:
        return str(getattr(Settings, name))
    return ", ".join(f"{model} {value}" for model, value in of_all.items())


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    run(parser().parse_args(argv), PROGRAM, Settings, settings_of, "name its --model")
    return 0


def run(
    options: argparse.Namespace, program: str, kind: type[Settings],
    settings_of: Callable[[Mapping[str, Any], Mapping[str, Any]], Settings], advice: str,
) -> None:  # fmt: skip
    """Check, train, test or detect, as the options say. kind: of settings; advice: for weights that do not fit."""
    given = given_settings(kind, options)
    settings = settings_of(given, known_settings(kind, options, given)).completed()
    if options.check:
        check(settings, print, sys.maxsize)
        return
    device = command.device(options.device)
    image = read_image(options.image) if options.image else None  # before anything that takes long
    explained = options.explain is not None
    only_look = bool(options.checkpoint and (options.image or explained))
    if settings.data and not only_look:
        check(settings, lambda line: _say(line, options.quiet), SHOWN)
    if explained:
        explain.require(settings, options.explain)
    if options.checkpoint:
        model, out = load(settings, options.checkpoint, advice).to(device), writable(options.out)
    else:
        out = writable(options.out)
        with resumable(program, options.out):
            model = train(settings, out, resume=options.resume, device=device, quiet=options.quiet)
    if not only_look:
        report(model, settings, options.test, out, device, options.quiet)
    if options.image:
        detect_picture(model, image, options.image, out, device, settings.names, settings.points, settings.size)
    if explained:
        print(f"step by step: {explain.write(model, settings, options.explain, out, device)}")


def check(settings: Settings, show: Callable[[str], object], most: int) -> None:
    """Show what is wrong with the data of the settings. Raises ValueError if there are errors."""
    if not settings.data:
        raise UsageError("--check looks at data of your own: name it with --data")
    own.check(settings, settings.seed, settings.build, settings.faults(), show, most)


def _say(line: str, quiet: bool) -> None:
    if not quiet or line.startswith("error: "):
        print(line, file=sys.stderr)
