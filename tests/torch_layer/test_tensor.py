"""What idioms do not show of minidl.torch: what shares memory, what is refused, and what errors advise."""

import copy
import re

import numpy as np
import pytest

import minidl as md
import minidl.torch as torch
from minidl import optim
from minidl.torch import advice, nn
from minidl.torch.nn import functional as F


def leaf(*numbers):
    return torch.tensor(numbers, requires_grad=True)


def test_a_change_shows_in_every_view_also_of_what_is_in_a_graph():
    x = torch.arange(6.0)
    rows, first = x.view(2, 3), x[0]
    rows[1] += 10
    first.fill_(-1)
    assert x.tolist() == [-1, 1, 2, 13, 14, 15] and rows[0, 0] == -1
    w = leaf(1.0, 2.0, 3.0, 4.0)
    y = w * 2
    square, last = y.view(2, 2), y[2:]
    square[:, 1].mul_(10)
    assert last.tolist() == [6, 80] and y.tolist() == [2, 40, 6, 80]
    last.sum().backward()
    assert w.grad.tolist() == [0, 0, 2, 20]


def test_a_change_of_what_a_graph_has_used_is_an_error_when_it_goes_back():
    w, x = leaf(1.0, 2.0), torch.tensor([3.0, 4.0])
    y = (w * x).sum()
    x.view(2, 1).add_(1)
    with pytest.raises(RuntimeError, match="was updated after the forward pass"):
        y.backward()
    z = (w * x).sum()
    z.backward()
    assert w.grad.tolist() == [4, 5]


def test_changes_that_would_break_a_graph_are_refused_with_advice():
    w = leaf(1.0, 2.0)
    for change in (lambda: w.add_(1), lambda: w.__setitem__(0, 5.0), lambda: w.zero_()):
        with pytest.raises(RuntimeError, match=re.escape("with torch.no_grad():")):
            change()
    with pytest.raises(RuntimeError, match=r"x\.detach\(\)\.clone\(\)"):
        (w * 2).sigmoid().detach().add_(1)
    with torch.no_grad():
        w -= 0.5
    assert w.tolist() == [0.5, 1.5] and w.requires_grad


def test_gradients_do_not_share_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    a.grad.zero_()
    assert b.grad.tolist() == [1, 1]
    a.grad.add_(2)
    assert a.grad.tolist() == [2, 2]


def test_names_that_are_missing_say_what_to_write():
    places = [(torch, "torch"), (nn, "torch.nn"), (F, "torch.nn.functional"), (torch.optim, "torch.optim"),
              (torch.ones(1), "torch.Tensor"), (torch.linalg, "torch.linalg")]  # fmt: skip
    for place, path in places:
        with pytest.raises(AttributeError, match=re.escape(f"{path}.nothing_like_it is not in minidl.torch; compose")):
            _ = place.nothing_like_it
    with pytest.raises(AttributeError, match=r"did you mean torch\.nn\.functional\.conv2d\?"):
        _ = F.conv2dd
    for name, text in advice.INSTEAD.items():
        assert not any(hasattr(place, name) for place, _ in places), name
        for path in re.findall(r"\b(?:torch|nn|F)\.[\w.]*\w", text):
            found = {"torch": torch, "nn": nn, "F": F, "torchvision": torch}[path.split(".")[0]]
            for part in path.split(".")[1:]:
                found = getattr(found, part)


def test_modules_are_minidls_too():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(True), nn.Flatten(), nn.Linear(8, 3))
    assert isinstance(net(md.tensor(np.ones((2, 1, 4, 4), np.float32))), md.Tensor)
    assert "Conv2d" in str(md.summary(net.minidl(), (1, 1, 4, 4)))
    x, y = np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4) % 7, np.array([0, 2])
    optimiser = optim.SGD(net.minidl().parameters(), lr=0.1)
    before = net[4].weight.clone()
    md.functional.cross_entropy(net.minidl()(md.tensor(x)), y).backward()
    optimiser.step()
    assert not torch.equal(net[4].weight, before)
    twin = copy.deepcopy(net)
    assert twin[0].weight is not net[0].weight and torch.equal(twin[0].weight, net[0].weight)
    net[1].running_mean.fill_(5), twin[1].running_mean.zero_()
    assert net.state_dict()["1.running_mean"].tolist() == [5, 5] and twin[1].running_mean.tolist() == [0, 0]


def test_what_cannot_be_saved_without_running_code_is_refused(tmp_path):
    with pytest.raises(TypeError, match="state_dict"):
        torch.save(nn.Linear(1, 1), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())
    torch.save({"x": torch.ones(2), "rest": [1, "a", None, 2.5, (True,)]}, tmp_path / "c.pt")
    assert torch.load(tmp_path / "c.pt")["rest"] == [1, "a", None, 2.5, (True,)]
