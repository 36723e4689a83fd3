"""One training loop for every task: `fit`.

    def loss(model, batch):
        x, target = images[batch], labels[batch]
        return F.cross_entropy(model(x), target)

    optimiser = optim.Adam(model.parameters(), lr=1e-3)
    batches = data.Batches(len(images), 32, seed=0)
    fit(model, optimiser, loss, batches, steps=1000, checkpoint="runs/net.npz", log="runs/net.jsonl", resume=True)

A run that is killed at any moment and started again with ``resume=True`` ends in the same bits as one that was not.
What makes it so: batches are a function of the step, and the checkpoint holds the model, the optimiser and the
state of every random generator.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..core.context import anomaly, no_grad
from ..core.primitive import AnomalyError
from ..core.tensor import Tensor, as_array
from ..device import numbers
from ..nn import Module
from ..optim import Optimiser, joint_norm, norm_parts, scale_gradients
from .checkpoint import Diverged, Run, not_finite

Record = dict[str, float]


def fit(
    model: Module,
    optimiser: Optimiser | Mapping[str, Optimiser],
    loss: Callable[[Module, Any], Any],
    batches: Callable[[int], Any],
    steps: int,
    *,
    schedule: Callable[[int], float] | None = None,
    clip: float | None = None,
    evaluate: Callable[[int], Mapping[str, float] | None] | None = None,
    evaluate_every: int = 1000,
    checkpoint: str | os.PathLike | None = None,
    save_every: int = 1000,
    resume: bool = False,
    log: str | os.PathLike | None = None,
    generators: Mapping[str, np.random.Generator] | None = None,
    manual: bool = False,
    progress: bool = True,
) -> Record:
    """Train `model` until `steps` steps are done in all; return what was logged of the last one.

    Steps count from 0. Step s does: ``lr = schedule(s)``; ``loss(model, batches(s))``; backward; clip; update.

    loss: gives a scalar Tensor, or a dict of named terms, each logged apart. Trained is the entry "loss" if there
        is one, else the sum of the terms that require a gradient; plain numbers are only logged.
    batches: from the step to whatever `loss` takes: a `data.Batches`, or any function that depends on the step only.
    clip: the largest joint norm of the gradients; larger ones are scaled down.
    evaluate: called as ``evaluate(s)`` after every `evaluate_every` steps and the last, with the model in eval mode
        and no recording; the numbers it returns join that step's line in the log.
    checkpoint: an .npz, written after every `save_every` steps, after the last, and on Ctrl-C. It is never half
        written: a crash leaves the one before.
    resume: go on from the checkpoint if there is one; the log is cut back to it. Otherwise a run starts from the
        beginning and replaces both.
    log: a file of JSON lines, one per step: step, lr, every term, loss, grad_norm.
    generators: random generators that `loss` or `evaluate` draw from, by name. Those inside the model (dropout) are
        found without it, and `data.generator(seed, step)` needs no saving.
    manual: `loss` itself runs the backward passes and the optimisers' steps and returns numbers (adversarial
        training); `optimiser` may then be a dict of several.

    Modules stay in the mode (train or eval) they are in. Ctrl-C ends the step at hand, saves, and raises
    KeyboardInterrupt; a second one stops at once. Raises Diverged if the loss or a gradient is not finite: the
    step is run again under `md.anomaly` to name the first operation at fault, and no checkpoint is written.
    """
    run = Run(model, optimiser, generators, checkpoint)
    start, record = run.load() if resume else (0, {})
    for p in model.parameters():  # the layout in memory decides the order of sums: let there be one, as in a file
        if not p.data.flags.c_contiguous:
            p.data = p.data.copy(order="C")
    with _Log(log, start) as lines, _progress(start, steps, progress) as show, _patient() as interrupted:
        for step in range(start, steps):
            record = {"step": step}
            if schedule is not None:
                record["lr"] = run.set_lr(schedule(step))
            record |= _manual_step(run, loss, batches, step) if manual else _step(run, loss, batches, step, clip)
            done = step + 1
            if evaluate is not None and (done % evaluate_every == 0 or done == steps):
                record |= _evaluate(model, evaluate, step)
            lines.write(record)
            show(record)
            if done % save_every == 0 or done == steps or interrupted:
                lines.sync()  # the log on disk is never behind the checkpoint
                run.save(done, record)
            if interrupted:
                raise KeyboardInterrupt(f"stopped after step {step}; {run.where()}")
    return record


# --- one step


def _step(run: Run, loss: Callable, batches: Callable, step: int, clip: float | None) -> Record:
    before, batch = run.random_state(), batches(step)
    parameters = [p for optimiser in run.optimisers.values() for p in optimiser.parameters]

    def backward() -> dict[str, Any]:
        total, terms = _total(loss(run.model, batch))
        for optimiser in run.optimisers.values():
            optimiser.zero_grad()
        total.backward()
        return {**terms, "loss": total.data}

    terms = backward()
    read = numbers([*terms.values(), *norm_parts(parameters)])  # all at once: a GPU stops for each reading
    record = dict(zip(terms, read))
    record["grad_norm"] = joint_norm(read[len(terms) :])
    if clip is not None:
        scale_gradients(parameters, record["grad_norm"], clip)
    if not (math.isfinite(record["loss"]) and math.isfinite(record["grad_norm"])):
        run.load_random_state(before)
        raise Diverged(f"step {step}: {_summary(record)}: {_cause(run.model, backward)}. {run.where()}")
    for optimiser in run.optimisers.values():
        optimiser.step()
    return record


def _manual_step(run: Run, loss: Callable, batches: Callable, step: int) -> Record:
    terms = loss(run.model, batches(step))
    record = dict(zip(terms, numbers(map(as_array, terms.values()))))
    if not all(map(math.isfinite, record.values())):
        raise Diverged(f"step {step}: {_summary(record)}. {run.where()}")
    return record


def _total(terms: Any) -> tuple[Tensor, dict[str, Any]]:
    """The Tensor to train and the value of every term, where it lies."""
    named = terms if isinstance(terms, Mapping) else {"loss": terms}
    chosen = [named["loss"]] if "loss" in named else named.values()
    trained = [term for term in chosen if isinstance(term, Tensor) and term.requires_grad]
    if not trained or any(term.size != 1 for term in trained):
        raise TypeError(f"loss gives a scalar Tensor that requires a gradient, or a dict of them; got {terms!r:.99}")
    return sum(trained[1:], trained[0]), {name: as_array(value) for name, value in named.items()}


def _cause(model: Module, again: Callable[[], Any]) -> str:
    """Run the step again and name the first operation that makes a NaN or an infinity."""
    try:
        with anomaly():
            again()
    except AnomalyError as error:
        return str(error)
    if name := not_finite(model):
        return f"{name} was not finite before the step; the update before it was too large: lower the lr, or clip"
    return "no operation made it out of finite numbers: look for it in the batch, or for gradients too large to add up"


def _evaluate(model: Module, evaluate: Callable, step: int) -> Record:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            return {name: float(value) for name, value in (evaluate(step) or {}).items()}
    finally:
        for module, training in modes:
            module.training = training


# --- what is seen of it


class _Log:
    """A file of JSON lines that starts with the lines of the steps before `start`."""

    def __init__(self, path: str | os.PathLike | None, start: int):
        self.file = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.file = open(path, "a+b")  # noqa: SIM115
            self.file.truncate(self._end_of(start))

    def _end_of(self, start: int) -> int:
        self.file.seek(0)
        end = 0
        for line in self.file:
            if not line.endswith(b"\n") or json.loads(line)["step"] >= start:
                break
            end += len(line)
        return end

    def write(self, record: Record) -> None:
        if self.file is not None:
            finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
            self.file.write(json.dumps(finite).encode() + b"\n")
            self.file.flush()

    def sync(self) -> None:
        if self.file is not None:
            os.fsync(self.file.fileno())

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *error: object) -> None:
        if self.file is not None:
            self.file.close()


@contextmanager
def _progress(start: int, steps: int, wanted: bool) -> Iterator[Callable[[Record], None]]:
    """A bar if tqdm is installed and someone looks at a terminal, else about twenty lines."""
    bar = _bar(start, steps) if wanted and sys.stderr.isatty() else None
    every = max(1, steps // 20)

    def show(record: Record) -> None:
        done = record["step"] + 1
        if bar is not None:
            bar.set_postfix_str(_summary(record), refresh=False)
            bar.update()
        elif wanted and (done % every == 0 or done == steps):
            print(f"step {done}/{steps}: {_summary(record)}", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _bar(start: int, steps: int) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True)


def _summary(record: Record) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in record.items() if name != "step")


@contextmanager
def _patient() -> Iterator[list]:
    """Ctrl-C fills the list, to be looked at between two steps, when nothing is half done; a second one interrupts."""
    seen: list = []
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield seen
        return

    def note(*_: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:  # it came after the last look
        raise KeyboardInterrupt
