"""A training step on shards: the loss and gradients of a batch as the sum of those of its shards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.anomaly import AnomalyError
from ..core.context import anomaly
from ..core.tensor import Parameter
from ..device import device_of, numbers, to_device
from ..nn import Module
from .bucket import Bucket, filled
from .group import Alone
from .shards import Sharded, Streams, part
from .tree import owned


class ShardedStep:
    """Computes the gradients of steps, shard by shard, the same bits on every rank.

    gradients: ``gradients(batch, first, share, take)`` gives the terms of the loss, divided by `share`, and adds their
        gradients to those of the parameters, or replaces them where it is the `first`; `take` is `backward`'s.
    batches: from a number to a batch; a step takes `accumulate` of them, one after the other.

    The loss of a batch is the mean over its samples: that of a shard counts by its share of them. Batch normalisation
    sees one shard at a time, and running statistics move by the mean of what the shards would change: "ghost batches"
    (Hoffer et al., "Train longer, generalize better", NeurIPS 2017, algorithm 1).
    """

    def __init__(
        self, model: Module, parameters: list[Parameter], generators: Mapping[str, np.random.Generator],
        gradients: Callable, batches: Callable[[int], Any], accumulate: int, shards: int, group: Alone,
    ):  # fmt: skip
        if group.size > shards:
            raise ValueError(
                f"{group.size} ranks share {shards} shards: {group.size - shards} would have nothing to do; "
                f"use at most {shards} ranks, or shards={group.size} from the start of the run"
            )
        self.model, self.parameters, self.group = model, list(dict.fromkeys(parameters)), group
        self.gradients, self.accumulate = gradients, accumulate
        self.batches = Sharded(batches, shards)
        self.shards, self.mine = shards, owned(group.rank, group.size, shards)
        self.streams = Streams([*(g for _, g in model.named_generators()), *generators.values()])
        together = [[self.parameters[i] for i in positions] for positions in filled([p.data for p in self.parameters])]
        self.buckets = [
            (params, Bucket([p.data for p in params], group, shards, tag)) for tag, params in enumerate(together)
        ]
        self.places: dict[Any, tuple[Bucket, int]] = {}  # of the gradients that have not been taken, by leaf
        self.shard = -1  # the one that is computed
        self.others: Bucket | None = None  # the terms of the loss, the changes of buffers, what has a gradient
        self.names: list[str] = []
        self.interrupted: list = []  # filled when this rank is interrupted
        self.stopped = False  # was any rank, before the step?
        self.waited = 0.0  # seconds, for other ranks, after the work of this one

    def __call__(self, step: int) -> dict[str, float]:
        """The terms of the loss of a step, whose gradients the parameters have then."""
        before, rows = Buffers(self.model), []
        for _, bucket in self.buckets:
            bucket.begin()
        for shard, terms, weight in self.each(step, self._take):
            self._put_others(shard)
            found = [p.node not in self.places for p in self.parameters]
            rows.append((terms, [bool(self.interrupted), *found, *(weight * before.changes())]))
            before.restore()
        return self._finish(before, rows)

    def each(self, step: int, take: Callable | None = None) -> Iterator[tuple[int, dict[str, float], float]]:
        """(shard, terms, share of the batch) of each shard of this rank; the last gradients of each go to `take`."""
        self.streams.begin()
        for shard in self.mine:
            self.streams.enter(shard)
            for p in self.parameters:
                p.grad = None
            self.shard = shard
            self.places = {p.node: (bucket, i) for params, bucket in self.buckets for i, p in enumerate(params)}
            yield shard, *self._terms(step, shard, take)
        self.streams.end()

    def _take(self, leaf: Any, gradient: Any) -> None:
        """The gradient of a parameter for the shard at hand is complete, while the backward pass goes on."""
        if (place := self.places.pop(leaf, None)) is not None:
            place[0].add(self.shard, place[1], gradient)
            if self.group.size > 1 and self.shard == self.mine[-1]:  # MPI sends and receives only while it is called
                for _, bucket in self.buckets:
                    bucket.advance()

    def _put_others(self, shard: int) -> None:
        """The gradients that the last batch of a shard has not changed."""
        for leaf in list(self.places):
            if leaf is not None and leaf.grad is not None:
                self._take(leaf, leaf.grad.data)
        for _, bucket in self.buckets:
            bucket.close(shard)

    def culprit(self, step: int) -> str | None:
        """Run the shards again and name the first operation that makes a NaN or an infinity, and its rank."""
        running = self.mine.start
        found = ""
        try:
            with anomaly():
                for shard, _, _ in self.each(step):
                    running = shard + 1
        except AnomalyError as error:
            found = f"shard {running} on rank {self.group.rank}: {error}"
        return next(filter(None, self.group.gather(found)), None)

    def _terms(self, step: int, shard: int, take: Callable | None) -> tuple[dict[str, float], float]:
        """The terms of a shard, times its share of the batch, and that share, over all batches of the step."""
        sums: dict[str, Any] = {}
        samples = of = 0
        numbered = range(step * self.accumulate, (step + 1) * self.accumulate)
        for number in numbered:
            n = self.batches.size(number)
            where = part(n, shard, self.shards)
            count, of = where.stop - where.start, of + n
            if count:
                share = self.accumulate * n / count
                last = take if number == numbered[-1] else None
                for name, value in self.gradients(self.batches(number, shard), not samples, share, last).items():
                    sums[name] = sums[name] + value if name in sums else value
                samples += count
        return dict(zip(sums, numbers(sums.values()))), samples / of

    def _finish(self, before: Buffers, rows: list[tuple[dict[str, float], list[float]]]) -> dict[str, float]:
        """Wait for the sums; give them to parameters, gradients and buffers."""
        if self.others is None:
            mine = next((list(terms) for terms, _ in rows if terms), None)
            self.names = next(names for text in self.group.gather(json.dumps(mine)) if (names := json.loads(text)))
            row = np.empty(len(self.names) + len(rows[0][1]))
            self.others = Bucket([row], self.group, self.shards, len(self.buckets))
        self.others.begin()
        for shard, (terms, row) in zip(self.mine, rows):
            if terms and list(terms) != self.names:
                raise ValueError(f"the loss of shard {shard} has the terms {list(terms)}, others have {self.names}")
            self.others.put(shard, [np.array([*(terms[name] if terms else 0.0 for name in self.names), *row])])
        began, buckets = time.perf_counter(), [self.others, *(bucket for _, bucket in self.buckets)]
        self.group.wait(lambda: sum(bucket.advance() for bucket in buckets) == len(buckets))
        self.waited = time.perf_counter() - began
        terms, (stop, *found), changes = np.split(
            self.others.total()[0], [len(self.names), len(self.names) + 1 + len(self.parameters)]
        )
        self.stopped = bool(stop)
        with_gradient = {p for p, count in zip(self.parameters, found) if count}
        for parameters, bucket in self.buckets:
            for p, total in zip(parameters, bucket.total()):
                p.grad = to_device(total, p.device) if p in with_gradient else None
        before.change(changes)
        return dict(zip(self.names, terms.tolist()))


class Buffers:
    """The buffers of a model as they are before a step: every shard begins with them."""

    def __init__(self, model: Module):
        self.arrays = [array for array in model.buffers() if array.dtype.kind in "fiu"]
        self.then = [array.copy() for array in self.arrays]

    def changes(self) -> np.ndarray:
        """What has been added to each entry since, in one row."""
        rows = [to_device((now - then).reshape(-1), "cpu") for now, then in zip(self.arrays, self.then)]
        return np.concatenate([np.empty(0), *rows])

    def restore(self) -> None:
        for now, then in zip(self.arrays, self.then):
            now[...] = then

    def change(self, changes: np.ndarray) -> None:
        """Add these to what the entries were; counts stay whole numbers."""
        start = 0
        for array, then in zip(self.arrays, self.then):
            new = to_device(then.reshape(-1), "cpu") + changes[start : start + then.size]
            new = new if then.dtype.kind == "f" else np.rint(new)
            array[...] = to_device(new.reshape(then.shape), device_of(array))
            start += then.size
