"""The lab on RoI align: where a crop comes from, against a loop and by hand; and the lab from end to end."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

from tasks.command import UsageError
from tasks.labs import align


def quiet(label, total):
    return nullcontext(lambda: None)


def pool_by_loop(stride, x1, x2):
    """Where RoI pool takes each bin from, by its definition: the right-most cell of the bin has the largest value."""

    def rounded(v):
        return math.floor(v + 0.5)

    first, last = rounded(x1 / stride), rounded(x2 / stride)
    length = max(last - first + 1, 1) / align.BINS
    ends = [first + math.ceil((p + 1) * length - 1e-9) for p in range(align.BINS)]
    centres = [x1 + (p + 0.5) / align.BINS * (x2 - x1) for p in range(align.BINS)]
    return np.array([(end - 0.5) * stride - centre for end, centre in zip(ends, centres)])


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_align_comes_from_where_it_should_and_pool_from_where_its_definition_says(stride):
    boxes = align.regions(200, 3)
    assert abs(align.misalignment("align", stride, boxes)).max() < 1e-9
    found = align.misalignment("pool", stride, boxes)
    assert found.shape == (200, 7, 7)
    for box, off in zip(boxes, found):
        np.testing.assert_allclose(off, np.tile(pool_by_loop(stride, box[1], box[3]), (7, 1)), atol=1e-9)


def test_regions_lie_where_maps_know_the_picture_on_both_sides():
    boxes = align.regions(500, 0)[:, 1:]
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.min() >= 16 and sides.max() <= 64 and boxes.min() >= 16 and boxes.max() <= 112


def test_a_region_of_whole_cells_by_hand():
    """Stride 8, x from 16 to 72: cells 2 to 9 are 8 cells in 7 bins of 8 / 7; the largest cell of bin p is p + 3."""
    box = np.array([[0, 16, 16, 72, 72]])
    off = align.misalignment("pool", 8, box)[0, 0]
    np.testing.assert_allclose(off, (np.arange(7) + 3.5) * 8 - (16 + (np.arange(7) + 0.5) * 8))  # one cell to the right


def test_both_networks_start_from_the_same_weights():
    one, other = (align.network(method, 4) for method in ("align", "pool"))
    assert [one.crop.method, other.crop.method] == ["align", "pool"]
    state = other.state_dict()
    assert all(np.array_equal(array, state[key]) for key, array in one.state_dict().items())


@pytest.mark.slow
def test_the_lab_runs_repeats_itself_and_draws():
    numbers = json.loads(json.dumps(align.measure(align.QUICK, quiet), allow_nan=False))
    again = align.measure(align.QUICK, quiet)
    assert numbers["runs"] == again["runs"] and numbers["misalignment"] == again["misalignment"]
    assert [one["spread"] for one in numbers["misalignment"]["pool"]] == sorted(
        one["spread"] for one in numbers["misalignment"]["pool"]
    )
    for run in (run for runs in numbers["runs"].values() for run in runs):
        assert all(0 <= run[kind][name] <= 1 for kind, name in align.SHOWN)
    assert len(align.claims(numbers)) == 3 + len(align.SHOWN)
    align.draw(numbers).savefig("/dev/null", format="png")
    assert align.measure(replace(align.QUICK, seed=1), quiet)["misalignment"] != numbers["misalignment"]


@pytest.mark.parametrize("pool, verdict", [((0.5, 0.6), "better in every run"), ((0.5, 0.8), "NOT better in every")])
def test_claims_say_what_is_not_borne_out(pool, verdict):
    def runs(values):
        kinds = ("boxes", "masks")
        return [{kind: dict.fromkeys(("AP", "AP50", "AP75"), value) for kind in kinds} for value in values]

    one = {"mean": 0.0, "spread": 1.0, "largest": 2.0}
    numbers = {
        "strides": [8], "misalignment": {"align": [one], "pool": [one]}, "steps": 1,
        "runs": {"align": runs((0.7, 0.7)), "pool": runs(pool)},
    }  # fmt: skip
    first, line, *_ = align.claims(numbers)
    assert "cells of 8 pixels: pool takes a bin from 1.00 pixels" in first
    assert f"align is {verdict}" in line and "align 70.0 ± 0.0" in line and "by +20.0, " in line


def test_impossible_settings():
    for options in ({"size": 60}, {"strides": (8, 65)}, {"lr": 0.0}):
        with pytest.raises(UsageError):
            align.Settings(**options)
