"""Small experiments, one claim of the course each: a command, numbers, a figure and a page that says what to see.

A lab is a module in this folder. The first line of its docstring says what it shows, and it has

    @dataclass(frozen=True)
    class Settings:
        seed: int = 0  # decides all that is random

        def __post_init__(self): ...   may raise UsageError for settings that are impossible together

    QUICK = Settings(...)              seconds, for tests; the numbers mean little
    measure(settings, progress)        a dict of plain numbers, as JSON has them; finite, or None
    claims(numbers)                    sentences with the numbers in them: what is to be seen, or that it is not
    draw(numbers)                      a matplotlib Figure

A lab that takes hours may also have FULL, the settings of --full, and KEEPS = True: `measure` then gets a folder as a
third argument, in which it keeps what is done, so that a run that was stopped goes on there.

Every field of Settings is an option of the command, and the comment on its line is the option's help. A field is an
int (of at least 1, or of at least 0 if that is its default), a float of at least 0, a bool, a str, or a tuple of ints
or floats. `progress` shows how far the work is: ``with progress("training", steps) as step:`` and ``step()`` after
each piece; `learn` calls it. `claims` and `draw` are given the dict as it comes back from the file: keys are strings,
tuples are lists. `blank` is the figure to draw on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import nn, optim
from minidl.train import fit

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "SKY", "blank", "learn"]

# colours that every eye tells apart (Okabe and Ito)
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#777777"


def blank(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def learn(
    net: nn.Module, loss: Callable, batches: Callable, steps: int, lr: float, step: Callable, *,
    optimiser: type[optim.Optimiser] = optim.Adam, warmup: int = 0, **options: Any,
) -> None:  # fmt: skip
    """Train a net: the learning rate rises for `warmup` steps, then falls as half a cosine; `step()` before each step.

    `options` are those of `minidl.train.fit`.
    """

    def batch(t: int) -> Any:
        step()
        return batches(t)

    schedule = optim.warmup(optim.cosine(lr, steps), warmup)
    alone = {"progress": False, "ranks": "alone"}
    fit(net, optimiser(net.parameters(), lr), loss, batch, steps, schedule=schedule, **alone, **options)
