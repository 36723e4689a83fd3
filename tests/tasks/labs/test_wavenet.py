"""The WaveNet lab: causality and receptive field by gradient, generation, levels, baselines, and the whole lab."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from scipy import integrate

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from tasks.command import UsageError
from tasks.labs import wavenet
from tasks.labs import wavenet_source as source

LEVELS = 8


def quiet(label, total):
    return nullcontext(lambda: None)


def net(dilations, seed=0):
    """In float64, with weights that keep every gate and relu busy."""
    model = wavenet.WaveNet(LEVELS, 12, 16, dilations, np.random.default_rng(seed)).to("float64")
    for layer in (model.mix, model.out):
        layer.bias.data[...] = 0.5
    return model


def codes(n, seed=0):
    return np.random.default_rng(seed).integers(LEVELS, size=n)


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4), (1, 1, 1), (4, 2, 1), (1, 2, 1, 2), (2, 2), (3, 5)])
def test_the_jacobian_is_zero_ahead_and_beyond_the_receptive_field(dilations):
    model, field = net(dilations), sum(dilations) + 1
    n = field + 4
    x = md.Tensor(wavenet.units(codes(n)[None], LEVELS).astype(np.float64))
    j = md.jacobian(lambda x: model(x).sum(axis=1), x).numpy()[0][:, 0]  # (T, q, T): d output[t] / d input[q, t']
    depends = (j != 0).any(axis=1)  # (T, T)
    lags = {sum(d for d, taken in zip(dilations, bits) if taken) for bits in np.ndindex(*(2,) * len(dilations))}
    expected = np.array([[t - s in lags for s in range(n)] for t in range(n)])
    assert np.array_equal(depends, expected)
    assert max(lags) + 1 == field == model.field


def test_a_later_sample_changes_nothing_before_it():
    model = net((1, 2, 4))
    a = codes(20)
    b = a.copy()
    b[12:] = (b[12:] + 1) % LEVELS
    with md.no_grad():
        first, second = (model(md.Tensor(wavenet.units(c[None], LEVELS))).numpy()[0] for c in (a, b))
    assert np.array_equal(first[:, :12], second[:, :12])
    assert (first[:, 12] != second[:, 12]).any()


def test_reach_finds_the_field():
    model = net((1, 2, 4))
    seen = wavenet.reach(model, codes(30), 20)
    assert np.array_equal(np.flatnonzero(seen), np.arange(13, 21))


@pytest.mark.parametrize("dilations", [(1, 2, 4), (3, 1), (2, 2, 2)])
def test_generation_by_queues_equals_the_definition(dilations):
    model, prime = net(dilations, seed=3).to("float32"), codes(11)
    fast, logits = wavenet.generate(model, prime, 25, np.random.default_rng(1))
    slow, reference = wavenet.generate_slowly(model, prime, 25, np.random.default_rng(1))
    assert np.array_equal(fast, slow)
    assert len(set(fast)) > 1
    np.testing.assert_allclose(logits, reference, rtol=0, atol=1e-5)


def test_samples_are_drawn_from_the_softmax():
    logits, rng = np.log([0.5, 0.2, 0.3]), np.random.default_rng(0)
    shares = np.bincount([wavenet.pick(logits, rng) for _ in range(20_000)], minlength=3) / 20_000
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.015)  # four standard deviations


def test_bits_are_the_mean_of_those_of_each_sample():
    model, given = net((1, 2)), codes(15)
    total = 0.0
    for t in range(model.field, 15):
        with md.no_grad():
            logits = model(md.Tensor(wavenet.units(given[None, :t], LEVELS))).numpy()[0, :, -1]
        total += np.log2(np.exp(logits).sum()) - logits[given[t]] / np.log(2)
    assert np.isclose(wavenet.bits(model, given, model.field), total / (15 - model.field), rtol=1e-5)


@pytest.mark.parametrize("levels", [4, 64, 256])
def test_levels_and_samples(levels):
    x = np.linspace(-1, 1, 50_001)
    q = source.quantise(x, levels)
    assert q[0] == 0 and q[-1] == levels - 1 and (np.diff(q) >= 0).all() and len(set(q)) == levels
    assert (source.expand(q, levels) <= x + 1e-12).all() and (x <= source.expand(q + 1, levels) + 1e-12).all()
    assert np.array_equal(source.quantise(source.expand(np.arange(levels) + 0.5, levels), levels), np.arange(levels))
    # mu-law by its definition, at one point
    assert np.isclose(source.expand(levels * (1 + np.log1p((levels - 1) * 0.3) / np.log(levels)) / 2, levels), 0.3)


def test_gaussian_bits_are_integrals_of_the_density():
    def density(x):
        return np.exp(-(((x - 0.1) / 0.3) ** 2) / 2) / 0.3 / np.sqrt(2 * np.pi)

    total = 0.0
    for level in range(8):
        low = -4 if level == 0 else float(source.expand(level, 8))
        high = 4 if level == 7 else float(source.expand(level + 1, 8))
        mass = integrate.quad(density, low, high)[0]
        found = source.gaussian_bits(np.array([0.1]), 0.3, np.array([level]), 8)
        assert np.isclose(found, -np.log2(mass), rtol=1e-6)
        total += 2**-found
    assert np.isclose(total, 1)
    assert np.isclose(
        source.gaussian_bits(np.zeros(1), 0.02, np.array([7]), 8),
        source.gaussian_bits(np.zeros(1), 0.02, np.array([0]), 8),
    )


def test_the_autoregression_finds_the_filter_of_its_data():
    rng = np.random.default_rng(0)
    x = np.zeros(20_000)
    for t in range(2, len(x)):
        x[t] = 1.6 * x[t - 1] - 0.8 * x[t - 2] + 0.05 * rng.standard_normal()
    model = source.Autoregression(source.quantise(x, 1024), 2, 1024)
    np.testing.assert_allclose(model.weights, [-0.8, 1.6, 0], atol=0.02)
    assert np.isclose(model.deviation, 0.05, rtol=0.05)
    drawn = source.expand(model.generate(source.quantise(x[:50], 1024), 5000, rng) + 0.5, 1024)
    assert np.isclose(drawn.std(), x.std(), rtol=0.15)


def test_the_tone_has_the_harmonics_that_it_says():
    power = np.abs(np.fft.rfft(source.tone(24 * 500, np.random.default_rng(0)))) ** 2
    cycles = np.fft.rfftfreq(24 * 500) * source.PERIOD
    near = [power[abs(cycles - k) < 0.25 * k**0.5].sum() for k in range(1, 6)]
    assert sum(near) > 0.9 * power.sum()
    assert near == sorted(near, reverse=True)


def test_the_lab_runs_and_draws():
    numbers = json.loads(json.dumps(wavenet.measure(wavenet.QUICK, quiet), allow_nan=False))
    assert numbers == wavenet.measure(wavenet.QUICK, quiet)
    run = numbers["runs"][0]
    assert run["future"] == 0 and run["queues"]["same"]
    text = "\n".join(wavenet.claims(numbers))
    assert "causal; it depends on 8 samples, sum of dilations + 1 = 8" in text
    wavenet.draw(numbers).savefig("/dev/null", format="png")
    worse = {**run, "bits": {**run["bits"], "linear": 9.0, "wavenet": 9.5}, "future": 1e-9}
    text = "\n".join(wavenet.claims({**numbers, "runs": [worse]}))
    assert "AGAINST the claim" in text and "NOT causal" in text


def test_training_learns_what_is_to_be_known():
    settings = wavenet.Settings(
        dilations=(1, 2), channels=8, skip=16, levels=4, samples=400, length=32, batch=4, steps=60, lr=0.01
    )
    period = np.tile([0, 1, 3, 2, 2], 80)  # each sample is decided by the two before it
    model = wavenet.WaveNet(4, 8, 16, settings.dilations, np.random.default_rng(0))
    before = wavenet.bits(model, period, 4)
    wavenet.train(model, period, settings, 0, lambda: None)
    assert before > 1.5 and wavenet.bits(model, period, 4) < 0.2


def test_impossible_settings():
    for options in ({"levels": 2}, {"samples": 1000}):
        with pytest.raises(UsageError):
            wavenet.Settings(**options)
