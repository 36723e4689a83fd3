"""The dense lab: its nets, the connections it looks at, what it reads off curves, and the lab from end to end."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from tasks.command import UsageError
from tasks.labs import dense


def quiet(label, total):
    return nullcontext(lambda: None)


def test_numbers_of_parameters():
    k, layers, w = 3, 2, 5
    net = dense.dense(k, layers, np.random.default_rng(0))
    block1 = sum(9 * (2 * k + i * k) * k + 2 * (2 * k + i * k) for i in range(layers))
    maps = 2 * k + layers * k
    half = maps // 2
    block2 = sum(9 * (half + i * k) * k + 2 * (half + i * k) for i in range(layers))
    last = half + layers * k
    expected = 9 * 2 * k + block1 + 2 * maps + maps * half + block2 + 2 * last + 10 * last + 10
    assert sum(p.size for p in net.parameters()) == expected
    plain = dense.plain(w, layers, np.random.default_rng(0))
    expected = 9 * w + layers * 9 * w * w + 9 * w * 2 * w + (layers - 1) * 9 * 4 * w * w
    expected += 2 * w * (layers + 1) + 2 * 2 * w * layers + 10 * 2 * w + 10
    assert sum(p.size for p in plain.parameters()) == expected
    x = md.Tensor(np.zeros((2, 1, 8, 8), np.float32))
    assert net(x).shape == plain(x).shape == (2, 10)


def test_each_connection_carries_the_maps_of_its_source():
    """Setting a source's maps to zero where they are made changes a user as zeroing the connection's weights does."""
    k, layers = 2, 3
    net = dense.dense(k, layers, np.random.default_rng(0)).eval()
    x = md.Tensor(np.random.default_rng(1).standard_normal((2, 2 * k, 8, 8)).astype(np.float32))
    block = net.features.denseblock1
    seen = []
    connections = [c for c in dense.slices(net, k) if c[0] == 0]
    assert [(s, u) for _, s, u, _, _ in connections] == [(s, u) for u in range(1, layers + 2) for s in range(u)]
    with md.no_grad():
        maps = block(x).numpy()  # (2, 2k + 3k, 8, 8)
        for _, source, user, weight, where in connections:
            if user > layers:
                continue
            layer = list(block.children())[user - 1]
            before = maps[:, : weight.shape[1]].copy()
            first = 0 if source == 0 else 2 * k + (source - 1) * k
            width = 2 * k if source == 0 else k
            assert (where.start, where.stop) == (first, first + width)
            before[:, first : first + width] = 0  # batch norm in eval mode as it is made: 0 gives 0
            expected = layer(md.Tensor(before)).numpy()
            whole = weight.data
            weight.data = whole.copy()
            weight.data[:, where] = 0
            np.testing.assert_allclose(layer(md.Tensor(maps[:, : weight.shape[1]])).numpy(), expected, atol=1e-6)
            weight.data = whole
            seen.append((source, user))
    assert len(seen) == 6
    newest = [(weight, where) for _, s, u, weight, where in dense.slices(net, k) if s == u - 1]
    assert len(newest) == 2 * (layers + 1) and all(weight.shape[1] == where.stop for weight, where in newest)


def test_weight_shares_and_knock_outs():
    k, layers = 2, 2
    net = dense.dense(k, layers, np.random.default_rng(0)).eval()
    layer = net.features.denseblock2.denselayer2.conv1
    layer.weight.data[...] = 1
    layer.weight.data[:, -k:] = 3  # what layer 1 made
    shares = dense.weight_shares(net, k, layers)
    inputs = layer.weight.shape[1]
    mean = (inputs - k + 3 * k) / inputs
    np.testing.assert_allclose(shares[1, :2, 1], [1 / mean, 3 / mean], rtol=1e-6)
    assert np.isnan(shares[1, 2, 1])
    layer.weight.data[:, :-k] = 0  # now its input from the block is not used: taking it away changes nothing
    x, labels = dense.digits()
    state = net.state_dict()
    rise = dense.knock_outs(net, k, layers, x[:40], labels[:40])
    assert rise[1, 0, 1] == 0 and rise[1, 1, 1] != 0
    assert np.isnan(rise[0, 2, 0]) and np.isfinite(rise[0, 2, 2])
    assert all(np.array_equal(state[name], value) for name, value in net.state_dict().items())


def test_what_is_needed_is_read_off_between_the_nets():
    costs = [100, 1000, 10000]
    assert np.isclose(dense.needed(costs, [0.1, 0.01, 0.001], np.sqrt(0.1 * 0.01)), np.sqrt(100 * 1000))
    assert np.isclose(dense.needed(costs, [0.1, 0.2, 0.01], 0.01), 10000)  # a worse net on the way is passed over
    assert np.isclose(dense.needed(costs, [0.1, 0.2, 0.001], 0.01), np.sqrt(100 * 10000))
    assert dense.needed(costs, [0.1, 0.05, 0.04], 0.01) is None
    assert dense.needed(costs, [0.01, 0.01, 0.01], 0.05) is None


def nets_of(factor):
    """Nets whose errors are 10 / parameters, and of the plain ones as much with `factor` times the parameters."""
    sizes = np.geomspace(100, 100_000, 7)
    return {
        kind: [{"width": 1, "parameters": int(f * n), "macs": n, "error": [10 / n, 10 / n]} for n in sizes]
        for kind, f in (("dense", 1), ("plain", factor))
    }


def numbers_of(**factor):
    seen = {"start": [[[1.0]]], "end": [[[1.0]]], "rise": [[[0.5, 0.02], [None, 0.0]]]}
    return {"layers": [4, 8], "nets": {name[1:]: nets_of(f) for name, f in factor.items()}, **seen}


def test_the_factor_is_that_of_the_curves():
    cost = dense.factors(nets_of(3), "parameters", 0.02)
    np.testing.assert_allclose(cost[:3], [500, 1500, 3], rtol=0.02)
    np.testing.assert_allclose(cost[3], [3, 3], rtol=0.02)
    assert np.isclose(dense.factors(nets_of(3), "macs", 0.02)[2], 1)


def test_claims_say_what_is_not_borne_out():
    text = dense.claims(numbers_of(_4=1.1, _8=3))
    verdicts = [line for line in text if "dense needs fewer" in line]
    assert verdicts[0].startswith("4 layers") and "NOT borne out" in verdicts[0]
    assert verdicts[1].startswith("8 layers") and "by a factor of 3.00 to 3.0" in verdicts[1]
    assert verdicts[2].startswith("each at the depth") and "NOT borne out" in verdicts[2]  # 4 layers suit the plain net
    assert "2 of 3 connections, 1 of 1 of those" in text[-1]


def test_the_lab_runs_and_draws():
    numbers = json.loads(json.dumps(dense.measure(dense.QUICK, quiet), allow_nan=False))
    assert numbers == dense.measure(dense.QUICK, quiet)
    assert np.shape(numbers["rise"]) == (2, 3, 3)
    assert len(dense.claims(numbers)) >= 5
    dense.draw(numbers).savefig("/dev/null", format="png")


def test_impossible_settings():
    for options in ({"train": 1797}, {"lr": 0.0}):
        with pytest.raises(UsageError):
            dense.Settings(**options)
