"""What a class has handed in: whose it is, which file answers which question, and what was left out and why.

A class is a folder, or a zip of it, as Moodle and Canvas give it out: a folder, a zip or loose files per student.
Nothing here runs or imports what it finds.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .. import sheet

FILES, BYTES, SOURCE = 500, 64 << 20, 1 << 20  # of a student: files, bytes in all, bytes of one .py
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)
DEPTH = 6  # folders within folders
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)", re.DOTALL)
CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_(\d+)_(?P<file>.+)", re.DOTALL)
SKIPPED = {"__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini", "node_modules", "venv"}
OTHERS = {
    ".ipynb": "a notebook; a .py file is asked for",
    **dict.fromkeys((".tar", ".gz", ".tgz", ".rar", ".7z", ".xz", ".bz2"), "an archive that is not a zip; not opened"),
}


@dataclass
class Submission:
    """One student's work. files: by question. notes: what was left out, and why."""

    student: str
    id: str = ""
    late: bool = False
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Handed:
    """Where a student's work lies: folders, zips and loose files, each with the name that it had."""

    submission: Submission
    sources: list[tuple[Path, str]] = field(default_factory=list)


def legible(name: str) -> str:
    """A name that any terminal and any file can hold."""
    name = name.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in name)[:200]


def whose(path: Path) -> tuple[Handed, str]:
    """Whose a folder or a file is, by its name as Moodle or Canvas makes it, and the student's own name of the file."""
    for form in (MOODLE,) if path.is_dir() else (MOODLE, CANVAS):
        if found := form.fullmatch(path.name):
            parts = found.groupdict()
            return Handed(Submission(legible(parts["name"]), parts["id"], bool(parts.get("late")))), parts["file"]
    return Handed(Submission(legible(path.stem if path.suffix == ".zip" else path.name))), path.name


def gather(folder: Path, work: Path, due: datetime | None = None) -> tuple[list[Submission], list[str]]:
    """All students of a class, and what lies there that is nobody's. `work` takes a copy of each student's files."""
    notes: list[str] = []
    if folder.is_file():
        box = Box(work / "class", notes, files=100 * FILES, size=100 * BYTES, zips=True)
        box.unzip(folder, "")
        inside = list(box.folder.iterdir())
        alone = len(inside) == 1 and inside[0].is_dir() and not MOODLE.fullmatch(inside[0].name)
        folder = inside[0] if alone else box.folder
    handed: dict[tuple[str, str], Handed] = {}
    for path in sorted(folder.iterdir()):
        if path.name in SKIPPED or path.name.startswith("."):
            continue
        one, own = whose(path)
        if not (path.is_dir() or path.suffix == ".zip" or one.submission.id):
            notes.append(f"{legible(path.name)}: not in a student's folder; left out")
            continue
        late = one.submission.late
        one = handed.setdefault((one.submission.student, one.submission.id), one)
        one.submission.late |= late
        one.sources.append((path, "" if path.is_dir() else own))
    return [collect(one, work / str(place), due) for place, one in enumerate(handed.values())], notes


def single(folder: Path, work: Path, due: datetime | None = None) -> Submission:
    """One student's folder, or zip."""
    one, own = whose(folder.resolve())
    one.sources.append((folder, "" if folder.is_dir() else own))
    return collect(one, work / "0", due)


def collect(handed: Handed, place: Path, due: datetime | None) -> Submission:
    """Copy a student's files to `place`, and find what each answers."""
    submission = handed.submission
    box = Box(place, submission.notes, FILES, BYTES)
    for path, name in handed.sources:
        try:
            box.take(path, name)
        except (OSError, ValueError, RecursionError) as error:
            submission.notes.append(f"{legible(path.name)}: could not be read: {legible(str(error))}")
    candidates: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*.py")):
        try:
            question = sheet.question_of(path)
        except OSError as error:
            submission.notes.append(f"{legible(path.name)}: could not be read: {error.strerror}")
            continue
        if question:
            candidates.setdefault(question, []).append(path)
    for question, paths in candidates.items():
        *older, latest = sorted(paths, key=lambda path: (path.stat().st_mtime, sheet.copy_number(path), path))
        submission.files[question] = latest
        submission.notes += [f"{legible(path.name)}: left for {legible(latest.name)}, which is newer" for path in older]
        if due and latest.stat().st_mtime > due.timestamp():
            submission.late = True
    return submission


class Box:
    """A folder that takes copies of a student's files, up to a number and a size; `notes` says what it did not take."""

    def __init__(self, folder: Path, notes: list[str], files: int, size: int, zips: bool = False):
        self.folder, self.notes, self.files, self.size, self.zips = folder, notes, files, size, zips
        folder.mkdir(parents=True)

    def refuse(self, name: str, why: str) -> None:
        self.notes.append(f"{legible(name)}: {why}")

    def take(self, path: Path, name: str, depth: int = 0) -> None:
        """A folder with all it holds, a zip with all it holds, or a file. name: relative to the folder of the box."""
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            self.refuse(name or path.name, "a link; left out")
        elif stat.S_ISDIR(kind):
            if depth > DEPTH:
                return self.refuse(name, f"more than {DEPTH} folders deep; left out")
            for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
                if entry.name not in SKIPPED and not entry.name.startswith("."):
                    self.take(Path(entry.path), f"{name}/{entry.name}".lstrip("/"), depth + 1)
        elif not stat.S_ISREG(kind):
            self.refuse(name, "not a file; left out")
        elif path.suffix.lower() == ".zip":
            self.unzip(path, str(PurePosixPath(name).parent) if name else "")
        else:
            with open(path, "rb") as file:
                self.copy(file, name, path.stat().st_mtime)
        return None

    def unzip(self, path: Path, under: str) -> None:
        """The files of a zip. Its own words on sizes are not believed, and no name leads out of the folder."""
        try:
            with zipfile.ZipFile(path) as archive:
                for info in self.entries(archive):
                    try:
                        when = time.mktime((*info.date_time, 0, 0, -1))
                    except (ValueError, OverflowError):
                        when = 0.0
                    with archive.open(info) as file:
                        self.copy(file, f"{under}/{info.filename}".replace("\\", "/").lstrip("./"), when)
        except BROKEN as error:
            self.refuse(path.name, f"not a zip that can be read: {error}")

    def entries(self, archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
        for info in archive.infolist():
            parts = re.split(r"[/\\]", info.filename)
            if info.is_dir() or SKIPPED & set(parts) or parts[-1].startswith("."):
                continue
            if ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in info.filename:
                self.refuse(info.filename, "its name leads out of the zip; left out")
            elif stat.S_ISLNK(info.external_attr >> 16):
                self.refuse(info.filename, "a link; left out")
            elif info.flag_bits & 1:
                self.refuse(info.filename, "encrypted; left out")
            elif parts[-1].lower().endswith(".zip") and not self.zips:
                self.refuse(info.filename, "a zip in a zip; not opened")
            else:
                yield info

    def copy(self, file: BinaryIO, name: str, when: float) -> None:
        """One file, unless it is none of the kinds that are asked for, or there is no room for it."""
        suffix = PurePosixPath(name).suffix.lower()
        most = min(self.size, SOURCE) if suffix == ".py" else self.size
        if suffix in OTHERS:
            return self.refuse(name, OTHERS[suffix])
        if not self.files:
            return self.refuse(name, f"more than {FILES} files; left out")
        target = self.folder / name
        if target.exists():
            return self.refuse(name, "there twice; the first is taken")
        data = file.read(most + 1)
        if len(data) > most:
            return self.refuse(name, f"larger than {most >> 10} KiB; left out")
        self.files, self.size = self.files - 1, self.size - len(data)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            os.utime(target, (when, when))
        except OSError as error:
            self.refuse(name, f"could not be copied: {error.strerror}")
        return None
