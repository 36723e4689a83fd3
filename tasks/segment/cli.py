"""The command line of the task: check, train, compare, and segment a user's own picture."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from minidl import data, nn

from .. import command
from ..command import Parser, UsageError, progress, writable
from ..frame import Task
from ..models import pretrained
from ..run import CHECKPOINT, Job
from . import figure, folder, others
from .data import MaskDataset, bundled
from .report import OURS, PLAIN, class_names, leave_picture, report, segment_picture
from .train import Settings, load, train

PROGRAM = f"{command.PROGRAM} segment"
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
  {PROGRAM} --weights deeplabv3_resnet50_coco-cd0a2569.pth --image street.jpg
      segment a picture with a network that others trained: {", ".join(others.NETWORKS)}

The coins come with scikit-image; each one's outline was fitted by eye as a circle: --draw-truth shows them.
Masks hold class numbers 0, 1, 2, ..., or 0 and one other value (255); with more classes 255 means unknown. Or they
number objects, as those of StarDist and Cellpose: these are counted. Besides images/ and masks/, the layouts of
Cellpose and nnU-Net are known, and .npz; pictures may be TIFF stacks, .npy, .nii, .nii.gz."""


EXPORTED = 256  # pixels, the side of what --save-onnx is for


class Segment(Task):
    """Segment pictures: check, train, compare with classical methods, segment --image."""

    name = "segment"
    title = "Segment images with a U-Net."
    examples = EXAMPLES
    settings = Settings
    others = ("draw_truth", "check", "weights")

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("looking at pictures").add_argument
        turns = "see pictures turned and mirrored in 8 ways, not once (not for borders of cells, which it blurs)"
        add("--average", action=argparse.BooleanOptionalAction, help=turns)
        add("--image", metavar="FILE", help="segment this picture, with --checkpoint or after training")
        add("--weights", metavar="FILE", help="segment --image with these weights of others: see below")
        pretrained.add_options(add)
        add = top.add_argument_group("instead of training").add_argument
        add("--check", action="store_true", help="only look for faults in --data")
        add("--draw-truth", metavar="FILE", help="draw the circles over the coins; nothing else")

    def instead(self, options: argparse.Namespace) -> bool:
        if options.draw_truth:
            Path(options.draw_truth).parent.mkdir(parents=True, exist_ok=True)
            figure.truth(options.draw_truth)
            print(f"drawn: {options.draw_truth}")
        elif options.check:
            check(self.chosen(options), options.quiet)
        elif options.weights:
            segment_with_others(options, self.asked(options, None))
        return bool(options.draw_truth or options.check or options.weights)

    def asked(self, options: argparse.Namespace, settings: Settings) -> str | None:
        if options.image and not Path(options.image).is_file():
            raise FileNotFoundError(2, "no such file", options.image)
        return options.image

    def load(self, settings: Settings, checkpoint: str) -> nn.ModuleDict:
        return nn.ModuleDict({OURS: load(settings, checkpoint)})

    def read(self, settings: Settings, options: argparse.Namespace, model: nn.ModuleDict | None) -> MaskDataset:
        """What the settings name. Raises ValueError if the model has not the channels and the classes of it."""
        dataset = bundled(settings.dataset, settings.seed) if settings.data is None else folder.read(
            examined(settings, options.quiet), options.quiet
        )
        needs = (dataset.channels, len(dataset.classes))
        if model is not None and (has := (model[OURS].in_channels, model[OURS].num_classes)) != needs:
            sizes = ["{} channels and {} classes".format(*pair) for pair in (has, needs)]
            raise ValueError(f"the checkpoint is for {sizes[0]}, {dataset.name} has {sizes[1]}; name its --data")
        return dataset

    def train(self, job: Job, data: MaskDataset) -> nn.ModuleDict:
        """The network of the settings; where borders weigh, also one without that, from the same initial weights."""
        models = {OURS: train(job, data)}
        if job.settings.border and job.settings.data is None:
            out = writable(str(job.out / PLAIN_RUN))
            again = job.resume and (out / CHECKPOINT).exists()
            plain = replace(job, settings=replace(job.settings, border=0.0), out=out, resume=again)
            models = {PLAIN: train(plain, data), **models}
        return nn.ModuleDict(models)

    def report(self, model: nn.ModuleDict, data: MaskDataset, job: Job, options: argparse.Namespace) -> None:
        report(model, job, data, average=averaged(job.settings, options))

    def use(self, model: nn.ModuleDict, asked: str, job: Job, options: argparse.Namespace) -> None:
        names = class_names(options.checkpoint or job.out / CHECKPOINT, model[OURS].num_classes)
        segment_picture(model[OURS], job, asked, names, average=averaged(job.settings, options))

    def exported(self, model: nn.ModuleDict, settings: Settings) -> tuple[nn.Module, tuple[int, ...]]:
        return model[OURS], (1, model[OURS].in_channels, EXPORTED, EXPORTED)


def segment_with_others(options: argparse.Namespace, file: str | None) -> None:
    """Segment --image with the network that --weights belong to."""
    if file is None or options.checkpoint or options.resume:
        raise UsageError("--weights is for --image FILE, and goes without --checkpoint and --resume")
    device, out = command.device(options.device), writable(options.out)
    with progress(f"reading {options.weights}", 1, options.quiet):
        name, model = others.load(options.weights, options.weights_key, options.strip)
    gray = next(model.parameters()).shape[1] == 1
    image = data.read_image(file, gray=gray, bits=data.bit_depth([file]))
    probability = others.probabilities(name, model.to(device), image, device)
    print(f"{options.weights}: the weights of {name}")
    leave_picture(out, file, image, probability, others.names(len(probability)))


def averaged(settings: Settings, options: argparse.Namespace) -> bool:
    """Whether pictures are seen in eight ways: unless borders weigh, or the options say otherwise."""
    return settings.border is None if options.average is None else options.average


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
    names = ("patch", "seed", "ignore", "bits", "skip_bad", "as_stored", "masks")
    return folder.checked(settings.data, quiet=quiet, **{name: getattr(settings, name) for name in names})


main = Segment().main
