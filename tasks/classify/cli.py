"""The command line of the task: train and report, classify photographs with real weights, the chart of networks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import minidl as md
from minidl import nn
from minidl.nn.summary import Summary

from .. import command
from ..command import Parser, UsageError, progress, writable
from ..models import MODELS, pretrained
from ..run import CHECKPOINT, given_settings, known_settings, resumable
from . import chart
from .data import Dataset, pictures, read
from .evaluate import predict
from .report import report
from .train import CLASSES, Settings, load, settings_of, train

PROGRAM = "python -m tasks classify"
CHART = "runs/classify/networks.png"
TOGETHER = 8  # photographs that go through the network at once
EXAMPLES = f"""examples:
  {PROGRAM}
      train a small residual network on scikit-learn's handwritten digits; about a minute on 2 cores
  {PROGRAM} --data photographs --size 64 --mirror --out runs/mine
      train on your own: a folder for each class, the pictures in it
  {PROGRAM} --checkpoint runs/mine/{CHECKPOINT} --image holiday.jpg
      classify a photograph with what was trained
  {PROGRAM} --model resnet50 --weights resnet50-0676ba61.pth --classes imagenet_class_index.json --image cat.jpg
      classify a photograph with the weights of torchvision
  {PROGRAM} --chart
      accuracy, operations and parameters of the well-known networks

models: {", ".join(MODELS)}.
The small ones take pictures from 8x8 on, the others are made for 224x224."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Classify images with convolutional networks.", epilog=EXAMPLES)
    add = top.add_argument_group("network", argument_default=argparse.SUPPRESS).add_argument
    add("--model", choices=list(MODELS), metavar="NAME", help=f"one of those below ({Settings.model})")
    add("--depth", type=command.whole(1), metavar="N", help="layers of a small residual or dense net")
    add("--width", type=command.whole(1), metavar="N", help="maps that a small net begins with; a dense net's growth")
    add = top.add_argument_group("data", argument_default=argparse.SUPPRESS).add_argument
    add("--data", metavar="FOLDER", help="a folder per class, or the files of MNIST or CIFAR-10; not the digits")
    add("--size", type=command.whole(4), metavar="N", help="side of the pictures (the data's own; of a folder 64)")
    add("--shift", type=command.whole(0), metavar="N", help="move pictures by up to N pixels (an eighth of the side)")
    add("--mirror", action="store_true", help="mirror every other picture: not for digits and letters")
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--steps", type=command.whole(1), metavar="N", help=f"({Settings.steps})")
    add("--batch", type=command.whole(1), metavar="N", help=f"pictures per step ({Settings.batch})")
    add("--lr", type=command.real(0, above=True), metavar="X", help="learning rate (0.1; without batch norm 0.01)")
    add("--warmup", type=command.real(0), metavar="X", help=f"share of steps in which it rises ({Settings.warmup})")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random but the test images (0)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--out", default="runs/classify", metavar="DIR", help="where results go (runs/classify)")
    command.add_device(add)
    add("--quiet", action="store_true", help="no progress, results only")
    add = top.add_argument_group("using a trained network").add_argument
    add("--checkpoint", metavar="FILE", help="do not train: take these weights, and the settings.json beside them")
    add("--weights", metavar="FILE", help="weights of --model as torchvision has them, .pth or .safetensors")
    add("--image", nargs="+", default=[], metavar="FILE", help="classify these images")
    add("--classes", metavar="FILE", help="names of the classes: one per line, or imagenet_class_index.json")
    add = top.add_argument_group("about networks").add_argument
    add("--summary", action="store_true", help="layers, shapes, parameters, MACs and memory of --model; nothing else")
    add("--chart", nargs="?", const=CHART, metavar="FILE", help=f"accuracy against operations, drawn to FILE ({CHART})")
    return top


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    if options.chart is not None:
        draw_chart(options.chart, options.quiet)
    elif options.summary:
        print(summary(settings_of_run(options), options.quiet))
    elif options.weights:
        classify_photographs(options)
    elif options.checkpoint and options.image:
        classify_pictures(settings_of_run(options), options)
    else:
        train_and_report(settings_of_run(options), options)
    return 0


def settings_of_run(options: argparse.Namespace) -> Settings:
    """The settings that the command line, the run that is gone on with, and the defaults make together."""
    given = given_settings(Settings, options)
    if options.classes and not options.image:
        raise UsageError("--classes names the classes of what --image shows; name an image")
    return settings_of(given, known_settings(Settings, options, given))


def train_and_report(settings: Settings, options: argparse.Namespace) -> None:
    """Train, or take a checkpoint; report on the test part; classify --image."""
    device, out = command.device(options.device), writable(options.out)
    model = load(settings, options.checkpoint).to(device) if options.checkpoint else None
    dataset = read(settings.data, settings.size, options.quiet)
    settings = replace(settings, size=dataset.side)
    images = own_pictures(options, dataset.channels, settings.size, settings.size)
    names = pretrained.class_names(options.classes, len(dataset.classes)) if options.classes else dataset.classes
    if model is None:
        with resumable(PROGRAM, options.out):
            model = train(settings, dataset, out, resume=options.resume, device=device, quiet=options.quiet)
    else:
        check_fit(model, dataset, options.checkpoint)
    report(model, settings, dataset, out, device, options.quiet)
    print_rankings(model, images, names, device, options)


def check_fit(model: nn.Module, dataset: Dataset, checkpoint: str) -> None:
    """Raise ValueError if the network has not the classes and the channels of the data."""
    shapes = pretrained.dimensions(model, pretrained.model_shapes(model))
    wanted = {"num_classes": len(dataset.classes), "in_channels": dataset.channels}
    if shapes != wanted:
        said = [f"{d['num_classes']} classes and {d['in_channels']} channels" for d in (shapes, wanted)]
        raise ValueError(f"{checkpoint} is for {said[0]}, {dataset.name} has {said[1]}; name its --data")


def classify_pictures(settings: Settings, options: argparse.Namespace) -> None:
    """Classify --image with a network that was trained here."""
    if settings.size is None:
        raise UsageError("--size is needed: the side of the pictures that the network was trained on")
    device = command.device(options.device)
    model = load(settings, options.checkpoint)
    shapes = pretrained.dimensions(model, pretrained.model_shapes(model))
    beside = Path(options.checkpoint).with_name(CLASSES)
    file = options.classes or (beside if beside.exists() else None)
    names = pretrained.class_names(file, shapes["num_classes"]) if file else None
    images = own_pictures(options, shapes["in_channels"], settings.size, settings.size)
    print_rankings(model.to(device), images, names, device, options)


def classify_photographs(options: argparse.Namespace) -> None:
    """Classify --image with the weights of torchvision, prepared as they need it."""
    given = given_settings(Settings, options)
    if "model" not in given or not options.image:
        raise UsageError("--weights needs --model NAME, the network that they are of, and --image, what to classify")
    if idle := [f"--{name}" for name in given if name != "model"]:
        raise UsageError(f"--weights takes the network as it is: leave out {', '.join(idle)}")
    if options.checkpoint or options.resume:
        raise UsageError("--weights are of another's network, --checkpoint and --resume of one trained here: give one")
    device = command.device(options.device)
    images = own_pictures(options, 3, pretrained.SHORT, pretrained.SIDE)
    with progress(f"reading {options.weights}", 1, options.quiet):
        model = pretrained.load(given["model"], options.weights)
    count = pretrained.dimensions(model, pretrained.model_shapes(model))["num_classes"]
    names = pretrained.class_names(options.classes, count) if options.classes else None
    print_rankings(model.to(device), images, names, device, options)


def own_pictures(options: argparse.Namespace, channels: int, short: int, side: int) -> np.ndarray | None:
    """What --image names, prepared for a network; None if it names nothing."""
    return pictures(options.image, channels, short, side) if options.image else None


def print_rankings(
    model: nn.Module, images: np.ndarray | None, names: list[str] | None, device: str, options: argparse.Namespace
) -> None:
    """Print the likeliest classes of each image."""
    if images is None:
        return
    with progress("classifying", -(-len(images) // TOGETHER), options.quiet) as show:
        probabilities = predict(model, images, TOGETHER, device=device, show=show)
    for file, row in zip(options.image, probabilities):
        print(pretrained.ranking(file, row, names))


def summary(settings: Settings, quiet: bool) -> Summary:
    """Of the network on its data; of a large one without --data on ImageNet's 224x224 and 1000 classes."""
    if settings.data is None and settings.size is None and not settings.model.endswith("_small"):
        classes, channels, side = 1000, 3, pretrained.SIDE
    else:
        dataset = read(settings.data, settings.size, quiet)
        classes, channels, side = len(dataset.classes), dataset.channels, dataset.side
    with nn.init.undrawn():
        model = settings.build(classes, channels)
    return md.summary(model, (1, channels, side, side))


def draw_chart(path: str, quiet: bool) -> None:
    """Count all networks, print the table, draw the chart."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with progress("counting the networks", len(chart.PUBLISHED), quiet) as show:
        rows = chart.entries(show)
    print(chart.table(rows))
    chart.draw(path, rows)
    print(f"drawn: {path}")
