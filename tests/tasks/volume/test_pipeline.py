"""The pipeline of two stages: the crop that gradients pass, boxes, what each row trains."""

import json

import numpy as np
import pytest

import minidl as md
from tasks.run import Job
from tasks.volume import pipeline, speckle, train
from tasks.volume.pipeline import Pipeline

# --- the pipeline


def tiny(context=True, seed=0):
    """A pipeline of double precision and a volume of 16^3 whose organs it nearly finds."""
    rng = np.random.default_rng(seed)
    model = Pipeline(factor=2, width=2, context=context, margin=2, rng=rng)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    x = rng.standard_normal((1, 1, 16, 16, 16))
    truth = np.zeros((1, 2, 16, 16, 16))
    truth[0, 0, 5:9, 6:10, 4:9] = truth[0, 1, 2:12, 3:13, 4:14] = 1
    return model, md.Tensor(x), truth


def gradients(model, loss):
    for p in model.parameters():
        p.grad = None
    loss.backward()
    return {name: None if p.grad is None else np.array(p.grad.data) for name, p in model.named_parameters()}


def test_the_second_loss_reaches_the_first_stage_through_the_crop():
    model, x, truth = tiny()

    def second_loss():
        logits, refined = model(x)
        return pipeline.losses(logits, refined, truth)[1]

    found = gradients(model, second_loss())
    rng = np.random.default_rng(1)
    checked = 0
    for name, p in model.coarse.named_parameters():
        gradient, before = found[f"coarse.{name}"], p.data
        direction = rng.standard_normal(p.shape)
        h, values = 1e-6, []
        for sign in (1, -1):
            p.data = before + sign * h * direction
            values.append(float(second_loss().data))
        p.data = before
        slope = (values[0] - values[1]) / (2 * h)
        assert np.abs(gradient).max() > 0, name
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-4, abs=1e-9), name
        checked += 1
    assert checked > 20


def test_without_context_the_second_loss_cannot_reach_the_first_stage():
    model, x, truth = tiny(context=False)
    found = gradients(model, pipeline.losses(*model(x), truth)[1])
    assert all((gradient is None) == name.startswith("coarse") for name, gradient in found.items())


@pytest.mark.parametrize("row", [*train.ROWS, train.CONTROL], ids=lambda row: row.name)
def test_each_row_trains_what_it_says_and_nothing_else(row, tmp_path):
    settings = train.Settings(size=16, factor=2, width=2, first_steps=2, steps=2, batch=1)
    volumes = [speckle.generate(np.random.default_rng(i), 16) for i in range(2)]
    model = settings.build(row.context)
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    train.train(model, row, Job(settings, tmp_path), volumes)
    changed = {name.split(".")[0] for name, p in model.named_parameters() if not np.array_equal(p.data, before[name])}
    assert changed == set(["coarse"] * row.first + ["refine"] * row.second)
    assert model.refine["small"].first.convs[0].in_channels == 1 + row.context


def test_the_first_stage_starts_alike_in_every_row():
    one, other = (train.Settings().build(context).coarse.state_dict() for context in (True, False))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_box_holds_the_organ_its_margin_and_nothing_far_away():
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = tuple(4 * rng.integers(3, 7, 3))
        p = np.zeros(shape)
        low = np.array([rng.integers(0, n - 3) for n in shape])
        high = np.array([rng.integers(a + 1, min(a + 9, n) + 1) for a, n in zip(low, shape)])
        p[tuple(map(slice, low, high))] = 0.9
        box = pipeline.box_around(p, 3, 4)
        for side, a, b, n in zip(box, low, high, shape):
            assert (side.stop - side.start) % 4 == 0 and 0 <= side.start < side.stop <= n
            assert side.start <= max(a - 3, 0) and side.stop >= min(b + 3, n)
            assert side.stop - side.start < min(b + 3, n) - max(a - 3, 0) + 4


def test_the_box_is_around_the_most_probable_part_or_voxel():
    p = np.zeros((16, 16, 16))
    p[2, 2, 2] = 0.99
    p[10:13, 10:13, 10:13] = 0.6
    assert pipeline.box_around(p, 1, 1) == (slice(9, 14),) * 3
    assert pipeline.box_around(0.4 * p, 1, 1) == (slice(1, 4),) * 3


def test_what_is_segmented_is_zero_outside_of_the_box():
    model = Pipeline(factor=2, width=2, margin=1, rng=0)
    image = speckle.generate(np.random.default_rng(0), 16).image
    maps = pipeline.segment(model, image, refine=False)
    assert maps.shape == (2, 16, 16, 16) and 0 < maps.min() < maps.max() < 1
    refined = pipeline.segment(model, image)
    with md.no_grad():
        parts = model(md.Tensor(image[None, None]))[1]
    for channel, part in enumerate(parts.values()):
        expected = np.zeros((16, 16, 16), np.float32)
        expected[part.box] = 1 / (1 + np.exp(-part.logits.data[0, 0]))
        np.testing.assert_allclose(refined[channel], expected, rtol=1e-5)


def test_a_pipeline_learns_one_volume(tmp_path):
    settings = train.Settings(size=16, factor=2, width=4, steps=50, batch=1, lr=1e-2)
    volume = speckle.generate(np.random.default_rng(3), 16)
    model = settings.build()
    train.train(model, train.ROWS[-1], Job(settings, tmp_path), [volume])
    log = [json.loads(line) for line in (tmp_path / "end-to-end.jsonl").read_text().splitlines()]
    assert log[-1]["refined"] < log[0]["refined"] - 0.2
    assert log[-1]["loss"] == pytest.approx(log[-1]["initial"] + log[-1]["refined"], abs=1e-5)


# --- the command


def test_the_loss_is_cross_entropy_minus_the_mean_dice_of_the_organs():
    model, x, truth = tiny()
    logits, refined = model(x)

    def by_hand(logits, t):
        p = 1 / (1 + np.exp(-logits))
        entropy = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
        return entropy - np.mean([2 * (a * b).sum() / ((a**2).sum() + b.sum()) for a, b in zip(p[0], t[0])])

    first, second = pipeline.losses(logits, refined, truth)
    assert float(first.data) == pytest.approx(by_hand(logits.data, truth))
    of_organs = [by_hand(p.logits.data, truth[:, i : i + 1][(..., *p.box)]) for i, p in enumerate(refined.values())]
    assert float(second.data) == pytest.approx(np.mean(of_organs))
    assert len(pipeline.losses(logits, {}, truth)) == 1


def test_a_network_that_says_no_everywhere_still_learns():
    logits = md.Tensor(np.full((1, 1, 4, 4, 4), -30.0), requires_grad=True)
    truth = np.zeros((1, 1, 4, 4, 4))
    truth[0, 0, 1:3] = 1
    pipeline.loss(logits, truth).backward()
    assert (logits.grad.data[truth == 1] < -1e-3).all()
