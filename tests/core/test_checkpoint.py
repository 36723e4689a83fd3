"""checkpoint: the same bits as without it, whatever surrounds it, for less memory."""

import tracemalloc

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn

X = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype("float32")


def blocks(n=4):
    return nn.ModuleList(
        nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, rng=i), nn.BatchNorm2d(4, momentum=None), nn.ReLU(), nn.Dropout(0.3, rng=i)
        )
        for i in range(n)
    )


def plain(f, *xs, **options):
    return f(*xs, **options)


def skips(through, m, x):
    """Each input is used inside a segment and after it: the order in which cotangents are added up shows."""
    for block in m:
        x = through(block, x) * 0.5 + x * x
    return x


def shared(through, m, x):
    """A weight and a tensor that no one hands over, used before, within, after; the segment reads them by itself."""
    scale = x.mean(axis=(2, 3), keepdims=True)
    y = m[0](x) * scale
    for _ in range(2):
        y = through(lambda y: m[0](y) * scale + m[1](y, **{}) * m[0][0].weight.sum(), y)
    return m[0](y) + scale


def nested(through, m, x):
    def inner(y, *, factor):
        return m[1](y) * factor + y

    def outer(y):
        return m[2](through(inner, through(m[0], y), factor=1.5)) + through(inner, y, factor=0.7) * y

    return through(outer, x) + through(outer, x * 2)


def everything(net, through, how):
    """Values, first or second gradients, buffers and generators after one use."""
    m, x = blocks(), md.Tensor(X, requires_grad=True)
    y = net(through, m, x)
    leaves = [x, *list(m.parameters())[:8]]
    if how == "backward":
        (y * y).sum().backward()
        grads = [t.grad for t in leaves]
    elif how == "twice":
        loss = (y * y).sum()
        grads = md.grad(loss, leaves[::2], retain_graph=True, allow_unused=True)
        grads += md.grad(loss, leaves, allow_unused=True)
    else:
        grads = md.grad((y * y).sum(), leaves, create_graph=True, allow_unused=True)
        grads = md.grad(sum((g * g).sum() for g in grads if g is not None), leaves, allow_unused=True)
    arrays = [y.data, *[g.data for g in grads if g is not None], *m.state_dict().values()]
    return [a.tobytes() for a in arrays], m.random_state()


@pytest.mark.parametrize("how", ["backward", "twice", "order 2"])
@pytest.mark.parametrize("net", [skips, shared, nested])
def test_the_same_bits(net, how):
    assert everything(net, md.checkpoint, how) == everything(net, plain, how)


def chain(through, depth=16, size=1 << 14):
    x = h = md.Tensor(np.linspace(-1, 1, size), requires_grad=True)
    for _ in range(depth):
        h = through(lambda h: F.tanh(F.sin(F.exp(F.tanh(h)))), h)
    h.sum().backward()
    return x.grad.data


def test_it_takes_less_memory():
    peaks, grads = [], []
    for through in (plain, md.checkpoint):
        tracemalloc.start()
        grads.append(chain(through))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (grads[0] == grads[1]).all()
    assert peaks[1] < 0.45 * peaks[0]


def test_a_replaced_rule_holds_inside():
    def gradient(through):
        x = md.Tensor(X, requires_grad=True)
        y = through(lambda x: F.relu(x) * x, x)
        with md.relu_rule("guided"):
            (y * -1).sum().backward()
        return x.grad.data

    assert (gradient(md.checkpoint) == gradient(plain)).all()


def test_without_recording_or_a_gradient_it_is_the_function():
    x = md.Tensor(X, requires_grad=True)
    with md.no_grad():
        assert not md.checkpoint(F.exp, x).requires_grad
    assert not md.checkpoint(F.exp, md.Tensor(X)).requires_grad
    assert md.checkpoint(lambda x: x, x) is x


def test_random_numbers_of_the_function_are_drawn_again_if_their_generator_is_named():
    rng = np.random.default_rng(0)

    def noisy(x):
        return (x + rng.normal(size=x.shape)) ** 2

    x = md.Tensor(np.ones(3), requires_grad=True)
    md.checkpoint(noisy, x, generators=[rng]).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 2 * (1 + np.random.default_rng(0).normal(size=3)))
    follows = np.random.default_rng(0)
    follows.normal(size=3)
    assert rng.normal() == follows.normal()
    with pytest.raises(RuntimeError, match=r"gave other values .* generators=\[rng\]"):
        md.checkpoint(noisy, x).sum().backward()


def test_what_changed_in_between_is_noticed():
    layer, x = nn.Linear(3, 3, rng=0), md.Tensor(np.ones((1, 3)), requires_grad=True)
    y = md.checkpoint(lambda x: layer(x) * 1, x)
    layer.weight.data = layer.weight.data * 1
    with pytest.raises(RuntimeError, match="was updated after the forward pass"):
        y.sum().backward()
    for scale in (2.0, 3.0):
        y = md.checkpoint(lambda x: x * scale, x)  # noqa: B023
    scale = 4.0
    with pytest.raises(RuntimeError, match="or what it reads has changed"):
        y.sum().backward()


def test_a_second_pass_through_a_released_graph_and_several_results_are_refused():
    x = md.Tensor(np.ones(3), requires_grad=True)
    y = md.checkpoint(F.exp, x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    y = md.checkpoint(lambda x: F.exp(x) * 2, x).sum()
    (g,) = md.grad(y, x, create_graph=True)
    g.sum().backward()  # goes through the second run alone
    for again in (y.backward, lambda: md.grad(y, x)):
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            again()
    with pytest.raises(TypeError, match="one Tensor, this one gives tuple"):
        md.checkpoint(lambda x: (x, x), x)


def test_the_checker_and_the_anomaly_watch_see_through_it():
    assert md.gradcheck(lambda x: md.checkpoint(lambda x: F.tanh(x) * x, x).sum(), np.array([0.3, -1.2]), order=2)
    x = md.Tensor(np.array([1.0, 0.0]), requires_grad=True)
    y = md.checkpoint(lambda x: F.sqrt(x), x)
    with pytest.raises(md.AnomalyError, match="rule of sqrt"), np.errstate(divide="ignore"), md.anomaly():
        y.sum().backward()


def test_the_study_tools_see_through_it():
    def loss(through):
        x = md.tensor([0.5, 2.0], requires_grad=True)
        return (through(lambda x: F.exp(F.sin(x)), x * 2) * x).sum()

    assert md.explain(loss(md.checkpoint)).text() == md.explain(loss(plain)).text()

    class Segment(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(1, 1, 3, rng=0)

        def forward(self, x):
            return md.checkpoint(self.conv, self.conv(x))

    assert "5" in str(md.receptive_field(Segment(), (1, 1, 9, 9)))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_running_averages_count_a_batch_once(norm):
    def averages(through):
        m = norm(4, track_running_stats=True)
        through(m, md.Tensor(X, requires_grad=True)).sum().backward()
        return m.running_mean.tobytes(), m.running_var.tobytes()

    assert averages(md.checkpoint) == averages(plain)
