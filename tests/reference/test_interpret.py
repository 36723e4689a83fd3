"""Saliency maps against PyTorch's gradients, with the rules at ReLUs as backward hooks."""

import numpy as np
import pytest

from minidl import nn
from tasks.interpret.methods import METHODS
from tasks.interpret.targets import class_score

torch = pytest.importorskip("torch", reason="compares with PyTorch")

pytestmark = pytest.mark.reference

CLASSES = [2, 0, 1]
X = np.random.default_rng(0).standard_normal((3, 3, 20, 18))


def layers(n, rng):
    """The same chain for either library; `rng` is for the layers of ours."""
    return [
        n.Conv2d(3, 8, 3, padding=1, **rng), n.BatchNorm2d(8), n.ReLU(), n.MaxPool2d(2),
        n.Conv2d(8, 12, 3, padding=1, **rng), n.ReLU(), n.AdaptiveAvgPool2d(1), n.Flatten(), n.Linear(12, 4, **rng),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    ours = nn.Sequential(*layers(nn, {"rng": 0})).to(np.float64)
    rng = np.random.default_rng(1)
    ours[1].running_mean[...], ours[1].running_var[...] = rng.normal(size=8), rng.uniform(0.5, 2, 8)
    theirs = torch.nn.Sequential(*layers(torch.nn, {})).double().eval()
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict().items()})
    return ours, theirs


def pulled_back(model, rule):
    """What comes back to the images when each ReLU's gradient is changed by ``rule(R masked by the input, R)``."""
    hooks = [
        m.register_full_backward_hook(lambda m, gx, g: (rule(gx[0], g[0]),))
        for m in model
        if isinstance(m, torch.nn.ReLU)
    ]
    x = torch.tensor(X, requires_grad=True)
    model(x)[torch.arange(3), CLASSES].sum().backward()
    for hook in hooks:
        hook.remove()
    return x.grad.numpy()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gradient", lambda masked, g: masked),
        ("deconvnet", lambda masked, g: g.clamp(min=0)),
        ("guided_backprop", lambda masked, g: masked.clamp(min=0)),
    ],
)
def test_maps_by_backpropagation(pair, name, rule):
    ours, theirs = pair
    found = METHODS[name](ours, X, class_score(CLASSES))
    expected = pulled_back(theirs, rule)
    np.testing.assert_allclose(found.full, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.values, np.abs(expected).max(axis=1), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("layer", ["5", "2"])
def test_grad_cam_at_the_size_of_the_image(pair, layer):
    ours, theirs = pair
    maps = theirs[: int(layer) + 1](torch.tensor(X)).detach().requires_grad_()
    theirs[int(layer) + 1 :](maps)[torch.arange(3), CLASSES].sum().backward()
    coarse = (maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).clamp(min=0).detach()
    expected = torch.nn.functional.interpolate(coarse, size=X.shape[2:], mode="bilinear", align_corners=False)
    found = METHODS["grad_cam"](ours, X, class_score(CLASSES), layer=layer)
    np.testing.assert_allclose(found.values, expected.numpy()[:, 0], rtol=1e-10, atol=1e-15)
