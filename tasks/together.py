"""Several finished runs of one task in one table: what each was set to, and what it scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .command import Parser, UsageError
from .run import SCORES, SETTINGS, SHARDS


def add_together(top: Parser) -> Callable:
    """The option --together; the group's add_argument."""
    add = top.add_argument_group("several runs").add_argument
    add("--together", metavar="DIR", nargs="+", help="do not train: put the runs in these folders into one table")
    return add


class Finished(NamedTuple):
    """A run that has left its settings and its scores."""

    settings: dict[str, Any]
    scores: Any


def finished(folders: Sequence[str], by: Sequence[str] = ()) -> dict[tuple, list[Finished]]:
    """The runs in the folders, by the values of these settings; of one row they differ in their seeds alone.

    Raises UsageError where a folder holds no finished run, and for runs that do not belong in one table.
    """
    rows: dict[tuple, list[Finished]] = {}
    first: dict[str, Any] = {}
    for folder in folders:
        run = read(Path(folder))
        first = first or run.settings
        if wrong := [k for k in run.settings | first if k not in (*by, "seed") and run.settings.get(k) != first.get(k)]:
            found = ", ".join(f"{k} {run.settings.get(k)}, not {first.get(k)}" for k in wrong)
            raise UsageError(f"{folder} has {found} as in {folders[0]}: only runs that differ in --seed go together")
        row = rows.setdefault(tuple(run.settings[k] for k in by), [])
        if run.settings["seed"] in (other.settings["seed"] for other in row):
            raise UsageError(f"{folder}: seed {run.settings['seed']} is there already; leave one of the two out")
        row.append(run)
    return rows


def read(folder: Path) -> Finished:
    try:
        settings, scores = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (SETTINGS, SCORES))
        return Finished({name: value for name, value in settings.items() if name != SHARDS}, scores)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds no finished run ({error}); train there, or leave it out") from None


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The mean and the standard deviation (that of a sample) of several runs; of one run its value."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean
