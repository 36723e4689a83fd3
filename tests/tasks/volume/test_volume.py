"""The task volume: V-Net, the crop that gradients pass, generated and own volumes, the command."""

import json
import os
import signal

import numpy as np
import pytest

import minidl as md
import tasks.__main__ as frame
from tasks.volume import VNet, cli, data, evaluate, memory, pipeline, report, speckle, train
from tasks.volume.evaluate import Result
from tasks.volume.pipeline import Pipeline

# --- V-Net

# The layers of the network that the authors released: (inputs, outputs, kernel), as its prototxt lists them, the two
# last, which make the classes, left out.
RELEASED = [
    (1, 16, 5), (16, 32, 2), (32, 32, 5), (32, 64, 2), *[(64, 64, 5)] * 2, (64, 128, 2), *[(128, 128, 5)] * 3,
    (128, 256, 2), *[(256, 256, 5)] * 3, (256, 128, 2), *[(256, 256, 5)] * 3, (256, 64, 2), *[(128, 128, 5)] * 2,
    (128, 32, 2), (64, 64, 5), (64, 16, 2), (32, 32, 5),
]  # fmt: skip


def test_the_released_network_has_as_many_parameters():
    with md.nn.init.undrawn():
        model = VNet(1, 2, convolutions=(1, 1, 2, 3, 3), ascending=(3, 2, 1, 1))
    of_layers = sum(i * o * k**3 + 2 * o for i, o, k in RELEASED)  # a bias and a slope for each channel
    assert sum(p.size for p in model.parameters()) == of_layers + 32 * 2 + 2


def test_the_papers_network():
    """Figure 2 and table 1: shapes of 128 x 128 x 64 down to 8 x 8 x 4 with 256 channels, and what its layers hold."""
    with md.nn.init.undrawn():
        model = VNet()
    assert [len(stage.convs) for stage in [model.first, *model.stages]] == [1, 2, 3, 3, 3]
    assert [len(stage.convs) for stage in model.joined] == [3, 3, 2, 1]
    assert [stage.convs[0].weight.shape for stage in model.joined] == [(c, c, 5, 5, 5) for c in (256, 128, 64, 32)]
    assert [up.conv.weight.shape for up in model.up] == [
        (256, 128, 2, 2, 2), (256, 64, 2, 2, 2), (128, 32, 2, 2, 2), (64, 16, 2, 2, 2)
    ]  # fmt: skip
    assert [down.conv.weight.shape for down in model.down] == [(2 * c, c, 2, 2, 2) for c in (16, 32, 64, 128)]
    five = 125 * (1 * 16 + 2 * 32**2 + 3 * 64**2 + 3 * 128**2 + 3 * 256**2)  # down
    five += 125 * (3 * 256**2 + 3 * 128**2 + 2 * 64**2 + 32**2)  # up
    two = 8 * (16 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 128 + 256 * 64 + 128 * 32 + 64 * 16)
    channels = 16 + 32 * 3 + 64 * 4 + 128 * 4 + 256 * 4 + (128 + 3 * 256) + (64 + 3 * 128) + (32 + 2 * 64) + (16 + 32)
    assert sum(p.size for p in model.parameters()) == five + two + 2 * channels + 32 * 2 + 2 == 65_175_314


def test_a_stage_is_its_definition():
    rng = np.random.default_rng(0)
    model = VNet(2, 3, width=4, stages=2, kernel=3, rng=rng)
    for p in model.parameters():
        p.data = rng.normal(0, 0.3, p.shape).astype(np.float32)
    x = rng.standard_normal((1, 2, 4, 6, 2)).astype(np.float32)

    def prelu(y, layer):
        slope = layer.weight.data.reshape(-1, 1, 1, 1)
        return np.maximum(y, 0) + slope * np.minimum(y, 0)

    def conv(y, layer):
        return np.stack([
            sum(correlated(y[c], layer.weight.data[f, c]) for c in range(len(y))) + layer.bias.data[f]
            for f in range(len(layer.weight.data))
        ])  # fmt: skip

    def correlated(y, w):
        from scipy.ndimage import correlate

        return correlate(y, w, mode="constant")

    def stage(y, layers, repeat=1):
        z = y
        for i, layer in enumerate(layers.convs):
            z = conv(z, layer)
            z = prelu(z + np.concatenate([y] * repeat) if i == len(layers.convs) - 1 else z, layers.prelus[i])
        return z

    kept = stage(x[0], model.first, 2)
    w, b = model.down[0].conv.weight.data, model.down[0].conv.bias.data.reshape(-1, 1, 1, 1)
    blocks = kept.reshape(4, 2, 2, 3, 2, 1, 2)  # (C, D/2, 2, H/2, 2, W/2, 2)
    low = stage(prelu(np.einsum("cdihjwk,fcijk->fdhw", blocks, w) + b, model.down[0].prelu), model.stages[0])
    w, b = model.up[0].conv.weight.data, model.up[0].conv.bias.data.reshape(-1, 1, 1, 1)
    up = np.einsum("cdhw,cfijk->fdihjwk", low, w).reshape(4, 4, 6, 2) + b
    high = stage(np.concatenate([prelu(up, model.up[0].prelu), kept]), model.joined[0])
    logits = np.einsum("cdhw,fc->fdhw", high, model.last.weight.data[:, :, 0, 0, 0])
    logits += model.last.bias.data.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(model(md.Tensor(x)).data[0], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"kernel": 4}, "odd kernel"),
        ({"in_channels": 3}, "in_channels divides"),
        ({"convolutions": (1, 2)}, "5 stages need 5 numbers"),
        ({"stages": 3, "ascending": (1,)}, "2 on the way up"),
    ],
)
def test_impossible_networks_are_refused(options, said):
    with md.nn.init.undrawn(), pytest.raises(ValueError, match=said):
        VNet(**options)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"sides that divide by 4, got \(1, 1, 8, 8, 6\)"):
        VNet(width=2, stages=3, kernel=3)(md.Tensor(np.zeros((1, 1, 8, 8, 6), np.float32)))


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
    train.train(model, row, settings, volumes, tmp_path, resume=False, device="cpu", quiet=True)
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
    train.train(model, train.ROWS[-1], settings, [volume], tmp_path, resume=False, device="cpu", quiet=True)
    log = [json.loads(line) for line in (tmp_path / "end-to-end.jsonl").read_text().splitlines()]
    assert log[-1]["refined"] < log[0]["refined"] - 0.2
    assert log[-1]["loss"] == pytest.approx(log[-1]["initial"] + log[-1]["refined"], abs=1e-5)


# --- volumes


def test_generated_volumes_depend_on_the_seed_only_and_hold_both_organs():
    sizes = []
    for seed in range(8):
        volume, again = (speckle.generate(np.random.default_rng(seed), 24) for _ in range(2))
        assert volume.image.tobytes() == again.image.tobytes() and volume.labels.tobytes() == again.labels.tobytes()
        assert volume.image.dtype == np.float32 and volume.labels.dtype == np.uint8
        assert abs(volume.image.mean()) < 0.1 and abs(volume.image.std() - 1) < 0.1
        sizes.append([(volume.labels == k).mean() for k in (1, 2)])
    small, large = np.array(sizes).T
    assert small.min() > 0.001 and small.max() < 0.03 < large.min() and large.max() < 0.35
    other = data.generated(0, data.TEST, 1, 24, lambda: None)[0]
    assert not np.array_equal(data.generated(0, data.TRAIN, 1, 24, lambda: None)[0].labels, other.labels)


def test_speckle_multiplies_and_neighbours_are_alike():
    field = speckle._speckle(np.random.default_rng(0), 32)
    assert field.min() > 0 and field.mean() == pytest.approx(1)
    # of 2 looks the amplitude is a chi of 4 degrees of freedom: its deviation over its mean
    assert field.std() == pytest.approx(np.sqrt(4 / (9 * np.pi / 8) - 1), rel=0.1)
    d = field**2 / (field**2).mean() - 1
    for axis, grain in enumerate(speckle.GRAIN):  # intensity: the square of the field's own correlation
        assert (d * np.roll(d, 1, axis)).mean() / d.var() == pytest.approx(np.exp(-1 / (2 * grain**2)), abs=0.07)
    assert abs((d * np.roll(d, 8, 1)).mean() / d.var()) < 0.1


def test_slices_move_with_their_labels():
    rng = np.random.default_rng(2)
    cube = rng.random((24, 24, 24))
    image, labels = speckle._moved(rng, cube, (cube > 0.5).astype(np.uint8))
    assert np.array_equal(labels, image > 0.5)
    moved = [i for i in range(24) if not np.array_equal(image[i], cube[i])]
    assert 0 < len(moved) <= 4


def test_batches_mirror_image_and_labels_together():
    volume = speckle.generate(np.random.default_rng(0), 16)
    coded = speckle.Volume(volume.labels.astype(np.float32), volume.labels)
    batches = data.Batches([coded] * 3, 2, seed=0)
    seen = set()
    for step in range(40):
        for image, labels in batches(step):
            assert np.array_equal(image, labels)
            seen.add(labels.tobytes())
    assert len(seen) == 8


def test_padding_and_masks():
    volume = speckle.Volume(np.ones((5, 8, 9), np.float32), np.full((5, 8, 9), 2, np.uint8))
    image, labels = data.padded(volume, 4)
    assert image.shape == labels.shape == (8, 8, 12) and (image == 1).all() and labels.sum() == 2 * 5 * 8 * 9
    m = data.masks(np.array([[[0, 1, 2]]]))
    assert m.shape == (1, 2, 1, 1, 3) and m.reshape(2, 3).tolist() == [[0, 1, 0], [0, 0, 1]]


# --- scores


def test_dice_of_known_masks():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert evaluate.dice(a, b) == 1
    a[:2], b[1:3] = True, True
    assert evaluate.dice(a, b) == 0.5 and evaluate.dice(a, ~a) == 0


def results(values):
    names = [row.name for row in (*train.ROWS, train.CONTROL)]
    return {name: Result([(s, g), (s, g)], [0.1, 0.3, 0.2]) for name, (s, g) in zip(names, values)}


def test_the_table_and_the_order_of_the_rows():
    lecture = results([(0.818, 0.918), (0.878, 0.922), (0.894, 0.924), (0.906, 0.934), (0.8, 0.9)])
    lines = evaluate.table(lecture).splitlines()
    assert lines[1].split()[-4:] == ["0.818", "0.918", "0.200", "s"] and lines[5].startswith("(initial")
    assert evaluate.order(lecture) == (
        "order of the lecture's rows: small organ kept (+0.060, +0.016, +0.012); "
        "large organ kept (+0.004, +0.002, +0.010)"
    )
    other = results([(0.8, 0.9), (0.9, 0.8), (0.85, 0.9), (0.95, 0.95), (0.8, 0.9)])
    assert "small organ NOT kept" in evaluate.order(other) and "large organ NOT kept" in evaluate.order(other)
    assert "without auto-context over initial segmentation: small 2, large 1" in report.steps_up([lecture, other])


# --- the command

TINY = ("--size", 16, "--factor", 2, "--width", 2, "--first-steps", 2, "--steps", 2, "--volumes", 3, "--test", 1)


def run(*argv):
    return frame.main(["volume", *map(str, argv)])


def test_a_run_leaves_everything_and_is_resumed_to_the_same_bits(tmp_path, monkeypatch, capsys):
    assert run(*TINY, "--seeds", 2, "--out", tmp_path / "straight", "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == "" and "all 2 seeds" in said.out and "seed 1: Dice on 1 volumes" in said.out
    for name in ("seed-0/table.txt", "seed-1/scores.json", "seed-0/figure.png", "seed-1/with.jsonl", "table.txt"):
        assert (tmp_path / "straight" / name).stat().st_size > 0, name
    (tmp_path / "run/seed-1").mkdir(parents=True)
    for row in train.ROWS:  # of an earlier run with other settings: must not be taken for this one's
        (tmp_path / f"run/seed-1/{row.name}.npz").write_bytes(b"old")
    before = train.losses

    def interrupted(model, row, batch, device):
        if row.name == "with":
            os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C does
        return before(model, row, batch, device)

    with monkeypatch.context() as patch:
        patch.setattr(train, "losses", interrupted)
        assert run(*TINY, "--seeds", 2, "--out", tmp_path / "run", "--quiet") == 130
    error = capsys.readouterr().err
    assert "after 1 steps" in error and f"go on with: python -m tasks volume --resume --out {tmp_path}/run" in error
    monkeypatch.setattr(report.figure, "comparison", lambda *_: None)  # drawn once is enough
    assert run("--resume", "--out", tmp_path / "run", "--quiet") == 0
    for seed in (0, 1):
        for row in (*train.ROWS, train.CONTROL):
            name = f"seed-{seed}/{row.name}.npz"
            assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
        scores = [json.loads((tmp_path / r / f"seed-{seed}/scores.json").read_text()) for r in ("run", "straight")]
        assert [v["dice"] for v in scores[0].values()] == [v["dice"] for v in scores[1].values()]
    capsys.readouterr()
    assert run("--resume", "--out", tmp_path / "run", "--steps", 5) == 2
    assert "steps is 2, not 5" in capsys.readouterr().err


def own(folder, shapes=((16, 15, 9), (12, 16, 16), (16, 16, 16))):
    """A user's volumes, two as pairs of .npy, the rest as .npz."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i, shape in enumerate(shapes):
        mask = np.zeros(shape, np.int16)
        mask[2:8, 3:9, 2:8] = 2
        mask[4:6, 4:7, 3:6] = 1
        image = (mask * 900 + rng.integers(0, 500, shape)).astype(np.int16)
        if i < 2:
            np.save(folder / f"images/{i}.npy", image)
            np.save(folder / f"masks/{i}.npy", mask)
        else:
            np.savez(folder / f"{i}.npz", image=image, mask=mask)
    return folder


def test_own_volumes_of_different_sizes(tmp_path, capsys):
    folder = own(tmp_path / "mine")
    argv = ("--factor", 2, "--width", 2, "--first-steps", 2, "--steps", 2, "--out", tmp_path / "out", "--quiet")
    assert run("--data", folder, *argv) == 0
    assert "Dice on 1 volumes" in capsys.readouterr().out
    shapes = [v.labels.shape for v in data.read_volumes(data.volume_files(str(folder)), 8)]
    assert shapes == [(16, 16, 16), (16, 16, 16), (16, 16, 16)]
    one, other = data.split(list(range(10)), 0)
    assert sorted(one + other) == list(range(10)) and len(other) == 2


def spoil(name, value):
    return lambda folder: np.save(folder / name, value)


@pytest.mark.parametrize(
    "fault, guilty, said",
    [
        (lambda f: os.remove(f / "masks/1.npy"), "masks/1.npy", "no such mask"),
        (spoil("masks/0.npy", np.zeros((4, 4, 4), int)), "images/0.npy", "the mask has shape (4, 4, 4)"),
        (spoil("masks/0.npy", np.full((16, 15, 9), 255)), "images/0.npy", "the mask holds 255"),
        (spoil("masks/0.npy", np.ones((16, 15, 9), int)), "images/0.npy", "no large organ, label 2"),
        (spoil("images/0.npy", np.zeros((16, 15))), "images/0.npy", "must be numbers of shape (D, H, W)"),
        (spoil("images/0.npy", np.full((16, 15, 9), np.nan)), "images/0.npy", "NaN"),
        (lambda f: (f / "images/1.npy").write_bytes(b"no array"), "images/1.npy", "not a volume"),
        (lambda f: np.savez(f / "2.npz", picture=np.zeros(3)), "2.npz", "not a volume"),
    ],
)
def test_each_fault_of_own_volumes_is_one_line_naming_the_file(fault, guilty, said, tmp_path, capsys):
    folder = own(tmp_path / "mine")
    fault(folder)
    assert run("--data", folder, "--factor", 2, "--width", 2, "--out", tmp_path / "out", "--quiet") == 1
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1
    assert str(folder / guilty) in error and said in error


@pytest.mark.parametrize(
    "argv, code, said",
    [
        (["--size", "50"], 2, "--size 50 does not divide by 12, which --factor 3 asks for; use 48 or 60"),
        (["--size", "3"], 2, "--size: must be a whole number of at least 16"),
        (["--data", "x", "--size", "24"], 2, "--data brings its own volumes: leave out --size"),
        (["--data", "{tmp}/empty"], 1, "0 volumes in"),
        (["--resume"], 2, "there is no run in"),
        (["--steps", "0"], 2, "--steps: must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(argv, code, said, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(*(a.format(tmp=tmp_path) for a in argv), "--out", tmp_path / "out", "--quiet") == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and said in error


def test_memory_is_measured_in_a_process_of_its_own(capsys, monkeypatch):
    monkeypatch.setattr(memory, "MODELS", (memory.pipeline,))  # the paper's holds a gigabyte of weights and moments
    assert run("--memory", "--size", 24) == 0
    title, line = capsys.readouterr().out.splitlines()
    assert "24^3" in title
    kept, peak = (float(line.split(word)[1].split()[0]) for word in ("pass ", "process "))
    assert 0 < kept < peak < 2


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


def test_the_options_that_are_settings_are_those_of_the_settings():
    from dataclasses import fields

    options = {action.dest for action in cli.parser()._actions}
    assert {field.name for field in fields(train.Settings)} <= options
