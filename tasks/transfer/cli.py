"""The command line of the task: the comparison on digits, or a network of torchvision's on a user's photographs."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from math import ceil
from pathlib import Path

from minidl import nn
from minidl.ranks.group import Alone
from minidl.ranks.share import on_first

from .. import command
from ..classify import MODELS
from ..classify.evaluate import accuracy_line, table, tested
from ..command import Parser, UsageError, writable
from ..frame import Task, job_of, require_replaceable
from ..options import add_settings, given
from ..run import CLASSES, Job, known_shards, require_none, resumable, write_text
from . import compare, figure, photographs, tricks
from .compare import Comparison
from .methods import METHODS
from .photographs import Own, Photographs
from .source import Pretraining, pretrain

PROGRAM = f"{command.PROGRAM} transfer"
TRIED = (10,)  # labels per class that tricks are compared at
EXAMPLES = f"""examples:
  {PROGRAM}
      pretrain on printed letters, learn handwritten digits from few labels; about 3 minutes on 2 cores
  {PROGRAM} --resume --runs 20
      the same pretrained network, more runs
  {PROGRAM} --tricks
      what augmentation, dropout, rates per layer, warm-up, label smoothing, early stopping add to frozen features
  {PROGRAM} --data photographs --model resnet18 --weights resnet18-f37072fd.pth
      your own photographs, a folder for each class, with the features of a network trained on ImageNet
  {PROGRAM} --data photographs --weights resnet18-f37072fd.pth --method all
      and compare with fine-tuning and with learning from scratch: slow without a GPU
  {PROGRAM} --data photographs --model vgg16 --weights vgg16-397923af.pth --tricks
      the same on your own photographs and features

models: {", ".join(MODELS)}."""


class Transfer(Task):
    """Compare methods of learning from few labels; or learn a user's photographs with them."""

    name = "transfer"
    title = "Learn new classes from few labels."
    examples = EXAMPLES
    settings = Pretraining
    reusable = False

    def add_settings(self, top: Parser) -> None:
        add_settings(top, Pretraining, Comparison, Own)

    def add_options(self, top: Parser) -> None:
        add = top.add_argument_group("how your own photographs are learnt").add_argument
        methods = "frozen (default), finetune, scratch, or all of them"
        add("--method", choices=[*METHODS, "all"], default=argparse.SUPPRESS, help=methods)

    def instead(self, options: argparse.Namespace) -> bool:
        of_photographs = {"method", *(field.name for field in fields(Own))}
        of_digits = {field.name for kind in (Pretraining, Comparison) for field in fields(kind)}
        if hasattr(options, "data"):
            if idle := stated(options, of_digits - of_photographs) + ["--resume"] * options.resume:
                raise UsageError(f"{', '.join(idle)} cannot be with --data; leave one of them out")
            return False
        tricks = {"tricks", "seeds", "lr"} if hasattr(options, "tricks") else set()
        if idle := stated(options, of_photographs - of_digits - tricks):
            raise UsageError(f"{', '.join(idle)}: for your own photographs; name their folder with --data")
        if tricks and (idle := stated(options, {"runs", "pilots", "head"})):
            raise UsageError(f"{', '.join(idle)} cannot be with --tricks, which has --seeds; leave one of them out")
        return False

    def run(self, options: argparse.Namespace, group: Alone) -> None:
        """Pretrain, compare, print the table; leave it, the numbers and the figure in --out. Or learn photographs."""
        if hasattr(options, "data"):
            learn_photographs(Own(**given(Own, options)).completed(), options, group)
            return
        asked = hasattr(options, "tricks")
        chosen = {"labels": TRIED} | given(Comparison, options) if asked else given(Comparison, options)
        source, settings = self.chosen(options), Comparison(**chosen)
        if asked:
            tricks.require_enough(source.target()[0], settings.labels)
        shards, device = known_shards(options, group), command.device(options.device)  # before --out is made
        require_replaceable(options, group)
        job = job_of(options, source, device, group, shards)
        start = time.perf_counter()
        with resumable(self.program, job.out):
            model = pretrain(job)
            if asked:
                seeds, lr = getattr(options, "seeds", Own.seeds), getattr(options, "lr", None)
                on_first(group, tricks_on_digits, model, job, settings, seeds, lr)
                return
            numbers = compare.measure(model, source, settings, job.device, job.progress, group)
        on_first(group, self.show, job, settings, numbers, start)

    def show(self, job: Job, settings: Comparison, numbers: dict, start: float) -> None:
        """Leave the table, the numbers and the figure."""
        source = job.settings
        job.table([compare.table(numbers)])
        content = {"pretraining": asdict(source), "comparison": asdict(settings), "numbers": numbers}
        job.write_json("numbers.json", content)
        figure.comparison(job.out / "figure.png", numbers, source.parts()[0], source.target()[0])
        print(f"{time.perf_counter() - start:.0f} s; in {job.out}: table.txt, numbers.json, figure.png")


def stated(options: argparse.Namespace, names: set[str]) -> list[str]:
    """Those of the options that stand on the command line."""
    return [f"--{name}" for name in sorted(names) if hasattr(options, name)]


def learn_photographs(own: Own, options: argparse.Namespace, group: Alone) -> None:
    """Learn the classes of a folder by --method; print accuracy and confusion; leave weights and figure in --out."""
    method = getattr(options, "method", "frozen")
    methods = list(METHODS) if method == "all" else [method]
    device, out = command.device(options.device), writable(options.out)
    if group.first and not options.overwrite:
        require_none(out, *(["tricks.txt"] if own.tricks else map(photographs.weights_of, methods)))
    progress = partial(command.progress, quiet=options.quiet)
    part, names = photographs.read(own, progress)
    parts = photographs.three_parts(part, own.seed)
    if own.tricks:
        subject, title = tricks.of_photographs(own, parts, len(names)), photographs.describe(own, parts)
        seeds = range(own.seed, own.seed + own.seeds)
        on_first(group, compare_tricks, {title: (subject, len(parts[2].labels))}, seeds, device, out, progress)
        return
    task = Photographs(own, parts, len(names), device, progress, options.quiet, group, options.shards)
    title, test, results, written = photographs.describe(own, parts), parts[2], {}, []
    print("\n".join(filter(None, [title, photographs.note(own, methods)])))

    def show(method: str, model: nn.Module, validation: float) -> None:
        with progress("testing", ceil(len(test.labels) / own.batch)) as step:
            results[method] = result = tested(model, test, own.batch, device=device, show=step)
        print(f"{METHODS[method]}: {accuracy_line(result)}; {validation:.2%} of those it was chosen by")
        print(table(result, names))
        written.append(photographs.save(model, method, names, out).name)

    def conclude() -> None:
        figure.confusions(out / "photographs.png", results, names, title)
        print(f"in {out}: {', '.join(written)}, {CLASSES}, photographs.png; to use one:")
        files = f"--weights {out / written[-1]} --classes {out / CLASSES}" + (f" --bits {own.bits}" if own.bits else "")
        print(f"{command.PROGRAM} classify --model {own.model} {files} --image FILE")

    for method in methods:
        on_first(group, show, method, *task.learned(method))
    on_first(group, conclude)


def tricks_on_digits(model: nn.Module, job: Job, settings: Comparison, seeds: int, lr: float | None) -> None:
    """Compare the tricks on handwritten digits, of which few have labels."""
    source = job.settings
    pool, test, names = source.target()
    learner = compare.Learner(model, source, settings, pool, job.device)
    subjects = {}
    for count in sorted(set(settings.labels)):
        title = f"digits {names[0]} to {names[-1]}, {count} labels per class to train on, {count} to choose by"
        subjects[title] = tricks.of_digits(learner, test, count, lr), len(test.labels)
    compare_tricks(subjects, range(source.seed, source.seed + seeds), job.device, job.out, job.progress)


def compare_tricks(subjects: dict, seeds: range, device: str, out: Path, progress: Callable) -> None:
    """Print the table of `tricks` of each subject; leave it, the numbers and the figure in --out."""
    start, found, lines = time.perf_counter(), {}, []
    work = len(tricks.PLANS) * len(seeds) * sum(len(subject.rates) for subject, _ in subjects.values())
    with progress("training with each trick", work) as show:
        for title, (subject, tested) in subjects.items():
            found[title] = tricks.compared(tricks.Tricks(subject, device, show), seeds)
            lines += [title, *tricks.table(found[title], tested)]
    print("\n".join(lines))
    write_text(out / "tricks.txt", "\n".join(lines) + "\n")
    write_text(out / "tricks.json", json.dumps(found, indent=1) + "\n")
    figure.tricks(out / "tricks.png", {title: tricks.gains(one) for title, one in found.items()})
    print(f"{time.perf_counter() - start:.0f} s; in {out}: tricks.txt, tricks.json, tricks.png")


main = Transfer().main
