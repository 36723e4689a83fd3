"""The checkerboard lab: patterns against closed forms and Parseval, and the lab from end to end."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
import tasks.__main__ as frame
from minidl import nn
from tasks.labs import checkerboard as lab
from tasks.labs.cli import measured

SEEDS = st.integers(0, 10**6)


def quiet(label, total):
    return nullcontext(lambda: None)


# --- patterns


@given(seed=SEEDS, period=st.sampled_from([2, 4]), cells=st.tuples(st.integers(1, 4), st.integers(1, 4)))
@settings(max_examples=20, deadline=None)
def test_the_power_of_the_pattern_is_what_the_spectrum_has_at_the_strides_frequencies(seed, period, cells):
    y = np.random.default_rng(seed).standard_normal((3, cells[0] * period, cells[1] * period))
    power = lab.spectrum(y)
    there = lab.at_stride(power, period)
    assert there.sum() == period**2 - 1
    assert power[there].sum() == pytest.approx(lab.strength(y, period) ** 2, rel=1e-10)
    mean = y.mean(axis=(1, 2), keepdims=True)
    assert power.sum() == pytest.approx(((y - mean) ** 2).mean() + (mean**2).mean() - mean.ravel() @ mean.ravel() / 3)


def test_the_pattern_is_found_under_other_things_and_a_smooth_ramp_has_a_little():
    y = np.tile([[1.0, -1.0], [-1.0, 1.0]], (8, 8)) + np.sin(2 * np.pi * np.arange(16) / 16)
    np.testing.assert_allclose(lab.pattern(y, 2), [[1, -1], [-1, 1]], atol=1e-12)
    assert lab.strength(np.arange(16.0) * np.ones((16, 1)), 2) == pytest.approx(0.5)


def test_white_noise_has_no_peak_and_a_pattern_is_one():
    noise = np.random.default_rng(0).standard_normal((400, 32, 32))
    assert lab.peak(lab.spectrum(noise), 4) == pytest.approx(1, abs=0.05)
    board = np.tile([[1.0, -1.0], [-1.0, 1.0]], (16, 16))
    assert lab.peak(lab.spectrum(noise + board), 4) > 30  # 1 / 1024 a bin, against 1 in one of fifteen


# --- layers


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=4))
@settings(max_examples=25, deadline=None)
def test_in_one_dimension_the_sums_of_even_and_odd_taps_alternate(kernel):
    np.testing.assert_allclose(lab.line(np.array(kernel)), [sum(kernel[::2]), sum(kernel[1::2])], atol=1e-12)


def test_a_kernel_of_three_gives_y_and_x_plus_z_and_is_even_iff_they_are_equal():
    x, y, z = 1.25, 3.5, 2.0
    odd, even = lab.line(np.array([x, y, z]))[::-1]
    assert (odd, even) == (y, x + z) and odd != even
    assert len(set(lab.line(np.array([x, x + z, z])))) == 1


@pytest.mark.parametrize("kind, counts", [("kernel 3", [[1, 2], [2, 4]]), ("kernel 2", [[1, 1]] * 2),
                                          ("kernel 4", [[4, 4]] * 2)])  # fmt: skip
def test_overlaps(kind, counts):
    assert lab.overlaps(kind) == counts


@given(seed=SEEDS, bias=st.booleans())
@settings(max_examples=15, deadline=None)
def test_nearest_and_convolution_keep_a_constant_whatever_the_weights(seed, bias):
    layer = lab.doubling(3, 2, lab.NEAREST, np.random.default_rng(seed), mean=0.5, bias=bias)
    y = lab.answer(layer, 3)
    assert np.ptp(y, axis=(1, 2)).max() < 1e-14 and abs(y).max() > 1e-3


@pytest.mark.parametrize("kind", lab.STYLES)
def test_every_kind_doubles_the_size(kind):
    layer = lab.doubling(2, 3, kind, np.random.default_rng(0))
    assert layer(md.Tensor(np.ones((1, 2, 5, 7), np.float32))).shape == (1, 3, 10, 14)


@pytest.mark.slow
@pytest.mark.parametrize("mean", lab.MEANS)
@pytest.mark.parametrize("kind", lab.KERNELS)
def test_unevenness_is_the_closed_form(kind, mean):
    """A place with n overlaps has C n weights: variance C n, mean C n m, in units of the deviation."""
    maps = 4
    found = lab.unevenness(kind, lab.Settings(draws=1500, maps=maps), mean)
    n = np.array(lab.overlaps(kind), float).ravel()
    rough = 0.75 * maps * n.mean() + (maps * mean) ** 2 * n.var()  # of four independent places
    whole = maps * n.mean() + (maps * mean) ** 2 * (n**2).mean()
    assert found == pytest.approx(np.sqrt(rough / whole), abs=0.025)
    if mean == 0:
        assert rough / whole == pytest.approx(0.75)


def test_the_input_gradient_of_a_strided_convolution_is_the_transposed_convolution_of_ones():
    assert lab.gradient_of_strided(3) == [[1, 2], [2, 4]]  # even, odd: y and x + z, with all taps 1
    assert lab.gradient_of_strided(1) == [[1, 0], [0, 0]]
    kernel = np.array([1.0, 2.0, 5.0])
    conv = nn.Conv1d(1, 1, 3, stride=2, padding=1, bias=False)
    conv.weight.data = kernel[None, None]
    x = md.Tensor(np.zeros((1, 1, 14)), requires_grad=True)
    slope = md.grad(conv(x).sum(), x)[0].numpy()[0, 0]
    assert slope[4:8].tolist() == [2, 6, 2, 6]  # y, x + z
    assert sorted(slope[4:6]) == sorted(lab.line(kernel))


# --- the net


def test_lowering_is_the_mean_of_blocks():
    x = np.random.default_rng(0).random((2, 8, 12))
    low = lab.lowered(x)
    assert low.shape == (2, 2, 3) and low[1, 1, 2] == pytest.approx(x[1, 4:8, 8:12].mean())


def test_a_quick_run_leaves_numbers_and_a_figure_and_is_repeatable(tmp_path, capsys):
    assert frame.main(["labs", "checkerboard", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert all(claim in capsys.readouterr().out for claim in content["claims"][-1:])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    numbers = measured(lab, lab.QUICK, quiet)
    assert content["numbers"] == numbers
    for time in ("before", "after"):
        assert numbers["nets"][lab.NEAREST][0][time]["grey"] < 1e-4  # in float32: of 255 levels
        assert all(numbers["nets"][kind][0][time]["grey"] > 0.1 for kind in lab.KERNELS)


def test_claims_say_so_if_they_are_not_borne_out():
    numbers = measured(lab, lab.QUICK, quiet)
    numbers["random"] = {kind: [0.87, v] for kind, v in zip(lab.STYLES, (0.5, 0.3, 0.1, 0.0))}
    for kind, runs in numbers["nets"].items():
        runs[0]["after"] |= {"grey": 0.0 if kind == lab.NEAREST else 1.0, "peak": 1.0 if kind == lab.NEAREST else 99.0}
    sentences = "\n".join(lab.claims(numbers))
    assert "differ by 0.000" in sentences and "kernel 3 is the most uneven: so" in sentences
    assert sentences.count("in every run: kernel 3, kernel 2, kernel 4") == 2
    numbers["random"]["kernel 2"] = [0.2, 0.9]
    for runs in numbers["nets"].values():
        runs[0]["after"] |= {"grey": 0.01, "peak": 1.0}
    sentences = "\n".join(lab.claims(numbers))
    assert "NOT so, they differ by 0.670" in sentences and "most uneven: NOT so" in sentences
    assert "in every run: none\n" in sentences and "NOT borne out" in sentences
