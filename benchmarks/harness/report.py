"""The tables of the benchmarks, the machine they ran on, and the options of the commands that measure rows."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minidl.table import table

from .measure import Result
from .rows import Row
from .worker import cores


def comparison(
    results: Sequence[Result], columns: Iterable[str], markdown: bool, more: Sequence[Sequence[str]] = ()
) -> str:
    """A line for each result; `more` is a head and a line of further cells for each, before the share of GEMM."""
    others = [c for c in columns if c != "minidl"]
    head = ["row", "input", "minidl ms", *(f"{c} ms" for c in others), *(f"{c}/minidl" for c in others)]
    more = more or [[]] * (1 + len(results))
    lines = [[*head, *more[0], "of GEMM", "minidl MiB", "first", "torch MiB"]]
    for r, cells in zip(results, more[1:], strict=True):
        times = [number(1e3 * r.median(c)) if c in r.seconds else "-" for c in ["minidl", *others]]
        ratios = [number(r.ratio(c)) for c in others]
        share = "-" if (s := r.share_of_gemm()) is None else f"{s:.0%}"
        peaks = r.step_memory.get("minidl"), r.memory.get("minidl"), r.step_memory.get("torch")
        mib = ["-" if peak is None else number(peak / 2**20) for peak in peaks]
        lines.append([r.row, "x".join(map(str, r.shape)), *times, *ratios, *cells, share, *mib])
    return as_markdown(lines) if markdown else as_text(lines)


def as_text(lines: list[list[str]]) -> str:
    return "\n".join(table(lines, "<<>"))


def as_markdown(lines: list[list[str]]) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(lines[0]) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def number(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def machine(threads: int, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Processor, cores, threads, and the versions of NumPy and of these packages."""
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), cpu)
    versions = {name: version(name) for name in ("numpy", *packages)}
    return {"cpu": cpu, "cores": cores(), "threads": threads, **versions}


def in_a_line(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def command(name: str, description: str) -> argparse.ArgumentParser:
    """The parser of a benchmark, whose docstring is its help."""
    style = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description, formatter_class=style)


def save(found: dict[str, Any], path: str | None) -> None:
    """Write what was measured as JSON, if there is a path."""
    if path:
        Path(path).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


# --- the commands that measure rows


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The options that the commands of rows have in common."""
    result = command(name, description)
    result.add_argument("rows", nargs="*", metavar="ROW", help="a name, a group, or a part of one (all)")
    result.add_argument("--json", metavar="PATH", help="write everything measured there")
    result.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    result.add_argument("--quick", action="store_true", help="tiny shapes, two rounds: a trial")
    result.add_argument("--rounds", type=int, metavar="N", help="turns of each library (11; 2 with --quick)")
    result.add_argument("--list", action="store_true", help="print the rows and stop")
    return result


def parse(parser: argparse.ArgumentParser, rows: Sequence[Row], arguments: list[str] | None) -> argparse.Namespace:
    """The options, checked; `chosen` are the rows that are meant."""
    options = parser.parse_args(arguments)
    try:
        options.chosen = select(options.rows, rows)
    except LookupError as error:
        parser.error(str(error))
    if options.rounds is None:
        options.rounds = 2 if options.quick else 11
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    if options.json and not os.path.isdir(os.path.dirname(options.json) or "."):
        parser.error(f"--json {options.json}: there is no folder {os.path.dirname(options.json)}")
    return options


def select(parts: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """The rows that are meant: by the whole name or group, else by a part of it; all if no part is given."""
    found: list[Row] = []
    for part in parts:
        meant = [r for r in rows if part in (r.name, r.group)] or [r for r in rows if part in r.name or part in r.group]
        if not meant:
            raise LookupError(f"no row contains {part!r}; --list prints them")
        found += meant
    return [r for r in rows if r in found or not parts]


def listed(rows: Iterable[Row]) -> str:
    return "\n".join(f"{r.name:32}{r.group:16}{'x'.join(map(str, r.shape))}" for r in rows)


def require_threads(parser: argparse.ArgumentParser, threads: int) -> None:
    if not 1 <= threads <= cores():
        parser.error(f"--threads {threads}: from 1 to the {cores()} cores that there are")
