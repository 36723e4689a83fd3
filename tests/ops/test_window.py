"""The geometry of windows, against enumeration of the definition; unfold and fold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check.samples.window import cells, one_by_one, one_by_one_back
from minidl.kernels.window import mirrored_window, row_range
from minidl.ops.window import Window, fold_p, unfold_p

drawn = settings(deadline=None)  # no timing in tests

@st.composite
def windows(draw, strides=(1, 2, 3), dilations=(1, 2, 3), paddings=(0, 1, 2), ranks=(1, 2, 3)):
    """A window in 1-D to 3-D: any stride, dilation and padding pair, of any kernel that fits."""
    rank = draw(st.sampled_from(ranks))
    axes = []
    for _ in range(rank):
        size, low, high = draw(st.integers(1, 9 - 2 * rank)), *(draw(st.sampled_from(paddings)) for _ in range(2))
        dilation = draw(st.sampled_from(dilations))
        kernel = draw(st.integers(1, min(3, (size + low + high - 1) // dilation + 1)))
        axes.append((size, kernel, draw(st.sampled_from(strides)), dilation, (low, high)))
    return Window(*map(tuple, zip(*axes)))


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def incidence(window):
    return sorted(cells(window))


@drawn
@given(windows())
def test_output_counts_the_positions_that_fit(window):
    for n, span, s, out in zip(window.padded, window.span, window.stride, window.output):
        assert out == sum(start + span <= n for start in range(0, n, s))


@drawn
@given(windows())
def test_shifts_enumerate_the_definition(window):
    found = []
    for tap, outputs, inputs in window.shifts():
        positions = np.ndindex(*(s.stop - s.start for s in outputs))
        for at in positions:
            position = tuple(s.start + i for s, i in zip(outputs, at))
            cell = tuple(range(n)[s][i] for n, s, i in zip(window.size, inputs, at))
            found.append((tap, position, cell))
    assert sorted(found) == incidence(window)


@drawn
@given(windows(strides=(1,)))
def test_mirrored_exchanges_inputs_and_outputs(window):
    mirrored = mirrored_window(window)
    swapped = sorted(
        (tuple(k - 1 - t for k, t in zip(window.kernel, tap)), cell, position) for tap, position, cell in cells(window)
    )
    assert incidence(mirrored) == swapped
    assert mirrored.output == window.size
    assert mirrored_window(mirrored) == window


@drawn
@given(windows(), st.data())
def test_rows_is_the_part_of_the_window(window, data):
    start = data.draw(st.integers(0, window.output[0] - 1))
    stop = data.draw(st.integers(start + 1, window.output[0]))
    part = row_range(window, start, stop)
    assert part.output == (stop - start, *window.output[1:])
    shifted = [(tap, (o[0] - start, *o[1:]), cell) for tap, o, cell in cells(window) if start <= o[0] < stop]
    assert incidence(part) == sorted(shifted)


@drawn
@given(windows())
def test_empty_positions_are_those_without_a_cell(window):
    for axis in range(window.rank):
        fields = (window.size, window.kernel, window.stride, window.dilation, window.padding)
        alone = Window(*((field[axis],) for field in fields))
        met = {o for _, (o,), _ in cells(alone)}
        assert [o for a, o in window.empty_positions() if a == axis] == sorted(set(range(alone.output[0])) - met)


@drawn
@given(windows())
def test_grown_adds_a_position_only_if_cells_are_left_over(window):
    grown = window.grown()
    for axis, (before, after) in enumerate(zip(window.output, grown.output)):
        n, s, (low, _) = window.size[axis], window.stride[axis], window.padding[axis]
        left_over = (before - 1) * s + window.span[axis] < window.padded[axis]
        assert after - before == (left_over and before * s < n + low)
    assert grown.grown() == grown or grown.output != window.output


@drawn
@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_same_gives_the_ceiling_of_size_over_stride_and_pads_the_odd_cell_after(n, kernel, stride, dilation):
    window = Window.of((n,), kernel, stride=stride, padding="same", dilation=dilation)
    (low, high), = window.padding
    assert window.output == (math.ceil(n / stride),)
    assert 0 <= high - low <= 1
    assert low + high == max((window.output[0] - 1) * stride + window.span[0] - n, 0)


def test_causal_pads_all_before():
    window = Window.of((10,), 3, padding="causal", dilation=4)
    assert window.padding == ((8, 0),) and window.output == (10,)


def test_of_reads_ints_tuples_and_pairs():
    assert Window.of((5, 6), 3, padding=1) == Window.of([5, 6], (3, 3), padding=((1, 1), (1, 1)), stride=(1, 1))
    assert Window.of((5, 6), 3, padding=(1, 2)).padding == ((1, 1), (2, 2))
    assert Window.of((5, 6), 3, padding=(1, (0, 2))).padding == ((1, 1), (0, 2))
    assert Window.of((5,), np.int64(3), padding=[(0, 1)]).padding == ((0, 1),)
    assert len({Window.of((5,), 3), Window.of((5,), 3), Window.of((5,), 2)}) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"size": (4,), "kernel": 5, "dilation": 2, "padding": 1},
         r"\(4 \+ 1 \+ 1 - 2 \* \(5 - 1\) - 1\) // 1 \+ 1 = -2"),
        ({"size": (4, 2), "kernel": 3}, r"spatial axis 1.*= \(2 \+ 0 \+ 0 - 1 \* \(3 - 1\) - 1\) // 1 \+ 1 = 0"),
        ({"size": (0,), "kernel": 1, "padding": 1}, r"spatial axis 0"),
        ({"size": (4,), "kernel": 0}, r"kernel_size=0 must be at least 1"),
        ({"size": (4,), "kernel": 2, "stride": -1}, r"stride=-1 must be at least 1"),
        ({"size": (4,), "kernel": 2, "stride": 0}, r"stride=0 must be at least 1"),
        ({"size": (4,), "kernel": 2, "dilation": 0}, r"dilation=0 must be at least 1"),
        ({"size": (4, 4), "kernel": 2, "padding": -1}, r"padding=-1 must be at least 0"),
        ({"size": (4, 4), "kernel": 2, "padding": (1, 2, 3)}, r"3 entries for 2 spatial axes"),
        ({"size": (4,), "kernel": 2, "padding": (1, 2)}, r"\[\(1, 2\)\] for one axis"),
        ({"size": (4, 4), "kernel": (2,)}, r"kernel_size=\(2,\) has 1 entries for 2 spatial axes"),
        ({"size": (4, 4), "kernel": 2, "padding": ((1, 1, 1), 0)}, r"an int or a \(low, high\) pair"),
        ({"size": (4, 4), "kernel": 2, "padding": "causal"}, r'"causal" is for one spatial axis'),
        ({"size": (4, 4), "kernel": 2, "padding": "full"}, r"'full' is unknown"),
        ({"size": (4,) * 4, "kernel": 2}, r"1 to 3 spatial axes, got 4"),
    ],
)
def test_of_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Window.of(**arguments)


def test_of_refuses_fractions():
    with pytest.raises(TypeError, match=r"stride must be made of ints, got 1.5"):
        Window.of((4,), 2, stride=1.5)


@drawn
@given(windows(), st.integers(0, 2), st.integers(1, 2), seeds)
def test_unfold_and_fold_equal_their_definitions(window, n, c, rng):
    x = rng.normal(size=(n, c, *window.size))
    columns = rng.normal(size=(n, c * window.taps, window.positions))
    np.testing.assert_array_equal(unfold_p(x, window=window).data, one_by_one(x, window=window))
    np.testing.assert_allclose(fold_p(columns, window=window).data, one_by_one_back(columns, window=window), atol=1e-14)


@drawn
@given(windows(), st.integers(1, 2), seeds)
def test_fold_is_the_adjoint_of_unfold(window, n, rng):
    x = rng.normal(size=(n, 2, *window.size))
    v = rng.normal(size=(n, 2 * window.taps, window.positions))
    y, a = unfold_p(x, window=window).data, fold_p(v, window=window).data
    assert abs((y * v).sum() - (x * a).sum()) <= 1e-12 * (1 + abs(y * v).sum())


@settings(drawn, max_examples=25)
@given(windows(), seeds)
def test_the_rules_are_each_other(window, rng):
    x = rng.normal(size=(2, 1, *window.size))
    v = rng.normal(size=(2, window.taps, window.positions))
    options = {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
    _, pull = md.vjp(lambda x: F.unfold(x, window.kernel, **options), x)
    np.testing.assert_array_equal(pull(v)[0].data, F.fold(v, window.size, window.kernel, **options).data)
    _, pull = md.vjp(lambda v: F.fold(v, window.size, window.kernel, **options), v)
    np.testing.assert_array_equal(pull(x)[0].data, F.unfold(x, window.kernel, **options).data)


def test_fold_of_unfold_counts_how_often_each_cell_is_seen():
    ones = np.ones((1, 1, 4))
    assert F.fold(F.unfold(ones, 2), (4,), 2).tolist() == [[[1, 2, 2, 1]]]


def test_fold_refuses_columns_that_do_not_fit():
    with pytest.raises(ValueError, match=r"taps = 2 \* 2 = 4 and positions = 3 \* 3 = 9"):
        F.fold(np.zeros((1, 4, 8)), (4, 4), 2)


def test_unfold_refuses_an_input_without_spatial_axes():
    with pytest.raises(ValueError, match=r"unfold: x must have shape \(N, C, 1 to 3 spatial axes\), got \(2, 3\)"):
        F.unfold(np.zeros((2, 3)), 1)
