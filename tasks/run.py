"""What training runs of all tasks share: the folder of a run, its settings, resuming it, its weights.

A task's settings are a frozen dataclass with a field for each option that decides the outcome, `steps` among them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import load_weights, nn, optim
from minidl.files.atomic import replacing
from minidl.files.lock import hold
from minidl.ranks.group import Alone
from minidl.train import fit
from minidl.training.checkpoint import STRUCTURE, load_tree
from minidl.training.tensorboard import FILES

from .command import UsageError, progress

if TYPE_CHECKING:
    from minidl.study.build.beside import Engine

CHECKPOINT, LOG, SETTINGS, CLASSES = "checkpoint.npz", "log.jsonl", "settings.json", "classes.txt"
TABLE, SCORES = "table.txt", "scores.json"  # of a finished run

ENGINE = "engine.txt"  # what came of a user's engine
SHARDS = "shards"  # beside the settings of a run with more than one


# --- the settings of a run


def known_settings(
    kind: type, options: argparse.Namespace, given: Mapping[str, Any], mark: str = CHECKPOINT
) -> dict[str, Any]:
    """The settings of the run that --checkpoint uses or --resume goes on with; none for a new run.

    mark: the file by which a folder is known to hold a run. Raises UsageError if there is no such run, or if what is
    given contradicts it.
    """
    checkpoint = getattr(options, "checkpoint", None)
    if checkpoint and options.resume:
        raise UsageError("--checkpoint uses a trained network, --resume goes on with training: give one of them")
    if options.overwrite and options.resume:
        raise UsageError("--resume goes on with the run in --out, --overwrite replaces it: give one of them")
    if checkpoint:
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(f"{checkpoint}: no such checkpoint; train one without --checkpoint")
        return saved_settings(kind, checkpoint)
    if not options.resume:
        return {}
    known = saved_settings(kind, Path(options.out, CHECKPOINT))
    if not known or not Path(options.out, mark).exists():
        raise UsageError(f"there is no run in {options.out}; leave --resume out, or name the --out of the run")
    free = ("steps", "lr") if mark == CHECKPOINT else ()  # later trainings of the run start where the first one ended
    if wrong := contradictions(kind, given, known, free):
        advice = "only --steps and --lr may change on --resume" if free else "start anew, or leave that out"
        raise UsageError(f"in the run of {options.out} {', '.join(wrong)}: {advice}")
    return known


def saved_settings(kind: type, checkpoint: str | os.PathLike) -> dict[str, Any]:
    """The settings in the file beside a checkpoint; nothing if there is none."""
    path = Path(checkpoint).with_name(SETTINGS)
    if not path.exists():
        return {}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        saved.pop(SHARDS, None)
        kind(**saved)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not of a run of this task ({error}); name another folder with --out") from None
    return saved


def known_shards(options: argparse.Namespace, group: Alone) -> int:
    """Into how many shards batches are cut: as in the run that is resumed, else as asked for, else as usual.

    Raises UsageError if the run to resume has another number than the one asked for.
    """
    if not options.resume:
        return options.shards or group.shards
    known = json.loads(Path(options.out, SETTINGS).read_text(encoding="utf-8")).get(SHARDS, 1)
    if options.shards not in (None, known):
        raise UsageError(f"in the run of {options.out} shards is {known}, not {options.shards}: leave --shards out")
    return known


def contradictions(
    kind: type, given: Mapping[str, Any], saved: Mapping[str, Any], free: tuple[str, ...]
) -> list[str]:
    """What a resumed run was asked to do differently, but for what is free to change."""
    plain = json.loads(json.dumps(given))  # tuples are lists in a file
    names = [field.name for field in fields(kind) if field.name in given and field.name not in free]
    return [f"{n} is {saved.get(n)}, not {given[n]}" for n in names if plain[n] != saved.get(n)]


# --- a run


def require_free(out: Path) -> None:
    """Raise UsageError if training anew in the folder would replace a run: its table, or weights beside settings."""
    known = (out / SETTINGS).exists()
    if known:
        require_none(out, TABLE)
    weights = [*out.glob("*.npz"), *out.glob("seed-*/*.npz")] if known else [out / CHECKPOINT]
    if any(path.exists() for path in weights):
        raise UsageError(
            f"{out} holds a run that is not finished: --resume goes on with it, --overwrite starts anew in its place, "
            "another --out keeps both"
        )


def require_none(out: Path, *results: str) -> None:
    """Raise UsageError if the folder has one of these results of a finished run."""
    if any((out / name).exists() for name in results):
        raise UsageError(f"{out} holds a finished run: --overwrite replaces it, another --out keeps both")


@dataclass(frozen=True)
class Job:
    """A run as it was asked for: its settings, and where and how it is done."""

    settings: Any
    out: Path
    device: str = "cpu"
    resume: bool = False
    quiet: bool = True
    group: Alone = Alone()  # noqa: RUF009
    shards: int = 1
    engine: Engine | None = None  # a student's, in force where this is
    overwrite: bool = False  # may this run take the place of another?
    tensorboard: bool = False  # are there to be curves?

    def progress(self, label: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """A bar or a line, unless the run is quiet: see `command.progress`."""
        return progress(label, total, self.quiet)

    def begin(self, *others: str) -> None:
        """Write the settings of a run that starts, or goes on, in its folder, which this process has for itself then.

        others: its checkpoints beside the usual one. Raises BlockingIOError if another process trains there, ValueError
        if the folder holds a run of another task, UsageError if it holds one that may not be replaced.
        """
        if self.group.first:
            try:
                hold(self.out, self)
            except BlockingIOError as error:
                raise BlockingIOError(error.errno, f"{error.strerror}: choose another --out", str(self.out)) from None
            saved_settings(type(self.settings), self.out / CHECKPOINT)
        if self.group.first and not self.resume:
            if not self.overwrite:
                require_free(self.out)
            curves = (path.name for path in self.out.glob(f"{FILES}.*"))
            for name in (CHECKPOINT, TABLE, SCORES, *curves, *others):  # or they would stand beside others' settings
                (self.out / name).unlink(missing_ok=True)
        self.write_json(SETTINGS, asdict(self.settings) | ({SHARDS: self.shards} if self.shards > 1 else {}))

    def fit(
        self, model: nn.Module, optimiser: type[optim.Optimiser], loss: Callable, batches: Callable, *,
        parts: int = 10, warmup: float = 0.0, lr: float | None = None, steps: int | None = None,
        files: tuple[str, str] = (CHECKPOINT, LOG), parameters: Any = None, record: bool = True, **options: Any,
    ) -> nn.Module:  # fmt: skip
        """Train the model: the learning rate rises for a share `warmup` of the steps, then falls as half a cosine.

        It is saved, and evaluated, `parts` times. `lr` and `steps` are those of the settings unless given; `options`
        are those of `minidl.train.fit`, whose steps are recorded unless the loss depends on more than its arrays.
        """
        lr, steps = lr or self.settings.lr, steps or self.settings.steps
        every = max(1, steps // parts)
        checkpoint, log = (self.out / name for name in files)
        samples = getattr(batches, "size", lambda step: self.group.size)(0)
        if samples < self.group.size and not self.quiet:
            note = f"a batch of {samples} keeps {samples} of {self.group.size} ranks busy, a larger --batch keeps more"
            print(note, file=sys.stderr, flush=True)
        if self.engine is not None:
            lines = self.engine.try_step(model, lambda params: optimiser(params, lr), loss, batches(0), steps)
            print("\n".join(lines), flush=True)
            batches = self.engine.counting(batches, steps)
        fit(
            model,
            optimiser(model.parameters() if parameters is None else parameters, lr),
            loss,
            batches,
            steps,
            schedule=optim.warmup(optim.cosine(lr, steps), int(warmup * steps)),
            evaluate_every=every,
            checkpoint=checkpoint,
            save_every=every,
            resume=self.resume,
            log=log,
            tensorboard=(self.out if log.name == LOG else self.out / log.stem) if self.tensorboard else None,
            progress=not self.quiet,
            record=record,
            ranks=self.group,
            shards=self.shards,
            **options,
        )
        return model

    def log(self) -> list[dict[str, Any]]:
        """The lines that training has logged; none if nothing was trained here."""
        path = self.out / LOG
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def table(self, lines: list[str]) -> None:
        """Print a table, and leave it in the folder."""
        print("\n".join(lines))
        self.write(TABLE, "\n".join(lines) + "\n")

    def write_json(self, name: str, content: Any) -> None:
        """Leave plain numbers in a file of the folder."""
        self.write(name, json.dumps(content, indent=1) + "\n")

    def write_classes(self, names: list[str]) -> None:
        """Leave the names of the classes beside the checkpoint."""
        self.write(CLASSES, "".join(f"{name}\n" for name in names))

    def write(self, name: str, text: str) -> None:
        """Leave a file of text in the folder; the first rank does."""
        if self.group.first:
            write_text(self.out / name, text)


@contextmanager
def resumable(program: str, out: Path) -> Iterator[None]:
    """If Ctrl-C stops training in the block, say how to resume."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not str(stop):
            raise
        raise KeyboardInterrupt(f"{stop}; go on with: {program} --resume --out {out}") from None


def write_text(path: Path, text: str) -> None:
    """Write a file of text all at once: it is whole, or as it was."""
    with replacing(path) as file:
        file.write(text.encode())


# --- weights


def read_state(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The model's arrays in a checkpoint, or in any file of weights."""
    arrays = load_weights(path)
    return load_tree(path)["model"] if STRUCTURE in arrays else arrays


def load_state(model: nn.Module, state: Mapping[str, np.ndarray], path: str | os.PathLike, advice: str) -> nn.Module:
    """Give a model its arrays. Raises ValueError with a table and the advice if they are of another model."""
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path} is of another model: {error}\n{advice}") from None
    return model
