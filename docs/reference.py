"""The reference: a page for each part of the package, made of its docstrings, and links from every page to them.

Docstrings here are plain prose with `names` and ``code`` between backticks and indented examples; `markdown` turns them
into Markdown, character for character. Below a function that is a primitive stand its formula and its derivatives.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

import minidl
from minidl import data, functional, nn, optim, train
from minidl.core.primitive import registry
from minidl.study.page.mathml import mathml

PARTS = {  # of the package: short name, module, title, what it is
    "md": (minidl, "minidl", "Tensors, derivatives, tools. `import minidl as md`"),
    "F": (functional, "minidl.functional", "Functions. `from minidl import functional as F`"),
    "nn": (nn, "minidl.nn", "Layers and losses with parameters and states. `from minidl import nn`"),
    "init": (nn.init, "minidl.nn.init", "Where weights start. `from minidl.nn import init`"),
    "optim": (optim, "minidl.optim", "Optimisers and schedules. `from minidl import optim`"),
    "data": (data, "minidl.data", "Batches, pictures, data sets as files. `from minidl import data`"),
    "train": (train, "minidl.train", "Training that resumes. `from minidl import train`"),
}
RESULTS = (  # what functions return: no public names themselves
    "minidl.check.report:Report", "minidl.study.explain:Trace", "minidl.study.receptive_field:ReceptiveField",
    "minidl.study.convmatrix:ConvMatrix", "minidl.nn.summary:Summary", "minidl.recording.recorded:Recorded",
    "minidl.onnx.module:OnnxModule", "minidl.training.fit:Record", "minidl.ops.ordering:Ordered",
)  # fmt: skip
ALIASES = {part: module.__name__ for part, (module, *_) in PARTS.items()}
MEMBERS = (property, classmethod, staticmethod, cached_property)
TYPES = {"Sizes": "int | Sequence[int]", "Axis": "int | Sequence[int] | None", "Schedule": "Callable[[int], float]"}


@dataclass(frozen=True)
class Entry:
    """A public name: where it is, and the object."""

    module: str
    name: str
    value: Any

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def topic(self) -> str:
        """The file that defines it, which is what a page of the reference is about."""
        return getattr(self.value, "__module__", self.module).rpartition(".")[2]


def public(module: Any) -> list[Entry]:
    """The public names of a module: `__all__`, or all that it shows and that is ours; without modules."""
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    found = [Entry(module.__name__, name, getattr(module, name)) for name in sorted(names)]
    return [e for e in found if not inspect.ismodule(e.value) and ours(e.value)]


def ours(value: Any) -> bool:
    of_ours = (getattr(value, "__module__", None) or "").startswith("minidl")
    return of_ours and callable(value) and value.__name__ != "missing"


def results() -> list[Entry]:
    places = (place.split(":") for place in RESULTS)
    return [Entry(module, name, getattr(import_module(module), name)) for module, name in places]


@cache
def entries() -> dict[str, Entry]:
    """Every public name by its full name."""
    return {entry.full: entry for entry in [*results(), *(e for module, *_ in PARTS.values() for e in public(module))]}


@cache
def home(full: str) -> str:
    """Where a public name is described: a value with several names is described under the first."""
    value = entries()[full].value
    return next(name for name, entry in entries().items() if entry.value is value)


@cache
def members(cls: type) -> dict[str, Any]:
    """The public methods and properties that a class defines, with docstrings; for a result those of its bases, too."""
    inherited = cls.__mro__[1:] if cls in [entry.value for entry in results()] else ()
    own = [cls, *(base for base in inherited if ours(base) and base is not nn.Module)]
    return {
        name: value
        for place in reversed(own)
        for name, value in vars(place).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, MEMBERS))
        and inspect.getdoc(value) and not isinstance(value, type)
    }  # fmt: skip


# --- docstrings as Markdown


def markdown(doc: str | None) -> str:
    """A docstring as Markdown: prose escaped, code between backticks and indented blocks as they are."""
    lines = (doc or "").expandtabs().splitlines()
    if not lines:
        return ""
    rest = lines[1:]
    closing = rest[-1] if rest and not rest[-1].strip() else None  # the closing quotes stand where prose begins
    base = len(closing) if closing else min((len(s) - len(s.lstrip()) for s in rest if s.strip()), default=0)
    blocks = re.split(r"\n\s*\n", "\n".join([lines[0].strip(), *(s[base:] for s in rest)]))
    made: list[str] = []
    for block in blocks:
        if not block.strip():
            continue
        code = all(line.startswith("    ") for line in block.splitlines() if line.strip())
        made.append(fenced(block) if code else "\n\n".join(paragraphs(block)))
    return "\n\n".join(made)


def fenced(block: str) -> str:
    text = inspect.cleandoc(block)
    python = ">>>" in text or re.match(r"(class|def|import|from|with|for|md\.|model|loss|@)", text)
    return f"```{('pycon' if '>>>' in text else 'python') if python else 'text'}\n{text}\n```"


def paragraphs(block: str) -> Iterator[str]:
    """A block of lines: indented lines in it are code, the rest is prose."""
    for indented, part in grouped(block.splitlines()):
        yield fenced("\n".join(part)) if indented else escaped("\n".join(part).strip())


def grouped(lines: list[str]) -> list[tuple[bool, list[str]]]:
    found: list[tuple[bool, list[str]]] = []
    for line in lines:
        indented = line.startswith("    ")
        if not found or found[-1][0] != indented:
            found.append((indented, []))
        found[-1][1].append(line)
    return found


def escaped(text: str) -> str:
    """Prose, with its code between backticks kept and all else that Markdown would read as marks escaped."""
    pieces = re.split(r"(``.+?``|`[^`\n]+`)", text, flags=re.DOTALL)
    text = "".join(p if i % 2 else re.sub(r"([\\*_\[\]<>#|~$])", r"\\\1", p) for i, p in enumerate(pieces))
    text = re.sub(r"^(\d+)\. ", r"\1\\. ", re.sub(r"^([-+]) ", r"\\\1 ", text, flags=re.MULTILINE), flags=re.MULTILINE)
    return re.sub(r"^(Definition|Raises|Returns|Source|Example|Shapes)\b:?", r"**\1**", text, flags=re.MULTILINE)


# --- pages


def signature(value: Any) -> str:
    """As it is written in the source: annotations without quotes, without the module's name."""
    try:
        text = str(inspect.signature(value))
    except (TypeError, ValueError):
        return "()"
    text = re.sub(r"'([^']*)'(?=[,)=]| =|$)", r"\1", text)
    text = re.sub(rf"\b({'|'.join(TYPES)})\b(?= \||,|\)| =|$)", lambda match: TYPES[match[1]], text)
    text = text.replace("None | None", "None")
    return re.sub(r"<[^<>]*?([\w.]+)(?: at 0x\w+)?>", r"\1", text).replace("\n", " ")


def formulas(entry: Entry) -> str:
    """The formula of the primitive that a function is, and its derivatives."""
    primitive = registry.get(entry.name) if entry.module == "minidl.functional" else None
    if primitive is None or not primitive.formula:
        return ""
    head = primitive.formula if "=" in primitive.formula.split("(")[0] else f"y = {primitive.formula}"
    rows = [f"<tr><th>definition</th><td>{mathml(head)}</td></tr>"]
    rows += [f"<tr><th>cotangent of {a}</th><td>{mathml(f)}</td></tr>" for a, f in primitive.rule_formulas.items() if f]
    return f'\n\n```{{raw}} html\n<table class="formulas">{"".join(rows)}</table>\n```'


def directive(kind: str, name: str, text: str, body: str, depth: int, options: str = "") -> str:
    fence = "`" * depth
    return f"{fence}{{py:{kind}}} {name}{text}\n{options}\n{body}\n{fence}\n"


def described(entry: Entry) -> str:
    """A public name as a directive of Sphinx's Python domain."""
    value, options = entry.value, f":module: {entry.module}\n"
    if not inspect.isclass(value):
        body = markdown(value.__doc__) + formulas(entry)
        return directive("function", entry.name, signature(value), body, 5, options)
    body = markdown(value.__doc__)
    if own := vars(value).get("__init__"):
        body += "\n\n" + markdown(getattr(own, "__doc__", "")) if getattr(own, "__doc__", "") else ""
    for name, member in members(value).items():
        if isinstance(member, (property, cached_property)):
            body += "\n\n" + directive("property", name, "", markdown(member.__doc__), 4)
            continue
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        text = re.sub(r"^\((?:self|cls)(?:, )?", "(", signature(function))
        flag = f":{type(member).__name__}:\n" if isinstance(member, (classmethod, staticmethod)) else ""
        body += "\n\n" + directive("method", name, text, markdown(function.__doc__), 4, flag)
    kind = "exception" if issubclass(value, BaseException) else "class"
    return directive(kind, entry.name, signature(value), body, 5, options)


def summary(entry: Entry) -> str:
    first = re.split(r"(?<=[^.]\.)(?:\s|$)|\n\s*\n", inspect.getdoc(entry.value) or "", maxsplit=1)[0]
    return f"| {{py:obj}}`{entry.name} <{home(entry.full)}>` | {escaped(' '.join(first.split()))} |"


def pages() -> dict[str, str]:
    """The reference: file name and Markdown of every page."""
    made, links = {}, []
    made["results"] = "# What tools return\n\n" + "\n".join(described(entry) for entry in results())
    for part, (module, title, about) in PARTS.items():
        found = public(module)
        topics = sorted({entry.topic for entry in found}) if len(found) > 40 else [None]
        toctree = []
        table = "| | |\n|---|---|\n" + "\n".join(summary(e) for e in found)
        for topic in topics:
            several = [e for e in found if topic in (None, e.topic)]
            text = "\n".join(described(e) for e in several if home(e.full) == e.full)
            if topic is None:
                made[part] = f"# {title}\n\n{about}.\n\n{table}\n\n{text}"
            else:
                toctree.append(f"{part}-{topic}")
                own = "| | |\n|---|---|\n" + "\n".join(summary(e) for e in several)
                made[toctree[-1]] = f"# {title}: {topic.replace('_', ' ')}\n\n{own}\n\n{text}"
        if toctree:
            inside = "\n".join(toctree)
            made[part] = f"# {title}\n\n{about}.\n\n{table}\n\n```{{toctree}}\n:hidden:\n\n{inside}\n```\n"
        links.append(f"| [{title}]({part}.md) | {about} |")
    links.append("| [What tools return](results.md) | The objects that functions above give back |")
    inside = "\n".join([*PARTS, "results"])
    made["index"] = (
        "# Reference\n\nEvery public name, from its docstring; where a function is a primitive, its formula and its "
        "derivatives stand below it. The examples run; they know `md`, `F`, `nn`, `optim`, `data`, `train`, and NumPy "
        "as `np`.\n\n| | |\n|---|---|\n"
        + "\n".join(links)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{inside}\n```\n"
    )
    return made


def write(folder: Path) -> None:
    """Write the pages of the reference; what has not changed is left alone, so that Sphinx need not read it again."""
    folder.mkdir(exist_ok=True)
    made = {folder / f"{name}.md": text for name, text in pages().items()}
    for path in set(folder.glob("*.md")) - set(made):
        path.unlink()
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# --- links


def target(name: str) -> str | None:
    """The full name that `F.relu`, `md.grad`, `nn.Linear.forward` stands for, if it is public."""
    name = name.removesuffix("()")
    head, _, rest = name.partition(".")
    full = f"{ALIASES[head]}.{rest}" if rest and head in ALIASES else name
    if full in entries():
        return home(full)
    owner, _, member = full.rpartition(".")
    if owner in entries() and inspect.isclass(cls := entries()[owner].value) and member in members(cls):
        return full
    return None


class Links(SphinxTransform):
    """Names of the package become links: between backticks, and `F.relu` in prose."""

    default_priority = 600
    NAME = re.compile(r"\b(?:md|F|nn|optim|data|train|init)\.[A-Za-z_][\w.]*\w")

    def apply(self, **options: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            if self.linkable(literal) and (full := target(literal.astext()) or self.local(literal)):
                literal.replace_self(self.link(full, literal.deepcopy()))
        for text in list(self.document.findall(nodes.Text)):
            if self.linkable(text) and not isinstance(text.parent, nodes.literal):
                self.split(text)

    def linkable(self, node: nodes.Node) -> bool:
        parent = node.parent
        while parent is not None and not isinstance(parent, nodes.section):
            if isinstance(parent, (nodes.reference, nodes.title, pending_xref, nodes.FixedTextElement)):
                return False
            if type(parent).__name__.startswith("desc_") and type(parent).__name__ != "desc_content":
                return False
            parent = parent.parent
        return True

    def local(self, literal: nodes.literal) -> str | None:
        """In a docstring, a name of the same module."""
        parent = literal.parent
        while parent is not None and type(parent).__name__ != "desc":
            parent = parent.parent
        if parent is None or not re.fullmatch(r"[A-Za-z_]\w+", literal.astext()):
            return None
        module = parent[0].get("module")
        full = f"{module}.{literal.astext()}"
        return full if full in entries() and full not in parent[0].get("ids", []) else None

    def link(self, full: str, shown: nodes.Node) -> pending_xref:
        where = {"refdomain": "py", "reftype": "obj", "reftarget": full, "refdoc": self.env.docname}
        return pending_xref("", shown, refexplicit=True, refwarn=True, **where)

    def split(self, text: nodes.Text) -> None:
        pieces, last = [], 0
        for match in self.NAME.finditer(text):
            if full := target(match[0]):
                pieces += [nodes.Text(text[last : match.start()]), self.link(full, nodes.literal(match[0], match[0]))]
                last = match.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(text[last:])])
