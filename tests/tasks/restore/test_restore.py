"""Holes, smaller pictures, the networks, tiles, and the command from end to end."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import minidl as md
import tasks.__main__ as frame
from minidl import Tensor
from minidl import functional as F
from minidl.optim import Adam
from tasks.denoise.data import photographs
from tasks.denoise.picture import Picture
from tasks.restore import Completer, Enlarger, cli, data, holes, inference
from tasks.restore.model import UPSAMPLING, Discriminator, bicubic


def randomised(net):
    """Weights whose effect is seen: the last layers start at zero."""
    rng = np.random.default_rng(0)
    for p in net.parameters():
        p.data = rng.normal(size=p.shape, scale=0.1).astype(np.float32)
    return net


# --- holes


@pytest.mark.parametrize("kind", holes.HOLES)
@pytest.mark.parametrize("shape", [(64, 64), (40, 97)])
def test_holes_leave_something_and_depend_on_the_seed_alone(kind, shape):
    first, again, other = (holes.HOLES[kind](shape, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == shape and first.dtype == bool
    assert (first == again).all() and (first != other).any()
    assert 0.01 < first.mean() < 0.6


def test_scattered_holes_cover_a_fifth_and_a_block_is_a_square():
    assert 0.2 <= holes.scattered((100, 100), np.random.default_rng(3)).mean() < 0.22
    missing = holes.block((100, 200), np.random.default_rng(3))
    rows, columns = np.flatnonzero(missing.any(1)), np.flatnonzero(missing.any(0))
    assert missing.sum() == len(rows) * len(columns) == 48**2


def test_surroundings_are_weighted_means_of_what_is_known():
    image = np.arange(144, dtype=np.float32).reshape(12, 12) / 144
    missing = np.zeros(image.shape, bool)
    missing[5, 6] = True
    filled = holes.surroundings(image, missing)
    y, x = np.mgrid[-5:7, -6:6]
    weight = np.exp(-(x**2 + y**2) / 8) * ~missing * (abs(x) <= 6) * (abs(y) <= 6)  # width 2, cut at 3 widths
    assert filled[5, 6] == pytest.approx((weight * image).sum() / weight.sum(), rel=1e-4)
    assert (filled == image)[~missing].all()
    with pytest.raises(ValueError, match="no pixel"):
        holes.surroundings(image, np.ones_like(missing))


def test_biharmonic_interpolation_goes_on_with_a_slope_and_may_have_nothing_to_do():
    y, x = np.mgrid[:12, :15].astype(np.float32) / 20
    image, missing = (x + y) / 2, np.zeros((12, 15), bool)
    assert holes.biharmonic(image, missing) is image
    missing[4:8, 5:10] = True
    np.testing.assert_allclose(holes.biharmonic(np.where(missing, 9, image), missing), image, atol=1e-5)


def test_remote_is_the_distance_to_what_is_known_and_one_out_of_reach():
    missing = np.zeros((40, 40), bool)
    missing[3:38, 3:38] = True
    far = holes.remote(missing)
    assert (far[~missing] == 0).all() and (far[20, 3:8] == np.float32([1, 2, 3, 4, 5]) / holes.REACH).all()
    assert (far[15:26, 15:26] == 1).all()


# --- networks


def test_a_completer_keeps_what_is_known_and_the_first_guess_out_of_reach():
    net = randomised(Completer(4, 2, rng=0))
    x = np.random.default_rng(0).random((2, 3, 21, 30), np.float32)
    x[:, 2] = np.clip(3 * x[:, 2] - 1, 0, 1)
    y = net(Tensor(x)).numpy()
    stays = (x[:, 2] == 0) | (x[:, 2] == 1)
    assert (y[:, 0][stays] == x[:, 0][stays]).all() and (y[:, 0][~stays] != x[:, 0][~stays]).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_an_enlarger_starts_as_bicubic_interpolation(scale, upsampling):
    net = Enlarger(scale, 4, 1, upsampling, rng=0)
    x = np.random.default_rng(0).random((1, 1, 7, 9), np.float32)
    y = net(Tensor(x)).numpy()
    assert y.shape == (1, 1, 7 * scale, 9 * scale)
    np.testing.assert_array_equal(y, bicubic(Tensor(x), scale).numpy())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_an_enlarger_does_not_die_of_large_steps(upsampling, seed):
    net = Enlarger(2, 16, 1, upsampling, rng=seed)
    optimiser = Adam(net.parameters(), 5e-3)
    patches = data.Patches(photographs(("coffee",)), 24, 8, data.smaller(2), seed)
    for step in range(60):
        small, clean = map(Tensor, patches(step))
        optimiser.zero_grad()
        F.l1_loss(net(small), clean).backward()
        optimiser.step()
    assert all(np.any(block.conv1.weight.grad.numpy()) for block in net.blocks)


def test_bicubic_is_that_of_pillow():
    from PIL import Image

    x = np.random.default_rng(0).random((24, 30), np.float32)
    for scale in (0.5, 2, 1 / 3):
        size = (round(30 * scale), round(24 * scale))
        theirs = np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BICUBIC))
        np.testing.assert_allclose(bicubic(Tensor(x[None, None]), scale).numpy()[0, 0], theirs, atol=1e-5)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_tiles_do_not_show(upsampling):
    net = randomised(Enlarger(3, 3, 1, upsampling, rng=0)).eval()
    plane = np.random.default_rng(0).random((37, 50), np.float32)
    whole = net(Tensor(plane[None, None])).numpy()[0, 0]
    np.testing.assert_allclose(inference.enlarged(net, plane, tile=16), whole, atol=1e-5)


def test_a_picture_is_completed_the_same_whichever_way_it_is_held():
    net = randomised(Completer(4, 1, rng=0))
    plane = np.random.default_rng(0).random((18, 22), np.float32)
    missing = holes.block(plane.shape, np.random.default_rng(0))
    whole = inference.completed(net, plane, missing)
    assert (whole == plane)[~missing].all() and (abs(whole - holes.biharmonic(plane, missing)) > 1e-3)[missing].any()
    turned = inference.completed(net, np.rot90(plane)[:, ::-1], np.rot90(missing)[:, ::-1])
    np.testing.assert_allclose(np.rot90(turned[:, ::-1], -1), whole, atol=1e-4)


def test_the_discriminator_sees_patches_of_34_pixels():
    x = md.tensor(np.random.default_rng(0).random((1, 1, 80, 80)), requires_grad=True)
    randomised(Discriminator(2, rng=0)).to("float64")(x)[0, 0, 9, 9].backward()
    rows, columns = np.nonzero(x.grad.numpy()[0, 0])
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 34


def test_a_colour_picture_keeps_its_colours():
    net = Enlarger(2, 2, 1, rng=0)
    picture = np.random.default_rng(0).random((3, 8, 9), np.float32)
    large = inference.enlarged_picture(net, picture)
    np.testing.assert_allclose(large, inference.interpolated(picture, 2), atol=1e-4)


# --- data


def test_patches_say_what_is_missing():
    images = {"a": np.random.default_rng(0).random((50, 60), np.float32)}
    damaged, clean = data.Patches(images, 32, 3, data.with_holes, 0)(5)
    assert damaged.shape == (3, 3, 32, 32) and clean.shape == (3, 1, 32, 32)
    known = damaged[:, 2:] == 0
    assert (damaged[:, :2] == clean)[np.repeat(known, 2, 1)].all() and not known.all()
    with pytest.raises(ValueError, match="--patch 50 or less"):
        data.Patches(images, 51, 3, data.with_holes, 0)


# --- the command


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(cli, "TEST", ("coins",))
    monkeypatch.setattr(cli, "TRAIN", ("coffee",))


def run(out, *argv):
    return frame.main(["restore", "--quiet", "--out", str(out), *map(str, argv)])


TINY = ("--width", 2, "--batch", 2, "--patch", 24)


def weights(path):
    return {k: v for k, v in md.load_weights(path).items() if k.startswith("model.")}


def test_completing_from_end_to_end(tmp_path, capsys, quick):
    assert run(tmp_path / "a", *TINY, "--steps", 4, "--blocks", 1) == 0
    text = capsys.readouterr().out
    for kind in ("scattered", "text", "block"):
        assert f"{kind}:" in text and (tmp_path / "a" / f"{kind}.png").exists()
    assert set(json.loads((tmp_path / "a" / "scores.json").read_text())["text"]["coins"]) >= {"biharmonic", "ours"}
    # what is transparent is missing
    pixels = np.random.default_rng(0).random((3, 20, 30), np.float32)
    alpha = np.ones((20, 30), np.float32)
    alpha[5:9, 5:12] = 0
    Picture(pixels, alpha, 8).write(tmp_path / "torn.png")
    trained = ("--checkpoint", tmp_path / "a" / "checkpoint.npz", "--image", tmp_path / "torn.png")
    assert run(tmp_path / "b", *trained) == 0
    result = Picture.read(tmp_path / "b" / "torn-completed.png")
    assert result.alpha is None
    np.testing.assert_allclose(result.channels[:, 10:], pixels[:, 10:], atol=1 / 255)
    assert run(tmp_path / "b", *trained, "--damage", "block") == 0
    assert "missing pixels are restored at" in capsys.readouterr().out


def test_enlarging_from_end_to_end_and_resumed(tmp_path, capsys, quick):
    job = ("--job", "superresolve", "--scale", 3, "--blocks", 1, *TINY)
    assert run(tmp_path / "a", *job, "--steps", 4) == 0
    assert "bicubic" in capsys.readouterr().out and (tmp_path / "a" / "x3.png").exists()
    Picture(np.random.default_rng(0).random((3, 11, 13), np.float32), None, 8).write(tmp_path / "small.png")
    trained = ("--checkpoint", tmp_path / "a" / "checkpoint.npz", "--image", tmp_path / "small.png")
    assert run(tmp_path / "b", *trained) == 0
    assert Picture.read(tmp_path / "b" / "small-x3.png").channels.shape == (3, 33, 39)


def test_the_adversarial_term_goes_on_from_the_trained_network(tmp_path, capsys, quick):
    job = ("--job", "superresolve", "--blocks", 1, *TINY, "--steps", 2, "--adversarial", 0.1, "--adversarial-steps", 3)
    assert run(tmp_path, *job) == 0
    text = capsys.readouterr().out
    assert "weight 0.1" in text and "taken for a photograph" in text and (tmp_path / "adversarial.png").exists()
    lines = [json.loads(line) for line in (tmp_path / "adversarial-0.1.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and {"error", "adversarial", "discriminator", "real", "restored"} <= set(lines[0])
    before, after = weights(tmp_path / "checkpoint.npz"), weights(tmp_path / "adversarial-0.1.npz")
    assert any((after[f"model.restorer.{k.removeprefix('model.')}"] != v).any() for k, v in before.items())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--scale", "3"], "--scale is for --job superresolve"),
        (["--job", "superresolve", "--scale", "5"], "one of 2, 3, 4"),
        (["--job", "superresolve", "--patch", "25"], "no multiple of --scale 2"),
        (["--missing", "x.png"], "the picture that --image names"),
        (["--image", "IMAGE"], "which pixels are missing?"),
        (["--image", "IMAGE", "--missing", "OTHER"], "is 9x8, --image is 30x20"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(tmp_path, capsys, argv, said):
    for name, shape in (("IMAGE", (1, 20, 30)), ("OTHER", (1, 8, 9))):
        Picture(np.zeros(shape, np.float32), None, 8).write(tmp_path / f"{name}.png")
    files = {name: str(tmp_path / f"{name}.png") for name in ("IMAGE", "OTHER")}
    assert run(tmp_path, *(files.get(a, a) for a in argv)) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_weights_of_either_training_load(tmp_path):
    settings = cli.Settings.of({"job": "superresolve", "width": 2, "blocks": 1})
    state = randomised(settings.build()).state_dict()
    np.savez(tmp_path / "pair.npz", **{f"restorer.{k}": v for k, v in state.items()})
    loaded = cli.load(settings, tmp_path / "pair.npz").state_dict()
    assert all((loaded[name] == array).all() for name, array in state.items())
