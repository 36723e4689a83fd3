"""The command line of the task: train the rows of the lecture's table, compare them; measure memory."""

from __future__ import annotations

import argparse
from dataclasses import replace

from minidl.ranks.group import Alone
from minidl.ranks.share import on_first

from .. import command
from ..command import Parser, progress, writable
from ..frame import Task, job_of, require_replaceable
from ..run import SETTINGS, Job, known_shards, resumable
from . import memory
from .data import TEST, TRAIN, generated, read_volumes, split, volume_files
from .report import report, together
from .speckle import Volume
from .train import Settings, train_rows

PROGRAM = f"{command.PROGRAM} volume"
EXAMPLES = f"""examples:
  {PROGRAM}
      train everything on generated volumes and print the lecture's table; some minutes on 2 cores
  {PROGRAM} --seeds 3 --out runs/three
      the same three times, with other volumes and other weights
  {PROGRAM} --data FOLDER --out runs/mine
      on your own volumes: FOLDER/images/NAME with FOLDER/masks/NAME (or imagesTr, labelsTr), as .npy, NIfTI (.nii,
      .nii.gz) or TIFF stacks, or FOLDER/NAME.npz with "image" and "mask"; (D, H, W) numbers, and 0, 1 (small organ)
      or 2 (large organ); a fifth of them is kept for the test
  {PROGRAM} --memory --size 64 --factor 4
      the memory that one step of training takes"""


class VolumeTask(Task):
    """Train every row of the table for every seed, and compare them; or measure the memory of a step."""

    name = "volume"
    title = "Segment two organs in noisy volumes, coarse to fine."
    examples = EXAMPLES
    settings = Settings
    reusable, mark = False, SETTINGS

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("instead of training").add_argument
        add("--memory", action="store_true", help="print what one step of training takes at --size; nothing else")

    def instead(self, options: argparse.Namespace) -> bool:
        if options.memory:
            print(memory.report(self.chosen(options)))
        return options.memory

    def run(self, options: argparse.Namespace, group: Alone) -> None:
        """For each seed: train all rows, report; then all seeds together."""
        settings, shards, device = self.chosen(options), known_shards(options, group), command.device(options.device)
        require_replaceable(options, group)
        volumes = read_own(settings, options.quiet) if settings.data is not None else None
        job = job_of(options, settings, device, group, shards)
        job.begin()
        if group.first and not job.resume:  # or a later --resume would take what an earlier run has left for its own
            for left in job.out.glob("seed-*/*.npz"):
                left.unlink()
        of_seeds = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            folder = writable(str(job.out / f"seed-{seed}"))
            of_seed = replace(job, settings=replace(settings, seed=seed), out=folder)
            train, test = generate_both(of_seed) if volumes is None else split(volumes, seed)
            with resumable(self.program, job.out):
                trained = train_rows(of_seed, train)
            on_first(group, lambda *trained: of_seeds.append(report(*trained)), trained, of_seed, test)
        if settings.seeds > 1:
            on_first(group, together, of_seeds, job)


def generate_both(job: Job) -> tuple[list[Volume], list[Volume]]:
    """The volumes to train and to test on, of the settings' seed."""
    s = job.settings
    with job.progress("generating volumes", s.volumes + s.test) as show:
        train = generated(s.seed, TRAIN, s.volumes, s.size, show)
        return train, generated(s.seed, TEST, s.test, s.size, show)


def read_own(settings: Settings, quiet: bool) -> list[Volume]:
    """What --data names, checked and padded."""
    files = volume_files(settings.data)
    with progress(f"reading {len(files)} volumes", len(files), quiet) as show:
        return read_volumes(files, settings.build().multiple, show)


main = VolumeTask().main
