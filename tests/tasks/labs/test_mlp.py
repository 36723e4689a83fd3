"""One hidden layer: the gradient by hand against automatic differentiation, the methods, and the command."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("matplotlib")

import minidl as md
import tasks.__main__ as frame
from tasks import options
from tasks.command import progress
from tasks.labs import cli
from tasks.labs.mlp import experiment, gradients, initial, loss
from tasks.labs.mlp.network import Theta, evaluate

PAGE = Path(__file__).parents[3] / "docs" / "labs" / "mlp.md"
SHAPES = {name: st.integers(1, 6) for name in ("samples", "inputs", "hidden", "classes")}


def quiet(label, total):
    return progress(label, total, True)


def case(samples, inputs, hidden, classes, seed):
    rng = np.random.default_rng(seed)
    theta = Theta(*(p + rng.standard_normal(p.shape) for p in initial(inputs, hidden, classes, rng)))
    return theta, rng.standard_normal((samples, inputs)), rng.integers(0, classes, samples)


# --- the gradient


@given(**SHAPES, seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_gradient_by_hand_is_that_of_automatic_differentiation(samples, inputs, hidden, classes, seed):
    theta, x, labels = case(samples, inputs, hidden, classes, seed)
    value, by_hand = gradients(theta, x, labels)
    leaves = Theta(*(md.tensor(p, requires_grad=True) for p in theta))
    defined = loss(leaves, x, labels)
    assert abs(value - defined.item()) < 1e-12 * max(1, value)
    for name, a, b in zip(Theta._fields, by_hand, md.grad(defined, leaves)):
        np.testing.assert_allclose(a, b.data, rtol=0, atol=1e-12 * max(1, abs(x).max()), err_msg=name)


def test_the_full_gradient_is_the_mean_of_the_gradients_of_the_samples():
    theta, x, labels = case(7, 3, 4, 5, 0)
    _, full = gradients(theta, x, labels)
    each = [gradients(theta, x[i : i + 1], labels[i : i + 1])[1] for i in range(7)]
    for a, parts in zip(full, zip(*each)):
        np.testing.assert_allclose(a, np.mean(parts, axis=0), rtol=0, atol=1e-14)


def test_large_logits_do_not_overflow():
    theta, x, labels = case(5, 3, 4, 3, 0)
    large = theta._replace(output=theta.output * 1e4)
    value, gradient = gradients(large, x, labels)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradient)
    assert value == evaluate(large, x, labels)[0]


def test_evaluate_gives_the_loss_and_the_accuracy():
    theta, x, labels = case(50, 3, 4, 3, 0)
    value, accuracy = evaluate(theta, x, labels)
    assert abs(value - loss(theta, x, labels).item()) < 1e-12
    logits = np.tanh(x @ theta.hidden.T + theta.hidden_bias) @ theta.output.T + theta.output_bias
    assert accuracy == np.mean([row.argmax() == label for row, label in zip(logits, labels)])


# --- the methods


def train(batch, rate, passes, chosen=experiment.QUICK):
    x, labels, *test = experiment.digits(0)
    return experiment._train(chosen, batch, rate, passes, 3, x, labels, test)


@pytest.mark.parametrize("batch", [0, 500])
def test_a_run_is_the_formula_of_the_lecture(batch):
    x, labels, *test = experiment.digits(0)
    run = train(batch, 0.5, 2)
    theta = initial(64, 4, 10, md.data.generator(3, experiment.WEIGHTS))
    losses = [evaluate(theta, x, labels)[0]]
    batches = md.data.Batches(len(x), batch or len(x), seed=3)
    for t in range(2 * len(batches)):
        leaves = [md.tensor(p, requires_grad=True) for p in theta]
        gradient = md.grad(loss(Theta(*leaves), x[batches(t)], labels[batches(t)]), leaves)
        theta = Theta(*(p - 0.5 * g.data for p, g in zip(theta, gradient)))
        losses.append(evaluate(theta, x, labels)[0])
    np.testing.assert_allclose(run["losses"], np.array(losses)[run["marks"]], rtol=1e-10)
    assert run["marks"] == list(range(2 * len(batches) + 1))
    assert run["accuracy"] == evaluate(theta, *test)[1]


def test_a_pass_uses_every_sample_once_and_test_digits_are_not_trained_on():
    x, labels, *test = experiment.digits(0)
    assert (len(x), len(test[0]), len(labels)) == (1438, 359, 1438)
    from sklearn.datasets import load_digits

    everything = load_digits().data / 16
    np.testing.assert_array_equal(*(np.sort(a, axis=0) for a in (np.concatenate([x, test[0]]), everything)))
    assert x.min() == 0 and x.max() == 1


def test_a_step_size_that_diverges_is_a_large_number_and_never_chosen():
    with np.errstate(all="raise", under="ignore"):
        lost = train(64, 1e200, 2)["losses"]
    assert all(np.isfinite(lost)) and max(lost) == experiment.LOST
    numbers = cli.measured(experiment, replace(experiment.QUICK, rates=(0.1, 1e200)), quiet)
    assert [m["rate"] for m in numbers["methods"]] == [0.1, 0.1]


# --- the command


def test_a_quick_run_leaves_numbers_and_a_figure_and_is_repeatable(tmp_path, capsys):
    assert frame.main(["mlp", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert all(claim in printed for claim in content["claims"])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    again = cli.measured(experiment, experiment.QUICK, quiet)
    assert content["numbers"] == again
    for method in again["methods"]:
        assert method["rate"] == min(method["tried"], key=lambda pair: pair[1])[0]
        assert len(method["losses"]) == len(method["accuracies"]) == experiment.QUICK.runs
        assert len({tuple(losses) for losses in method["losses"]}) == experiment.QUICK.runs  # no two runs are the same


def made_up(batch, losses):
    return {"batch": batch, "name": f"b{batch}", "rate": 1.0, "tried": [[0.1, 2.0], [1.0, 1.0], [3.0, 5.0]],
            "steps per pass": 10, "marks": [0, 10, 20], "losses": losses, "accuracies": [0.5]}  # fmt: skip


def test_claims_tell_the_order_whichever_it_is():
    slow, fast = [[2.0, 1.0, 0.05]] * 3, [[2.0, 0.08, 0.01]] * 3
    for a, b in ((slow, fast), (fast, slow)):
        sentences = experiment.claims({"samples": 9, "passes": 2, "methods": [made_up(0, a), made_up(5, b)]})
        order = "b5, b0" if b is fast else "b0, b5"
        assert sentences[-2] == f"loss after 2 passes, least first: {order}"
        assert sentences[-1] == f"steps to loss 0.1, fewest first: {order}"
    never = experiment.claims({"samples": 9, "passes": 2, "methods": [made_up(5, [[2.0, 1.0, 0.5]])]})
    assert "loss 0.1 not within 2 passes" in never[1] and never[-1].endswith("none arrives")


def test_a_step_size_at_the_edge_is_reported():
    method = made_up(5, [[2.0, 1.0, 0.05]])
    assert "edge" not in experiment.claims({"samples": 9, "passes": 2, "methods": [method]})[1]
    method["rate"] = 3.0
    assert "at the edge of those tried" in experiment.claims({"samples": 9, "passes": 2, "methods": [method]})[1]


@pytest.mark.parametrize("argv, message", [(["--rates", "0"], "--rates must be above 0"),
                                        (["--longer", "3"], "--longer 3 must be at least --passes 30"),
                                        (["--pases", "3"], "did you mean --passes?")])  # fmt: skip
def test_what_is_impossible_is_one_line(argv, message, capsys):
    assert frame.main(["mlp", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_every_setting_is_documented_and_so_is_the_task():
    assert set(options.comments(experiment.Settings)) == {field.name for field in fields(experiment.Settings)}
    page = PAGE.read_text(encoding="utf-8")
    figures = re.findall(r"!\[.+?\]\((.+?)\)", page)
    assert "python -m tasks mlp" in page
    assert figures and all((PAGE.parent / figure).stat().st_size < 150_000 for figure in figures)
