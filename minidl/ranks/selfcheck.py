"""What `minidl doctor` starts on two ranks: ``mpiexec -n 2 python -m minidl.ranks.selfcheck``. Prints JSON."""

from __future__ import annotations

import json
import sys

import numpy as np

from .bucket import Bucket
from .group import connect
from .tree import additions, owned


def main() -> int:
    """Add up random arrays, one for each of 8 shards, and compare with the tree's sum."""
    group = connect("mpi")
    shards = list(np.random.default_rng(0).normal(size=(8, 1000)))
    bucket = Bucket([shards[0]], group, len(shards), 0)
    for shard in owned(group.rank, group.size, len(shards)):
        bucket.put(shard, [shards[shard]])
    group.wait(bucket.advance)
    for low, middle in additions(0, len(shards)):
        shards[low] = shards[low] + shards[middle]
    right = bool((bucket.total()[0] == shards[0]).all())
    found = group.gather(json.dumps([group.size, right]))
    if group.first:
        print(json.dumps({
            "library": " ".join(group.library.Get_library_version().splitlines()[0].split(",")[0].split()),
            "passed": all(json.loads(text) == [2, True] for text in found),
        }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
