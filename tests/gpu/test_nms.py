"""Non-maximum suppression on the GPU against the path of NumPy, and planted faults that must be seen."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidl import functional as F
from minidl.kernels.gpu import source

SETTINGS = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
GRID = st.integers(0, 8).map(lambda n: n / 2)


def boxes_of(count, dtype="float64", spread=20, seed=0):
    """Boxes that overlap in part, on a grid: many have an IoU that is exactly the threshold."""
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(0, spread, (count, 2)), rng.integers(0, 8, (count, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(dtype)
    return boxes, rng.integers(0, 50, count).astype(dtype), rng.integers(0, 3, count)


def assert_alike(gpu, boxes, scores, classes, threshold):
    kept = F.nms(boxes, scores, threshold).data
    there = F.nms(gpu.asarray(boxes), gpu.asarray(scores), threshold)
    assert there.device == "gpu" and there.dtype == np.int64
    np.testing.assert_array_equal(there.numpy(), kept)
    kept = F.batched_nms(boxes, scores, classes, threshold).data
    there = F.batched_nms(gpu.asarray(boxes), gpu.asarray(scores), gpu.asarray(classes), threshold)
    np.testing.assert_array_equal(there.numpy(), kept)


@SETTINGS
@given(st.lists(st.tuples(GRID, GRID, GRID, GRID), max_size=9), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_any_boxes(gpu, boxes, threshold):
    boxes = np.array(boxes, float).reshape(-1, 4)
    assert_alike(gpu, boxes, np.arange(len(boxes)) % 3 * 1.0, np.arange(len(boxes)) % 2, threshold)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
def test_words_and_blocks_that_are_full_or_not(gpu, dtype, count):
    for threshold in (0.0, 1 / 3, 0.5, 0.7, 1.0):
        assert_alike(gpu, *boxes_of(count, dtype), threshold)


def test_boxes_anywhere(gpu):
    rng = np.random.default_rng(0)
    corner = rng.uniform(-50, 50, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-3, 40, (200, 2))], axis=1)  # some back to front
    for dtype in ("float32", "float64"):
        assert_alike(gpu, boxes.astype(dtype), rng.random(200), rng.integers(0, 4, 200), 0.4)


def test_more_words_than_threads_of_the_scan(gpu, monkeypatch):
    from minidl.kernels.gpu import nms

    monkeypatch.setattr(nms, "BLOCK", 64)
    rng = np.random.default_rng(0)
    count = 64 * 66 + 5
    corner = rng.integers(0, 400, (count, 2))
    boxes = np.concatenate([corner, corner + 9], axis=1).astype("float32")
    there = F.nms(gpu.asarray(boxes), gpu.arange(count), 0.3)
    np.testing.assert_array_equal(there.numpy(), F.nms(boxes, np.arange(count), 0.3).data)


def test_what_kernels_do_not_take_and_nan(gpu):
    boxes, scores, classes = boxes_of(70, "float16")
    assert_alike(gpu, boxes, scores, classes, 0.5)  # by the definition
    scores[3] = np.nan
    with pytest.raises(ValueError, match=r"box 3 is .* with score nan"):
        F.nms(gpu.asarray(boxes), gpu.asarray(scores), 0.5)


FAULTS = {
    "the columns are not waited for": ("  __syncthreads();\n  if (i >= count) return;", "  if (i >= count) return;"),
    "the last words are not waited for": ("    __syncthreads(); // removed and among are complete\n", ""),
    "the decision is not waited for": ("    __syncthreads(); // keeps is known\n", ""),
    "a box too many": ("< count; ++k) {\n        if (gone", "<= count; ++k) {\n        if (gone"),
    "the next box left out": ("i < first + k", "i + 1 < first + k"),
    "the last of a word left out": ("int k = 0; k < 64; ++k", "int k = 0; k < 63; ++k"),
    "a word too late": ("w = word + 1 + threadIdx.x", "w = word + 2 + threadIdx.x"),
    "nothing removed at the start": ("removed[w] = 0", "removed[w] = removed[w]"),
    "sides below 0": ("return x > 0 ? x : 0;", "return x;"),
    "a large IoU or an equal one": ("shared / all > threshold", "shared / all >= threshold"),
    "of any class": ("classes[i] == class_of[k]", "true"),
    "only bits of an int": ("bits |= 1ULL << k", "bits |= 1 << (k % 32)"),
}


SEEN_IN = {  # the order of threads in which a missing barrier shows: in the other one nobody comes too early
    "the last words are not waited for": "ascending",
    "the decision is not waited for": "descending",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(stand_in, fault, monkeypatch, request):
    order = request.node.callspec.params["stand_in"]
    if order != SEEN_IN.get(fault, order):
        pytest.skip("shows in the other order of threads")
    right, wrong = FAULTS[fault]
    read = source._read
    assert right in read("nms")
    monkeypatch.setattr(source, "_read", lambda *file: read(*file).replace(right, wrong))
    source._compiled.cache_clear(), source._module.cache_clear()
    try:
        with pytest.raises((AssertionError, IndexError, RuntimeError)):
            for spread in (4, 20):
                assert_alike(stand_in, *boxes_of(200, spread=spread), 0.5)
    finally:
        source._compiled.cache_clear(), source._module.cache_clear()
