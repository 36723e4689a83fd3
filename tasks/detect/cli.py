"""The command line of the task: train a detector on digit scenes and report; detect in a user's picture."""

from __future__ import annotations

import argparse

from minidl.data import read_image

from .. import command
from ..command import Parser, writable
from ..run import CHECKPOINT, given_settings, known_settings, resumable
from .report import detect_picture, report
from .train import MODELS, OF_MODEL, Settings, load, settings_of, train

PROGRAM = "python -m tasks detect"
TESTED = 200  # scenes
EXAMPLES = f"""examples:
  {PROGRAM}
      train Faster R-CNN on scenes of handwritten digits, test it on digits and backgrounds it has never seen
  {PROGRAM} --model retinanet --out runs/retinanet
      a detector of one stage
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT}
      test a trained detector again
  {PROGRAM} --checkpoint runs/detect/{CHECKPOINT} --image photo.png
      detect digits in a picture

Scenes are 96x96 pixels, their digits 12 to 40 high: a picture of your own is made 96 pixels long before it is seen."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Detect digits: which there are, and their boxes.", epilog=EXAMPLES)
    add = top.add_argument_group("network", argument_default=argparse.SUPPRESS).add_argument
    add("--model", choices=list(MODELS), metavar="NAME", help=f"{', '.join(MODELS)} ({Settings.model})")
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--steps", type=command.whole(1), metavar="N", help=f"({_defaults('steps')})")
    add("--batch", type=command.whole(1), metavar="N", help=f"scenes per step ({_defaults('batch')})")
    lr = f"learning rate ({_defaults('lr')}), a cosine to 0"
    add("--lr", type=command.real(0, above=True), metavar="X", help=lr)
    add("--warmup", type=command.real(0), metavar="X", help=f"share of steps in which it rises ({Settings.warmup})")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random but the test scenes (0)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--out", default="runs/detect", metavar="DIR", help="where results go (runs/detect)")
    command.add_device(add)
    add("--test", type=command.whole(1), default=TESTED, metavar="N", help=f"scenes to test on ({TESTED})")
    add("--quiet", action="store_true", help="no progress, results only")
    add = top.add_argument_group("using a trained detector").add_argument
    add("--checkpoint", metavar="FILE", help="do not train: take these weights, and the settings.json beside them")
    add("--image", metavar="FILE", help="detect in this picture, with --checkpoint or after training")
    return top


def _defaults(name: str) -> str:
    """The default of a setting: one for all models, or that of each."""
    own = {model: defaults.get(name, getattr(Settings, name)) for model, defaults in OF_MODEL.items()}
    if len(set(own.values())) == 1:
        return str(getattr(Settings, name))
    return ", ".join(f"{model} {value}" for model, value in own.items())


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    given = given_settings(Settings, options)
    settings = settings_of(given, known_settings(Settings, options, given))
    device = command.device(options.device)
    image = read_image(options.image) if options.image else None  # before anything that takes long
    if options.checkpoint:
        model, out = load(settings, options.checkpoint).to(device), writable(options.out)
    else:
        out = writable(options.out)
        with resumable(PROGRAM, options.out):
            model = train(settings, out, resume=options.resume, device=device, quiet=options.quiet)
    if not (options.checkpoint and options.image):
        report(model, settings, options.test, out, device, options.quiet)
    if options.image:
        detect_picture(model, image, options.image, out, device)
    return 0
