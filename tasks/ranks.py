"""A task on several processes, the ranks of MPI: they train together, the first one alone speaks and writes.

    mpiexec -n 4 python -m tasks denoise
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from minidl.ranks.group import Alone, connect
from minidl.ranks.shards import SHARDS

from .command import whole


def add_ranks(add: Callable) -> None:
    """The options that say which processes train, and on what."""
    add("--ranks", choices=("mpi", "alone"), help="processes that train together: those of mpiexec, or this one alone")
    parts = f"cut batches into N parts: decides the outcome, on any number of ranks ({SHARDS} with mpi, else 1)"
    add("--shards", type=whole(1), metavar="N", help=parts)


@contextmanager
def connected(options: Namespace) -> Iterator[Alone]:
    """The ranks that the options ask for; in the block only the first one is heard."""
    group = connect(options.ranks)
    if group.first:
        yield group
        return
    options.quiet = True
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield group
