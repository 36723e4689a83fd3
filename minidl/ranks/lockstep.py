"""Shards that each run as if alone, but meet where something of the whole batch is asked for.

The statistics of `nn.SyncBatchNorm` are those of all shards, and so is the gradient that an optimiser takes a step
with. Each shard of this rank therefore runs in a thread of its own; only one runs at a time. It goes on until it asks
for a sum over all shards, or is done; then the next one runs. When all wait, the thread that started them adds up, in
the tree and with the other ranks, and they go on. Between two meetings a shard has the model for itself.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np

from ..core.context import current, setting
from ..core.tensor import Parameter
from ..device import device_of, namespace, to_device
from ..nn import Module
from .bucket import Bucket, filled
from .group import Alone

END = "the end"


class ElsewhereError(RuntimeError):
    """A shard of another rank failed."""


class Abandoned(BaseException):
    """Ends the thread of a shard that nobody waits for any more."""


class Shard:
    """A shard while it runs: what `Context.shard` is in its thread, and what it meets the others by.

    weight: of its loss in that of the batch, where the loss itself does not have it. counts: has it any samples? A
    shard without goes along with the samples of another, so that it meets the others; what it adds is 0.
    """

    def __init__(self, number: int, shards: int, function: Callable[[int], Any], own: Own):
        self.number, self.shards, self.function, self.own = number, shards, function, own
        self.weight, self.counts = 1.0, True
        self.asks, self.code, self.request, self.answer = "", 0.0, (), None
        self.result = self.error = None
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.abandoned = False
        threading.Thread(target=copy_context().run, args=(self._run,), daemon=True).start()

    # --- what is called in the thread of the shard

    def sum(self, arrays: Sequence[Any], likes: Sequence[Any] | None = None, name: str = "a sum") -> list[Any]:
        """The sums of these arrays over all shards. None stands for zeros like those of `likes`."""
        likes = arrays if likes is None else likes
        forms = [(str(like.dtype), like.shape) for like in likes]
        return self._meet(name, (arrays if self.counts else [None] * len(likes), likes), forms)

    def gather(self, row: Any, name: str) -> Any:
        """The rows of all shards, one below the other."""
        rows = namespace([row]).zeros((self.shards, *row.shape), row.dtype)
        rows[self.number] = row
        return self.sum([rows], name=name)[0]

    def mean_gradients(self, parameters: Iterable[Parameter], name: str = "a norm of gradients") -> None:
        """Give the parameters the gradients of the whole batch: the means over all shards, by their weights."""
        parameters = list(dict.fromkeys(parameters))
        grads = [None if p.grad is None else (p.grad.detach() * self.weight).data for p in parameters]
        found = np.array([float(g is not None) for g in grads])
        found, *totals = self.sum([found, *grads], [found, *(p.data for p in parameters)], name)
        for p, any_shard, total in zip(parameters, found, totals):
            p.grad = total if any_shard else None

    def once(self, change: Callable[[], Any], name: str) -> Any:
        """Call `change`, which is the same on all shards, once for all of them."""
        return self._meet(name, change)

    def step(self, optimiser: Any) -> None:
        """A step of an optimiser, with the gradients of the whole batch."""
        name = f"a step of {type(optimiser).__name__}"
        self.mean_gradients(optimiser.parameters, name)
        self.once(optimiser.step, name)

    def _meet(self, asks: str, request: Any, forms: list | None = None) -> Any:
        self._ask(asks, forms)
        self.request = request
        self.back.release()
        self.go.acquire()
        if self.abandoned:
            raise Abandoned
        return self.answer

    def _run(self) -> None:
        self.go.acquire()
        try:
            if not self.abandoned:
                with setting(shard=self):
                    self.result = self.function(self.number)
        except BaseException as error:
            self.error = error
        self._ask(END)
        self.back.release()

    def _ask(self, what: str, forms: list | None = None) -> None:
        self.asks, self.code = what, float(zlib.crc32(f"{what} {forms}".encode()) >> 16)

    # --- what is called by the thread that started it

    def resume(self) -> None:
        """Let it run until it meets the others, or is done."""
        self.own.load()
        self.go.release()
        self.back.acquire()
        self.own.save()

    def abandon(self) -> None:
        self.abandoned = True
        self.go.release()


class Own:
    """What a shard has for itself: gradients, the modes and other attributes of modules, buffers, random generators,
    and the values of parameters, which only `Shard.once` changes for all."""

    def __init__(self, model: Module, parameters: Iterable[Parameter], generators: Iterable[np.random.Generator]):
        self.modules, self.of, self.generators = list(model.modules()), list(parameters), list(generators)
        self.save()
        for module, attributes in zip(self.modules, self.attributes):
            for name in module.buffer_names:
                if attributes[name] is not None:
                    attributes[name] = copied(attributes[name])

    def save(self) -> None:
        """Note it all as it is now."""
        self.attributes = [dict(vars(module)) for module in self.modules]
        self.values = [(p.data, p.updated) for p in self.of]
        self.nodes = [(p.node, getattr(p, "frozen", None)) for p in self.of]
        leaves = [p._leaf() for p in self.of]
        self.leaves = [leaf and (leaf, leaf.grad, leaf.order, list(leaf.changes)) for leaf in leaves]
        self.random = [generator.bit_generator.state for generator in self.generators]

    def load(self) -> None:
        """Put it all back."""
        for module, attributes in zip(self.modules, self.attributes):
            vars(module).clear()
            vars(module).update(attributes)
        for p, (data, updated), (node, frozen) in zip(self.of, self.values, self.nodes):
            object.__setattr__(p, "data", data)  # to assign it would stamp it as updated
            p.updated, p.node, p.frozen = updated, node, frozen
        for each in filter(None, self.leaves):
            leaf, leaf.grad, leaf.order, leaf.changes = each
        for generator, state in zip(self.generators, self.random):
            generator.bit_generator.state = state


class Lockstep:
    """Runs the shards of this rank, and brings them together with each other and with those of the other ranks."""

    def __init__(
        self, model: Module, parameters: Iterable[Parameter], generators: Iterable[np.random.Generator],
        group: Alone, shards: int, tag: int,
    ):  # fmt: skip
        self.parameters = list(dict.fromkeys([*model.parameters(), *parameters]))
        self.parts = model, self.parameters, list(generators)
        self.group, self.shards, self.tag = group, shards, tag
        self.buckets: dict[tuple, list[tuple[list[int], Bucket]]] = {}

    def run(self, numbers: Iterable[int], function: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
        """(number, what ``function(number)`` gives) of each shard, while the model is as this shard has left it."""
        running = [Shard(number, self.shards, function, Own(*self.parts)) for number in numbers]
        try:
            while not self._arrived(running):
                self._answer(running)
            self._refuse_different(running)
            for shard in running:
                shard.own.load()
                yield shard.number, shard.result
        finally:
            for shard in running:
                shard.abandon()
            running[0].own.load()

    def _arrived(self, running: list[Shard]) -> bool:
        """Let all run until they meet; are they done?"""
        failed = None
        for shard in running:
            shard.resume()
            failed = failed or shard.error
            if failed and not current().anomaly:  # which all ranks look for at the same time
                raise failed
        rows = [[np.array([shard.code, shard.code**2, failed is not None])] for shard in running]
        (total, squares, failures), *_ = self._sum(running, rows, rows[0])
        if failures:
            raise failed or ElsewhereError("a shard of another rank failed")
        if total**2 != self.shards * squares:  # the codes differ
            asked = [f"shard {shard.number} is at {shard.asks}" for shard in running]
            raise RuntimeError(
                f"the shards of a batch do not meet: {', '.join(asked)}; which layers run, and which optimisers take "
                "a step, may depend on the number of the step, not on the samples"
            )
        return running[0].asks == END

    def _answer(self, running: list[Shard]) -> None:
        requests = [shard.request for shard in running]
        if callable(requests[0]):
            self._once(running, requests[0])
            return
        likes = requests[0][1]
        totals = self._sum(running, [arrays for arrays, _ in requests], likes)
        for shard in running:
            shard.answer = [to_device(total.copy("K"), device_of(like)) for total, like in zip(totals, likes)]

    def _sum(self, running: list[Shard], of_each: list[Sequence[Any]], likes: Sequence[Any]) -> list[Any]:
        key = tuple((like.shape, like.dtype, like.strides) for like in likes)
        if key not in self.buckets:
            self.buckets[key] = [
                (at, Bucket([likes[i] for i in at], self.group, self.shards, self.tag)) for at in filled(likes)
            ]
        totals: list[Any] = [None] * len(likes)
        for positions, bucket in self.buckets[key]:
            bucket.begin()
            for shard, arrays in zip(running, of_each):
                bucket.put(shard.number, [arrays[i] for i in positions])
            self.group.wait(bucket.advance)
            for i, total in zip(positions, bucket.total()):
                totals[i] = total
        return totals

    def _once(self, running: list[Shard], change: Callable[[], Any]) -> None:
        first = running[0].own
        self._refuse_different(running)
        first.load()
        answer = change()
        first.save()
        for shard in running:
            shard.answer, shard.own.values = answer, first.values

    def _refuse_different(self, running: list[Shard]) -> None:
        """A shard may assign a parameter (clip a weight), but each must have assigned the same."""
        first = running[0].own
        for shard in running[1:]:
            for p, (one, _), (other, _) in zip(first.of, first.values, shard.own.values):
                if one is not other and not namespace([one]).array_equal(one, other):
                    raise RuntimeError(
                        f"shards {running[0].number} and {shard.number} assign {p.name} different values; let an "
                        "optimiser change it, or change it in a way that does not depend on the samples"
                    )


def copied(array: Any) -> Any:
    """A copy with the same order in memory, which decides the order of sums."""
    copy = namespace([array]).empty_like(array)
    copy[...] = array
    return copy
