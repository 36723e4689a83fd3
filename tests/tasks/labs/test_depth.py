"""The depth lab: its nets, its Jacobians and gradients against others, and the lab from end to end."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from minidl import functional as F
from tasks.command import UsageError
from tasks.labs import depth
from tasks.models.resnet import resnet_small


def quiet(label, total):
    return nullcontext(lambda: None)


def net(shortcut, layers=8):
    """A small net in float64 with statistics of the digits."""
    model = resnet_small(layers, 2, in_channels=1, shortcut=shortcut, rng=0).to("float64")
    x, labels = depth.digits()
    x = x[:50].astype(np.float64)
    depth.freeze(model, x)
    return model, x, labels[:50]


def test_plain_and_residual_nets_have_the_same_weights_at_the_start():
    plain, residual = (resnet_small(20, 2, in_channels=1, shortcut=s, rng=5).state_dict() for s in (False, True))
    assert list(plain) == list(residual)
    assert all(np.array_equal(plain[name], residual[name]) for name in plain)


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("index", [0, 1])  # the second halves the size and doubles the maps
def test_the_jacobian_of_a_block_is_the_dense_one_and_that_of_differences(shortcut, index):
    model, x, _ = net(shortcut)
    block = depth.blocks(model)[index]
    with md.no_grad():
        image = model[:3](md.Tensor(x[:1]))
        image = image if index == 0 else depth.blocks(model)[0](image)
    found = depth.jacobian(block, image.numpy())
    reference = md.jacobian(block, image).numpy().reshape(found.shape)
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-12)
    v = np.random.default_rng(0).standard_normal(image.shape)
    with md.no_grad():
        ahead, behind = (block(image + s * 1e-7 * v).numpy() for s in (1, -1))
    np.testing.assert_allclose(found @ v.ravel(), (ahead - behind).ravel() / 2e-7, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shortcut", [False, True])
def test_singular_values_are_those_of_dense_jacobians(shortcut):
    model, x, _ = net(shortcut)
    each, whole = depth.spectra(model, x[:1])
    stages = model[3:6]
    with md.no_grad():
        h = model[:3](md.Tensor(x[:1]))
    entire = md.jacobian(stages, h).numpy().reshape(-1, h.size)
    np.testing.assert_allclose(whole, np.linalg.svd(entire, compute_uv=False), rtol=0, atol=1e-10 * whole[0])
    last = depth.blocks(model)[-1]
    with md.no_grad():
        for block in depth.blocks(model)[:-1]:
            h = block(h)
    j = md.jacobian(last, h).numpy().reshape(-1, h.size)
    np.testing.assert_allclose(each[-1], np.linalg.svd(j, compute_uv=False), rtol=0, atol=1e-10 * each[-1][0])
    # the Frobenius norm, without any singular value: sum of |J v|^2 over unit vectors
    assert np.isclose((each[-1] ** 2).sum(), (j**2).sum())


def test_frozen_statistics_are_those_of_the_images_and_images_do_not_meet():
    model, x, _ = net(True)
    with md.no_grad():
        first = model.conv1(md.Tensor(x)).numpy()
        np.testing.assert_allclose(model.bn1.running_mean, first.mean(axis=(0, 2, 3)), atol=1e-12)
        np.testing.assert_allclose(model.bn1.running_var, first.var(axis=(0, 2, 3), ddof=1), rtol=1e-9)
        np.testing.assert_allclose(model(md.Tensor(x[:1])).data, model(md.Tensor(x)).data[:1], atol=1e-12)
    assert model.bn1.momentum == 0.1


def test_gradient_norms_are_those_of_backward():
    model, x, labels = net(False)
    found = depth.gradient_norms(model, x, labels)
    F.cross_entropy(model.train()(md.Tensor(x)), labels).backward()
    weights = [p for name, p in model.named_parameters() if p.ndim == 4]
    assert len(found) == len(weights) == 7  # 8 layers: the last is linear
    np.testing.assert_allclose(found, [np.linalg.norm(w.grad.data) for w in weights], rtol=1e-9)


def test_directions():
    assert np.isclose(depth.directions(np.full(7, 3.0)), 7)
    assert np.isclose(depth.directions(np.array([1e200, 0, 0])), 1)
    assert depth.directions(np.zeros(3)) == 0


def test_the_lab_runs_and_draws():
    numbers = json.loads(json.dumps(depth.measure(depth.QUICK, quiet), allow_nan=False))
    again = depth.measure(depth.QUICK, quiet)
    assert numbers == again
    plain = numbers["plain"]["14"]
    assert len(plain["start"]["gradient"]) == 13 and len(plain["end"]["block"]) == 6
    assert "8: " in depth.claims(numbers)[0]
    depth.draw(numbers).savefig("/dev/null", format="png")


@pytest.mark.parametrize(
    ("plain", "residual", "message"),
    [
        ((0.1, 2.0), (0.1, 0.05), ("worse in every run", "not worse in every run")),
        ((0.1, 0.1), (0.1, 2.0), ("NOT worse in every run, against", "AGAINST the claim")),
    ],
)
def test_claims_say_what_is_not_borne_out(plain, residual, message):
    seen = {"gradient": [1.0, 0.5], "block": [1.0], "sigma": [1.0], "directions": [1.0]}
    rows = {
        kind: {
            d: {"loss": [v], "error": [0.0], "test_error": [0.0], "start": seen, "end": seen}
            for d, v in zip(("8", "56"), losses)
        }
        for kind, losses in (("plain", plain), ("residual", residual))
    }
    text = depth.claims({"depths": [8, 56], **rows})
    assert message[0] in text[2] and message[1] in text[3]


def test_impossible_settings():
    for options in ({"depths": (8, 21)}, {"depths": (20,)}, {"lr": 0.0}):
        with pytest.raises(UsageError):
            depth.Settings(**options)
