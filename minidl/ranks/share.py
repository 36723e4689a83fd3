"""Work that is done once for all ranks: on the first one, or piece by piece, each piece on one of them.

Results are plain numbers, texts, lists and dicts, as JSON has them; every rank gets the same ones, to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .group import Alone


def on_first(group: Alone, work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work(*arguments)`` gives on the first rank, while the others wait."""
    return json.loads(group.text(json.dumps(work(*arguments) if group.first else None)))


def share(
    group: Alone, work: Callable[[Any], Any], items: Sequence[Any], show: Callable[[], object] = lambda: None
) -> list[Any]:
    """``[work(item) for item in items]``, each computed on one rank only. ``show()`` is called once for each."""
    mine = []
    for start in range(0, len(items), group.size):
        together = items[start : start + group.size]
        mine += map(work, together[group.rank : group.rank + 1])
        for _ in together:
            show()
    of_ranks = [json.loads(text) for text in group.gather(json.dumps(mine))]
    return [of_ranks[i % group.size][i // group.size] for i in range(len(items))]


class SharedEvaluation:
    """What `fit` evaluates on all ranks: ``measure(item)`` of each of the items, on one rank each, and of all that was
    measured the numbers to log, ``summary(measured)``.

        evaluate = SharedEvaluation(images, lambda image: psnr(model, image), lambda found: {"psnr": np.mean(found)})
    """

    def __init__(self, items: Sequence[Any], measure: Callable[[Any], Any], summary: Callable[[list], Mapping]):
        self.items, self.measure, self.summary = items, measure, summary

    def __call__(self, step: int, group: Alone | None = None) -> Mapping[str, float]:
        return self.summary(share(group or Alone(), self.measure, self.items))
