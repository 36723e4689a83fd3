"""What no optimiser has, and what no module has as its part, is named once."""

import warnings

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.optim import forgotten
from minidl.train import fit

X = md.tensor(np.ones((3, 2), np.float32))


class Net(nn.Module):
    def __init__(self, **parts):
        self.first = nn.Linear(2, 2, rng=0)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.first(x)


def told(run):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    assert all(warning.filename == __file__ for warning in found)
    return [str(warning.message) for warning in found]


def train(model, optimiser, steps=2, loss=lambda model: model(X).sum()):
    for _ in range(steps):
        loss(model).backward()
        optimiser.step()


@pytest.mark.parametrize(("hidden", "text"), [
    ([nn.Linear(2, 2), nn.ReLU()], "plain list (2: Linear, ReLU)"),
    ((nn.Linear(2, 2),), "plain tuple (1: Linear)"),
    ({"a": [nn.Linear(2, 2)], "b": None}, "plain dict (1: Linear)"),
    ([[3, {"deep": nn.Dropout(0.5)}]], "plain list (1: Dropout)"),
])  # fmt: skip
def test_modules_that_no_one_registered_are_named_when_an_optimiser_is_made(hidden, text):
    net = nn.Sequential(Net(), Net(hidden=hidden))
    (message,) = told(lambda: optim.SGD(net.parameters(), lr=0.1))
    assert message.startswith("Sequential.1.hidden: ") and text in message
    assert ("nn.ModuleDict" if isinstance(hidden, dict) else "nn.ModuleList") in message


def test_modules_that_are_registered_somewhere_may_be_listed_too():
    part, other = nn.Linear(2, 2), Net()
    net = Net(part=part, parts=[part, other.first], sizes=[1, 2], modules_=nn.ModuleList([nn.Linear(2, 2)]))
    net.parent = (net,)
    net.endless = net.sizes
    net.sizes.append(net.sizes)
    assert told(lambda: optim.SGD([*net.parameters(), other.first.weight], lr=0.1)) == []


def test_a_network_of_listed_modules_alone_is_refused_with_a_hint():
    class Listed(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(2, 2)]

    with pytest.raises(ValueError, match=r"got no parameters.*nn\.ModuleList"):
        optim.Adam(Listed().parameters())


def test_parameters_with_a_gradient_that_no_optimiser_has_are_named_once():
    net = Net()
    optimiser = optim.SGD(net.parameters(), lr=0.1)
    net.head, net.scales = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), [md.Parameter(np.ones(2, np.float32))]
    loss = lambda net: (net.head(net(X)) * net.scales[0]).sum()  # noqa: E731
    assert told(lambda: train(net, optimiser, loss=loss)) == [
        "no optimiser has head.0.weight, head.0.bias, head.1.weight and 2 more, with a gradient: give it one, or "
        "freeze it with requires_grad_(False)"
    ]


def test_fit_and_lbfgs_tell_it_too():
    net = Net(head=nn.Linear(2, 1, rng=0))
    with pytest.warns(UserWarning, match=r"no optimiser has head\.weight, head\.bias"):
        optimiser = optim.SGD(net.first.parameters(), lr=0.1)
        fit(net, optimiser, lambda net, batch: net.head(net(X)).sum(), int, 2, progress=False)

    def closure():
        loss = (net.head(net(X)) ** 2).sum()
        loss.backward()
        return loss

    with pytest.warns(UserWarning, match=r"no optimiser has head\.weight, head\.bias"):
        optim.LBFGS(net.first.parameters(), max_iter=1).step(closure)


def test_frozen_parameters_those_of_other_optimisers_and_of_other_networks_are_not():
    net, other = Net(head=nn.Linear(2, 2), frozen=nn.Linear(2, 2).requires_grad_(False)), Net()
    optimisers = [optim.SGD(net.first.parameters(), lr=0.1), optim.Adam(net.head.parameters())]
    loss = lambda net: (other(net.frozen(net.head(net(X))))).sum()  # noqa: E731
    assert told(lambda: [train(net, optimiser, loss=loss) for optimiser in optimisers]) == []
    assert other.first.weight.grad is not None


def test_modules_may_be_made_in_another_thread_meanwhile(monkeypatch):
    """Here by what looks at them."""

    class Many:
        def __init__(self):
            self.seen = 0

        def __iter__(self):
            self.seen += 1
            if self.seen == 1:
                raise RuntimeError("Set changed size during iteration")
            return iter(())

    monkeypatch.setattr(nn.Module, "alive", many := Many())
    assert forgotten.alive() == [] and many.seen == 2
