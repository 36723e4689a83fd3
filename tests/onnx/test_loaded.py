"""What a loaded network can do as any other: derivatives, training, recording, explanations."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim

onnx = pytest.importorskip("onnx")

from tests.onnx.graphs import load, network  # noqa: E402

RNG = np.random.default_rng(1)
IMAGES = RNG.normal(size=(8, 2, 4, 4)).astype("f4")


@pytest.mark.slow
def test_derivatives_to_order_2():
    net, images = md.load_onnx(network()).to("float64"), IMAGES.astype(float)
    assert md.gradcheck(lambda t: (net(images[:1] + t * images[1:4]) ** 2).sum(), np.ones((3, 1, 1, 1)), order=2)
    lstm = load(
        [("LSTM", "x w r b", "y", {"hidden_size": 2})], {"x": [2, 1, 1]},
        w=RNG.normal(size=(1, 8, 1)).astype("f4"), r=RNG.normal(size=(1, 8, 2)).astype("f4"), b=np.ones((1, 16), "f4"),
    ).to("float64")  # fmt: skip
    assert md.gradcheck(lambda x: (lstm(x) ** 2).sum(), RNG.normal(size=(2, 1, 1)), order=2)


def test_it_learns():
    net, labels = md.load_onnx(network()), (IMAGES.mean((1, 2, 3)) > 0).astype(int)
    optimiser, losses = optim.Adam(net.parameters(), lr=0.05), []
    for _ in range(10):
        optimiser.zero_grad()
        loss = F.cross_entropy(net(IMAGES), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_it_is_recorded_and_follows_its_weights():
    net = md.load_onnx(network())
    right = net(IMAGES).data
    md.record(net)
    with md.no_grad():
        for n in (8, 8, 8, 3, 3, 3):
            np.testing.assert_allclose(net(IMAGES[:n]).data, right[:n], rtol=1e-4, atol=1e-5)
        assert "folded_kernel" in net.forward.text()
        net.load_state_dict({name: 0 * array for name, array in net.state_dict().items()})
        assert (net(IMAGES).data == 0).all()


def test_it_is_explained_and_part_of_other_modules():
    net = md.load_onnx(network())
    assert "conv1.weight" in md.explain((net(IMAGES) ** 2).sum()).text()
    whole = nn.Sequential(net, nn.ReLU())
    assert "0.conv1.weight" in dict(whole.named_parameters()) and whole(IMAGES).shape == (8, 3)


def test_its_receptive_field():
    w = np.ones((1, 1, 3, 3), "f4")
    nodes = [("Conv", "x w", "a", {"pads": [1] * 4}), ("Relu", "a", "b"), ("Conv", "b w", "y", {"pads": [1] * 4})]
    found = md.receptive_field(load(nodes, {"x": [1, 1, 9, 9]}, w=w), (1, 1, 9, 9))
    assert "5" in found.text()


def test_integers_of_the_input_are_not_taken_for_constants_when_recorded():
    net = load([("ArgMax", "x", "i", {"axis": 1, "keepdims": 0}), ("Gather", "w i", "y")], {"x": ["n", 4]},
               w=np.arange(8, dtype="f4").reshape(4, 2))  # fmt: skip
    md.record(net)
    with md.no_grad():
        for k in (0, 1, 2, 3, 1):
            assert net(np.eye(4, dtype="f4")[[k]]).tolist() == [[2 * k, 2 * k + 1]]
