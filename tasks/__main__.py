"""The command line of all tasks: ``python -m tasks NAME``."""

from __future__ import annotations

import sys

from minidl.study.terminal import Commands

TASKS = {
    "classify": "tasks.classify",
    "denoise": "tasks.denoise",
    "detect": "tasks.detect",
    "instances": "tasks.detect.instances",
    "interpret": "tasks.interpret",
    "labs": "tasks.labs",
    "mlp": "tasks.labs.mlp",
    "segment": "tasks.segment",
    "transfer": "tasks.transfer",
    "volume": "tasks.volume",
}
COMMANDS = Commands("python -m tasks", "task", TASKS, "tasks")
main = COMMANDS.main

if __name__ == "__main__":
    sys.exit(main())
