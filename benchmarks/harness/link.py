"""What it costs to add up gradients over ranks, on paper.

A message of m bytes takes ``latency + m / bandwidth`` between two ranks that send to each other (the model of Hockney,
"The communication challenge for MPP", Parallel Computing 20(3), 1994), and ``m / adding`` to be added there. Recursive
doubling among p ranks is log2(p) such exchanges for each bucket, one after another (Thakur et al., "Optimization of
collective communication operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005, section 4).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import numpy as np

SIZES = tuple(1 << k for k in range(3, 23))  # bytes: up to a bucket
TIMES = 30


@dataclass(frozen=True)
class Link:
    latency: float  # seconds
    bandwidth: float  # bytes per second, each way at once
    adding: float  # bytes per second

    def exchange(self, buckets: Sequence[int], ranks: int) -> float:
        """Seconds until all ranks have the sums of buckets of so many bytes, one after another."""
        each = sum(self.latency + n / self.bandwidth + n / self.adding for n in buckets)
        return math.ceil(math.log2(ranks)) * each

    def step(self, compute: float, buckets: Sequence[int], ranks: int, window: float) -> tuple[float, float]:
        """Seconds of a step that computes for so long: (at best, at worst).

        At best the network works while the ranks compute: from the first bucket on, for the `window` of the backward
        pass; but the last bucket is complete only at its end. At worst nothing is hidden.
        """
        whole, last = self.exchange(buckets, ranks), self.exchange(buckets[-1:], ranks)
        return compute + max(whole - window, last), compute + whole


ETHERNET = Link(30e-6, 1.2e9, 5e9)  # 10 Gbit/s through TCP, as assumed, not measured


def fitted(points: Sequence[tuple[int, float]], adding: float) -> Link:
    """The link that fits (bytes, seconds) best in relative error, by least squares."""
    sizes, seconds = np.array(points, float).T
    rows = np.stack([1 / seconds, sizes / seconds], axis=1)
    latency, per_byte = np.linalg.lstsq(rows, np.ones(len(sizes)), rcond=None)[0]
    return Link(float(latency), float(1 / per_byte), adding)


def measured_link(group: Any, sizes: Sequence[int] = SIZES, times: int = TIMES) -> Link:
    """The link between the first two ranks, on all: by a ping-pong in both directions at once."""
    points = []
    for size in sizes if group.rank < 2 else ():
        mine, theirs, seconds = np.zeros(size, np.uint8), np.zeros(size, np.uint8), []
        for _ in range(times):
            began = time.perf_counter()
            requests = [group.receive(theirs, 1 - group.rank, 1), group.send(mine, 1 - group.rank, 1)]
            group.wait(partial(group.done, requests))
            seconds.append(time.perf_counter() - began)
        points.append((size, statistics.median(seconds)))
    total, seconds = np.zeros(max(sizes) // 4, np.float32), []
    for _ in range(times):
        began = time.perf_counter()
        np.add(total, total, out=total)
        seconds.append(time.perf_counter() - began)
    link = fitted(points, total.nbytes / statistics.median(seconds)) if points else Link(0.0, 0.0, 0.0)
    return Link(*group.broadcast(np.array(astuple(link))).tolist())
