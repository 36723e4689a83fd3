"""The segmentation task: coins, cells, patches, baselines, and the command from end to end."""

import json
from functools import partial

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("PIL")

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from tasks import grids
from tasks.run import Job
from tasks.segment import baselines, cells, cli, coins, data, inference, instances, metrics, report, train

TINY = ("--base", 4, "--depth", 2, "--patch", 32, "--batch", 2, "--steps", 4)


def run(*argv):
    """The command, in this process."""
    return frame.main(["segment", *map(str, argv)])


@pytest.fixture
def quick(monkeypatch):
    """Few settings for the classical methods, few small pictures of cells."""
    few = {name: (f, settings[:: len(settings) // 6]) for name, (f, settings) in baselines.METHODS.items()}
    monkeypatch.setattr(baselines, "METHODS", few)
    cut = {"Otsu": few["Otsu"], "watershed": (baselines.distance_watershed, baselines.FOR_CELLS["watershed"][1][:2])}
    monkeypatch.setattr(baselines, "FOR_CELLS", cut)
    monkeypatch.setattr(data, "CELLS", (2, 1))


def weights(out):
    return {k: v for k, v in md.load_weights(out / "checkpoint.npz").items() if k.startswith("model.")}


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def disc(i, side=40):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - side / 2 - i, x - side / 2 + i) < side / 4


def picture(i, side=40):
    noise = np.random.default_rng(i).integers(0, 60, (side, side))
    return (noise + 150 * disc(i, side)).astype(np.uint8)


# --- coins


def test_the_circles_lie_in_the_picture_and_apart():
    for y, x, radius in coins.COINS:
        assert radius - 1 < y < coins.SHAPE[0] - radius and radius - 1 < x < coins.SHAPE[1] - radius
    for i, (y, x, radius) in enumerate(coins.COINS):
        assert all(np.hypot(y - v, x - u) > radius + r for v, u, r in coins.COINS[:i])
    assert coins.photograph().shape == coins.SHAPE == coins.truth().shape


def test_the_truth_has_the_area_of_the_circles_and_their_centres():
    truth = coins.truth()
    area = sum(np.pi * r**2 for *_, r in coins.COINS)
    assert truth.sum() == pytest.approx(area, rel=0.003)  # the error of counting pixels in circles
    assert all(truth[round(y), round(x)] == 1 for y, x, _ in coins.COINS)


def test_coins_are_brighter_than_what_surrounds_them():
    image = coins.photograph().astype(float)
    rows, columns = np.ogrid[: coins.SHAPE[0], : coins.SHAPE[1]]
    for y, x, radius in coins.COINS:  # a circle that missed its coin would not have this contrast at its edge
        distance = np.hypot(rows - y, columns - x)
        inner = image[(distance < radius - 1.5) & (distance > radius - 4.5)]
        outer = image[(distance > radius + 1.5) & (distance < radius + 4.5)]
        assert inner.mean() - outer.mean() > 20


def test_the_halves_do_not_overlap_and_are_all():
    covered = np.zeros(coins.SHAPE, int)
    for area in (coins.TRAIN, coins.TEST):
        covered[area] += 1
    assert (covered == 1).all()
    dataset = data.bundled("coins", 0)
    joined = np.concatenate([part.images[0] for part in (dataset.train, dataset.test)], axis=2)
    assert np.array_equal(np.rint(joined[0] * 255), coins.photograph())


@pytest.mark.usefixtures("figures")
def test_draw_truth_writes_a_picture(tmp_path, capsys):
    assert run("--draw-truth", tmp_path / "new" / "truth.png") == 0
    with Image.open(tmp_path / "new" / "truth.png") as file:
        assert min(file.size) > 2 * coins.SHAPE[0]


# --- cells


def test_cells_depend_on_seed_and_key_only_and_touch():
    culture = cells.generate(3, 1, side=96)
    again, other = cells.generate(3, 1, side=96), cells.generate(3, 2, side=96)
    assert np.array_equal(culture.image, again.image) and np.array_equal(culture.instances, again.instances)
    assert not np.array_equal(culture.image, other.image)
    assert culture.image.dtype == np.float32 and 0 <= culture.image.min() < culture.image.max() <= 1
    numbers = np.unique(culture.instances)
    assert np.array_equal(numbers, np.arange(len(numbers)))  # without gaps
    assert all((culture.instances == n).sum() >= cells.LEAST for n in numbers[1:])
    joined = instances.components(culture.instances > 0).max()
    assert joined < len(numbers) - 1  # some touch


def test_labels_of_cells_come_apart_into_the_true_cells():
    part = data.bundled("cells", 0).train
    for labels, numbers in zip(part.labels[:3], part.instances[:3]):
        pieces = instances.components(labels)
        assert instances.matching([pieces], [numbers]).f1 > 0.95
        assert np.array_equal(labels > 0, numbers > 0)


def test_pieces_are_matched_by_overlap():
    true = np.zeros((20, 40), int)
    true[5:15, 2:12], true[5:15, 12:22] = 1, 2
    merged, shifted = true > 0, np.roll(true, 1, axis=1)
    perfect = instances.matching([true], [true])
    assert perfect == (2, 2, 2, 0.0) and perfect.f1 == 1
    assert instances.matching([instances.components(merged)], [true]) == (2, 1, 0, 1.0)  # IoU 1/2 is not more than 1/2
    assert instances.matching([shifted], [true]).matched == 2  # IoU 90 / 110
    nothing = instances.matching([np.zeros_like(true)], [true])
    assert nothing == (2, 0, 0, 2.0) and nothing.f1 == 0


def test_specks_are_no_pieces_and_corners_do_not_connect():
    mask = np.zeros((30, 30), int)
    mask[:6, :6] = mask[6:12, 6:12] = 1
    mask[20, 20] = 1
    assert instances.components(mask).max() == 2
    assert instances.components(mask)[20, 20] == 0


# --- patches


def patches(**changed):
    part = data.bundled("cells", 0).train
    options = {"elastic": 3.0, "border": 10.0, "seed": 7, **changed}
    return data.Patches(part, 32, 3, **options)


def test_patches_depend_on_seed_and_step_only(quick):
    first, late = patches(), patches()
    wanted = [first(step) for step in range(3)][2]
    assert all(np.array_equal(a, b) for a, b in zip(wanted, late(2)))
    assert not np.array_equal(wanted[0], first(1)[0])
    assert not np.array_equal(wanted[0], patches(seed=8)(2)[0])
    images, labels, weight = wanted
    assert images.shape == (3, 1, 32, 32) and images.dtype == np.float32
    assert labels.shape == weight.shape == (3, 32, 32) and set(np.unique(labels)) <= {0, 1}


def test_labels_and_weights_move_with_the_image(quick):
    part = data.MaskPart(["ramp"], [np.random.default_rng(0).random((1, 64, 64), dtype=np.float32)], [])
    part.labels.append((part.images[0][0] > 0.5).astype(np.uint8))
    for step in range(4):  # turned and mirrored, but not deformed: labels stay a threshold of the image
        images, labels, weight = data.Patches(part, 16, 4, elastic=0, border=None, seed=1)(step)
        assert weight is None
        for image, label in zip(images[:, 0], labels):
            assert image[label == 1].mean() - image[label == 0].mean() > 1  # nearly 2 deviations
    images, labels, weight = patches(elastic=3.0)(0)
    assert weight[labels == 1].max() < weight[labels == 0].max()  # the borders, which are background, weigh most


def test_a_patch_larger_than_a_picture_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="right half is smaller than a patch of 200x200"):
        data.Patches(data.bundled("coins", 0).test, 200, 1, elastic=0, border=None, seed=0)


# --- baselines


def test_otsu_finds_bright_and_dark_squares_and_fills_holes():
    image = np.full((1, 40, 40), 0.2, np.float32)
    image[:, 10:30, 10:30] = 0.8
    image[:, 15:18, 15:18] = 0.2
    truth = np.zeros((40, 40))
    truth[10:30, 10:30] = 1
    options = {"smooth": 0, "flat": 0, "least": 30}
    assert np.array_equal(baselines.otsu(image, bright=True, **options), truth)
    assert np.array_equal(baselines.otsu(1 - image, bright=False, **options), truth)
    assert baselines.otsu(image, smooth=0, flat=0, least=0, bright=True).sum() == 400 - 9


def test_both_watersheds_on_what_is_easy():
    y, x = np.mgrid[:40, :60]
    discs = [np.hypot(y - 20, x - c) < 11 for c in (20, 39)]
    image = (0.2 + 0.6 * (discs[0] | discs[1])).astype(np.float32)[None]
    whole = baselines.watershed(image, smooth=0, flat=0, low=0.3, high=0.7, bright=True)
    assert metrics.dice(metrics.confusion(whole, (discs[0] | discs[1]).astype(int), 2))[1] > 0.97
    assert instances.components(whole).max() == 1
    cut = baselines.distance_watershed(image, smooth=0, flat=0, least=30, bright=True, apart=5)
    assert instances.components(cut).max() == 2


def test_settings_are_those_of_the_highest_quality_on_the_training_part(quick):
    for name in ("coins", "cells"):
        part = data.bundled(name, 0).train
        calls = []
        chosen = baselines.tune(part, partial(calls.append, 1))
        assert len(calls) == grids.trials(baselines.methods(part))
        for method, (function, settings) in baselines.methods(part).items():
            of = [baselines.quality([function(image, **s) for image in part.images], part) for s in settings]
            assert len(settings) > 1 and len(set(of)) > 1
            assert chosen[method] == settings[int(np.argmax(of))]


def test_settings_are_chosen_on_so_many_pixels_at_most(monkeypatch):
    monkeypatch.setattr(baselines, "SIDE", 100)
    monkeypatch.setattr(baselines, "PIXELS", 35_000)
    part = data.bundled("cells", 0).train
    small = baselines.sample(part)
    assert len(small.names) == len(small.instances) == 3  # 3 of 100x100 fit
    assert np.array_equal(small.images[1], part.images[1][:, 30:130, 30:130])
    assert np.array_equal(small.labels[1], part.labels[1][30:130, 30:130])


def test_a_constant_picture_breaks_no_method():
    image = np.full((1, 32, 32), 0.5, np.float32)
    for known in (baselines.METHODS, baselines.FOR_CELLS):
        for function, settings in known.values():
            assert function(image, **settings[0]).shape == (32, 32)


# --- the command, from end to end


@pytest.mark.usefixtures("figures")
def test_a_run_on_coins_leaves_everything_and_its_checkpoint_is_used(tmp_path, quick, capsys, monkeypatch):
    out = tmp_path / "out"
    assert run(*TINY, "--out", out, "--quiet") == 0
    captured = capsys.readouterr()
    names = ["checkpoint.npz", "log.jsonl", "settings.json", "classes.txt", "table.txt", "scores.json"]
    for name in [*names, "figure.png", "curve.png"]:
        assert (out / name).stat().st_size > 0, name
    assert captured.err == "" and captured.out.startswith((out / "table.txt").read_text())
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores) == {"Otsu", "watershed", "ours"}
    right = coins.SHAPE[0] * (coins.SHAPE[1] - coins.MIDDLE)
    for row in scores.values():
        matrix = np.array(row["confusion"])
        assert matrix.sum() == right
        both = matrix[1, 1] / (matrix[1].sum() + matrix[:, 1].sum() - matrix[1, 1])
        assert row["iou"][1] == pytest.approx(both) and row["dice"][1] == pytest.approx(2 * both / (1 + both))
    assert scores["Otsu"]["dice"][1] > 0.9  # or the truth would not lie on the coins
    picture = tmp_path / "mine.png"
    write(picture, coins.photograph()[:50, :70])
    again = tmp_path / "again"
    assert run("--checkpoint", out / "checkpoint.npz", "--out", again, "--quiet") == 0
    assert json.loads((again / "scores.json").read_text()) == scores
    assert run("--checkpoint", out / "checkpoint.npz", "--image", picture, "--out", again, "--quiet") == 0
    with Image.open(again / "mine-mask.png") as file:
        assert file.size == (70, 50) and set(np.unique(file)) <= {0, 255}
    assert (again / "mine-figure.png").exists() and not (again / "checkpoint.npz").exists()
    monkeypatch.setattr(cli, "EXPORTED", 32)
    assert run("--checkpoint", out / "checkpoint.npz", "--save-onnx", again / "coins.onnx", "--out", again) == 0
    assert md.load_onnx(again / "coins.onnx").inputs[0].shape == ("N", 1, 32, 32)
    assert "coin " in capsys.readouterr().out


@pytest.mark.usefixtures("figures")
def test_cells_are_counted_with_and_without_the_weights_of_borders(tmp_path, quick, capsys):
    out = tmp_path / "out"
    assert run("--dataset", "cells", *TINY, "--out", out, "--quiet") == 0
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores) == ["Otsu", "watershed", report.PLAIN, report.OURS]
    true = len(np.unique(data.bundled("cells", 0).test.instances[0])) - 1
    assert {row["objects"]["true"] for row in scores.values()} == {true}
    settings = [json.loads((out / p / "settings.json").read_text())["border"] for p in (".", "without-borders")]
    assert settings == [10.0, 0.0]
    assert not all(np.array_equal(v, weights(out / "without-borders")[k]) for k, v in weights(out).items())


def test_the_network_learns_what_is_easy(tmp_path):
    part = data.MaskPart(["a"], [np.stack([picture(i, 64)[None] / np.float32(255) for i in (0,)])[0]], [])
    part.labels.append(disc(0, 64).astype(np.uint8))
    dataset = data.MaskDataset("discs", ["background", "disc"], part, part)
    settings = train.Settings(base=4, depth=2, patch=48, batch=4, steps=40, lr=0.01, elastic=2)
    model = train.train(Job(settings, tmp_path), dataset)
    for average in (True, False):
        predicted = inference.segment(model, part, average=average)
        assert train.foreground_dice(predicted, part, 2) > 0.95


def test_the_average_over_symmetries_turns_with_the_picture():
    model = train.Settings(base=4, depth=2).build(1, 3)
    image = np.random.default_rng(0).random((1, 16, 24), dtype=np.float32)
    predicted = inference.probabilities(model, image)
    assert predicted.shape == (3, 16, 24)
    np.testing.assert_allclose(predicted.sum(axis=0), 1, atol=1e-5)
    once = inference.probabilities(model, image, average=False)
    assert abs(predicted - once).max() > 1e-4
    for turn in (lambda x: x[..., ::-1], lambda x: np.rot90(x, 1, (1, 2))):
        of_turned = inference.probabilities(model, np.ascontiguousarray(turn(image)))
        np.testing.assert_allclose(of_turned, turn(predicted), atol=1e-5)


def test_a_stopped_run_is_resumed_to_the_same_bits(ctrl_c, tmp_path, monkeypatch, capsys, quick):
    assert run(*TINY, "--out", tmp_path / "straight", "--quiet") == 0
    before = train.loss_of
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 2:
            ctrl_c()
        return before(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "loss_of", interrupted)
        assert run(*TINY, "--out", tmp_path / "run", "--quiet") == 130
    assert f"go on with: python -m tasks segment --resume --out {tmp_path}/run" in capsys.readouterr().err
    assert run("--resume", "--out", tmp_path / "run", "--quiet") == 0
    for name in ("checkpoint.npz", "log.jsonl", "scores.json", "table.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


def bad(name, argv, code, message):
    return pytest.param(argv, code, message, id=name)


@pytest.mark.parametrize(
    "argv, code, message",
    [
        bad("no steps", ["--steps", "0"], 2, "--steps: must be a whole number of at least 1"),
        bad("unknown data", ["--dataset", "cats"], 2, "invalid choice: 'cats'"),
        bad("two data", ["--dataset", "coins", "--data", "{tmp}"], 2, "it is one or the other"),
        bad("odd patch", ["--patch", "50"], 2, "--patch 50 is no multiple of 8, 2^depth; 48 is"),
        bad("border of coins", ["--border", "5"], 2, "--border is for --dataset cells"),
        bad("border of focal", ["--dataset", "cells", "--border", "5", "--loss", "focal"], 2, "--loss focal does not"),
        bad("ignore of coins", ["--ignore", "5"], 2, "name it with --data"),
        bad("pixels as stored, of coins", ["--as-stored"], 2, "name them with --data"),
        bad("check of nothing", ["--check"], 2, "name it with --data"),
        bad("two sources", ["--checkpoint", "a.npz", "--resume"], 2, "give one of them"),
        bad("nothing to resume", ["--resume"], 2, "there is no run in"),
        bad("no checkpoint", ["--checkpoint", "{tmp}/none.npz"], 1, "no such checkpoint"),
        bad("not a checkpoint", ["--checkpoint", "{tmp}/text.png"], 1, "neither .npz"),
        bad("no picture", ["--image", "{tmp}/none.png"], 1, "none.png: no such file"),
        bad("no folder", ["--data", "{tmp}/none"], 1, "none: no such folder"),
        bad("large patches", ["--patch", "400"], 1, "left half is smaller than a patch of 400x400"),
        bad("out is a file", ["--out", "{tmp}/text.png"], 1, "text.png: File exists"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(argv, code, message, tmp_path, capsys):
    (tmp_path / "text.png").write_text("this is no image")
    argv = ["segment", "--quiet", "--out", str(tmp_path / "out"), *(a.format(tmp=tmp_path) for a in argv)]
    assert frame.main(argv) == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and message in error


def test_a_checkpoint_of_another_size_is_reported(tmp_path, quick, capsys):
    model = train.Settings(base=4, depth=2).build(1, 2)
    md.save_weights(tmp_path / "weights.npz", model.state_dict())
    argv = ["--checkpoint", tmp_path / "weights.npz", "--out", tmp_path, "--quiet", "--depth", 2]
    assert run(*argv, "--base", 8) == 1
    assert "name its --base and --depth" in capsys.readouterr().err
    assert run(*argv, "--base", 4) == 0


def test_a_checkpoint_for_other_channels_is_reported(tmp_path, capsys):
    md.save_weights(tmp_path / "weights.npz", train.Settings(base=4, depth=2).build(3, 2).state_dict())
    argv = ["--checkpoint", tmp_path / "weights.npz", "--base", 4, "--depth", 2, "--out", tmp_path, "--quiet"]
    assert run(*argv) == 1
    assert "the checkpoint is for 3 channels and 2 classes, coins has 1 channels" in capsys.readouterr().err


def test_settings_of_a_run_cannot_change_on_resume(tmp_path, capsys):
    (tmp_path / "settings.json").write_text(json.dumps({"seed": 3}))
    (tmp_path / "checkpoint.npz").write_bytes(b"")
    assert run("--resume", "--out", tmp_path, "--seed", 4) == 2
    assert "seed is 3, not 4" in capsys.readouterr().err


def test_defaults_of_cells_follow_the_loss():
    assert train.Settings.of({"dataset": "cells"}).border == 10
    assert train.Settings.of({"dataset": "cells", "loss": "focal"}).border is None
    assert train.Settings.of({}).border is None
