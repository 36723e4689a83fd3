"""A training step on shards: the loss and gradients of a batch as the sum of those of its shards."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..core.anomaly import AnomalyError
from ..core.context import anomaly, current
from ..core.tensor import Parameter
from ..device import numbers, to_device
from ..nn import Module, SyncBatchNorm
from .agreement import agree, agree_on_loss, digest
from .bucket import Bucket, filled
from .buffers import Buffers
from .group import Alone
from .lockstep import ElsewhereError, Lockstep
from .shards import Sharded, Streams, part
from .tree import owned


class ShardedStep:
    """Computes the gradients of steps, shard by shard, the same bits on every rank.

    gradients: ``gradients(batch, first, share, take)`` gives the terms of the loss, divided by `share`, and adds their
        gradients to those of the parameters, or replaces them where it is the `first`; `take` is `backward`'s.
    batches: from a number to a batch; a step takes `accumulate` of them, one after the other.

    The loss of a batch is the mean over its samples: that of a shard counts by its share of them. Batch normalisation
    sees one shard at a time, and running statistics move by the mean of what the shards would change: "ghost batches"
    (Hoffer et al., "Train longer, generalize better", NeurIPS 2017, algorithm 1); see `Buffers`. Where the model holds
    an `nn.SyncBatchNorm`, or the loss takes the steps of optimisers itself (`manual`), shards meet: see `lockstep`.
    """

    def __init__(
        self, model: Module, parameters: list[Parameter], generators: Mapping[str, np.random.Generator],
        gradients: Callable, batches: Callable[[int], Any], accumulate: int, shards: int, group: Alone,
        manual: bool = False,
    ):  # fmt: skip
        if (idle := group.size - shards) > 0:
            raise ValueError(
                f"{group.size} ranks share {shards} shard{'s' * (shards > 1)}: {idle} would have nothing to do; "
                f"use at most {shards}, or shards={group.size} from the start of the run"
            )
        self.model, self.group, self.manual = model, group, manual
        self.parameters = [] if manual else list(dict.fromkeys(parameters))  # whose gradients are added up in the end
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
        self.lockstep: Lockstep | None = None
        if manual or meets(model):
            self.lockstep = Lockstep(
                model, parameters, self.streams.generators, group, shards, tag=len(self.buckets) + 1
            )
        self.left: dict[int, list[Any]] = {}  # the gradients that a shard whose loss takes the steps has left
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
            rows.append((terms, [bool(self.interrupted), *found, *before.changes(weight)]))
            before.restore()
        return self._finish(before, rows)

    def agree(self, step: int, gradients: Callable) -> None:
        """Raises RanksError if ranks differ in the first shard of a step, or in its loss. Changes nothing."""
        number = step * self.accumulate
        whole = getattr(self.batches.batches, "digest", lambda: "")()  # of all samples, where batches know it
        agree(self.group, {"data": whole or digest(self.batches(number, 0))})
        if self.lockstep is None:
            before, recorded, self.gradients = Buffers(self.model), self.gradients, gradients
            self.streams.begin()
            terms, _ = self._alone(step, None, 0)
            before.restore()
            self.gradients = recorded
            agree_on_loss(self.group, terms)

    def each(self, step: int, take: Callable | None = None) -> Iterator[tuple[int, dict[str, float], float]]:
        """(shard, terms, share of the batch) of each shard of this rank; the last gradients of each go to `take`."""
        self.streams.begin()
        if self.lockstep is None:
            runs = ((shard, self._alone(step, take, shard)) for shard in self.mine)
        else:  # shards come to an end together, and buckets want one after the other
            runs = self.lockstep.run(self.mine, partial(self._alone, step, None))
        for shard, (terms, weight) in runs:
            if self.lockstep is not None:
                self._begin(shard)
            yield shard, terms, weight
        self.streams.end()

    def _alone(self, step: int, take: Callable | None, shard: int) -> tuple[dict[str, float], float]:
        """Compute the loss of a shard and its gradients."""
        self.streams.enter(shard)
        of = self.lockstep.parameters if self.manual else self.parameters
        for p, grad in zip(of, self.left.get(shard, [None] * len(of))):
            p.grad = grad
        self._begin(shard)
        try:
            found = self._terms(step, shard, take)
        except AnomalyError as error:
            raise AnomalyError(f"shard {shard} on rank {self.group.rank}: {error}") from None
        if self.manual:
            self.left[shard] = [p.grad for p in of]
        return found

    def _begin(self, shard: int) -> None:
        self.shard = shard
        self.places = {p.node: (bucket, i) for params, bucket in self.buckets for i, p in enumerate(params)}

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
        found = ""
        try:
            with anomaly():
                for shard, terms, _ in self.each(step):
                    if not found and not all(map(math.isfinite, terms.values())):
                        found = (
                            f"shard {shard} on rank {self.group.rank} is the first, and no operation made it out of "
                            "finite numbers: look for it in its batch"
                        )
        except ElsewhereError:
            pass
        except AnomalyError as error:
            found = str(error)
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
            share = self.accumulate * n / max(count, 1)
            if (meeting := current().shard) is not None:
                meeting.counts, meeting.weight = count > 0, 1 / share if self.manual else 1.0
            if count:
                last = take if number == numbered[-1] else None
                for name, value in self.gradients(self.batches(number, shard), not samples, share, last).items():
                    sums[name] = sums[name] + value if name in sums else value
                samples += count
            elif meeting is not None:
                self._go_along(number)
        if not of:
            raise ValueError(f"step {step} has no samples: its batches are empty")
        return dict(zip(sums, numbers(sums.values()))), samples / of

    def _go_along(self, number: int) -> None:
        """A shard without samples meets the others: it runs on the samples of the first one, and adds nothing."""
        grads = [p.grad for p in self.parameters]
        self.gradients(self.batches(number, 0), True, 1.0)
        for p, grad in zip(self.parameters, grads):
            p.grad = grad

    def _finish(self, before: Buffers, rows: list[tuple[dict[str, float], list[float]]]) -> dict[str, float]:
        """Wait for the sums; give them to parameters, gradients and buffers."""
        began = time.perf_counter()
        while not self._added_up(rows):  # in the first step, and where the loss begins to have other terms
            found = [list(terms) for terms, _ in rows if terms]
            theirs = [names for text in self.group.gather(json.dumps(found)) for names in json.loads(text)]
            self.names = theirs[0]
            if different := next((names for names in theirs if names != self.names), None):
                raise ValueError(
                    f"the loss of a shard has the terms {self.names}, that of another {different}; "
                    "give all terms always, 0.0 where there is nothing to add"
                )
        self.waited = time.perf_counter() - began
        terms, (_, stop, *found), changes = np.split(
            self.others.total()[0], [len(self.names), len(self.names) + 2 + len(self.parameters)]
        )
        self.stopped = bool(stop)
        with_gradient = {p for p, count in zip(self.parameters, found) if count}
        for parameters, bucket in self.buckets:
            for p, total in zip(parameters, bucket.total()):
                p.grad = to_device(total, p.device) if p in with_gradient else None
        before.change(changes)
        return dict(zip(self.names, terms.tolist()))

    def _added_up(self, rows: list[tuple[dict[str, float], list[float]]]) -> bool:
        """Wait for the sums; do all shards have the terms that are expected?"""
        row = np.empty(len(self.names) + 1 + len(rows[0][1]))
        if self.others is None or self.others.starts[-1] != row.size:
            self.others = Bucket([row], self.group, self.shards, len(self.buckets))
        self.others.begin()
        for shard, (terms, row) in zip(self.mine, rows):
            others = bool(terms) and list(terms) != self.names
            values = [0.0 if others or not terms else terms[name] for name in self.names]
            self.others.put(shard, [np.array([*values, others, *row])])
        buckets = [self.others, *(bucket for _, bucket in self.buckets)]
        self.group.wait(lambda: sum(bucket.advance() for bucket in buckets) == len(buckets))
        return not self.others.total()[0][len(self.names)]


def meets(model: Module) -> bool:
    """Does it compute anything of the whole batch?"""
    return any(isinstance(module, SyncBatchNorm) for module in model.modules())
