"""The tree of additions: it depends on the number of shards alone, and its sum is as exact as its depth promises."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.ranks.tree import additions, doubles, owned, owner

SHARDS = range(1, 41)


def direct(values, low=0, high=None):
    """The sum by recursion, cut as the tree is."""
    high = len(values) if high is None else high
    if high - low == 1:
        return values[low]
    middle = low + 2 ** (math.ceil(math.log2(high - low)) - 1)
    return direct(values, low, middle) + direct(values, middle, high)


class Term(str):
    def __add__(self, other):
        return Term(f"({self}{other})")


@pytest.mark.parametrize("shards", SHARDS)
def test_the_additions_are_those_of_the_recursion(shards):
    slots, pairs = [Term(f" {i}") for i in range(shards)], list(additions(0, shards))
    expected = direct(list(slots))
    for low, middle in pairs:
        slots[low], slots[middle] = slots[low] + slots[middle], None  # each slot is used up once
    assert slots[0] == expected and len(pairs) == shards - 1
    depth = max(sum(1 if c == "(" else -1 if c == ")" else 0 for c in slots[0][:i]) for i in range(len(slots[0]) + 1))
    assert depth == math.ceil(math.log2(shards))


def test_eight_shards_are_added_in_pairs():
    assert direct([Term(i) for i in range(8)]) == "(((01)(23))((45)(67)))"
    assert direct([Term(i) for i in range(6)]) == "(((01)(23))(45))"


@settings(max_examples=30)
@given(st.integers(1, 40), st.data())
def test_each_shard_has_one_rank_and_each_rank_as_many_shards(shards, data):
    size = data.draw(st.integers(1, shards))
    each = [owned(rank, size, shards) for rank in range(size)]
    assert [shard for mine in each for shard in mine] == list(range(shards))
    assert max(map(len, each)) - min(map(len, each)) <= 1 and min(map(len, each)) >= 1
    assert all(shard in each[owner(shard, size, shards)] for shard in range(shards))


def test_ranks_exchange_in_pairs_where_both_are_powers_of_two():
    pairs = [(size, shards) for shards in (1, 6, 8) for size in range(1, shards + 1) if doubles(size, shards)]
    assert pairs == [(1, 1), (1, 8), (2, 8), (4, 8), (8, 8)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=25)
@given(n=st.integers(1, 200), seed=st.integers(0, 2**32 - 1))
def test_the_error_is_that_of_as_many_additions_as_the_tree_is_deep(dtype, n, seed):
    """At most gamma(log2 n) times the sum of the magnitudes (Higham 2002, eq. 4.6)."""
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 7, n)).astype(dtype)
    slots = values.copy()
    for low, middle in additions(0, n):
        slots[low] += slots[middle]
    depth, unit = math.ceil(math.log2(n)), float(np.finfo(dtype).eps) / 2
    bound = depth * unit / (1 - depth * unit) * math.fsum(map(abs, values.tolist()))
    assert abs(math.fsum([*values.tolist(), -float(slots[0])])) <= bound
