"""The command line of the task: train, compare with detecting and then tracking, and a page of one clip."""

from __future__ import annotations

import argparse
from dataclasses import replace

from .. import command
from ..command import Parser, UsageError, whole
from ..frame import Task
from ..run import CHECKPOINT, Job
from ..together import add_together
from . import explain, scenes
from .find import find
from .model import TrackNet
from .report import compare, together
from .train import SINGLE, Settings, load, train

Both = tuple[TrackNet, TrackNet | None]  # ours, and its rival

PROGRAM = f"{command.PROGRAM} track"
EXAMPLES = f"""examples:
  {PROGRAM}
      train on clips of digits that drive in perspective; compare with detecting first and tracking then
  {PROGRAM} --streams 3d --out runs/deep
      3-D convolutions alone; --streams 2d: 2-D convolutions alone
  {PROGRAM} --view given --out runs/view
      bring all vanishing points to one place first; --view learned: let a network find how
  {PROGRAM} --checkpoint runs/track/{CHECKPOINT} --explain 3
      a page that plays test clip 3, tube by tube
  {PROGRAM} --together runs/track-*
      one table of runs of several seeds, streams and views

Textures are photographs that come with scikit-image; those of test clips are in no training clip."""


class Track(Task):
    """Find objects in clips as tubes: train, compare with detecting and then tracking."""

    name = "track"
    title = "Track objects through video as tubes."
    examples = EXAMPLES
    settings = Settings
    load = staticmethod(load)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("looking at clips").add_argument
        add("--explain", type=whole(0), metavar="N", help="write the page of test clip N")
        add = add_together(top)
        add("--alone", action="store_true", help="train no rival; for runs whose seed has one already")

    def instead(self, options: argparse.Namespace) -> bool:
        if options.together:
            print("\n".join(together(options.together)))
        return bool(options.together)

    def asked(self, options: argparse.Namespace, settings: Settings) -> int | None:
        if options.checkpoint and options.explain is None:
            raise UsageError("--checkpoint is for --explain N; --resume goes on with a run and reports on it")
        return options.explain

    def read(self, settings: Settings, options: argparse.Namespace, model: None) -> bool:
        """Whether there is to be a rival."""
        return not options.alone

    def train(self, job: Job, data: bool) -> Both:
        return train(job), rival(job) if data else None

    def report(self, model: Both, data: bool, job: Job, options: argparse.Namespace) -> None:
        compare(*model, job)

    def use(self, model: TrackNet, asked: int, job: Job, options: argparse.Namespace) -> None:
        net = model[0] if isinstance(model, tuple) else model
        settings = job.settings
        clip = scenes.clip("test", settings.seed, asked, settings.frames)
        title = f"Tubes in test clip {asked}: {settings.describe()}"
        path = explain.page(clip, find(net, [clip], job.device)[0], title).save(job.out / f"explain-{asked}.html")
        print(f"in {job.out}: {path.name}")


def rival(job: Job) -> TrackNet:
    """The network for single frames that detects before tracking; trained on as many frames in as many steps."""
    s = job.settings
    single = replace(s, frames=1, streams="2d", view="none", batch=s.batch * s.frames)
    return train(replace(job, settings=single), files=SINGLE, begin=False)


main = Track().main
