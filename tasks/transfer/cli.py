"""The command line of the task: the comparison on digits, or a network of torchvision's on a user's photographs."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, fields
from functools import partial
from math import ceil

from .. import command
from ..classify import MODELS
from ..classify.evaluate import Result, accuracy_line, predict, table
from ..classify.train import CLASSES
from ..command import Parser, UsageError, writable
from ..run import given_settings, known_settings, resumable, write_text
from . import compare, figure, photographs
from .compare import Comparison
from .methods import METHODS
from .photographs import Own, Task
from .source import SOURCES, Pretraining, pretrain

PROGRAM = "python -m tasks transfer"
OUT = "runs/transfer"
EXAMPLES = f"""examples:
  {PROGRAM}
      pretrain on printed letters, learn handwritten digits from few labels; about 3 minutes on 2 cores
  {PROGRAM} --resume --runs 20
      the same pretrained network, more runs
  {PROGRAM} --data photographs --model resnet18 --weights resnet18-f37072fd.pth
      your own photographs, a folder for each class, with the features of a network trained on ImageNet
  {PROGRAM} --data photographs --weights resnet18-f37072fd.pth --method all
      and compare with fine-tuning and with learning from scratch: slow without a GPU

models: {", ".join(MODELS)}."""


def parser() -> Parser:
    """The options, in groups. Settings that are not given are absent."""
    top = Parser(prog=PROGRAM, description="Learn new classes from few labels.", epilog=EXAMPLES)
    p, c, o = Pretraining(), Comparison(), Own("")
    add = top.add_argument_group("pretraining", argument_default=argparse.SUPPRESS).add_argument
    add("--source", choices=list(SOURCES), help="letters, then the ten digits (default); or digits 0 to 4, then 5 to 9")
    add("--width", type=command.whole(1), metavar="N", help=f"maps that the network begins with ({p.width})")
    add("--variants", type=command.whole(1), metavar="N", help=f"pictures of each letter ({p.variants})")
    add("--steps", type=command.whole(1), metavar="N", help=f"of pretraining ({p.steps})")
    add = top.add_argument_group("comparison", argument_default=argparse.SUPPRESS).add_argument
    labels = " ".join(map(str, c.labels))
    add("--labels", type=command.whole(1), nargs="+", metavar="N", help=f"labelled pictures per new class ({labels})")
    add("--runs", type=command.whole(1), metavar="N", help=f"each with other labelled pictures ({c.runs})")
    add("--pilots", type=command.whole(1), metavar="N", help=f"runs to choose each learning rate with ({c.pilots})")
    add("--tune", type=command.whole(1), metavar="N", help=f"steps of all layers: scratch, finetune ({c.tune})")
    add("--head", type=command.whole(1), metavar="N", help=f"steps of the head on frozen features ({c.head})")
    add = top.add_argument_group("your own photographs", argument_default=argparse.SUPPRESS).add_argument
    add("--data", metavar="FOLDER", help="has a folder for each class, the photographs in it")
    add("--model", choices=list(MODELS), metavar="NAME", help=f"one of those below ({o.model})")
    add("--weights", metavar="FILE", help="weights of --model as torchvision has them, .pth or .safetensors")
    add("--method", choices=[*METHODS, "all"], help="frozen (default), finetune, scratch, or all of them")
    add("--size", type=command.whole(8), metavar="N", help="side of the squares they are cut to (224; small models 32)")
    add("--epochs", type=command.whole(1), metavar="N", help=f"of finetune and scratch ({o.epochs})")
    add("--lr", type=command.real(0, above=True), metavar="X", help="finetune (0.0001), scratch (0.001)")
    add = top.add_argument_group("running").add_argument
    add("--batch", type=command.whole(2), metavar="N", default=argparse.SUPPRESS,
        help=f"pictures per step (pretraining {p.batch}, photographs {o.batch})")  # fmt: skip
    add("--seed", type=command.whole(0), metavar="N", default=argparse.SUPPRESS, help="decides all that is random (0)")
    add("--resume", action="store_true", help="take the pretrained network in --out, or go on with pretraining it")
    add("--out", default=OUT, metavar="DIR", help=f"where results go ({OUT})")
    command.add_device(add)
    add("--quiet", action="store_true", help="no progress, results only")
    top.set_defaults(checkpoint=None)
    return top


def main(argv: list[str]) -> int:
    """Run the task with these arguments; the exit code."""
    options = parser().parse_args(argv)
    own = given_settings(Own, options)
    of_photographs = {"method", *(field.name for field in fields(Own))}
    of_digits = {field.name for kind in (Pretraining, Comparison) for field in fields(kind)}
    if "data" in own:
        if idle := given(options, of_digits - of_photographs) + ["--resume"] * options.resume:
            raise UsageError(f"{', '.join(idle)} cannot be with --data; leave one of them out")
        learn_photographs(Own(**own), options)
    elif idle := given(options, of_photographs - of_digits):
        raise UsageError(f"{', '.join(idle)}: for your own photographs; name their folder with --data")
    else:
        compare_methods(options)
    return 0


def given(options: argparse.Namespace, names: set[str]) -> list[str]:
    """Those of the options that stand on the command line."""
    return [f"--{name}" for name in sorted(names) if hasattr(options, name)]


def compare_methods(options: argparse.Namespace) -> None:
    """Pretrain, compare, print the table; leave it, the numbers and the figure in --out."""
    chosen = given_settings(Pretraining, options)
    source = Pretraining(**{**known_settings(Pretraining, options, chosen), **chosen})
    settings = Comparison(**given_settings(Comparison, options))
    device, out = command.device(options.device), writable(options.out)
    start = time.perf_counter()
    with resumable(PROGRAM, options.out):
        model = pretrain(source, out, resume=options.resume, device=device, quiet=options.quiet)
        numbers = compare.measure(model, source, settings, device, partial(command.progress, quiet=options.quiet))
    text = compare.table(numbers)
    print(text)
    write_text(out / "table.txt", text + "\n")
    content = {"pretraining": asdict(source), "comparison": asdict(settings), "numbers": numbers}
    write_text(out / "numbers.json", json.dumps(content, indent=1) + "\n")
    figure.comparison(out / "figure.png", numbers, source.parts()[0], source.target()[0])
    print(f"{time.perf_counter() - start:.0f} s; in {out}: table.txt, numbers.json, figure.png")


def learn_photographs(own: Own, options: argparse.Namespace) -> None:
    """Learn the classes of a folder by --method; print accuracy and confusion; leave weights and figure in --out."""
    method = getattr(options, "method", "frozen")
    methods = list(METHODS) if method == "all" else [method]
    device, out = command.device(options.device), writable(options.out)
    progress = partial(command.progress, quiet=options.quiet)
    part, names = photographs.read(own.data, own.side, progress)
    parts = photographs.three_parts(part, own.seed)
    task = Task(own, parts, len(names), device, progress, options.quiet)
    title, test = photographs.describe(own, parts), parts[2]
    print("\n".join(filter(None, [title, photographs.note(own, methods)])))
    results, written = {}, []
    for method in methods:
        model, validation = task.learned(method)
        with progress("testing", ceil(len(test.labels) / own.batch)) as step:
            result = Result(predict(model, test.images, own.batch, device=device, show=step), test.labels)
        print(f"{METHODS[method]}: {accuracy_line(result)}; {validation:.2%} of those it was chosen by")
        print(table(result, names))
        results[method] = result
        written.append(photographs.save(model, method, names, out).name)
    figure.confusions(out / "photographs.png", results, names, title)
    print(f"in {out}: {', '.join(written)}, {CLASSES}, photographs.png; to use one:")
    files = f"--weights {out / written[-1]} --classes {out / CLASSES}"
    print(f"python -m tasks classify --model {own.model} {files} --image FILE")
