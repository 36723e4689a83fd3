"""A network that trains with the student's functions, beside one that trains with ours."""

from __future__ import annotations

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.core import backward
from minidl.core.array_function import operations
from minidl.study.build.beside import Engine, lasting
from minidl.study.build.student import StudentError
from minidl.study.terminal import UsageError
from tests.build.test_check import SOLUTIONS, SOURCE, altered


def classifier():
    """A small network in which all pieces take part: convolution with bias and stride, pooling, transposed, linear."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False, rng=rng), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.ConvTranspose2d(8, 4, 2, stride=2, rng=rng), nn.Conv2d(4, 4, 3, stride=2, rng=rng), nn.Flatten(),
        nn.Linear(4 * 9, 3, rng=rng),
    )  # fmt: skip


X, TARGET = np.random.default_rng(1).standard_normal((4, 2, 8, 8)).astype(np.float32), [0, 1, 2, 1]


def trained(optimiser, steps=3, driver=None):
    """The losses and the parameters after some steps."""
    model = classifier()
    update = optimiser(model.parameters())
    losses = []
    for step in range(steps):
        if driver is not None:
            driver.begin(step, steps)
        loss = F.cross_entropy(model(md.tensor(X)), TARGET)
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    return losses, [p.data.copy() for p in model.parameters()], model


@pytest.mark.parametrize("optimiser", [
    lambda params: optim.Adam(params, 1e-2), lambda params: optim.SGD(params, 0.1, momentum=0.9, weight_decay=1e-3),
])  # fmt: skip
def test_a_network_of_all_pieces_trains_as_with_ours(optimiser):
    right = trained(optimiser)
    with Engine(SOLUTIONS) as mine:
        got = trained(optimiser, driver=mine.drive)
    np.testing.assert_allclose(got[0], right[0], rtol=1e-5)
    for a, b in zip(got[1], right[1]):
        np.testing.assert_allclose(a, b, atol=2e-5)
        assert a.dtype == np.float32
    called = {name for name, use in mine.drive.uses.items() if use.calls}
    update = "adam" if "adam" in called else "sgd"
    assert called == {
        "conv", "conv_backward_input", "conv_backward_weight", "conv_transpose", "max_pool", "max_pool_backward",
        "moments", "batch_norm", "batch_norm_backward", "matmul", "cross_entropy", "cross_entropy_backward",
        "unbroadcast", "walk", update,
    }  # fmt: skip
    assert not mine.differences()
    assert all(use.worst.size < 1e-5 for use in mine.drive.uses.values())


def test_ours_is_back_after_the_block():
    before = {name: operation.cpu for name, operation in operations.items()}
    walk, sum_to = backward.walk, md.Tensor.sum_to
    with pytest.raises(ZeroDivisionError), Engine(SOLUTIONS):
        assert backward.walk is not walk
        1 / 0  # noqa: B018
    assert backward.walk is walk and md.Tensor.sum_to is sum_to
    unlike = [name for name, operation in operations.items() if operation.cpu is not before[name]]
    assert all(operations[name].cpu.__name__ != "run" for name in unlike)  # imported since, at most


def test_a_difference_is_named_with_its_layer(tmp_path):
    path = altered(tmp_path, "taps = w.reshape", "w = -w if w.shape[1:] == (4, 3, 3) else w\n    taps = w.reshape")
    with Engine(path) as mine:
        trained(lambda params: optim.SGD(params, 0.1), driver=mine.drive)
    (line,) = mine.differences()
    assert line.startswith("conv_backward_input differs from ours in 5, step ")
    (row,) = [row for row in mine.report() if row.startswith("conv_backward_input  ")]
    assert "differs" in row and "5, step " in row


def test_what_is_not_written_or_not_asked_of_it_is_ours(tmp_path):
    path = tmp_path / "my_engine.py"
    path.write_text(SOURCE[: SOURCE.index("def conv_backward_input")], encoding="utf-8")
    x, w = md.tensor(X), md.tensor(np.ones((3, 2, 3, 3), np.float32))
    with Engine(path) as mine:
        for options in ({"dilation": 2}, {"padding": ((1, 0), (0, 0))}, {"stride": 2}):
            F.conv(x, w, **options)
    written = "yours, from my_engine.py: tensor, broadcasting, matmul, conv; not written, so ours: "
    assert mine.describe().startswith(written)
    assert mine.report()[-2:] == [
        "conv: 1 calls went to ours (dilation)",
        "conv: 1 calls went to ours (stride or padding that differs by axis)",
    ]
    assert mine.drive.uses["conv"].calls == 1


@pytest.mark.parametrize("old, new, words", [
    ("    patches, size = columns(x, *w", "    x[99]\n    patches, size = columns(x, *w",
     r"my_engine.py, line \d+ \(x\[99\]\): IndexError"),
    ("return y.reshape(len(x), len(w), *size)",
     "return y if len(x) == 4 else y.reshape(len(x), len(w), *size)",
     r"conv returned float32 \(4, 8, 64\), an array of shape \(4, 8, 8, 8\) is needed"),
    ("return w - lr * v, v", "return (w - lr * v)", "sgd returned no tuple of 2 arrays"),
    ("    return found\n", "    return found if not output.inputs else []\n", "walk returned no dict"),
    ("y.pullback(found.pop(y))", "(y.pullback(found[y]), y.pullback(found.pop(y)))[1]",
     "calls the pullback of .* twice"),
])  # fmt: skip
def test_a_function_that_fails_is_one_line(tmp_path, old, new, words):
    with pytest.raises(StudentError, match=words) as caught, Engine(altered(tmp_path, old, new)) as mine:
        trained(lambda params: optim.SGD(params, 0.1, momentum=0.5), driver=mine.drive)
    assert "\n" not in str(caught.value)


LOOPS = """
def conv(x, w, stride, padding):
    import time
    time.sleep(0.02)
    return quick_conv(x, w, stride, padding)

"""


def test_a_step_is_tried_and_slow_code_refused(tmp_path):
    def tried(path):
        with Engine(path) as mine:
            return mine.try_step(
                classifier(), lambda params: optim.Adam(params, 1e-2),
                lambda model, batch: F.cross_entropy(model(md.tensor(batch)), TARGET), X, 1000,
            )  # fmt: skip

    yours, one, several, equal = tried(SOLUTIONS)
    assert yours.startswith("yours, from solutions.py: ") and one.startswith("one step: ") and "with ours" in one
    assert several.startswith("1000 steps take about ") and equal.startswith("each call gave what ours gives, ")
    also = [("\ndef conv_transpose", LOOPS + "\ndef conv_transpose")]
    path = altered(tmp_path, "def conv(x", "def quick_conv(x", also)
    from minidl.study.build import beside

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "LONGEST", 0.01)
        with pytest.raises(UsageError, match=r"one step would take about .* 1000 steps .*: conv takes .* --quick"):
            tried(path)


@pytest.mark.parametrize("seconds, words", [
    (0.0031, "3.1 ms"), (0.42, "0.42 s"), (59, "59 s"), (600, "10 min"), (18000, "5 h"), (260000, "3 days"),
])  # fmt: skip
def test_times(seconds, words):
    assert lasting(seconds) == words


# --- the task


def test_the_denoiser_trains_as_with_ours(tmp_path):
    """The lecture's network, small, by the solutions written by hand: the same weights to rounding."""
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    from tasks.denoise.train import Settings, train
    from tasks.run import Job

    rng = np.random.default_rng(0)
    photographs = {"noise": rng.random((24, 24), dtype=np.float32)}
    settings = Settings(steps=4, width=8, batch=2, patch=12)
    ours = train(Job(settings, tmp_path), photographs, photographs)
    with Engine(SOLUTIONS) as mine:
        yours = train(Job(settings, tmp_path, engine=mine, overwrite=True), photographs, photographs)
    for (name, a), b in zip(ours.state_dict().items(), yours.state_dict().values()):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)
    assert (mine.drive.uses["adam"].calls, mine.drive.uses["adam"].kernels) == (4 * 10, 4)
    assert mine.drive.uses["conv_backward_weight"].calls == 4 * 4
    assert not mine.differences()


def test_the_commands_take_an_engine(tmp_path, capsys, monkeypatch):
    """Up to the run: what is refused, and where results go."""
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    import tasks.__main__ as frame
    from tasks.denoise import cli

    asked = {}
    monkeypatch.setattr(cli.Denoise, "train", lambda self, job, data: asked.update(job=job, data=data) or classifier())
    monkeypatch.setattr(cli.Denoise, "report", lambda *arguments: None)
    monkeypatch.chdir(tmp_path)
    assert frame.main(["denoise", "--with", str(SOLUTIONS), "--quick", "--steps", "7"]) == 0
    job, (_, test) = asked["job"], asked["data"]
    assert job.out.as_posix() == "runs/denoise-solutions" and (job.settings.width, job.settings.steps) == (4, 7)
    assert {image.shape for image in test.values()} == {(16, 16)} and job.engine.drive.written
    assert "yours, from solutions.py" in (job.out / "engine.txt").read_text(encoding="utf-8")
    for argv, words in [
        (["--with", "nothing.py"], "nothing.py: No such file"),
        (["--with", str(SOLUTIONS), "--shards", "2"], "one process"),
        (["--with", str(SOLUTIONS), "--weights", "x.pth"], "leave out --weights"),
    ]:  # fmt: skip
        assert frame.main(["denoise", *argv]) == 2 and words in capsys.readouterr().err
