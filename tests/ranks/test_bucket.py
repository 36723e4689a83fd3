"""Buckets of several ranks in one process: messages late and in any order, the sum always the same bits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.ranks.bucket import Bucket, dense_strides, filled
from minidl.ranks.group import Alone
from minidl.ranks.tree import owned
from tests.ranks.test_tree import direct
from tests.support.ranks import World


def arrays(rng, dtype):
    """C order, channels last, transposed, no axes, no entries, with gaps; some entries are -0."""

    def normal(*shape):
        x = rng.standard_normal(shape) * rng.integers(0, 2, shape) * 10.0 ** rng.integers(-6, 6, shape)
        return np.asarray(x * -1.0).astype(dtype)

    return [normal(3, 4), normal(2, 3, 3, 2).transpose(0, 3, 1, 2), normal(4, 2).T, normal(), normal(0, 3),
            normal(2, 6)[:, ::2], normal(5)]  # fmt: skip


def expected(likes, gradients):
    """The sum over shards of each array, None being zeros, by recursion."""
    return [direct([np.zeros_like(w) if x is None else x for x in of]) for w, of in zip(likes, zip(*gradients))]


def run(buckets, gradients, rng):
    """Ranks put their shards, and advance, in random order."""
    for bucket in buckets:
        bucket.begin()
    todo = [list(owned(b.group.rank, b.group.size, b.shards)) for b in buckets]
    for _ in range(2000):
        which = int(rng.integers(len(buckets)))
        if todo[which] and rng.random() < 0.5:
            shard = todo[which].pop(0)
            put(buckets[which], shard, gradients[shard], rng)
        elif all(b.finished for b in buckets):
            break
        else:
            buckets[which].advance()
    assert all(b.advance() for b in buckets), "some rank waits for ever"


def put(bucket, shard, arrays, rng):
    """All at once, or one by one in any order."""
    if rng.random() < 0.5:
        return bucket.put(shard, arrays)
    for i in rng.permutation(len(arrays)):
        if arrays[i] is not None:
            bucket.add(shard, i, arrays[i])
            bucket.advance()
    bucket.close(shard)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 19), st.data(), st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64", "complex64"]))
def test_every_rank_has_the_sum_of_the_recursion(shards, data, seed, dtype):
    size, rng = data.draw(st.integers(1, shards)), np.random.default_rng(seed)
    world = World(size, seed)
    likes = arrays(rng, dtype)
    buckets = [Bucket(likes, group, shards, 3) for group in world.ranks]
    for _ in range(2):
        gradients = [arrays(rng, dtype) for _ in range(shards)]
        for i in rng.permutation(shards)[: shards // 3]:
            gradients[i] = [x if rng.random() < 0.7 else None for x in gradients[i]]
        sums = expected(likes, gradients)
        run(buckets, gradients, rng)
        for bucket in buckets:
            assert all(map(same_bits, bucket.total(), sums)), (shards, size)
        assert not world.left()
    most = 2 * math.ceil(math.log2(math.ceil(shards / size))) + 3  # neighbours are the leaves of so many nodes
    assert all(len(b.free) + len(b.slots) <= most for b in buckets)


def test_sums_are_laid_out_as_the_arrays_they_are_the_gradients_of():
    likes = arrays(np.random.default_rng(0), "float32")
    bucket = Bucket(likes, Alone(), 1, 0)
    bucket.put(0, likes)
    assert bucket.advance()
    for like, total in zip(likes, bucket.total()):
        assert not like.size or total.strides == (dense_strides(like) or like.copy().strides)
    assert bucket.total()[1].transpose(0, 2, 3, 1).flags.c_contiguous and dense_strides(likes[5]) is None


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_nothing_is_finished_before_the_last_shard(size):
    world = World(size, chance=1)
    buckets = [Bucket([np.zeros(2)], group, 4, 0) for group in world.ranks]
    for shard in range(3):
        buckets[next(b for b in range(size) if shard in owned(b, size, 4))].put(shard, [np.ones(2)])
    assert not any(b.advance() for _ in range(9) for b in buckets)
    buckets[-1].put(3, [np.ones(2)])
    for bucket in 9 * buckets:
        bucket.advance()
    assert all(b.advance() and (b.total()[0] == 4).all() for b in buckets)


def test_buckets_hold_neighbours_of_one_dtype_from_the_last_to_the_first():
    likes = [np.zeros(n, t) for n, t in [(4, "f4"), (4, "f4"), (4, "f4"), (2, "f8"), (9, "f4"), (0, "f4"), (1, "c8")]]
    assert filled(likes, most=32) == [[6], [5], [4], [3], [2, 1], [0]]
    assert sorted(i for bucket in filled(likes, most=32) for i in bucket) == list(range(7))
    for bucket in filled(likes, most=32):
        assert len({likes[i].dtype for i in bucket}) == 1
        assert sum(likes[i].nbytes for i in bucket) <= 32 or len(bucket) == 1
