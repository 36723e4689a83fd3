"""The frame of a task: from the command line to settings, data, a trained network, and a report on it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minidl as md
from minidl import nn
from minidl.ranks.group import Alone
from minidl.ranks.share import on_first

from . import command
from .command import Parser, UsageError, writable
from .options import TaskSettings, add_settings, given
from .ranks import add_ranks, connected
from .run import CHECKPOINT, ENGINE, Job, known_settings, known_shards, require_free, resumable

if TYPE_CHECKING:
    from minidl.study.build.beside import Engine


class Task:
    """One task: its settings, and the steps of its flow, which a task defines or replaces.

        settings -> what is asked of a trained network -> weights of a run, or data and training -> report -> use
    """

    name = ""  # python -m tasks NAME; results go to runs/NAME
    title = ""  # what --help says first
    examples = ""
    settings: type[TaskSettings]
    reusable = True  # whether --checkpoint takes a trained network
    mark = CHECKPOINT  # the file by which a folder is known to hold a run
    others: tuple[str, ...] = ()  # options that take the place of training, so that there is nothing for --save-onnx
    quick: Mapping[str, Any] = {}  # settings of --quick; a task that has them takes an engine of the user's, too

    def __init__(self) -> None:
        self.program = f"{command.PROGRAM} {self.name}"

    # --- what a task defines

    def add_settings(self, top: Parser) -> None:
        """The options that are settings."""
        add_settings(top, self.settings)

    def add_options(self, top: Parser) -> None:
        """Options that are no settings, in groups of their own."""

    def instead(self, options: argparse.Namespace) -> bool:
        """Do what is asked instead of training; whether there was anything."""
        return False

    def asked(self, options: argparse.Namespace, settings: Any) -> Any:
        """What the trained network is to be used on, read before anything that takes long; None for nothing."""
        return None

    def load(self, settings: Any, checkpoint: str) -> nn.Module:
        """The network of the settings with the weights of a checkpoint."""
        raise NotImplementedError(f"{type(self).__name__} defines no load(self, settings, checkpoint)")

    def read(self, settings: Any, options: argparse.Namespace, model: nn.Module | None) -> Any:
        """The data of the settings. Raises ValueError if the model, where there is one, is for other data."""
        return None

    def train(self, job: Job, data: Any) -> nn.Module:
        """Train the network of the settings; leave checkpoint, log and settings in the folder of the job."""
        raise NotImplementedError(f"{type(self).__name__} defines no train(self, job, data)")

    def report(self, model: nn.Module, data: Any, job: Job, options: argparse.Namespace) -> None:
        """Print what the network does on the test part, and leave it in the folder of the job."""

    def use(self, model: nn.Module, asked: Any, job: Job, options: argparse.Namespace) -> None:
        """Use the network on what is asked."""

    def exported(self, model: nn.Module, settings: Any) -> tuple[nn.Module, tuple[int, ...]]:
        """The network that --save-onnx writes, and the shape of its input; tasks that define this have the option."""
        raise NotImplementedError(f"{type(self).__name__} defines no exported(self, model, settings)")

    # --- the frame

    def main(self, argv: list[str]) -> int:
        """Run the task with these arguments; the exit code."""
        options = self.parser().parse_args(argv)
        onnx = vars(options).get("save_onnx")
        named = [f"--{name.replace('_', '-')}" for name in self.others if vars(options)[name] not in (None, False)]
        if onnx and named:
            raise UsageError(
                f"--save-onnx writes what is trained, or the network of --checkpoint: leave out {named[0]}"
            )
        if vars(options).get("engine") and named:
            raise UsageError(f"--with trains, or runs the network of --checkpoint: leave out {named[0]}")
        with connected(options) as group:
            if not on_first(group, self.instead, options):
                self.run(options, group)
            elif onnx:
                message = "--save-onnx writes what is trained, or the network of --checkpoint: nothing was written"
                raise UsageError(message)
        return 0

    def parser(self) -> Parser:
        """The options, in groups. Settings that are not given are absent, so that a saved run can fill them in."""
        top = Parser(prog=self.program, description=self.title, epilog=self.examples)
        self.add_settings(top)
        add = add_running(top, f"runs/{self.name}", reusable=self.reusable)
        if type(self).exported is not Task.exported:
            add("--save-onnx", metavar="FILE", help="write the trained network as ONNX; with --checkpoint do no more")
        if self.quick:
            add_engine(top, self.quick)
        self.add_options(top)
        return top

    def chosen(self, options: argparse.Namespace) -> Any:
        """The settings that the command line, the run that is resumed or used, and the defaults make together."""
        stated = given(self.settings, options)
        known = known_settings(self.settings, options, stated, self.mark)
        if vars(options).get("quick") and not known:
            known = dict(self.quick)
        return self.settings.of(stated, known).completed()

    def run(self, options: argparse.Namespace, group: Alone) -> None:
        """Train, on all ranks, or take a checkpoint; report on it; use it on what is asked."""
        engine = engine_of(options, f"runs/{self.name}", group)
        settings, shards = self.chosen(options), known_shards(options, group)
        device = command.device(options.device)
        asked, onnx = self.asked(options, settings), vars(options).get("save_onnx")
        if onnx:
            from minidl.onnx.save.file import package

            package()  # before anything that takes long
        checkpoint = vars(options).get("checkpoint")
        model = self.load(settings, checkpoint).to(device) if checkpoint else None
        alone = model is not None and (asked is not None or onnx is not None)
        if not alone:
            require_replaceable(options, group)
        data = None if alone else self.read(settings, options, model)
        job = job_of(options, settings, device, group, shards, engine)
        with engine or nullcontext():
            if model is None:
                with resumable(self.program, job.out):
                    model = self.train(job, data)

            def show() -> None:
                if not alone:
                    self.report(model, data, job, options)
                if asked is not None:
                    self.use(model, asked, job, options)
                if onnx:
                    network, shape = self.exported(model, settings)
                    md.save_onnx(network.to("cpu"), np.zeros(shape, np.float32), onnx)
                    print(f"written: {onnx}, for any number of inputs {' x '.join(map(str, shape[1:]))}")

            on_first(group, show)
        if engine is not None:
            lines = engine.report()
            print("\n".join(lines))
            job.write(ENGINE, "\n".join(lines) + "\n")


def job_of(
    options: argparse.Namespace, settings: Any, device: str, group: Alone, shards: int, engine: Engine | None = None
) -> Job:
    """The run that the options ask for; its folder is made."""
    how = {name: getattr(options, name) for name in ("resume", "quiet", "overwrite", "tensorboard")}
    return Job(settings, writable(options.out), device, group=group, shards=shards, engine=engine, **how)


def require_replaceable(options: argparse.Namespace, group: Alone) -> None:
    """Raise UsageError if what is asked would replace a run, before anything that takes long."""
    checkpoint = vars(options).get("checkpoint")
    own = checkpoint and Path(checkpoint).resolve().parent == Path(options.out).resolve()  # a report on it again
    if group.first and not (options.resume or options.overwrite or own):
        require_free(Path(options.out))


def add_engine(top: Parser, quick: Mapping[str, Any]) -> None:
    """The options of tasks that train with an engine of the user's: see `minidl build`."""
    add = top.add_argument_group("an engine of your own: see minidl build").add_argument
    help = "train with the functions of this file in place of ours, compared and timed; results go to runs/NAME-FILE"
    add("--with", metavar="FILE", dest="engine", help=help)
    small = ", ".join(f"--{name} {value}" for name, value in quick.items())
    add("--quick", action="store_true", help=f"a short run, for an engine of loops: {small}")


def engine_of(options: argparse.Namespace, out: str, group: Alone) -> Engine | None:
    """The engine of --with, and the folder of its results where none is asked for."""
    path = vars(options).get("engine")
    if path is None:
        return None
    if group.size > 1 or options.shards or options.device != "cpu":
        raise UsageError("--with runs on one process and a CPU: leave out --ranks, --shards and --device")
    from minidl.study.build.beside import Engine  # which needs SciPy's signals: they take long to import

    engine = Engine(path)
    if options.out == out:
        options.out = f"{out}-{engine.drive.student.path.stem}"
    return engine


def add_running(top: Parser, out: str, *, reusable: bool = True) -> Callable:
    """The options of every task that say how it is run; the group's add_argument."""
    add = top.add_argument_group("running").add_argument
    add("--resume", action="store_true", help="go on with the run in --out; the result is as if it never stopped")
    if reusable:
        add("--checkpoint", metavar="FILE", help="do not train: take these weights, and the settings.json beside them")
    command.add_device(add)
    add_ranks(add)
    add_output(add, out)
    add("--tensorboard", action="store_true", help="leave the log as TensorBoard shows it, too, in --out")
    return add


def add_output(add: Callable, out: str) -> None:
    """Where results go, and whether progress is shown."""
    add("--out", default=out, metavar="DIR", help=f"where results go ({out})")
    add("--overwrite", action="store_true", help="replace the run in --out")
    add("--quiet", action="store_true", help="no progress, results only")


def beside(checkpoint: str, name: str) -> Path | None:
    """The file of this name beside a checkpoint, if there is one."""
    path = Path(checkpoint).with_name(name)
    return path if path.exists() else None
