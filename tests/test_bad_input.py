"""Bad input, listed: each gives one clear line that says what was asked and what was got, and a non-zero exit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

PRELUDE = """
import numpy as np
import minidl as md
from minidl import functional as F, nn, optim, train
t = lambda *shape: md.Tensor(np.ones(shape), requires_grad=True)
"""

# what is wrong: (a script, what its last line must say)
CODE = {
    "shapes that do not broadcast": ("t(2, 3) + t(4)", "add(float64[2, 3], float64[4]): operands could not be"),
    "matrices that do not fit": ("t(2, 3) @ t(4, 5)", "matmul: (2, 3) @ (4, 5)"),
    "reshape to another size": ("t(2, 3).reshape(4, 2)", "the 6 entries of shape (2, 3) do not fit the shape (4, 2)"),
    "reshape with an unknown length": ("t(2, 3).reshape(4, -1)", "(4, -1): its lengths must be ints"),
    "a sum to a shape that does not broadcast": ("t(10, 5, 10).sum_to((10, 10))", "(10, 10) does not broadcast to"),
    "a comparison with a text": ('t(2) == "a"', "a tensor compares with a number, an array or a tensor, got 'a'"),
    "a size that is a text": ('F.interpolate(t(1, 1, 4, 4), size="a")', "size must be made of ints, got 'a'"),
    "a size that is no int": ("F.interpolate(t(1, 1, 4, 4), size=1.5)", "size must be made of ints, got 1.5"),
    "a scale that is a text": ('F.interpolate(t(1, 1, 4, 4), scale_factor="a")', "scale_factor must be a number"),
    "slopes of two axes": ("F.prelu(t(2, 4), t(2, 4))", "(2, 4) needs one slope, (1,), or one per channel, (4,)"),
    "a bias of two axes": ("F.linear(t(2, 3), t(4, 3), t(2, 4))", "the bias has shape (2, 4)"),
    "a bias of integers": ("F.conv(t(1, 1, 4), t(1, 1, 3), [1])", "the bias has dtype int64, x and weight float64"),
    "no eps": ("nn.BatchNorm2d(1, eps=0)(t(2, 1, 4, 4).astype('f'))", "eps must be a number above 0, got 0"),
    "a negative eps": ("F.group_norm(t(2, 2), 1, eps=-1)", "group_norm: eps must be a number above 0, got -1"),
    "layers without eps": ("F.layer_norm(t(2, 3), 3, eps=0)", "layer_norm: eps must be a number above 0, got 0"),
    "instances without eps": ("F.instance_norm(t(2, 3, 4), eps=-1)", "instance_norm: eps must be a number above 0"),
    "root mean squares without eps": ("F.rms_norm(t(2, 3), 3, eps=0)", "rms_norm: eps must be a number above 0"),
    "no eps in eval mode": ("F.batch_norm(t(2, 1), np.zeros(1), np.zeros(1), eps=0)", "batch_norm: eps must be"),
    "axis out of range": ("t(2, 3).sum(axis=2)", "axis 2 is out of range for a tensor with 2 axes"),
    "a dtype without gradients": ("md.tensor([1, 2], requires_grad=True)", "dtype int64 cannot require a gradient"),
    "no numbers": ('md.tensor("photo.png")', "cannot make a tensor of str"),
    "wrong number of channels": ("F.conv(t(1, 3, 8, 8), t(4, 2, 3, 3))", "x (1, 3, 8, 8) has 3 channels"),
    "groups that do not divide": ("F.conv(t(1, 3, 8, 8), t(4, 1, 3, 3), groups=3)", "groups=3"),
    "negative stride": ("F.conv(t(1, 1, 8, 8), t(1, 1, 3, 3), stride=-1)", "conv: stride=-1 must be at least 1"),
    "no kernel": ("F.max_pool(t(1, 1, 4, 4), 0)", "max_pool: kernel_size=0 must be at least 1"),
    "a window larger than the map": ("F.avg_pool(t(1, 1, 4), 9)", "avg_pool: spatial axis 0: a kernel of 9"),
    "a stride that is no int": ("F.unfold(t(1, 1, 4, 4), 2, stride=1.5)", "unfold: stride must be made of ints"),
    "a dilation for three axes": (
        "F.conv_transpose(t(1, 1, 4), t(1, 1, 2), dilation=(1, 1, 1))",
        "conv_transpose: dilation=(1, 1, 1) has 3 entries for 1 spatial axes",
    ),
    "a layer without a kernel": ("nn.Conv2d(1, 1, 0)", "Conv2d: kernel_size=0 must be at least 1"),
    "a pooling layer without a kernel": ("nn.MaxPool2d(0)", "MaxPool2d: kernel_size=0 must be at least 1"),
    "kernel larger than the input": (
        "F.conv(t(1, 1, 2, 2), t(1, 1, 5, 5), padding=1)",
        "(2 + 1 + 1 - 1 * (5 - 1) - 1) // 1 + 1 = 0",
    ),
    "output padding not below the stride": (
        "F.conv_transpose(t(1, 1, 4), t(1, 1, 2), stride=2, output_padding=2)",
        "output_padding=2 on spatial axis 0 must be smaller than the stride (2)",
    ),
    "pooling with no axis to pool": ("F.max_pool(t(3, 4), 2)", "max_pool"),
    "target out of range": ("F.cross_entropy(t(2, 3), [0, 3])", "3"),
    "target of another shape": ("F.mse_loss(t(2, 3), t(2, 1))", "(2, 1)"),
    "mean over an empty batch": ("F.mse_loss(t(0, 3), t(0, 3))", "mean over nothing: shape (0, 3)"),
    "batch norm of one value": ("F.batch_norm(t(1, 3), None, None, training=True)", "(1, 3)"),
    "backward from many numbers": ("t(2, 3).tanh().backward()", "the output has shape (2, 3)"),
    "backward without a graph": ("md.tensor([1.0]).backward()", "requires no gradient"),
    "backward twice": ("y = t(1).exp(); y.backward(); y.backward()", "pass retain_graph=True to the first pass"),
    "a parameter changed in between": (
        "m = nn.Sequential(nn.Linear(2, 1)); p = m.parameters(); y = m(t(1, 2).astype('f')).sum()\n"
        "optim.SGD(m.parameters(), 0.1); m[0].weight.data = m[0].weight.data * 2; y.backward()",
        "0.weight was updated after the forward pass",
    ),
    "assignment to a tensor": ("t(2)[0] = 1", "tensors are immutable"),
    "a learning rate that is a text": ('optim.SGD(nn.Linear(1, 1).parameters(), lr="0.1")', "SGD: lr must be a number"),
    "no learning rate": ("optim.Adam(nn.Linear(1, 1).parameters(), lr=None)", "Adam: lr must be a number, got None"),
    "one beta": ("optim.Adam(nn.Linear(1, 1).parameters(), betas=0.9)", "betas are two numbers in [0, 1), got 0.9"),
    "a momentum that is a text": ('optim.SGD(nn.Linear(1, 1).parameters(), momentum="a")', "momentum must be a number"),
    "negative learning rate": ("optim.SGD(nn.Linear(1, 1).parameters(), lr=-1)", "-1"),
    "a state of another model": ("nn.Linear(2, 1).load_state_dict(nn.Linear(3, 1).state_dict())", "(1, 3)"),
    "a NaN in training": (
        "m = nn.Linear(1, 1)\n"
        "train.fit(m, optim.SGD(m.parameters(), 0.1), lambda m, x: F.log(m(x) * 0 - 1).sum(), "
        "lambda s: md.tensor([[1.0]], dtype='f'), 3, progress=False)",
        "log made 1 of 1 values NaN",
    ),
    "no such weight file": ('md.load_weights("nowhere.npz")', "nowhere.npz"),
    "truncated weight file": (
        'md.save_weights("w.npz", {"a": np.ones(99)})\n'
        'data = open("w.npz", "rb").read(); open("cut.npz", "wb").write(data[:200]); md.load_weights("cut.npz")',
        "cut.npz",
    ),
    "hostile weight file": (
        "import pickle, os\n"
        "class Trap:\n    def __reduce__(self): return os.system, ('touch executed',)\n"
        'pickle.dump({"a": Trap()}, open("trap.pt", "wb"), protocol=2); md.load_weights("trap.pt")',
        "system",
    ),
    "weights to an unknown format": ('md.save_weights("w.txt", {"a": np.ones(3)})', ".txt"),
    "a gpu that is not there": ('t(3).to("gpu")', "no GPU"),
}

# what is wrong: (arguments of python -m tasks, what the line must say)
COMMANDS = {
    "a task that is not there": (["denoize"], "did you mean denoise?"),
    "an option that is not there": (["denoise", "--stpes", "3"], "did you mean --steps?"),
    "a value out of range": (["denoise", "--sigma", "-1"], "must be a number above 0"),
    "an image that is none": (["denoise", "--image", "text.png", "--steps", "1"], "not a readable image"),
    "an image that is not there": (["denoise", "--image", "none.png"], "none.png: No such file"),
    "an output that cannot be written": (["denoise", "--out", "text.png"], "text.png: File exists"),
    "a checkpoint that is none": (["denoise", "--checkpoint", "text.png"], "text.png"),
}


TABLES = {"a state of another model"}  # where one line would not do


@pytest.mark.parametrize("name", CODE)
def test_code_ends_with_one_clear_line(name, tmp_path, monkeypatch):
    script, message = CODE[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as caught, np.errstate(all="ignore"):
        exec(PRELUDE + script, {})
    assert message in str(caught.value)
    assert name in TABLES or "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_one_line_and_no_traceback(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
    from tasks.__main__ import main

    (tmp_path / "text.png").write_text("this is no image")
    monkeypatch.chdir(tmp_path)
    arguments, message = COMMANDS[name]
    assert main(arguments) in (1, 2)
    assert_one_line(capsys.readouterr().err, message)


def test_so_does_a_process(tmp_path):
    arguments, message = COMMANDS["an option that is not there"]
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode in (1, 2), done.stdout
    assert_one_line(done.stderr, message)


def assert_one_line(errors, message):
    assert errors.startswith("minidl: error: ") and errors.count("\n") == 1
    assert message in errors
