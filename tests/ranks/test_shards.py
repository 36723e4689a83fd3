"""How batches are cut, and that each shard draws from a stream of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl.ranks.shards import Sharded, Streams, cut, length, part


@settings(max_examples=40)
@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_follow_each_other_and_are_as_even_as_can_be(n, shards):
    parts = [part(n, shard, shards) for shard in range(shards)]
    assert [i for p in parts for i in range(n)[p]] == list(range(n))
    sizes = [p.stop - p.start for p in parts]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_a_batch_is_arrays_lists_tuples_dicts_and_what_has_no_samples():
    x = np.arange(12).reshape(6, 2)
    batch = {"x": x, "two": (md.tensor(x), list("abcdef")), "scale": 0.5, "none": None, "zero": np.array(3)}
    assert length(batch) == 6
    piece = cut(batch, slice(2, 4))
    assert piece["x"].tolist() == piece["two"][0].tolist() == [[4, 5], [6, 7]] and piece["two"][1] == ["c", "d"]
    assert piece["scale"] == 0.5 and piece["none"] is None and piece["zero"] == 3
    assert np.shares_memory(piece["x"], x)


@pytest.mark.parametrize(
    ("batch", "found"),
    [((np.zeros(3), np.zeros(4)), r"\[3, 4\] samples"), (7, "an? int has no samples"), (np.array(1), "no samples"),
     ((None, 2.0), "no samples"), ("text", "no samples")],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(batch, found):
    with pytest.raises(ValueError, match=f"cannot be cut into shards: .*{found}"):
        length(batch)


def test_a_batch_is_made_once_whichever_shards_ask_for_it():
    made = []

    def batches(step):
        made.append(step)
        return np.arange(10) + 100 * step

    sharded = Sharded(batches, 4)
    assert sharded.size(1) == 10
    assert [sharded(1, shard).tolist() for shard in (3, 0)] == [[108, 109], [100, 101, 102]]
    assert sharded(2, 1).tolist() == [203, 204, 205] and made == [1, 2]


def test_batches_that_make_one_shard_alone_are_asked_for_it():
    class Own:
        def __call__(self, step):
            raise AssertionError("nobody needs it whole")

        def size(self, step):
            return 5 + step

        def shard(self, step, shard, shards):
            return step, shard, shards

    sharded = Sharded(Own(), 4)
    assert sharded.size(3) == 8 and sharded(3, 2) == (3, 2, 4)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_streams_depend_on_step_and_shard_alone(kind):
    def draws(shards, wasteful=False):
        """What two steps draw, by step and shard, and what is drawn after them."""
        generators = [np.random.Generator(kind(seed)) for seed in (0, 1)]
        streams, found = Streams([*generators, generators[0]]), {}
        for step in range(2):
            streams.begin()
            for shard in shards:
                streams.enter(shard)
                found[step, shard] = [g.random(3).tolist() for g in generators]
                generators[0].random(1000 * wasteful)
            streams.end()
        return found, [g.random() for g in generators]

    every, after = draws(range(8))
    assert len({str(x) for pair in every.values() for x in pair}) == 32  # all differ
    for shards in ([3], [5, 2], []):
        found, then = draws(shards, wasteful=True)
        assert then == after and all(every[key] == value for key, value in found.items())
