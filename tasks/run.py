"""What training runs of all tasks share: the folder of a run, its settings, going on with it, its weights.

A task's settings are a frozen dataclass with a field for each option that decides the outcome, `steps` among them.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from minidl import load_weights, nn
from minidl.files.atomic import replacing
from minidl.training.checkpoint import STRUCTURE, load_tree

from .command import UsageError

CHECKPOINT, LOG, SETTINGS = "checkpoint.npz", "log.jsonl", "settings.json"


def given_settings(kind: type, options: argparse.Namespace) -> dict[str, Any]:
    """The settings that stand on the command line: options that are not given are absent."""
    return {field.name: getattr(options, field.name) for field in fields(kind) if hasattr(options, field.name)}


def known_settings(kind: type, options: argparse.Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run that --checkpoint uses or --resume goes on with; none for a new run.

    Raises UsageError if there is no such run, or if what is given contradicts it.
    """
    if options.checkpoint and options.resume:
        raise UsageError("--checkpoint uses a trained network, --resume goes on with training: give one of them")
    if options.checkpoint:
        if not Path(options.checkpoint).is_file():
            raise FileNotFoundError(f"{options.checkpoint}: no such checkpoint; train one without --checkpoint")
        return saved_settings(kind, options.checkpoint)
    if not options.resume:
        return {}
    known = saved_settings(kind, Path(options.out, CHECKPOINT))
    if not known or not Path(options.out, CHECKPOINT).exists():
        raise UsageError(f"there is no run in {options.out}; leave --resume out, or name the --out of the run")
    if wrong := contradictions(kind, given, known):
        raise UsageError(f"in the run of {options.out} {', '.join(wrong)}: only --steps may change on --resume")
    return known


def saved_settings(kind: type, checkpoint: str | os.PathLike) -> dict[str, Any]:
    """The settings in the file beside a checkpoint; nothing if there is none."""
    path = Path(checkpoint).with_name(SETTINGS)
    if not path.exists():
        return {}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        kind(**saved)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} does not hold the settings of a run ({error}); delete it") from None
    return saved


def contradictions(kind: type, given: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """What a resumed run was asked to do differently. More steps are no contradiction."""
    names = [field.name for field in fields(kind) if field.name != "steps"]
    return [f"{n} is {saved.get(n)}, not {given[n]}" for n in names if n in given and given[n] != saved.get(n)]


def begin(out: Path, settings: Any, resume: bool) -> None:
    """Write the settings of a run that starts, or goes on, in this folder."""
    if not resume:  # or it would stand beside settings that are not its own until the first save
        (out / CHECKPOINT).unlink(missing_ok=True)
    write_text(out / SETTINGS, json.dumps(asdict(settings), indent=1) + "\n")


@contextmanager
def resumable(program: str, out: str) -> Iterator[None]:
    """If Ctrl-C stops training in the block, say how to go on."""
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


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines that training has logged."""
    return [json.loads(line) for line in (out / LOG).read_text(encoding="utf-8").splitlines()]


def read_state(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The model's arrays in a checkpoint, or in any file of weights."""
    arrays = load_weights(path)
    return load_tree(path)["model"] if STRUCTURE in arrays else arrays


def load_state(model: nn.Module, state: Mapping[str, np.ndarray], path: str | os.PathLike, advice: str) -> None:
    """Give a model its arrays. Raises ValueError with a table and the advice if they are of another model."""
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path} is of another model: {error}\n{advice}") from None
