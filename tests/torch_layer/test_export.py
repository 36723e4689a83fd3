"""Networks of minidl.torch as ONNX, and recorded: what they change in place is an operation of the graph."""

import io

import numpy as np
import pytest

import minidl as md
import minidl.torch as torch
from minidl.torch import nn

pytest.importorskip("onnx")

X = np.sin(np.arange(8, dtype=np.float32)).reshape(2, 4)


class Net(nn.Module):
    """Changes of views, of entries and under masks, on the way."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(8, 2)
        self.register_buffer("shift", torch.tensor([0.5]))

    def forward(self, x):
        y = self.norm(self.first(x))
        y[..., :2] = y[..., :2].sigmoid() * 2
        y[:, 3:] *= 3
        y[y < -0.5] = -0.5
        out = torch.zeros(x.size(0), 2, 4)
        out[:, 0] = y
        out[:, 1, 1:3] = x[:, :2]
        out += self.shift
        flat = out.view(x.size(0), -1)
        flat[:, 0] += 1
        return self.last(nn.functional.relu(flat, inplace=True))


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    net.norm.running_mean.normal_(), net.norm.running_var.uniform_(1, 2)
    return net.eval()


def expected(net, x):
    with torch.no_grad():
        return net(torch.from_numpy(x)).numpy()


def test_a_network_that_changes_in_place_is_exported(net):
    torch.onnx.export(net, torch.from_numpy(X), file := io.BytesIO(), input_names=["a"], output_names=["b"],
                      dynamic_axes={"a": {0: "N"}}, opset_version=11)  # fmt: skip
    graph = md.load_onnx(file.getvalue())
    assert [v.name for v in (*graph.inputs, *graph.outputs)] == ["a", "b"]
    assert set(dict(net.named_parameters())) <= {p.name for p in graph.parameters()}
    more = np.concatenate([X, -X, X[:1]])
    np.testing.assert_allclose(graph(more).data, expected(net, more), atol=1e-6)


def test_a_network_is_recorded(net):
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            y = self.net.norm(self.net.first(x))
            y[..., :2] = y[..., :2].sigmoid() * 2
            y[y < -0.5] = -0.5
            return y.add_(self.net.shift)

    part = Part().eval()

    @md.record
    def step(x):
        with md.no_grad():
            return part(md.Tensor(x))

    for x in (X, X * 2, X - 1, X):
        np.testing.assert_allclose(step(x).data, expected(part, x), atol=1e-6)
        with torch.no_grad():
            net.norm.running_mean.add_(1)
            net.first.weight.mul_(2)
