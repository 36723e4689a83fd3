"""The order of data, splits, and batches prepared ahead."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import data

sizes = st.integers(1, 60)


@given(n=sizes, batch_size=sizes, seed=st.integers(0, 5), drop_last=st.booleans(), epochs=st.integers(1, 3))
def test_every_epoch_has_every_sample_once(n, batch_size, seed, drop_last, epochs):
    if drop_last and batch_size > n:
        with pytest.raises(ValueError, match="nothing is left"):
            data.Batches(n, batch_size, seed=seed, drop_last=True)
        return
    batches = data.Batches(n, batch_size, seed=seed, drop_last=drop_last)
    for epoch in range(epochs):
        parts = list(batches.epoch(epoch))
        assert len(parts) == len(batches)
        assert all(len(part) == batch_size for part in parts[: n // batch_size])
        seen = np.concatenate(parts)
        assert len(set(seen.tolist())) == len(seen) == (n // batch_size * batch_size if drop_last else n)
        assert set(seen.tolist()) <= set(range(n))


@given(n=sizes, batch_size=sizes, seed=st.integers(0, 5), steps=st.lists(st.integers(0, 200), min_size=1, max_size=9))
def test_a_batch_depends_on_seed_and_step_only(n, batch_size, seed, steps):
    """Asked in any order, of any object, a step has the same batch."""
    one = data.Batches(n, batch_size, seed=seed)
    for step in steps:
        fresh = data.Batches(n, batch_size, seed=seed)
        assert np.array_equal(one(step), fresh(step))
        epoch, position = divmod(step, len(one))
        assert np.array_equal(one(step), list(fresh.epoch(epoch))[position])


def test_epochs_and_seeds_differ_and_order_without_shuffle_does_not():
    orders = {tuple(data.Batches(50, 5, seed=seed).order(epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    plain = data.Batches(7, 3, shuffle=False)
    assert [part.tolist() for part in plain.epoch(2)] == [[0, 1, 2], [3, 4, 5], [6]]
    with pytest.raises(ValueError, match="at least 1"):
        data.Batches(0, 3)
    with pytest.raises(TypeError, match=r"batches\.epoch"):
        list(plain)
    with pytest.raises(ValueError, match="count from 0"):
        plain(-1)
    with pytest.raises(ValueError, match="read-only"):
        plain(0)[0] = 5


def test_every_position_is_as_likely():
    """Over 3000 epochs each of 5 samples comes first about 600 times: chi-square below the 1e-6 quantile."""
    first = np.bincount([data.Batches(5, 2, seed=1).order(epoch)[0] for epoch in range(3000)], minlength=5)
    assert ((first - 600) ** 2 / 600).sum() < 33.4


@given(n=st.integers(0, 200), weights=st.lists(st.integers(0, 9), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_splits_are_disjoint_and_whole(n, weights, seed):
    if not sum(weights):
        return
    fractions = [weight / sum(weights) for weight in weights]
    parts = data.split(n, fractions, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert all(abs(len(part) - n * fraction) <= 1 for part, fraction in zip(parts, fractions, strict=True))
    for a, b in zip(parts, data.split(n, fractions, seed=seed), strict=True):
        assert np.array_equal(a, b)


def test_splits_may_leave_some_out_and_refuse_nonsense():
    assert [len(part) for part in data.split(10, (0.5, 0.2), seed=0)] == [5, 2]
    for fractions in ((), (0.8, 0.3), (-0.1, 0.5)):
        with pytest.raises(ValueError, match="fractions"):
            data.split(10, fractions, seed=0)


def test_prefetch_changes_nothing_and_works_ahead():
    batches = data.Batches(20, 6, seed=0)
    asked, ahead = [], threading.Event()

    def load(step):
        asked.append((step, threading.current_thread().name))
        if step == 4:
            ahead.set()
        return batches(step)

    prefetch = data.Prefetch(load)
    for step in (0, 1, 2, 9, 3):
        assert np.array_equal(prefetch(step), batches(step))
    assert ahead.wait(10), "step 4 is prepared while step 3 is used"
    assert all(name.startswith("prefetch") for _, name in asked)
    with pytest.raises(ZeroDivisionError):
        data.Prefetch(lambda step: 1 / 0)(0)
