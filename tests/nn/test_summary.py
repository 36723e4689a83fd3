"""The table of a model. MACs are counted by an oracle: with ones everywhere, a layer's outputs add up to its MACs."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import nn


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def test_lenet_by_hand():
    s = md.summary(lenet(), (2, 1, 28, 28))
    assert [r.name for r in s.rows] == [str(i) for i in range(12)]
    assert [r.type for r in s.rows][:4] == ["Conv2d", "Tanh", "AvgPool2d", "Conv2d"]
    assert [r.output_shape for r in s.rows][:4] == [(2, 6, 28, 28), (2, 6, 28, 28), (2, 6, 14, 14), (2, 16, 10, 10)]
    assert [r.parameters for r in s.rows if r.parameters] == [156, 2416, 48120, 10164, 850]
    assert [r.macs for r in s.rows if r.macs] == [2 * 6 * 784 * 25, 2 * 16 * 100 * 150, 2 * 48000, 2 * 10080, 2 * 840]
    assert s.parameters == s.trainable == 61706
    assert s.macs == 2 * 416520


def ones(layer):
    for p in layer.parameters():
        p.data = np.ones_like(p.data)
    return layer


@given(st.integers(1, 3), st.sampled_from([(2, 4), (4, 2), (3, 3)]), st.integers(1, 3), st.integers(1, 3),
       st.integers(1, 2), st.booleans(), st.booleans())  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_macs_of_convolutions_are_the_products_there_are(rank, channels, kernel, stride, dilation, grouped, transposed):
    groups = int(np.gcd(*channels)) if grouped else 1
    kind = f"ConvTranspose{rank}d" if transposed else f"Conv{rank}d"
    layer = ones(getattr(nn, kind)(*channels, kernel, stride, groups=groups, dilation=dilation, bias=False))
    shape = (2, channels[0]) + (6, 5, 7)[:rank]
    count = layer(md.Tensor(np.ones(shape, np.float32))).data.astype(float).sum()
    assert md.summary(layer, shape).macs == count


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(1, 3), max_size=2))
@settings(max_examples=20, deadline=None)
def test_macs_of_linear_layers(inputs, outputs, lead):
    layer = ones(nn.Linear(inputs, outputs, bias=False))
    shape = (*lead, 3, inputs)
    assert md.summary(layer, shape).macs == layer(md.Tensor(np.ones(shape, np.float32))).data.sum()


def test_bias_and_padding_cost_what_the_formula_says():
    assert md.summary(nn.Conv2d(2, 3, 3, padding=1), (1, 2, 4, 4)).macs == 3 * 16 * 2 * 9


def test_shared_layers_are_called_twice_and_counted_once():
    layer = nn.Linear(3, 3)
    s = md.summary(nn.Sequential(layer, nn.ReLU(), layer), (1, 3))
    assert [(r.name, r.parameters, r.macs) for r in s.rows] == [("0", 12, 9), ("1", 0, 0), ("0", 0, 9)]
    assert (s.parameters, s.macs) == (12, 18)


class Pair(nn.Module):
    """Two inputs, two outputs, a parameter of its own beside a child, and a layer that is not called."""

    def __init__(self):
        self.scale = md.Parameter(np.ones(3, np.float32))
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(3)
        self.unused = nn.Linear(3, 7).requires_grad_(False)

    def forward(self, a, b):
        return self.norm(a) * self.scale, self.drop(b)


def test_own_parameters_several_inputs_and_unused_layers():
    net = Pair()
    net.drop.eval()
    before = net.state_dict()
    s = md.summary(net, (2, 3), (4, 5))
    assert [(r.name, r.type, r.output_shape) for r in s.rows] == [
        ("norm", "BatchNorm1d", (2, 3)), ("drop", "Dropout", (4, 5)), ("Pair", "Pair", ((2, 3), (4, 5))),
    ]  # fmt: skip
    assert [r.parameters for r in s.rows] == [6, 0, 3]
    assert (s.parameters, s.trainable) == (9 + 28, 9)
    assert net.training and net.norm.training and not net.drop.training
    after = net.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_modes_are_put_back_after_an_error():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    net[1].eval()
    with pytest.raises(ValueError, match="linear"):
        md.summary(net, (2, 4))
    assert [m.training for m in net.modules()] == [True, True, False]


def test_zeros_have_the_dtype_of_the_parameters():
    seen = []

    class Probe(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            seen.append((x.dtype, y.requires_grad))
            return y

    md.summary(Probe(2, 2).to("float64"), (1, 2))
    assert seen == [(np.float64, False)]


def test_the_table_lines_up():
    text = str(md.summary(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), (1, 4)))
    assert text.splitlines() == [
        "Sequential on (1, 4)",
        "----------------------------------------------",
        "layer  type    output  parameters  MACs  bytes",
        "----------------------------------------------",
        "0      Linear  (1, 5)          25    20     20",
        "1      ReLU    (1, 5)           -     -     20",
        "2      Linear  (1, 2)          12    10      8",
        "----------------------------------------------",
        "37 parameters, 37 trainable; 30 MACs",
        "outputs 48 bytes",
    ]


# --- memory


def test_views_have_no_memory_of_their_own():
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2)).to("float64")
    s = md.summary(net, (5, 3, 2, 2))
    assert [r.bytes for r in s.rows] == [0, 0, 0, 5 * 2 * 8] and s.bytes == 80
    assert s.saved is None


def test_outputs_of_several_parts_are_added_up():
    rows = md.summary(Pair(), (2, 3), (4, 5)).rows
    assert [r.bytes for r in rows] == [24, 0, 24]  # dropout in use gives its input back; the pair is the last product


def test_what_a_linear_layer_keeps_is_its_input_and_what_is_held_of_its_output():
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 2, bias=False))
    s = md.summary(net, (3, 4), training=True)
    outputs = 3 * 5 + 3 * 5 + 3 * 2
    assert s.bytes == outputs * 4
    assert s.saved == (3 * 4 + outputs) * 4  # arrays this small are not given up, needed or not
    assert str(s).endswith(f"outputs {s.bytes} bytes; {s.saved} bytes are saved for the backward pass")
    assert md.summary(net.requires_grad_(False), (3, 4), training=True).saved == 3 * 2 * 4


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_kept_memory_is_what_python_says_that_a_recorded_pass_has_left(activation):
    """tracemalloc is the oracle: it knows every array of NumPy's."""
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), activation(), nn.MaxPool2d(2), nn.Residual(nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), activation()), activation=activation()),
        nn.DenseBlock(16, 8, 2), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32 * 49, 500),
    )  # fmt: skip
    shape = (8, 3, 64, 64)
    kept = md.summary(net, shape, training=True).saved
    tracemalloc.start()
    try:
        y = net(md.Tensor(np.zeros(shape, np.float32)))
        md.release_memory()  # scratch memory of kernels
        left = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    arrays = left.filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)])
    found = sum(trace.size for trace in arrays.traces)
    assert y.requires_grad and kept > 10_000_000
    assert abs(found - kept) < 0.001 * kept


def test_a_pass_as_in_training_leaves_no_trace():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5, rng=0)).eval()
    before, streams = net.state_dict(), net.random_state()
    with md.no_grad():
        s = md.summary(net, (6, 3), training=True)
    assert s.saved > 0 and not net.training
    assert net.random_state() == streams
    assert all(np.array_equal(before[name], array) for name, array in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_rows_in_training_are_those_of_the_training_pass():
    class Headed(nn.Module):
        def __init__(self):
            self.main, self.head = nn.Linear(2, 3), nn.Linear(2, 4)

        def forward(self, x):
            return (self.main(x), self.head(x)) if self.training else self.main(x)

    assert [r.name for r in md.summary(Headed(), (1, 2)).rows] == ["main"]
    assert [r.name for r in md.summary(Headed(), (1, 2), training=True).rows] == ["main", "head"]
