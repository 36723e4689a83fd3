"""The command line of the study tools: ``python -m minidl NAME``, installed as ``minidl``."""

from __future__ import annotations

import sys

from .command import Commands

TOOLS = {
    "check": "minidl.check.__main__",
}
COMMANDS = Commands("minidl", "tool", TOOLS, "tasks")
main = COMMANDS.main

if __name__ == "__main__":
    sys.exit(main())
