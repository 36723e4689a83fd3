"""The command line of the task: train, compare, and denoise a user's own image."""

from __future__ import annotations

import argparse
from pathlib import Path

from minidl.data import image_files

from .. import command
from ..command import Parser, UsageError, progress, writable
from ..run import CHECKPOINT, given_settings, known_settings, resumable
from .data import TEST, TRAIN, photographs, read_files
from .model import TARGETS, Denoiser
from .picture import Picture
from .report import compare, restore
from .train import BLIND, MODELS, Settings, load, settings_of, train

PROGRAM = "python -m tasks denoise"
EXAMPLES = f"""examples:
  {PROGRAM}
      train the lecture's network and compare it with classical filters; under 3 minutes on 2 cores
  {PROGRAM} --model dncnn --blind --out runs/blind
      train DnCNN for any noise level
  {PROGRAM} --checkpoint runs/blind/{CHECKPOINT} --image holiday.jpg
      denoise a photograph with what was trained

photographs: trained on {", ".join(TRAIN)}; tested on {", ".join(TEST)}.
They come with scikit-image and scikit-learn (china by danielbuechele, flower by vultilion: CC BY 2.0)."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Remove Gaussian noise from photographs.", epilog=EXAMPLES)
    add = top.add_argument_group("network", argument_default=argparse.SUPPRESS).add_argument
    add("--model", choices=list(MODELS), help="four layers as in the lecture (default), or DnCNN")
    add("--target", choices=TARGETS, help="what the network puts out: the noise (default), or the clean image")
    add("--width", type=command.whole(1), metavar="N", help="feature maps per layer (64)")
    add("--depth", type=command.whole(2), metavar="N", help="convolutions of DnCNN (17)")
    add = top.add_argument_group("noise", argument_default=argparse.SUPPRESS).add_argument
    add("--sigma", type=command.real(0, above=True), metavar="S", help="standard deviation on the 0..255 scale (25)")
    blind = f"train for every sigma from {BLIND[0]:g} to {BLIND[1]:g}; test at --sigma"
    add("--blind", action="store_true", default=argparse.SUPPRESS, help=blind)
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--data", metavar="FOLDER", help="train on the images in this folder, not on the bundled photographs")
    add("--steps", type=command.whole(1), metavar="N", help=_defaults("steps"))
    add("--batch", type=command.whole(1), metavar="N", help="patches per step (8)")
    add("--patch", type=command.whole(1), metavar="N", help="side of a patch (40)")
    add("--lr", type=command.real(0, above=True), metavar="X", help=f"learning rate ({_defaults('lr')}), a cosine to 0")
    add("--warmup", type=command.real(0), metavar="X", help=f"share of steps in which it rises ({_defaults('warmup')})")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random (0)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--out", default="runs/denoise", metavar="DIR", help="where results go (runs/denoise)")
    command.add_device(add)
    add("--quiet", action="store_true", help="no progress, results only")
    add = top.add_argument_group("using a trained network").add_argument
    add("--checkpoint", metavar="FILE", help="do not train: take these weights, and the settings.json beside them")
    add("--image", metavar="FILE", help="denoise this image; gray or colour, any size, 8 or 16 bits, alpha is kept")
    add("--add-noise", action="store_true", help="the image is clean: add noise of --sigma first, and score the result")
    return top


def _defaults(name: str) -> str:
    values = {model: getattr(settings_of({"model": model}, {}), name) for model in MODELS}
    return ", ".join(f"{model} {value}" for model, value in values.items())


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    settings = choose_settings(options)
    device = command.device(options.device)
    picture = Picture.read(options.image) if options.image else None
    out = writable(options.out)
    model = load(settings, options.checkpoint).to(device) if options.checkpoint else None
    if model is None or picture is None:
        images, test = read_photographs(settings, options.quiet), photographs(TEST)
        model = model or run_training(settings, images, test, out, device, options)
        compare(model, settings, images, test, out, device, options.quiet)
    if picture is not None:
        noise = settings.sigma if options.add_noise else None
        restore(model, settings, picture, Path(options.image).stem, out, device, noise, options.quiet)
    return 0


def choose_settings(options: argparse.Namespace) -> Settings:
    """The settings that the command line, the run that is gone on with, and the defaults make together."""
    given = given_settings(Settings, options)
    if options.add_noise and not options.image:
        raise UsageError("--add-noise is for the image that --image names")
    settings = settings_of(given, known_settings(Settings, options, given))
    if "depth" in given and settings.model != "dncnn":
        raise UsageError("--depth is for --model dncnn: the lecture's network has four layers")
    return settings


def read_photographs(settings: Settings, quiet: bool) -> dict:
    """What the run trains on, by name."""
    if settings.data is None:
        return photographs(TRAIN)
    files = image_files(settings.data)
    with progress(f"reading {len(files)} photographs", len(files), quiet) as show:
        return read_files(files, show)


def run_training(
    settings: Settings, images: dict, test: dict, out: Path, device: str, options: argparse.Namespace
) -> Denoiser:
    """Train; if Ctrl-C stops it, say how to go on."""
    with resumable(PROGRAM, options.out):
        return train(settings, images, test, out, resume=options.resume, device=device, quiet=options.quiet)
