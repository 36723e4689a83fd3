"""The command line of the task: train and report, classify photographs with real weights, the chart of networks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

import minidl as md
from minidl import nn
from minidl.data import read_image
from minidl.nn.summary import Summary

from .. import command
from ..command import Parser, UsageError, progress
from ..frame import Task, beside
from ..models import MODELS, SMALL, pretrained
from ..options import given
from ..run import CHECKPOINT, CLASSES, Job
from . import chart
from .data import Dataset, pictures, read, square
from .evaluate import predict
from .report import report
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} classify"
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
{", ".join(SMALL)} take pictures from 8x8 on; the others are made for 224x224."""


Data = tuple[Dataset, np.ndarray | None, list[str]]  # what is learnt, --image prepared for it, names of its classes


class Classify(Task):
    """Classify pictures: train, report, rank the classes of --image; with others' weights, too."""

    name = "classify"
    title = "Classify images with convolutional networks."
    examples = EXAMPLES
    settings = Settings
    others = ("chart", "summary", "weights")
    quick: ClassVar = {"depth": 8, "width": 4, "steps": 30, "batch": 8}
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("using a trained network").add_argument
        add("--weights", metavar="FILE", help="weights of --model as torchvision has them, .pth or .safetensors")
        pretrained.add_options(add)
        add("--image", nargs="+", metavar="FILE", help="classify these images")
        add("--classes", metavar="FILE", help="names of the classes: one per line, or imagenet_class_index.json")
        add = top.add_argument_group("about networks").add_argument
        add("--summary", action="store_true", help="layers, shapes, parameters, MACs and memory of --model; no more")
        drawn = f"accuracy against operations, drawn to FILE ({CHART})"
        add("--chart", nargs="?", const=CHART, metavar="FILE", help=drawn)

    def instead(self, options: argparse.Namespace) -> bool:
        if options.chart is not None:
            draw_chart(options.chart, options.quiet)
        elif options.summary:
            print(summary(self.chosen(options), options.quiet))
        elif options.weights:
            classify_photographs(options)
        elif options.weights_key or options.strip:
            raise UsageError("--weights-key and --strip say how to read --weights FILE; name it")
        elif options.checkpoint and options.image:
            classify_pictures(self.chosen(options), options)
        else:
            return False
        return True

    def chosen(self, options: argparse.Namespace) -> Settings:
        if options.classes and not options.image:
            raise UsageError("--classes names the classes of what --image shows; name an image")
        return super().chosen(options)

    def read(self, settings: Settings, options: argparse.Namespace, model: nn.Module | None) -> Data:
        dataset = read_data(settings, options.quiet)
        count, sides = len(dataset.classes), (dataset.side, dataset.side)
        images = pictures(options.image, dataset.channels, *sides, settings.bits) if options.image else None
        names = pretrained.class_names(options.classes, count) if options.classes else dataset.classes
        wanted = {"num_classes": count, "in_channels": dataset.channels}
        if model is not None and (found := pretrained.dimensions_of(model)) != wanted:
            sizes = [f"{d['num_classes']} classes and {d['in_channels']} channels" for d in (found, wanted)]
            raise ValueError(f"{options.checkpoint} is for {sizes[0]}, {dataset.name} has {sizes[1]}; name its --data")
        return dataset, images, names

    def train(self, job: Job, data: Data) -> nn.Module:
        return train(job, data[0])

    def report(self, model: nn.Module, data: Data, job: Job, options: argparse.Namespace) -> None:
        dataset, images, names = data
        report(model, dataset, job)
        if images is not None:
            print_rankings(model, images, names, options)

    def exported(self, model: nn.Module, settings: Settings) -> tuple[nn.Module, tuple[int, ...]]:
        side = settings.size or read_data(settings, True).side
        return model, (1, pretrained.dimensions_of(model)["in_channels"], side, side)


def read_data(settings: Settings, quiet: bool) -> Dataset:
    """What the settings name."""
    return read(settings.data, settings.size, quiet, bits=settings.bits, skip_bad=settings.skip_bad)


def classify_pictures(settings: Settings, options: argparse.Namespace) -> None:
    """Classify --image with a network that was trained here."""
    if settings.size is None:
        raise UsageError("--size is needed: the side of the pictures that the network was trained on")
    model = load(settings, options.checkpoint)
    shapes = pretrained.dimensions_of(model)
    file = options.classes or beside(options.checkpoint, CLASSES)
    names = pretrained.class_names(file, shapes["num_classes"]) if file else None
    images = pictures(options.image, shapes["in_channels"], settings.size, settings.size, settings.bits)
    print_rankings(model, images, names, options)


def classify_photographs(options: argparse.Namespace) -> None:
    """Classify --image with the weights of torchvision, prepared as they need it."""
    stated = given(Settings, options)
    if "model" not in stated or not options.image:
        raise UsageError("--weights needs --model NAME, the network that they are of, and --image, what to classify")
    if idle := [f"--{name.replace('_', '-')}" for name in stated if name not in ("model", "bits")]:
        raise UsageError(f"--weights takes the network as it is: leave out {', '.join(idle)}")
    if options.checkpoint or options.resume:
        raise UsageError("--weights are of another's network, --checkpoint and --resume of one trained here: give one")
    opened = [read_image(file, bits=stated.get("bits")) for file in options.image]
    with progress(f"reading {options.weights}", 1, options.quiet):
        model = pretrained.load(stated["model"], options.weights, options.weights_key, options.strip)
    how = pretrained.preparation(stated["model"], model)
    images = np.stack([square(image, **how) for image in opened])
    count = pretrained.dimensions_of(model)["num_classes"]
    names = pretrained.class_names(options.classes, count) if options.classes else None
    print_rankings(model, images, names, options)


def print_rankings(model: nn.Module, images: np.ndarray, names: list[str] | None, options: argparse.Namespace) -> None:
    """Print the likeliest classes of each image."""
    device = command.device(options.device)
    with progress("classifying", -(-len(images) // TOGETHER), options.quiet) as show:
        probabilities = predict(model.to(device), images, TOGETHER, device=device, show=show)
    for file, row in zip(options.image, probabilities):
        print(pretrained.ranking(file, row, names))


def summary(settings: Settings, quiet: bool) -> Summary:
    """Of the network on its data; of a large one without --data on ImageNet's 224x224 and 1000 classes."""
    if settings.data is None and settings.size is None and settings.model not in SMALL:
        classes, channels, side = 1000, 3, pretrained.preparation(settings.model)["side"]
    else:
        dataset = read_data(settings, quiet)
        classes, channels, side = len(dataset.classes), dataset.channels, dataset.side
    with nn.init.undrawn():
        model = replace(settings, size=side).build(classes, channels)
    return md.summary(model, (1, channels, side, side))


def draw_chart(path: str, quiet: bool) -> None:
    """Count all networks, print the table, draw the chart."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with progress("counting the networks", len(chart.PUBLISHED), quiet) as show:
        rows = chart.entries(show)
    print(chart.table(rows))
    chart.draw(path, rows)
    print(f"drawn: {path}")


main = Classify().main
