"""The command line of all tasks: ``python -m tasks NAME``. Each package in this folder is one."""

from __future__ import annotations

import pkgutil
import sys

import tasks
from minidl.study.terminal import Commands


def names() -> list[str]:
    """The packages in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(tasks.__path__) if module.ispkg)


COMMANDS = Commands("python -m tasks", "task", {name: f"tasks.{name}" for name in names()}, "tasks")
describe, main, line = COMMANDS.describe, COMMANDS.main, COMMANDS.line

if __name__ == "__main__":
    sys.exit(main())
