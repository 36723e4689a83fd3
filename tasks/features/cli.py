"""The command line of the task: train autoencoders without labels, and judge their features."""

from __future__ import annotations

import argparse

from .. import command
from ..classify.data import Dataset, read
from ..command import UsageError, each
from ..frame import Task
from ..run import SETTINGS, Job
from ..transfer.compare import draw
from .report import Networks, compare
from .train import KINDS, Settings, train

PROGRAM = f"{command.PROGRAM} features"
EXAMPLES = f"""examples:
  {PROGRAM}
      learn features of handwritten digits without labels, and judge them with 1, 3, 10, 30 labels per class
  {PROGRAM} --data MNIST --code 32 --steps 3000
      the same of MNIST, in the folder of that name"""


class FeaturesTask(Task):
    """Learn features without labels, judge them by a linear classifier with few."""

    name = "features"
    title = "Learn features of pictures without labels."
    examples = EXAMPLES
    settings = Settings
    reusable = False
    mark = SETTINGS

    def read(self, settings: Settings, options: argparse.Namespace, model: None) -> Dataset:
        """The data. Raises UsageError if it does not go with the settings."""
        dataset = read(settings.data, settings.side, options.quiet, bits=settings.bits, skip_bad=settings.skip_bad)
        draw(dataset.train.labels, max(settings.labels), 0)
        if dataset.side % 4:
            raise UsageError(f"pictures of {dataset.side} pixels a side: say --side N, a multiple of 4")
        if settings.code >= (most := min(dataset.train.images[0].size, len(dataset.train.labels))):
            raise UsageError(f"--code {settings.code}: a code is shorter than the {most} pixels or pictures")
        return dataset

    def train(self, job: Job, dataset: Dataset) -> Networks:
        job.begin(*(f"{kind}-{seed}.npz" for kind in KINDS for seed in job.settings.runs()))
        networks: Networks = {kind: {} for kind in KINDS}
        with job.progress("training autoencoders", len(KINDS) * job.settings.seeds) as show:
            for kind, seed in each([(k, s) for k in KINDS for s in job.settings.runs()], show):
                networks[kind][seed] = train(job, dataset.train.images, kind, seed)
        return networks

    def report(self, model: Networks, data: Dataset, job: Job, options: argparse.Namespace) -> None:
        compare(model, data, job)


main = FeaturesTask().main
