"""The command line of the task: train and score on planted evidence, or explain what a network sees in a photograph."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .. import command
from ..command import Parser, UsageError, whole
from ..frame import Task
from ..models import MODELS, pretrained
from ..options import given
from ..run import CHECKPOINT, Job
from . import picture, unknown
from .methods import METHODS
from .model import Networks
from .report import report
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} interpret"
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
  {PROGRAM} --onnx network.onnx --image cat.jpg --mean 0.5 --std 0.5
      a network of unknown origin; of one that reads text the letters light up

methods: {", ".join(METHODS)}.
models: {", ".join(MODELS)}."""
ABOUT_PICTURES = ("model", "image", "class", "classes", "method", "layer", "patch", "stride", "filters", "features")


class Interpret(Task):
    """Train small networks and score every method on them; or explain a picture with the network of --weights."""

    name = "interpret"
    title = "Which pixels decide? Asked of networks, and scored."
    examples = EXAMPLES
    settings = Settings
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("another network and picture").add_argument
        add("--weights", metavar="FILE", help="weights as torchvision has them, or a checkpoint of tasks classify")
        pretrained.add_options(add)
        add("--model", choices=list(MODELS), metavar="NAME", help="the network that --weights are of: see below")
        add("--image", metavar="FILE", help="the picture")
        add("--class", type=whole(0), metavar="N", help="the class to explain (the likeliest)")
        add("--classes", metavar="FILE", help="names of the classes: one per line, or imagenet_class_index.json")
        add("--method", choices=[*METHODS, "all"], metavar="NAME", help="one of those below (all)")
        add("--layer", metavar="NAME", help="of grad_cam and guided_grad_cam (the last with maps, such as features.29)")
        add("--patch", type=whole(1), metavar="N", help="side of what occlusion covers (a seventh of the side)")
        add("--stride", type=whole(1), metavar="N", help="pixels from one such square to the next (half of it)")
        add("--filters", action="store_true", help="draw the filters of the first layer")
        add("--features", metavar="LAYER", help="draw the maps of this layer for --image")
        unknown.add_options(top)

    def main(self, argv: list[str]) -> int:
        with warnings_as_lines():
            return super().main(argv)

    def instead(self, options: argparse.Namespace) -> bool:
        stated = given(Settings, options)
        if options.weights and options.onnx:
            raise UsageError("--weights and --onnx are of one network each: give one of them")
        others = ("model", "filters", "weights_key", "strip") if options.onnx else unknown.ABOUT
        if wrong := [name for name in others if vars(options)[name] not in (None, False)]:
            raise UsageError(f"--{wrong[0].replace('_', '-')} is for {'--weights' if options.onnx else '--onnx FILE'}")
        if options.weights or options.onnx:
            options.seed = stated.pop("seed", 0)
            if idle := [f"--{name}" for name in stated]:
                kind = "--onnx" if options.onnx else "--weights"
                raise UsageError(f"{kind} takes the network as it is: leave out {', '.join(idle)}")
            (unknown.explain_unknown if options.onnx else picture.explain_picture)(options)
        elif asked := [name for name in ABOUT_PICTURES if vars(options)[name] not in (None, False)]:
            raise UsageError(f"--{asked[0].replace('_', '-')} is about another network: name its --weights or --onnx")
        return options.weights is not None or options.onnx is not None

    def train(self, job: Job, data: None) -> Networks:
        return train(job)

    def report(self, model: Networks, data: None, job: Job, options: argparse.Namespace) -> None:
        report(model, job)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Inside the block a warning is one line on stderr, without the place in the code."""

    def line(message: Warning | str, *place: object) -> None:
        print(f"minidl: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = line
        yield


main = Interpret().main
