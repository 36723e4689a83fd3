"""The command line of the task: train the rows of the lecture's table, compare them; measure memory."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .. import command, run
from ..command import Parser, UsageError, progress, writable
from . import memory
from .data import TEST, TRAIN, generated, read_volumes, split, volume_files
from .report import report, together
from .speckle import Volume
from .train import Settings, train_rows

PROGRAM = "python -m tasks volume"
EXAMPLES = f"""examples:
  {PROGRAM}
      train everything on generated volumes and print the lecture's table; some minutes on 2 cores
  {PROGRAM} --seeds 3 --out runs/three
      the same three times, with other volumes and other weights
  {PROGRAM} --data FOLDER --out runs/mine
      on your own volumes: FOLDER/images/NAME.npy with FOLDER/masks/NAME.npy, or FOLDER/NAME.npz with "image" and
      "mask"; (D, H, W) numbers, and 0, 1 (small organ) or 2 (large organ); a fifth of them is kept for the test
  {PROGRAM} --memory --size 64 --factor 4
      the memory that one step of training takes"""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
    top = Parser(prog=PROGRAM, description="Segment two organs in noisy volumes, coarse to fine.", epilog=EXAMPLES)
    add = top.add_argument_group("volumes", argument_default=argparse.SUPPRESS).add_argument
    add("--data", metavar="FOLDER", help="your own volumes, not generated ones")
    add("--volumes", type=command.whole(1), metavar="N", help=f"generated to train on ({Settings.volumes})")
    add("--test", type=command.whole(1), metavar="N", help=f"generated to test on ({Settings.test})")
    add("--size", type=command.whole(16), metavar="N", help=f"side of a generated volume ({Settings.size})")
    add = top.add_argument_group("network", argument_default=argparse.SUPPRESS).add_argument
    factor = f"how much coarser the first stage sees ({Settings.factor})"
    add("--factor", type=command.whole(1), metavar="N", help=factor)
    width = f"channels that a V-Net of the second stage begins with, half those of the first ({Settings.width})"
    add("--width", type=command.whole(1), metavar="N", help=width)
    add = top.add_argument_group("training", argument_default=argparse.SUPPRESS).add_argument
    add("--first-steps", type=command.whole(1), metavar="N", help=f"of the first stage alone ({Settings.first_steps})")
    add("--steps", type=command.whole(1), metavar="N", help=f"of each training after it ({Settings.steps})")
    add("--batch", type=command.whole(1), metavar="N", help=f"volumes per step ({Settings.batch})")
    add("--lr", type=command.real(0, above=True), metavar="X", help=f"learning rate ({Settings.lr}), a cosine to 0")
    add("--seed", type=command.whole(0), metavar="N", help="decides all that is random (0)")
    add("--seeds", type=command.whole(1), metavar="N", help="do it all for N seeds, --seed and those after it (1)")
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    add("--out", default="runs/volume", metavar="DIR", help="where results go (runs/volume)")
    command.add_device(add)
    add("--quiet", action="store_true", help="no progress, results only")
    add("--memory", action="store_true", help="print what one step of training takes at --size; nothing else")
    return top


def choose_settings(options: argparse.Namespace) -> Settings:
    """The settings that the command line, the run that is gone on with, and the defaults make together."""
    given = run.given_settings(Settings, options)
    known = known_settings(options.out, given) if options.resume else {}
    settings = Settings(**{**known, **given})
    if settings.data is not None and (idle := [f"--{name}" for name in ("volumes", "test", "size") if name in given]):
        raise UsageError(f"--data brings its own volumes: leave out {', '.join(idle)}")
    multiple = settings.build().multiple
    if settings.data is None and settings.size % multiple:
        low = max(settings.size // multiple, 1) * multiple
        said = f"--size {settings.size} does not divide by {multiple}, which --factor {settings.factor} asks for"
        raise UsageError(f"{said}; use {low} or {low + multiple}")
    return settings


def known_settings(out: str, given: dict) -> dict:
    """The settings of the run in `out`. Raises UsageError if there is none, or if what is given contradicts it."""
    known = run.saved_settings(Settings, Path(out, run.SETTINGS))
    if not known:
        raise UsageError(f"there is no run in {out}; leave --resume out, or name the --out of the run")
    if wrong := [f"{name} is {known[name]}, not {value}" for name, value in given.items() if value != known[name]]:
        raise UsageError(f"in the run of {out} {', '.join(wrong)}: start anew, or leave that out")
    return known


def generate_both(settings: Settings, quiet: bool) -> tuple[list[Volume], list[Volume]]:
    """The volumes to train and to test on, of the settings' seed."""
    with progress("generating volumes", settings.volumes + settings.test, quiet) as show:
        train = generated(settings.seed, TRAIN, settings.volumes, settings.size, show)
        return train, generated(settings.seed, TEST, settings.test, settings.size, show)


def read_own(settings: Settings, quiet: bool) -> list[Volume]:
    """What --data names, checked and padded."""
    files = volume_files(settings.data)
    with progress(f"reading {len(files)} volumes", len(files), quiet) as show:
        return read_volumes(files, settings.build().multiple, show)


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    settings = choose_settings(options)
    if options.memory:
        print(memory.report(settings))
        return 0
    device = command.device(options.device)
    volumes = read_own(settings, options.quiet) if settings.data is not None else None
    out = writable(options.out)
    run.begin(out, settings, options.resume)
    if not options.resume:  # or a later --resume would take what an earlier run has left for its own
        for left in out.glob("seed-*/*.npz"):
            left.unlink()
    of_seeds = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        folder = writable(str(out / f"seed-{seed}"))
        chosen = replace(settings, seed=seed)
        train, test = generate_both(chosen, options.quiet) if volumes is None else split(volumes, seed)
        with run.resumable(PROGRAM, options.out):
            trained = train_rows(chosen, train, folder, resume=options.resume, device=device, quiet=options.quiet)
        of_seeds.append(report(trained, chosen, test, folder, device, options.quiet))
    if len(of_seeds) > 1:
        together(of_seeds, out)
    return 0
