"""What a step costs."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from tests.support.browser import WIDTHS

X, T = np.zeros((2, 1, 6, 6), np.float32), [0, 1]


@pytest.fixture(scope="module")
def net():
    return nn.Sequential(nn.Conv2d(1, 3, 3, rng=0), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2, rng=0))


@pytest.fixture(scope="module")
def step(net):
    optimiser = optim.SGD(net.parameters(), lr=0.1)

    def step():
        step.count += 1
        optimiser.zero_grad()
        F.cross_entropy(net(md.tensor(X)), T).backward()
        optimiser.step()

    step.count = 0
    return step


@pytest.fixture(scope="module")
def report(step):
    return md.profile(step, repeats=2)


def test_each_kernel_is_found_in_its_layer_and_phase(step, report):
    assert step.count == 5
    calls = {(r.layer, r.phase, r.kernel): r.calls for r in report.rows}
    assert calls["0 Conv2d", "forward", "conv"] == calls["0 Conv2d", "backward", "conv_weight"] == 1
    assert calls["1 BatchNorm2d", "forward", "batch_norm"] == 1
    assert calls["1 BatchNorm2d", "backward", "batch_norm.backward"] == 1
    assert calls["4 Linear", "forward", "matmul"] == 1 and ("4 Linear", "backward", "matmul") in calls
    assert calls["(outside of layers)", "forward", "cross_entropy"] == 1
    assert calls["SGD", "update", "sgd"] == 1
    assert not [key for key in calls if key[1] == "backward" and key[0] == "(outside of layers)" and "conv" in key[2]]


def test_sums_are_those_of_the_rows(report):
    assert report.kernels == pytest.approx(sum(sum(seconds.values()) for _, seconds, _ in report.layers()))
    assert [r.seconds for r in report.rows] == sorted((r.seconds for r in report.rows), reverse=True)
    assert report.step > 0 and all(r.seconds > 0 for r in report.rows)


def test_the_step_computes_what_it_does_without_a_look():
    def trained(look):
        md.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        optimiser = optim.Adam(model.parameters(), lr=0.1)

        def step():
            optimiser.zero_grad()
            model(md.tensor(np.ones((2, 3), np.float32))).sum().backward()
            optimiser.step()

        md.profile(step, repeats=1) if look else [step() for _ in range(3)]
        return model.state_dict()

    one, other = trained(True), trained(False)
    assert all((one[name] == other[name]).all() for name in one)


def test_text_and_json_have_the_rows(report):
    text = report.text()
    assert "forward" in text and "cross_entropy" in text and len(text.splitlines()) > len(report.rows)
    assert len(report.content()["rows"]) == len(report.rows) and '"kernel": "conv"' in report.json()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_unfolds_the_kernels_of_each_layer(report, browser, width, tmp_path):
    report.html(tmp_path / "profile.html")
    with browser.open(tmp_path / "profile.html", width=width) as page:
        first = page.locator("details").first
        assert not first.locator("table").is_visible()
        first.locator("summary").click()
        layer, _, rows = report.layers()[0]
        assert layer in first.locator("summary").inner_text() and first.locator("tr").count() == len(rows) + 1
        page.screenshot(path=tmp_path / "page.png")


def test_repeats_must_be_positive(step):
    with pytest.raises(ValueError, match="repeats must be 1 or more, got 0"):
        md.profile(step, repeats=0)
