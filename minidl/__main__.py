"""The command line of the study tools: ``python -m minidl NAME``, installed as ``minidl``."""

from __future__ import annotations

import sys

from .study.terminal import Commands

TOOLS = {
    "explain": "minidl.study.explain.__main__",
    "run": "minidl.torch.run",
    "check": "minidl.study.gradient_report.rules",
    "quiz": "minidl.study.quiz.__main__",
    "doctor": "minidl.study.doctor",
    "gradcheck": "minidl.study.gradient_report.command",
    "receptive-field": "minidl.study.receptive_field.command",
    "convmatrix": "minidl.study.convmatrix.command",
    "assignment": "minidl.study.assignment.__main__",
    "build": "minidl.study.build.__main__",
    "onnx": "minidl.study.onnx_graph",
    "weights": "tasks.models.weights",  # which knows our networks: the program runs it, no module of ours imports it
}
COMMANDS = Commands("minidl", "tool", TOOLS, "tasks")
main = COMMANDS.main

if __name__ == "__main__":
    sys.exit(main())
