"""The labs: their frame, the Hessians at zero against the closed forms, and what dilated stacks can see."""

import json
import re
from collections import Counter
from dataclasses import fields, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
import tasks.__main__ as frame
from tasks import options
from tasks.command import UsageError, progress
from tasks.labs import cli, dilation, shortcut

DOCS = Path(__file__).parents[3] / "docs" / "labs"
OURS = {"shortcut": shortcut, "dilation": dilation}


def quiet(label, total):
    return progress(label, total, True)


# --- the frame


def test_the_list_names_every_lab_with_one_line(capsys):
    assert frame.main(["labs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in cli.names():
        assert sum(line.split()[:1] == [name] for line in lines) == 1
    assert set(OURS) <= set(cli.names()) and "cli" not in cli.names()


@pytest.mark.parametrize("name", cli.names())
def test_every_lab_keeps_to_the_interface(name, capsys):
    lab = import_module(f"tasks.labs.{name}")
    assert all(callable(getattr(lab, f)) for f in ("measure", "claims", "draw"))
    assert isinstance(lab.QUICK, lab.Settings) and lab.Settings() != lab.QUICK
    assert set(options.comments(lab.Settings)) == {field.name for field in fields(lab.Settings)}
    with pytest.raises(SystemExit) as stop:
        frame.main(["labs", name, "--help"])
    output = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"--{field.name.replace('_', '-')} " in output for field in fields(lab.Settings))


@pytest.mark.parametrize("name", cli.names())
def test_every_lab_has_a_page_with_its_command_and_its_figure(name):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert f"python -m tasks labs {name}" in page
    figures = re.findall(r"!\[.+?\]\((.+?)\)", page)
    assert figures and all((DOCS / figure).stat().st_size < 150_000 for figure in figures)


@pytest.mark.parametrize("name", OURS)
def test_a_quick_run_leaves_numbers_and_a_figure_and_is_repeatable(name, tmp_path, capsys):
    assert frame.main(["labs", name, "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert all(claim in printed for claim in content["claims"]) and len(content["claims"]) > 3
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert content["numbers"] == cli.measured(OURS[name], OURS[name].QUICK, quiet)
    other = replace(OURS[name].QUICK, seed=1)
    assert content["numbers"] != cli.measured(OURS[name], other, quiet)


def test_options_become_settings():
    options = cli.parser(shortcut, "labs", "runs").parse_args(["--quick", "--blocks", "3", "5", "--start", "0.5"])
    assert cli.chosen(shortcut, options) == replace(shortcut.QUICK, blocks=(3, 5), start=0.5)
    options = cli.parser(shortcut, "labs", "runs").parse_args(["--width", "7"])
    assert cli.chosen(shortcut, options) == shortcut.Settings(width=7)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["shortcat"], "'shortcat' is not a lab; did you mean shortcut?"),
        (["shortcut", "--bloks", "3"], "did you mean --blocks?"),
        (["shortcut", "--blocks", "0"], "must be a whole number of at least 1, got '0'"),
        (["shortcut", "--start", "0"], "--start must be above 0"),
        (["shortcut", "--samples", "4"], "--samples 4 must be more than --width 4"),
        (["shortcut", "--smallest", "2"], "--smallest 2 must be above 0 and at most --largest 0.8"),
        (["dilation", "--size", "18"], "--size 18 must be more than every offset, 18 among them"),
        (["dilation", "--rate", "nan"], "must be a number"),
    ],
)
def test_what_is_impossible_is_one_line(argv, message, capsys):
    assert frame.main(["labs", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_ctrl_c_leaves_no_half_result(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shortcut, "descend", stop)
    assert frame.main(["labs", "shortcut", "--quick", "--quiet", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "\nminidl: interrupted\n" and not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_refused_and_tuples_come_back_as_lists():
    lab = SimpleNamespace(measure=lambda settings, progress: {"a": (1, settings)})
    assert cli.measured(lab, 2.0, quiet) == {"a": [1, 2.0]}
    with pytest.raises(ValueError):
        cli.measured(lab, float("nan"), quiet)


# --- shortcut: Hessians at zero

DRAWN = {"d": st.integers(1, 3), "blocks": st.integers(1, 4), "seed": st.integers(0, 10**6)}


def case(d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, d, d + 5))  # any y at all: the formulas do not ask for y = (I + E) x
    return x, y, *shortcut.moments(x, y)


@given(**DRAWN)
@settings(max_examples=15, deadline=None)
def test_one_layer_gradient_and_hessian_are_the_closed_forms(d, blocks, seed):
    x, y, s, c = case(d, seed)
    gradient, hessian = shortcut.at_zero(blocks, 1, x, y)
    np.testing.assert_allclose(gradient, np.tile(-c.ravel(), blocks), rtol=0, atol=1e-10)
    np.testing.assert_allclose(hessian, shortcut.hessian_1(blocks, s, c), rtol=0, atol=1e-8)


@given(blocks=st.integers(1, 8), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_one_layer_of_width_one_grows_linearly_with_depth(blocks, seed):
    x, y, s, c = (*case(1, seed)[:2], *(m.item() for m in case(1, seed)[2:]))
    eigenvalues = np.linalg.eigvalsh(shortcut.at_zero(blocks, 1, x, y)[1])
    # H = (s - c) 1 1^T + c I
    np.testing.assert_allclose(eigenvalues, sorted([c] * (blocks - 1) + [c + blocks * (s - c)]), atol=1e-8)


def test_one_layer_of_width_one_has_condition_number_1_at_every_depth_only_where_c_equals_s():
    x = np.array([[1.0, -2.0, 0.5]])
    for blocks in (2, 5, 9):
        equal = np.linalg.eigvalsh(shortcut.at_zero(blocks, 1, x, 2 * x)[1])  # y = 2x: c = s
        assert abs(shortcut.condition(equal) - 1) < 1e-8
        other = np.linalg.eigvalsh(shortcut.at_zero(blocks, 1, x, 1.5 * x)[1])  # c = s / 2: (1 + R) c and c
        assert abs(shortcut.condition(other) - (1 + blocks)) < 1e-8


@pytest.mark.parametrize("tanh", [False, True])
@given(**DRAWN)
@settings(max_examples=12, deadline=None)
def test_two_layers_have_a_strict_saddle_with_the_singular_values_of_c(tanh, d, blocks, seed):
    x, y, _, c = case(d, seed)
    gradient, hessian = shortcut.at_zero(blocks, 2, x, y, tanh=tanh)
    eigenvalues, sigma = np.linalg.eigvalsh(hessian), np.linalg.svd(c, compute_uv=False)
    assert not gradient.any()
    wanted = sorted([sign * v for v in sigma for sign in (1, -1) for _ in range(blocks * d)])
    np.testing.assert_allclose(eigenvalues, wanted, rtol=0, atol=1e-8)
    np.testing.assert_allclose(shortcut.spectrum_2(blocks, c), wanted, rtol=0, atol=1e-12)
    assert eigenvalues[0] < 0 < eigenvalues[-1]
    assert abs(shortcut.condition(eigenvalues) / (sigma[0] / sigma[-1]) - 1) < 1e-8 * max(1, 1 / sigma[-1])


@given(layers=st.integers(3, 4), **DRAWN)
@settings(max_examples=6, deadline=None)
def test_three_layers_and_more_have_gradient_and_hessian_zero(layers, d, blocks, seed):
    x, y, _, _ = case(d, seed)
    gradient, hessian = shortcut.at_zero(min(blocks, 2), layers, x, y)
    assert not gradient.any() and not hessian.any()
    assert shortcut.condition(np.linalg.eigvalsh(hessian)) is None


def test_the_data_have_the_singular_values_that_are_asked_for():
    chosen = shortcut.Settings(width=3, smallest=0.3, largest=0.9)
    x, y = shortcut.problem(chosen)
    e = (y - x) @ np.linalg.pinv(x)
    np.testing.assert_allclose(np.linalg.svd(e, compute_uv=False), [0.9, np.sqrt(0.27), 0.3], rtol=1e-10)


# --- shortcut: descent


@pytest.mark.parametrize("layers", shortcut.LAYERS)
def test_descending_all_together_is_descending_one_by_one(layers):
    chosen = replace(shortcut.QUICK, steps=12, start=0.3)
    x, y = shortcut.problem(chosen)
    curves = shortcut.descend(chosen, 2, layers, x, y, lambda: None)
    rng = md.data.generator(chosen.seed, shortcut.START, 2, layers)
    starts = chosen.start * rng.standard_normal((chosen.starts, 2, layers, 2, 2))
    for i, j in product((0, 4, len(shortcut.RATES) - 1), range(chosen.starts)):
        weights = starts[j]  # (R, n, d, d)
        for t in range(chosen.steps + 1):
            leaves = [[md.tensor(w, requires_grad=True) for w in block] for block in weights]
            h = md.Tensor(x)
            for block in leaves:
                z = h
                for w in block:
                    z = w @ z
                h = h + z
            loss = ((h - y) ** 2).sum() / (2 * x.shape[1])
            share = loss.item() * 2 * x.shape[1] / ((x - y) ** 2).sum()
            if share > shortcut.LOST:
                assert (curves[t:, i, j] == shortcut.LOST).all()
                break
            np.testing.assert_allclose(curves[t, i, j], share, rtol=1e-8)
            loss.backward()
            weights = [[w.data - shortcut.RATES[i] * w.grad.data for w in block] for block in leaves]


def test_the_best_rate_is_the_first_to_arrive_in_the_median_start():
    curves = np.full((5, 3, 3), 0.5)  # steps, rates, starts
    curves[4, 0] = 0.001
    curves[2:, 1, :2] = 0.001  # two of three starts
    assert shortcut.best(curves) == (1, [2, 2, None])
    curves[...] = 0.5
    curves[-1, 2] = 0.4  # none arrives: the least loss at the end
    assert shortcut.best(curves) == (2, [None] * 3)


def test_claims_on_shortcuts_say_so_if_they_are_not_borne_out():
    numbers = cli.measured(shortcut, shortcut.QUICK, quiet)
    text = "\n".join(shortcut.claims(numbers))
    assert "n = 1: condition number" in text and "it grows with depth" in text
    assert text.count("whatever the depth") == 2 and "a strict saddle" in text
    for i, row in enumerate(numbers["zero"]["2"]):
        row["condition"] *= 1 + i
        row["eigenvalues"] = [abs(v) for v in row["eigenvalues"]]
    for row in numbers["zero"]["1"]:
        row["condition"] = 3.0
    numbers["spread"] = [[1.0, m, 9.0] for m in (2.0, 5.0, 4.0)]
    text = "\n".join(shortcut.claims(numbers))
    assert "it does not grow with depth" in text and "2, 5, 4; it grows with depth, but not at every step" in text
    assert text.count("whatever the depth") == 1
    assert "against the theory" in text


# --- dilation

DILATIONS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(DILATIONS)
@settings(max_examples=25, deadline=None)
def test_the_gradient_counts_the_paths(dilations):
    counts = Counter(sum(signs) for signs in product(*((-d, 0, d) for d in dilations)))
    reach = sum(dilations) + 1
    wanted = [counts[offset] for offset in range(-reach, reach + 1)]
    line = dilation.paths(dilations, rank=1)
    assert line.tolist() == wanted
    assert np.array_equal(dilation.paths(dilations), np.outer(line, line))
    support = np.flatnonzero(line) - reach
    assert support.tolist() == dilation.seen(dilations)
    assert support[-1] - support[0] + 1 == dilation.span(dilations)


@pytest.mark.parametrize(
    "dilations, span, taps", [((2, 2, 2), 13, 7), ((1, 2, 3), 13, 13), ((1, 2, 4), 15, 15), ((1, 2, 2), 11, 11),
                              ((1, 1, 1), 7, 7), ((1, 1, 2, 4, 8, 16, 1), 67, 67)]
)  # fmt: skip
def test_spans_and_taps_of_well_known_stacks(dilations, span, taps):
    line = np.flatnonzero(dilation.paths(dilations, rank=1))
    assert (line[-1] - line[0] + 1, len(line)) == (dilation.span(dilations), len(dilation.seen(dilations)))
    assert (dilation.span(dilations), len(dilation.seen(dilations))) == (span, taps)


@given(DILATIONS, st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_no_weights_make_a_net_see_a_pixel_out_of_sight(dilations, seed):
    rng = np.random.default_rng(seed)
    net = dilation.stack(dilations, 3, 1, rng=rng)
    middle = sum(dilations) + 2
    x = dilation.images(1, 2 * middle + 1, rng)
    unseen = [d for d in range(-middle, middle + 1) if d not in dilation.seen(dilations)]
    changed = x.copy()
    changed[..., middle + np.array(unseen)] *= -1  # whole columns
    before, after = (net(md.Tensor(a)).data[0, 0, middle, middle] for a in (x, changed))
    assert before == after


def test_what_is_wanted_is_the_pixel_to_the_left():
    x = dilation.images(2, 6, np.random.default_rng(0))
    target, there = dilation.wanted(x, (0, 2))
    for n, (i, d), r, c in product(range(2), enumerate((0, 2)), range(6), range(6)):
        assert there[n, i, r, c] == (c >= d)
        if c >= d:
            assert target[n, i, r, c] == (x[n, 0, r, c - d] > 0)
    assert set(np.unique(x)) == {-1, 1} and x.dtype == np.float32


def test_a_net_made_to_look_left_is_right_everywhere_and_found_to_look_there():
    net = dilation.stack((2, 3), 2, 1)
    for p in net.parameters():
        p.data = np.zeros_like(p.data)
    first, second, last = net[0], net[2], net[4]
    for conv, map_in, tap in ((first, 0, 0), (second, 0, 1)):  # 2 to the left, then straight on: offset 2
        conv.weight.data[0, map_in, 1, tap] = 1
    last.weight.data[0, 0], last.bias.data = 2, np.array([-1], np.float32)  # relu(x): 0 or 1, to -1 or 1
    x = dilation.images(3, 16, np.random.default_rng(0))
    assert dilation.accuracy(net, x, (2,)) == [1.0]
    assert abs(dilation.accuracy(net, x, (3,))[0] - 0.5) < 0.1
    assert dilation.looked_at(net, x, 1) == [2]


def test_the_nets_that_are_compared_have_equal_numbers_of_parameters_and_claims_follow_the_numbers():
    numbers = cli.measured(dilation, dilation.QUICK, quiet)
    nets = numbers["nets"]
    assert nets["plain"]["parameters"] == nets["dilated"]["parameters"]
    assert nets["2, 2, 2"]["parameters"] == nets["1, 2, 3"]["parameters"]
    for net in nets.values():
        net["accuracy"] = [1.0 if sight else 0.5 for sight in net["in sight"]]
    assert sum("so for every offset" in line for line in dilation.claims(numbers)) == 4
    nets["2, 2, 2"]["accuracy"][3] = 0.9  # out of sight, and yet known
    nets["1, 2, 3"]["accuracy"][4] = 0.9  # in sight, and not learnt well
    text = [line for line in dilation.claims(numbers) if "NOT so" in line]
    assert [re.search(r"NOT so at offset (\d+);", line)[1] for line in text] == ["3", "4"]


def test_a_small_dilated_net_learns_what_it_sees_and_not_what_it_does_not():
    chosen = replace(dilation.QUICK, width=8, size=16, batch=4, tested=8)
    found = dilation.one(chosen, (2, 2), (1, 2, 4), 120, lambda: None)
    assert found["in sight"] == [False, True, True]
    assert min(found["accuracy"][1:]) > dilation.SOLVED
    assert abs(found["accuracy"][0] - 0.5) < 0.06  # 1920 pixels: more than 5 standard errors


def test_settings_refuse_images_smaller_than_an_offset():
    with pytest.raises(UsageError, match="--size 7"):
        dilation.Settings(size=7, offsets=(1, 2))
