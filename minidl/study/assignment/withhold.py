"""Takes the solutions out of the questions of a wheel, which is what students install; setup.py runs this file alone.

In a question's file, the function under ``@question.solution`` becomes ``question.withheld(name, arguments)``: the same
name, computed by the question's first oracle, so that known mistakes can still be told. The repository has all.
"""

import ast
from pathlib import Path


def withhold(path: Path) -> None:
    """Rewrite a file of questions without its solutions."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    for node in reversed(ast.parse(text).body):
        for mark in getattr(node, "decorator_list", ()):
            if isinstance(mark, ast.Attribute) and mark.attr == "solution":
                arguments = tuple(argument.arg for argument in node.args.args)
                line = f'{node.name} = {ast.unparse(mark.value)}.withheld("{node.name}", {arguments!r})'
                lines[mark.lineno - 1 : node.end_lineno] = [line]
    path.write_text("\n".join(lines), encoding="utf-8")
