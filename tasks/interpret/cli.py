"""The command line of the task: train and score on planted evidence, or explain what a network sees in a photograph."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .. import command
from ..command import Parser, UsageError, writable
from ..models import MODELS
from ..run import CHECKPOINT, given_settings, known_settings, resumable
from . import picture
from .methods import METHODS
from .report import report
from .train import Settings, load, train

PROGRAM = "python -m tasks interpret"
EXAMPLES = f"""examples:
  {PROGRAM}
      train small networks on faces and on planted evidence; draw and score every method; a minute or two on 2 cores
  {PROGRAM} --seeds 5 --out runs/interpret-5
      the scores of five networks: mean and standard deviation
  {PROGRAM} --weights vgg16-397923af.pth --model vgg16 --classes imagenet_class_index.json --image cat.jpg
      which pixels of a photograph speak for its likeliest class: all methods side by side
  {PROGRAM} --weights vgg16-397923af.pth --model vgg16 --image cat.jpg --class 281 --method grad_cam --layer features.29
      one method, class and layer
  {PROGRAM} --weights vgg16-397923af.pth --model vgg16 --filters --image cat.jpg --features features.4
      the filters of the first layer as colours, and what the maps of a layer answer to a photograph
  {PROGRAM} --weights runs/classify/{CHECKPOINT} --image digit.png
      a network that tasks classify has trained

methods: {", ".join(METHODS)}.
models: {", ".join(MODELS)}."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Which pixels decide? Asked of networks, and scored.", epilog=EXAMPLES)
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--steps", type=command.whole(1), metavar="N", help=f"({Settings.steps})")
    add("--batch", type=command.whole(4), metavar="N", help=f"pictures per step and network ({Settings.batch})")
    add("--lr", type=command.real(0, above=True), metavar="X", help=f"learning rate ({Settings.lr}), a cosine to 0")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random (0)")
    add("--seeds", type=command.whole(1), metavar="N", help="train and score N networks on planted evidence (1)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--checkpoint", metavar="FILE", help="do not train: take these networks, and the settings.json beside them")
    add("--out", default="runs/interpret", metavar="DIR", help="where results go (runs/interpret)")
    command.add_device(add)
    add("--quiet", action="store_true", help="no progress, results only")
    add = top.add_argument_group("another network and picture").add_argument
    add("--weights", metavar="FILE", help="weights as torchvision has them, or a checkpoint of tasks classify")
    add("--model", choices=list(MODELS), metavar="NAME", help="the network that --weights are of: see below")
    add("--image", metavar="FILE", help="the picture")
    add("--class", type=command.whole(0), metavar="N", help="the class to explain (the likeliest)")
    add("--classes", metavar="FILE", help="names of the classes: one per line, or imagenet_class_index.json")
    add("--method", choices=[*METHODS, "all"], metavar="NAME", help="one of those below (all)")
    add("--layer", metavar="NAME", help="of grad_cam and guided_grad_cam (the last with maps, such as features.29)")
    add("--patch", type=command.whole(1), metavar="N", help="side of what occlusion covers (a seventh of the side)")
    add("--stride", type=command.whole(1), metavar="N", help="pixels from one such square to the next (half of it)")
    add("--filters", action="store_true", help="draw the filters of the first layer")
    add("--features", metavar="LAYER", help="draw the maps of this layer for --image")
    return top


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    with warnings_as_lines():
        if options.weights:
            explain_given(options)
        else:
            train_and_score(options)
    return 0


def explain_given(options: argparse.Namespace) -> None:
    """Explain the picture with the network of --weights."""
    idle = given_settings(Settings, options)
    options.seed = idle.pop("seed", 0)
    if idle:
        raise UsageError(f"--weights takes the network as it is: leave out {', '.join(f'--{name}' for name in idle)}")
    picture.explain_picture(options)


def train_and_score(options: argparse.Namespace) -> None:
    """Train the small networks, or take those of a run, and report."""
    names = ("model", "image", "class", "classes", "method", "layer", "patch", "stride", "features")
    asked = [name for name in names if vars(options)[name] is not None] + ["filters"] * options.filters
    if asked:
        raise UsageError(f"--{asked[0]} is about another network: name its --weights")
    given = given_settings(Settings, options)
    settings = Settings(**{**known_settings(Settings, options, given), **given})
    device, out = command.device(options.device), writable(options.out)
    if options.checkpoint:
        networks = load(settings, options.checkpoint).to(device)
    else:
        with resumable(PROGRAM, options.out):
            networks = train(settings, out, resume=options.resume, device=device, quiet=options.quiet)
    report(networks, settings, out, device=device, quiet=options.quiet)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Inside the block a warning is one line on stderr, without the place in the code."""

    def line(message: Warning | str, *place: object) -> None:
        print(f"minidl: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = line
        yield
