"""What a student reads: the list, a question, the file to fill in, the numbers of a case."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import numpy as np

from ...files.atomic import replacing
from ...table import grouped
from .question import Inputs, Question
from .questions import QUESTIONS

WIDTH = 96
COPY = re.compile(r" ?\((\d+)\)$|-(\d+)$| - (?:Copy|Kopie)$| copy$")  # behind the name of a second file


def listing() -> str:
    """All questions under their topics."""
    return "\n".join(grouped([(q.topic, (q.id, q.title)) for q in QUESTIONS.values()]))


def page(question: Question) -> str:
    """A question, as Markdown."""
    call = f"{question.function}({', '.join(question.arguments)})"
    return f"# {question.title}\n\n{flow(question.text, WIDTH)}\n\nYour function: `{call}`"


def template(question: Question) -> str:
    """The file that `start` writes."""
    text = textwrap.indent(f"{question.title}.\n\n{flow(question.text, WIDTH)}", "    ", lambda line: line.strip())
    return (
        f'import numpy as np\n\nQUESTION = "{question.id}"\n\n\n'
        f'def {question.function}({", ".join(question.arguments)}):\n    """{text.lstrip()}\n    """\n'
        f"    # to check it: minidl assignment check {question.id} {file_of(question)}\n"
        '    raise NotImplementedError("write your answer here")\n'
    )


def file_of(question: Question) -> str:
    return question.id.replace("-", "_") + ".py"


def start(question: Question, folder: str | os.PathLike) -> Path:
    """Write the file to fill in. Raises FileExistsError rather than replace one."""
    path = Path(folder) / file_of(question)
    if path.exists():
        raise FileExistsError(f"{path} is there already and may hold your work: give another folder, or move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(template(question).encode())
    return path


def question_of(path: Path) -> str | None:
    """The question that a file says it answers, by its line ``QUESTION = "..."`` or else its name; it is not run."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if line := re.search(r"""^QUESTION\s*=\s*(["'])(.*?)\1""", text, re.MULTILINE):
        return line[2]
    named = COPY.sub("", path.stem).strip().lower().replace("_", "-").replace(" ", "-")
    return named if named in QUESTIONS else None


def copy_number(path: Path) -> int:
    """3 for "dice_output (3).py", as browsers name what is there already, or "dice_output-3.py", as Canvas does."""
    found = COPY.search(path.stem)
    return int(found[1] or found[2] or 1) if found else 0


def numbers(inputs: Inputs) -> str:
    """The arguments of a case, as Python."""
    lines = []
    for name, value in inputs.items():
        if isinstance(value, np.ndarray):
            start = f"{name} = np.array("
            body = np.array2string(
                value, separator=", ", prefix=start, floatmode="unique", threshold=10**6, max_line_width=110
            )
            lines.append(f"{start}{body})")
        else:
            lines.append(f"{name} = {value!r}")
    return "\n".join(lines)


def flow(text: str, width: int) -> str:
    """Paragraphs and list items filled to a width; indented lines as they are."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith("    ") or "\n    " in block:
            blocks.append(block)
        elif block.startswith("- "):
            items = ("\n" + block).split("\n- ")[1:]
            filled = [textwrap.fill(item, width, initial_indent="- ", subsequent_indent="  ") for item in items]
            blocks.append("\n".join(filled))
        else:
            blocks.append(textwrap.fill(block, width, break_on_hyphens=False))
    return "\n\n".join(blocks)
