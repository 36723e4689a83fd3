"""The command line of the study tools: ``python -m minidl NAME``, installed as ``minidl``."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

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
    "notebook": "minidl.study.notebook",
    "onnx": "minidl.study.onnx_graph",
    "tasks": "tasks.__main__",
    "weights": "tasks.models.weights",  # which knows our networks: the program runs it, no module of ours imports it
}


TASKS = Path(__file__).resolve().parents[1] / "tasks"  # which a marker's environment has not
if not TASKS.exists():
    TOOLS = {name: module for name, module in TOOLS.items() if not module.startswith("tasks.")}


class Tools(Commands):
    """The tasks are those that lie beside this package, though the user's folder, which comes first, may have some."""

    def run(self, argv: list[str]) -> int:
        if argv[:1] != ["run"] and TASKS.exists():  # a script that is run means its own
            places = {"submodule_search_locations": [str(TASKS)]}
            spec = spec_from_file_location("tasks", TASKS / "__init__.py", **places)
            if spec.origin != getattr(sys.modules.get("tasks"), "__file__", None):
                sys.modules["tasks"] = module_from_spec(spec)
                spec.loader.exec_module(sys.modules["tasks"])
        return super().run(argv)


COMMANDS = Tools("minidl", "tool", TOOLS, "tasks")
main = COMMANDS.main

if __name__ == "__main__":
    sys.exit(main())
