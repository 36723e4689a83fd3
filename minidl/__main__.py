"""The command line of the study tools: ``python -m minidl NAME``, installed as ``minidl``."""

from __future__ import annotations

import sys

from .command import Commands

TOOLS = {
    "explain": "minidl.explain.__main__",
    "check": "minidl.check.__main__",
    "quiz": "minidl.quiz.__main__",
    "doctor": "minidl.doctor",
    "gradcheck": "minidl.check.command",
    "receptive-field": "minidl.receptive.command",
    "convmatrix": "minidl.convmatrix.command",
    "assignment": "minidl.assignment.__main__",
}
COMMANDS = Commands("minidl", "tool", TOOLS, "tasks")
main = COMMANDS.main

if __name__ == "__main__":
    sys.exit(main())
