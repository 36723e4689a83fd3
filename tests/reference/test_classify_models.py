"""Weights that torch and safetensors save load into our networks by name, and the logits are torch's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

import minidl as md  # noqa: E402
from tasks.classify import MODELS  # noqa: E402

from .networks import NETWORKS, GoogLeNet  # noqa: E402

pytestmark = pytest.mark.reference
CLASSES = {"vgg16": 1000, "resnet18": 1000}  # others have few, to save time
SIZES = {"vgg16": 224, "resnet18": 224, "alexnet": 224, "densenet121": 96, "resnet50": 96, "googlenet": 96}


def randomised(net, seed=0):
    """Weights that keep the scale of activations, random biases and statistics: no two channels are alike."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.uniform_(low, high, generator=generator)

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                bound = (6 / module.weight[0].numel()) ** 0.5  # He's
                uniform(module.weight, -bound, bound)
                if module.bias is not None:
                    uniform(module.bias, -0.5, 0.5)
            elif isinstance(module, torch.nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.5, 0.5)
                uniform(module.running_mean, -0.5, 0.5)
                uniform(module.running_var, 0.5, 1.5)
                module.num_batches_tracked.fill_(7)
    return net.eval()


def picture(size, n=1):
    return np.random.default_rng(size).standard_normal((n, 3, size, size)).astype(np.float32)


def assert_close(ours, theirs):
    theirs = theirs.detach().numpy()
    assert theirs.std() > 1e-3
    assert np.abs(ours.data - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.fixture(autouse=True)
def without_drawing(monkeypatch):
    """Weights that are about to be replaced need not be drawn."""
    for name in ("uniform", "normal"):
        monkeypatch.setattr(md.nn.init, name, lambda shape, rng, *args, **options: np.zeros(tuple(shape), np.float32))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_of_loaded_weights_are_torchs(name, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    classes = CLASSES.get(name, 11)
    theirs = randomised(NETWORKS[name](classes))
    x = picture(SIZES[name])
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(x))
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    ours = MODELS[name](classes).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    del theirs
    for suffix in ("pth", "safetensors"):
        path = tmp_path / f"net.{suffix}"
        ours.load_state_dict(md.load_weights(path), strict=True)
        with md.no_grad():
            assert_close(ours(md.Tensor(x)), wanted)
        for p in ours.parameters():
            p.data[...] = 0  # so that the second file is what the second comparison is about
        path.unlink()


def test_googlenet_as_in_training_and_with_transformed_input():
    theirs = randomised(GoogLeNet(5, transform_input=True))
    x = picture(64, 2)
    ours = MODELS["googlenet"](5, transform_input=True, dropout=0.0, dropout_aux=0.0)
    ours.load_state_dict(theirs.state_dict())
    assert_close(ours.eval()(md.Tensor(x)), theirs(torch.from_numpy(x)))
    ours, theirs = ours.to("float64").train(), theirs.double().train()
    x = x.astype(np.float64)
    outputs, wanted = ours(md.Tensor(x)), theirs(torch.from_numpy(x))
    assert outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    for ours_one, theirs_one in zip(outputs, wanted, strict=True):
        assert_close(ours_one, theirs_one)


def test_names_in_torchvisions_files_of_densenet_are_understood():
    """Its files have norm.1 and conv.2 where its modules are called norm1 and conv2."""
    theirs = randomised(NETWORKS["densenet121"](4))
    old = {}
    for name, tensor in theirs.state_dict().items():
        for kind in ("norm", "conv"):
            for i in "12":
                if "denselayer" in name:
                    name = name.replace(f".{kind}{i}.", f".{kind}.{i}.")
        if not name.endswith("num_batches_tracked"):  # which they lack
            old[name] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert "features.transition1.norm.weight" in old
    ours = MODELS["densenet121"](4).eval()
    ours.load_state_dict(old, strict=True)
    x = picture(32)
    assert_close(ours(md.Tensor(x)), theirs(torch.from_numpy(x)))
