"""``minidl run``: a script that imports torch and torchvision runs as it is."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl.__main__ import main

SCRIPT = Path(__file__).with_name("script.py")


@pytest.fixture
def digits(tmp_path):
    """Bars whose place is their class, as MNIST's files where torchvision puts them."""
    folder, rng = tmp_path / "MNIST" / "raw", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, n in (("train", 160), ("t10k", 50)):
        labels = np.arange(n, dtype=np.uint8) % 10
        images = (rng.random((n, 28, 28)) * 60).astype(np.uint8)
        for image, label in zip(images, labels):
            image[2 * label + 2 : 2 * label + 6, 4:24] = 220
        head = struct.pack(">HBBIII", 0, 8, 3, n, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, n) + labels.tobytes())
    return tmp_path


def test_a_script_runs_as_it_is(digits, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["minidl"])
    before, told = set(sys.modules), np.geterr()
    assert main(["run", str(SCRIPT), "--data", str(digits), "--epochs", "3", "--save", str(digits / "c.pt")]) == 0
    assert np.geterr() == told
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1] for line in lines[:3]] == [" lr 1.00", " lr 0.70", " lr 0.49"]
    assert float(lines[3].split()[1]) > 0.9
    assert {name for name in set(sys.modules) - before if name.split(".")[0] in ("torch", "torchvision")} == set()
    state = md.load_weights(digits / "c.pt", key="model")
    assert list(state) == ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"]


def test_a_script_that_is_not_there_is_one_line(capsys):
    assert main(["run", "nowhere.py"]) == 1
    assert capsys.readouterr().err == "minidl: error: nowhere.py: No such file or directory\n"


def test_each_of_torchs_modules_is_importable(tmp_path):
    from minidl.torch.run import in_place_of_torch

    with in_place_of_torch():
        exec(
            "import torch, torch.nn.functional, torch.nn.init, torch.optim.lr_scheduler, torch.utils.data.distributed\n"
            "import torch.backends.cudnn as cudnn, torch.nn.parallel, torch.distributed, torch.multiprocessing\n"
            "from torch.nn.modules.batchnorm import _BatchNorm\n"
            "from torch.nn.modules.utils import _pair\n"
            "from torch.cuda.amp import GradScaler, autocast\n"
            "from torch.autograd import Variable, Function, grad\n"
            "from torch.nn.utils.rnn import pack_padded_sequence\n"
            "from torch.nn.utils.parametrizations import spectral_norm\n"
            "from torch.distributions import Categorical, kl_divergence\n"
            "from torch.func import functional_call, vmap\n"
            "from torch.optim.swa_utils import AveragedModel\n"
            "import torch.fft\n"
            "from torch.utils.tensorboard import SummaryWriter\n"
            "from torchvision.transforms.functional import to_tensor\n"
            "assert isinstance(torch.nn.BatchNorm2d(2), _BatchNorm) and _pair(3) == (3, 3)\n"
        )


def test_a_module_that_is_not_there_says_what_to_write():
    from minidl.torch.run import in_place_of_torch

    advised = r"torch\.quantization is not in minidl\.torch; write torch\.float32"
    with pytest.raises(ModuleNotFoundError, match=advised), in_place_of_torch():
        exec("import torch.quantization")
    with pytest.raises(ModuleNotFoundError, match="nowhere"), in_place_of_torch():
        exec("import nowhere")
