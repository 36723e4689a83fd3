# pyright: strict
"""A user's file, as pyright and mypy see it in strict mode: no error, and no expression that is Any.

It also runs: see test_types.py.
"""

from collections.abc import Sequence
from typing import assert_type

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.train import fit

x = md.tensor([[1.0, -2.0], [3.0, 4.0]], requires_grad=True)
w = md.tensor([[0.5, 1.0, 2.0], [1.0, 0.0, -1.0]], dtype="float64")
assert_type(x + 1, md.Tensor)
assert_type(2 / x - x**2, md.Tensor)
assert_type(x @ w, md.Tensor)
assert_type(-abs(x[0, ::2]), md.Tensor)
assert_type((x > 0) & (x == x.T), md.Tensor)
assert_type(x.sum(), md.Tensor)
assert_type(x.reshape(4).mean(axis=0, keepdims=True).exp(), md.Tensor)
assert_type(F.relu(x), md.Tensor)
assert_type(F.maximum(x, 0.5), md.Tensor)
assert_type(F.max_pool(x.reshape(1, 1, 2, 2), 2), md.Tensor)
assert_type(x.item() if x.size == 1 else x.sum().item(), float)
assert_type((x.shape, x.ndim, x.device), tuple[tuple[int, ...], int, str])
values, indices = F.topk(x, k=1)
assert_type(values, md.Tensor)


class Net(nn.Module):
    """Convolution and batch normalisation, any number of times, then a class for each picture."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        self.first = nn.Conv2d(1, widths[0], 3, padding="same")
        self.body = nn.Sequential(nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.last = nn.Linear(widths[0] * 16, classes)

    def forward(self, x: md.Tensor, scale: float = 1.0) -> md.Tensor:
        return self.last(self.body(F.leaky_relu(self.first(x), 0.1))) * scale


model = Net([4], classes=3).train()
images, labels = md.tensor([[[[0.5] * 8] * 8]] * 6, dtype="float32"), [0, 1, 2, 0, 1, 2]
assert_type(model, Net)
assert_type(model(images, scale=2.0), md.Tensor)


def loss(net: Net, batch: Sequence[int]) -> md.Tensor:
    at = list(batch)
    return F.cross_entropy(net(images[at]), [labels[i] for i in at])


optimiser = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
optimiser.zero_grad()
loss(model, range(6)).backward()
optimiser.step()
assert_type(model.first.weight.grad, md.Tensor | None)
record = fit(model, optimiser, loss, data.Batches(6, 3, seed=0), steps=2, progress=False)
assert_type(record["loss"], float)
assert_type(md.grad(x.sum(), [x], allow_unused=False)[0], md.Tensor)
y, pullback = md.vjp(F.tanh, x)
assert_type(pullback(y)[0], md.Tensor)
assert_type(md.gradcheck(F.tanh, x).text(), str)
assert_type(md.explain((x * x).sum(), names={"x": x}).text(), str)
assert_type(md.summary(model, (1, 1, 8, 8)).macs, int)
