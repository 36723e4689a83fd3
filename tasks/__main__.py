"""The command line of all tasks: ``python -m tasks NAME``."""

from __future__ import annotations

import sys
from dataclasses import replace

from minidl.study.terminal import Commands

from .command import PROGRAM

TASKS = {
    "classify": "tasks.classify",
    "compress": "tasks.compress",
    "denoise": "tasks.denoise",
    "detect": "tasks.detect",
    "features": "tasks.features",
    "instances": "tasks.detect.instances",
    "interpret": "tasks.interpret",
    "labs": "tasks.labs",
    "mlp": "tasks.labs.mlp",
    "restore": "tasks.restore",
    "salient": "tasks.salient",
    "segment": "tasks.segment",
    "track": "tasks.track",
    "transfer": "tasks.transfer",
    "volume": "tasks.volume",
}


class Tasks(Commands):
    """A package per task: its docstring describes it, and its module ``cli`` has ``main``."""

    def describe(self, name: str) -> str:
        """The first line of the docstring of the package."""
        return Commands.describe(replace(self, modules=TASKS), name)


COMMANDS = Tasks(PROGRAM, "task", {name: f"{package}.cli" for name, package in TASKS.items()}, "tasks")
main = COMMANDS.main

if __name__ == "__main__":
    sys.exit(main())
