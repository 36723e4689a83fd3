"""Options out of settings: their names, bounds, choices, help and defaults."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest

from minidl.study.terminal import Parser, UsageError
from tasks.options import Above, Among, AtLeast, TaskSettings, add_settings, comments, given

NAMES = ("small", "large", "wide", "deep")


@dataclass(frozen=True)
class Kinds(TaskSettings):
    """Every kind of field."""

    # network
    model: Annotated[str, Among(NAMES)] = "small"  # what learns
    depth: Annotated[int | None, AtLeast(2)] = None  # its layers
    # training
    first_steps: int = 10  # of training
    rate: Annotated[float, Above(0)] = 0.5  # 100 % is 1
    seed: int = 0  # decides what is random
    sizes: tuple[int, ...] = (1, 2)  # of the maps
    mirror: bool = False  # every other picture
    data: str | None = None  # a folder

    hidden: float = 1.0
    own: ClassVar = {"small": {}, "large": {"first_steps": 99}}


@dataclass(frozen=True)
class More(Kinds):
    """Inherited fields come first."""

    # more
    last: float = 2.0  # of all


@pytest.fixture
def parser():
    top = Parser(prog="test")
    add_settings(top, More, Kinds)
    return top


def test_what_is_not_given_is_absent_and_what_has_no_comment_is_no_option(parser):
    assert given(More, parser.parse_args([])) == {}
    assert list(comments(More)) == [
        "model", "depth", "first_steps", "rate", "seed", "sizes", "mirror", "data", "last",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--hidden is not an option"):
        parser.parse_args(["--hidden", "1"])


def test_what_is_given_has_the_type_of_its_field(parser):
    argv = "--model deep --depth 2 --first-steps 3 --rate 1e-3 --seed 0 --sizes 4 5 --mirror --data x --last 0"
    assert given(More, parser.parse_args(argv.split())) == {
        "model": "deep", "depth": 2, "first_steps": 3, "rate": 1e-3, "seed": 0, "sizes": (4, 5), "mirror": True,
        "data": "x", "last": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("argv, message", [
    ("--model tiny", "invalid choice: 'tiny'"),
    ("--depth 1", "at least 2"),
    ("--first-steps 0", "at least 1"),
    ("--rate 0", "above 0"),
    ("--seed -1", "at least 0"),
    ("--sizes 1 0", "at least 1"),
    ("--last -1", "at least 0"),
])  # fmt: skip
def test_what_is_out_of_bounds_is_refused(parser, argv, message):
    with pytest.raises(UsageError, match=message):
        parser.parse_args(argv.split())


def test_help_says_groups_choices_and_defaults(parser):
    text = " ".join(parser.format_help().split())
    assert text.index("network:") < text.index("training:") < text.index("more:")
    for part in (
        "--model NAME what learns: small, large, wide, deep (small)", "--depth N its layers --",
        "--first-steps N of training (small 10, large 99)", "--rate X 100 % is 1 (0.5)", "of the maps (1 2)",
        "--mirror every other picture --data PATH a folder more: --last X of all (2.0)",
    ):  # fmt: skip
        assert part.removesuffix(" --") in text, part


def test_settings_are_what_is_given_then_what_is_known_then_the_defaults_of_the_model():
    assert Kinds.of({}) == Kinds()
    assert Kinds.of({"model": "large"}).first_steps == 99
    assert Kinds.of({"model": "large"}, {"first_steps": 5}).first_steps == 5
    assert Kinds.of({"first_steps": 7}, {"model": "large", "first_steps": 5}) == Kinds("large", first_steps=7)
