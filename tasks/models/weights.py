"""What a file of weights holds: names, shapes, dtypes, what lies beside, and which of our networks it fits."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minidl.files.reading import Entry
from minidl.files.weights import Contents, examine
from minidl.files.weights.names import without
from minidl.study.terminal import Parser, UsageError, suggestion
from minidl.table import table

from . import MODELS, pretrained
from .fits import Fit, first_fit, fit

STATISTICS = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked)$")
ASIDE = re.compile(r"(optim|sched|lr_sched|scaler|amp)\w*")  # entries of a checkpoint that are no weights


def main(argv: list[str] | None = None) -> int:
    """Print what is in a file; 1 if --model is given and does not fit."""
    about = f"{__doc__}\n\nNothing in the file is run; docs/weights.md lists the forms that are read."
    parser = Parser(prog="minidl weights", description=about)
    parser.add_argument("file")
    parser.add_argument("--model", metavar="NAME", help="does it fit this one? if not, what differs")
    parser.add_argument("--weights-key", metavar="KEY", help="list what is under this entry or prefix only")
    parser.add_argument("--strip", metavar="PART", help="leave out a part of the names, such as module")
    parser.add_argument("--config", metavar="FILE", help="what the file does not say: Darknet's .cfg, Keras's .keras")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the text")
    options = parser.parse_args(argv)
    if options.model and options.model not in MODELS:
        raise UsageError(f"--model {options.model} is none of ours{suggestion(options.model, MODELS)}")
    contents = examine(options.file, options.config)
    found = fit(options.model, contents) if options.model else first_fit(contents, options.file)
    report = _Report(options.file, contents, found, options.weights_key, options.strip)
    print(json.dumps(report.data(), indent=2) if options.json else report.text())
    if options.model and not found:
        pretrained.load(options.model, options.file, options.weights_key, options.strip)  # says what differs
    return 0


class _Report:
    """The contents of a file as the command shows them."""

    def __init__(self, path: str, contents: Contents, found: Fit | None, key: str | None, strip: str | None):
        self.path, self.contents, self.fit = path, contents, found
        if key is None and found is not None:
            key = found.key
        prefix = contents.prefix_of(key)
        aside = [(name, entry) for name, entry in contents.entries
                 if not name.startswith(prefix) or (not prefix and _is_aside(name, entry))]  # fmt: skip
        outside = {name for name, _ in aside}
        entries = {name: entry for name, entry in contents.under(key).items() if prefix + name not in outside}
        self.under = prefix.rstrip(".") or None
        self.entries = without(entries, strip) if strip else entries
        self.beside = _beside(aside)
        for name, what in contents.others:
            if not prefix or not name.startswith(prefix):
                self.beside.setdefault(name.partition(".")[0], what)

    def parameters(self) -> int:
        """The numbers that are learned: all but running statistics and counts."""
        floats = (entry for name, entry in self.entries.items() if not STATISTICS.search(name))
        return sum(_size(entry) for entry in floats)

    def data(self) -> dict[str, Any]:
        arrays = [{"name": n, "shape": list(e.shape), "dtype": e.dtype} for n, e in self.entries.items()]
        return {"file": self.path, "form": self.contents.form, "bytes": Path(self.path).stat().st_size,
                "under": self.under, "parameters": self.parameters(), "arrays": arrays, "beside": self.beside,
                "notes": self.contents.notes, "fits": self.fit and asdict(self.fit)}  # fmt: skip

    def text(self) -> str:
        rows = [(name, _shape(entry), entry.dtype) for name, entry in self.entries.items()]
        dtypes = Counter(entry.dtype for entry in self.entries.values())
        kinds = ", ".join(f"{n} {dtype}" for dtype, n in dtypes.most_common())
        lines = [
            f"{self.path}: {self.contents.form}, {Path(self.path).stat().st_size:,} bytes",
            *table(rows, indent="  "),
            f"{len(rows)} arrays ({kinds}){f' under {self.under!r}' if self.under else ''}, "
            f"{self.parameters():,} parameters",
        ]
        lines += [f"beside: {name}: {what}" for name, what in self.beside.items()]
        lines += [f"note: {note}" for note in self.contents.notes]
        lines.append(f"fits {self.fit.text()}" if self.fit else "fits none of our networks by its names")
        return "\n".join(lines)


def _is_aside(name: str, entry: Entry) -> bool:
    """Whether this is an optimiser's and the like, or a number beside the weights."""
    return bool(ASIDE.fullmatch(name.partition(".")[0])) or ("." not in name and entry.shape == ())


def _beside(entries: list[tuple[str, Entry]]) -> dict[str, str]:
    """{first part of the names: its value, or how many arrays it has}."""
    groups: dict[str, list[tuple[str, Entry]]] = {}
    for name, entry in entries:
        groups.setdefault(name.partition(".")[0], []).append((name, entry))
    return {first: _words(members[0][1]) if len(members) == 1 else _many([entry for _, entry in members])
            for first, members in groups.items()}  # fmt: skip


def _many(entries: list[Entry]) -> str:
    arrays = [entry for entry in entries if entry.shape]
    return f"{len(arrays)} arrays ({sum(map(_size, arrays)):,} entries), {len(entries) - len(arrays)} numbers"


def _words(entry: Entry) -> str:
    """The value of a number; of an array, what it is."""
    return str(entry.read()) if entry.shape == () and entry.dtype != "not read" else f"{entry.dtype} {_shape(entry)}"


def _shape(entry: Entry) -> str:
    return " x ".join(map(str, entry.shape)) or "one number"


def _size(entry: Entry) -> int:
    return int(np.prod(entry.shape, dtype=object))
