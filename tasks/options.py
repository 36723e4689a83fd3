"""Options out of settings: a frozen dataclass says what there is to choose, and its command line follows.

    @dataclass(frozen=True)
    class Settings(TaskSettings):
        # network
        model: Annotated[str, Among(MODELS)] = "lecture"  # four layers as in the lecture, or DnCNN
        # training
        steps: int = 1800  # of Adam
        lr: Annotated[float, Above(0)] = 1e-3  # learning rate, a cosine to 0

A field whose line has a comment is an option, the comment its help; a comment on a line of its own begins a group. An
int is at least 1, or at least 0 if that is its default; a float is at least 0; `AtLeast`, `Above` and `Among` say more.
A field of another type is a str, a bool, or a tuple of one of these.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_args, get_origin, get_type_hints

from .command import Parser, real, whole

FEW, SEVERAL = 3, 9  # choices that --help shows in the place of a NAME, or after it


class AtLeast(NamedTuple):
    """The least value of a whole number."""

    low: int


class Above(NamedTuple):
    """What a number has to be greater than."""

    low: float


class Among(NamedTuple):
    """The names to choose from."""

    names: Collection[str]


class TaskSettings:
    """Settings whose defaults depend on what is chosen: of a model, or of a data set."""

    own: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # the defaults of each model that are not those of the fields

    @classmethod
    def kind(cls, chosen: Mapping[str, Any]) -> str | None:
        """Whose defaults in `own` fill in what is not chosen."""
        return chosen.get("model", getattr(cls, "model", None))

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Self:
        """What is given; else what is known of the run already; else the defaults.

        Raises UsageError for settings that contradict each other.
        """
        chosen = {**(known or {}), **given}
        return cls(**{**cls.own.get(cls.kind(chosen), {}), **chosen})

    def completed(self) -> Self:
        """With what is left to the data to decide."""
        return self

    @classmethod
    def default(cls, name: str) -> str:
        """The default of a field in words: one for all, or that of each in `own`; nothing for None and False."""
        field = getattr(cls, name, None)
        of_all = {kind: own.get(name, field) for kind, own in cls.own.items()}
        if len(set(of_all.values())) > 1:
            return ", ".join(f"{kind} {value}" for kind, value in of_all.items() if value is not None)
        return in_words(next(iter(of_all.values()), field))


def in_words(default: Any) -> str:
    """A default in words; nothing for None, False and ()."""
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return "" if default is None or default is False else str(default)


def comments(settings: type) -> dict[str, str]:
    """The comment on the line of each field: what the field is for."""
    return {name: text for _, name, text in described(settings)}


def described(settings: type) -> Iterator[tuple[str, str, str]]:
    """(group, field, comment) of each field that has a comment, inherited fields first, as the source has them."""
    names = {field.name for field in fields(settings)}
    for kind in (kind for kind in reversed(settings.__mro__) if "__dataclass_fields__" in vars(kind)):
        group = "settings"
        line = r"^    (?:# (\w.*)|(\w+): .*?  # (.+))$"
        for title, name, comment in re.findall(line, inspect.getsource(kind), re.MULTILINE):
            group = title or group
            if name in names:
                yield group, name, comment


def add_settings(top: Parser, *kinds: type) -> None:
    """An option for each field of the settings that has a comment; one that is not given is absent.

    A field that two kinds of settings share is one option, with the help of the first.
    """
    groups: dict[str, Callable] = {}
    taken: set[str] = set()
    for kind in kinds:
        types, known = get_type_hints(kind, include_extras=True), {field.name: field for field in fields(kind)}
        for group, name, text in described(kind):
            if name in taken:
                continue
            taken.add(name)
            if group not in groups:
                groups[group] = top.add_argument_group(group, argument_default=argparse.SUPPRESS).add_argument
            default = None if known[name].default is MISSING else known[name].default
            shown = kind.default(name) if issubclass(kind, TaskSettings) else in_words(default)
            how = reading(types[name], default)
            if "metavar" in how and len(how.get("choices", ())) in range(1, SEVERAL):
                text += ": " + ", ".join(how["choices"])
            text += f" ({shown})" if shown else ""
            groups[group](f"--{name.replace('_', '-')}", help=text.replace("%", "%%"), **how)


def reading(kind: Any, default: Any = None, word: str = "PATH") -> dict[str, Any]:
    """How argparse is to read a field of this type."""
    limits: tuple = ()
    if get_origin(kind) is Annotated:
        kind, *limits = get_args(kind)
    if NoneType in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is tuple:
        return {**reading(get_args(kind)[0], min(default, default=None), "NAME"), "nargs": "+"}
    limit = limits[0] if limits else None
    if kind is bool:
        return {"action": "store_true"}
    if kind is int:
        return {"type": whole(limit.low if limit else 0 if default == 0 else 1), "metavar": "N"}
    if kind is float:
        return {"type": real(limit.low if limit else 0, above=isinstance(limit, Above)), "metavar": "X"}
    if limit is None:
        return {"metavar": word}
    return {"choices": list(limit.names), **({"metavar": "NAME"} if len(limit.names) > FEW else {})}


def given(kind: type, options: argparse.Namespace) -> dict[str, Any]:
    """The settings that stand on the command line: options that are not given are absent."""
    found = {field.name: getattr(options, field.name) for field in fields(kind) if hasattr(options, field.name)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
