"""Every classifier of torchvision's: the same names, the same outputs with the same random weights; of some the same
gradients and statistics in training."""

import numpy as np
import pytest

from .torchvision_models import torch, torchvision  # first: it skips where they are not installed

import minidl as md  # isort: skip
from minidl import functional as F  # isort: skip
from minidl import nn  # isort: skip
from tasks.models import MODELS, pretrained  # isort: skip
from tasks.models.segmentation import SEGMENTERS  # isort: skip

pytestmark = pytest.mark.reference
CLASSES = 10
SIDES = {"alexnet": 63, "inception_v3": 75, "maxvit_t": 224}  # the smallest input, where it is not 32
SIDES |= {"swin_t": 60, "swin_v2_t": 60}  # where windows are shifted, and do not fill the maps
HEAD = {"aux_loss": True}
OPTIONS = {"vit": {"image_size": 32}, "fcn": HEAD, "deeplab": HEAD}  # of both, by the beginning of a name
GAINS = {"efficientnet_b": 4, "efficientnet_v2": 3, "regnet_y": 4, "mobilenet_v3": 4, "maxvit": 3}  # others: 6
HUGE = {"regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32"}  # 1.2 to 2.6 GB each; the code is the smaller ones
NAMES = [n for n in torchvision.models.list_models(module=torchvision.models) if n not in HUGE]
POOL = torch.rand(1_000_003, generator=torch.Generator().manual_seed(0)) * 2 - 1  # prime: rows of no weight are alike


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Weights that are about to be replaced are not drawn, in neither library."""
    for name in ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **options: tensor)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more wait for one another where others work, too
    with nn.init.undrawn():
        yield
    torch.set_num_threads(threads)


def pair(name):
    """torchvision's network and ours with its weights, random, of a scale that the activations keep, roughly.

    Squeeze-and-excitation multiplies, so rounding errors grow as the values do: there the scale is less, and the
    precision double where many blocks make the image fade.
    """
    options = next((options for start, options in OPTIONS.items() if name.startswith(start)), {})
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    extra = {"weights_backbone": None} if name in SEGMENTERS else extra
    theirs = torchvision.models.get_model(name, num_classes=CLASSES, **extra, **options).eval()
    ours = (MODELS | SEGMENTERS)[name](num_classes=CLASSES, **options).eval()
    randomise(theirs, next((gain for start, gain in GAINS.items() if name.startswith(start)), 6))
    state = theirs.state_dict()
    assert [key for key, *_ in ours._state()] == list(state)
    ours.load_state_dict(state)
    if name.startswith(("efficientnet_b", "lraspp", "deeplabv3_mobilenet")):
        ours, theirs = ours.to("float64"), theirs.double()
    return ours, theirs


def randomise(theirs, gain):
    """Give a network weights; a weight's squares are gain / 3 for all that an output sees."""
    place = 0
    for key, array in theirs.state_dict().items():
        if not array.is_floating_point() or not array.ndim:
            continue
        scale, shift = (gain / array[0].numel()) ** 0.5 if array.ndim > 1 else 0.5, 0
        if array.ndim == 1 and key.endswith(("var", "weight")):
            shift = 1
        for part in array.view(-1).split(len(POOL) // 2):
            place = (place + 7919) % (len(POOL) // 2)
            part.copy_(shift + scale * POOL[place : place + len(part)])


def images(n, side):
    return np.random.default_rng(side).standard_normal((n, 3, side, side))


def difference(ours, theirs):
    theirs = theirs.detach().numpy()
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_torchvisions(name):
    ours, theirs = pair(name)
    x = images(1, SIDES.get(name, 32)).astype(next(ours.parameters()).dtype)
    with torch.no_grad():
        wanted, other = theirs(torch.from_numpy(x)), theirs(torch.from_numpy(-x))
    with md.no_grad():
        error = difference(ours(md.Tensor(x)).data, wanted)
    assert error < (1e-5 if x.dtype == np.float32 else 1e-11)
    assert difference(wanted.numpy(), other) > 1000 * error, "the weights hide the image"


@pytest.mark.parametrize("name", [
    "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0",
    "regnet_y_400mf", "convnext_tiny", "resnext50_32x4d", "inception_v3", "swin_t", "swin_v2_t",
])  # fmt: skip
def test_a_step_of_training_is_torchvisions(name):
    """Gradients of a loss by every parameter, and batch norm's statistics after; without what is drawn at random."""
    ours, theirs = pair(name)
    ours, theirs = ours.to("float64").train(), theirs.double().train()
    for module in (*ours.modules(), *theirs.modules()):
        if "Dropout" in type(module).__name__ or "StochasticDepth" in type(module).__name__:
            module.p = 0.0
    if name == "inception_v3":  # its head needs 299x299
        maps = np.random.default_rng(0).standard_normal((2, 768, 17, 17))
        assert difference(ours.AuxLogits(md.Tensor(maps)).data, theirs.AuxLogits(torch.from_numpy(maps))) < 1e-9
        ours.AuxLogits = theirs.AuxLogits = None
    x, labels = images(2, SIDES.get(name, 64)), np.array([3, 8])
    outputs, wanted = ours(md.Tensor(x)), theirs(torch.from_numpy(x))
    wanted = wanted.logits if name == "inception_v3" else wanted
    assert difference(outputs.data, wanted) < 1e-6
    F.cross_entropy(outputs, labels).backward()
    torch.nn.functional.cross_entropy(wanted, torch.from_numpy(labels)).backward()
    gradients = dict(theirs.named_parameters())
    largest = max(p.grad.abs().max() for p in gradients.values())
    for key, p in ours.named_parameters():
        assert np.abs(p.grad.data - gradients[key].grad.numpy()).max() < 1e-6 * largest, key
    state = ours.state_dict()
    for key, array in theirs.state_dict().items():
        np.testing.assert_allclose(state[key], array.numpy(), rtol=1e-6, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_classes_of_pixels_are_torchvisions(name):
    """The sizes are odd, so that the upsampling counts; the auxiliary head is seen in training, without dropout."""
    ours, theirs = pair(name)
    x = np.random.default_rng(0).standard_normal((2, 3, 41, 57)).astype(next(ours.parameters()).dtype)
    with torch.no_grad(), md.no_grad():
        wanted = theirs(torch.from_numpy(x))
        assert difference(ours(md.Tensor(x)).data, wanted["out"]) < 1e-5
        if "aux" in wanted:
            ours.training = True  # itself alone
            for output, key in zip(ours(md.Tensor(x)), ("out", "aux"), strict=True):
                assert difference(output.data, wanted[key]) < 1e-5, key


def test_pictures_are_prepared_as_torchvision_does_for_its_first_weights():
    for name in (*NAMES, *HUGE):
        how = next(iter(torchvision.models.get_model_weights(name))).transforms()
        bicubic = how.interpolation.value == "bicubic"
        wanted = {"short": how.resize_size[0], "side": how.crop_size[0], "bicubic": bicubic}
        assert pretrained.preparation(name) == wanted, name
