"""Transforms, contexts, tables, files, damage, and the command from end to end."""

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")
pytest.importorskip("constriction", reason='the tasks need pip install -e ".[tasks]"')

import tasks.__main__ as frame
from minidl import Tensor
from minidl.kernels.cpu import workers
from tasks.compress import Autoencoder, cli, codec, entropy
from tasks.compress.model import CHANNELS, STEPS, bits, cosines
from tasks.denoise.picture import Picture


def smooth(shape, seed=0):
    """A picture (H, W) like a photograph: most of it low frequencies."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=shape)
    image = sum(gaussian_filter(noise, width) * width for width in (1, 3, 9))
    return ((image - image.min()) / np.ptp(image)).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    """The untrained network, with tables that are counted."""
    net = Autoencoder(4, 2, rng=0)
    counting = codec.Codec(net, np.empty(0))
    examples = [[counting.latents(smooth((64, 72), i), q) for i in range(2)] for q in range(len(STEPS))]
    return codec.Codec(net, np.stack([entropy.tables(entropy.counted(each, CHANNELS)) for each in examples]))


# --- the network


def test_it_starts_as_the_cosine_transform_of_jpeg():
    from scipy.fft import dctn

    kernels = cosines()
    np.testing.assert_allclose(np.tensordot(kernels[:, 0], kernels[:, 0], ((1, 2), (1, 2))), np.eye(64), atol=1e-6)
    block = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    latents = Autoencoder(rng=0).encode(Tensor(block[None, None] + 0.5), np.float32(1)).numpy()[0, :, 0, 0]
    theirs = dctn(block, norm="ortho")
    zigzag = [theirs[0, 0], theirs[0, 1], theirs[1, 0], theirs[2, 0], theirs[1, 1], theirs[0, 2], theirs[0, 3]]
    np.testing.assert_allclose(latents[:7], zigzag, atol=1e-5)
    assert latents[-1] == pytest.approx(theirs[7, 7], abs=1e-5)


def test_without_rounding_the_picture_comes_back():
    net = Autoencoder(rng=0)
    x = Tensor(smooth((40, 48))[None, None])
    step = np.float32(0.1)
    np.testing.assert_allclose(net.decode(net.encode(x, step), step).numpy(), x.numpy(), atol=1e-6)


def test_bits_are_those_of_a_logistic_distribution():
    from scipy.stats import logistic

    latents = np.array([0.0, 1.0, -3.0, 40.0]).reshape(1, 4, 1, 1)
    spread = np.array([0.3, 1.0, 2.0, 0.5]).reshape(1, 4, 1, 1)
    upper, lower = (logistic.sf(np.abs(latents) + half, scale=spread) for half in (-0.5, 0.5))
    assert bits(Tensor(latents), Tensor(spread)).item() == pytest.approx(-np.log2(upper - lower).sum(), rel=1e-9)


# --- the entropy model


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (6, 7)])
def test_differences_are_undone(shape):
    numbers = np.random.default_rng(0).integers(-40, 40, shape)
    assert (entropy.undone(entropy.differences(numbers)) == numbers).all()


def test_tables_add_up_and_leave_nothing_out():
    tables = entropy.tables(entropy.counted([np.random.default_rng(0).integers(-20, 20, (5, 6, 7))], 5))
    assert (tables >= 1).all() and (tables.sum(axis=-1) == entropy.TOTAL).all()
    assert (entropy.tables(np.zeros((5, 8, 31), int)).sum(axis=-1) == entropy.TOTAL).all()


@pytest.mark.parametrize("largest", [0, 1, 14, 15, 16, 3000])
def test_numbers_of_any_size_come_back(trained, largest):
    latents = np.random.default_rng(largest).integers(-largest, largest + 1, (CHANNELS, 3, 4))
    words = entropy.encoded(latents, trained.tables[0])
    assert (entropy.decoded(words, trained.tables[0], (3, 4)) == latents).all()
    with pytest.raises(ValueError, match="the largest that a file can hold"):
        entropy.encoded(latents * 0 + 2 * entropy.EXCESS, trained.tables[0])


def test_the_size_is_what_the_tables_say(trained):
    latents = trained.latents(smooth((128, 128), 7), 1)
    expected = 0.0
    for channel, numbers, contexts in entropy.symbols(latents):
        index = numbers.clip(-entropy.LARGEST, entropy.LARGEST) + entropy.LARGEST
        expected -= np.log2(trained.tables[1][channel][contexts, index] / entropy.TOTAL).sum()
        expected += 16 * (np.abs(numbers) >= entropy.LARGEST).sum()
    assert 32 * len(entropy.encoded(latents, trained.tables[1])) == pytest.approx(expected, rel=0.01, abs=64)


# --- files


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("quality", [0, 5])
def test_a_file_gives_the_same_picture_on_any_number_of_threads(trained, monkeypatch, planes, quality):
    picture = np.stack([smooth((57, 70), i) for i in range(planes)])
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(workers, "thread_count", lambda n=threads: n)
        content = trained.compressed(picture, quality)
        found.append((content, trained.decompressed(content).tobytes()))
    assert found[0] == found[1]
    error = np.sqrt(np.mean((trained.decompressed(content) / 255 - picture) ** 2))
    assert error < (0.02 if quality == 0 else 0.06) * (1 if planes == 1 else 6)  # colours are at half the size


def test_damaged_files_are_refused(trained):
    content = trained.compressed(smooth((24, 24))[None], 2)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        kind = rng.integers(3)
        if kind == 0:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        elif kind == 1:
            del damaged[rng.integers(len(damaged)) :]
        else:
            at = rng.integers(len(damaged))
            damaged[at:at] = rng.bytes(int(rng.integers(1, 9)))
        with pytest.raises(codec.DamagedFile) as refused:
            trained.decompressed(bytes(damaged))
        assert "\n" not in str(refused.value)


def test_the_file_of_another_network_is_refused(trained):
    content = trained.compressed(smooth((24, 24))[None], 2)
    with pytest.raises(codec.DamagedFile, match="made by network"):
        codec.Codec(Autoencoder(4, 2, rng=1), trained.tables).decompressed(content)


# --- the command


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(cli, "TEST", ("coins",))
    monkeypatch.setattr(cli, "TRAIN", ("coins",))
    monkeypatch.setattr("tasks.compress.report.QUALITIES", (10, 90))
    monkeypatch.setattr("tasks.compress.report.FORMATS", {"JPEG": {"optimize": True}})


def run(*argv):
    return frame.main(["compress", *map(str, argv)])


@pytest.mark.slow
def test_the_command_from_end_to_end(tmp_path, capsys, quick):
    out = ("--out", tmp_path / "run", "--quiet")
    assert run(*out, "--steps", 2, "--width", 2, "--layers", 2, "--batch", 1, "--patch", 16) == 0
    assert "smaller than JPEG" in capsys.readouterr().out
    assert {f.name for f in (tmp_path / "run").iterdir()} >= {"table.txt", "curves.json", "figure.png", "curve.png"}
    use = (*out, "--checkpoint", tmp_path / "run" / "checkpoint.npz")
    Picture(np.stack([smooth((30, 41), i) for i in range(3)]), None, 8).write(tmp_path / "photo.png")
    assert run(*use, tmp_path / "photo.png", tmp_path / "photo.mdc") == 0
    assert run(*use, tmp_path / "photo.mdc", tmp_path / "out.png") == 0
    assert Picture.read(tmp_path / "out.png").channels.shape == (3, 30, 41)
    (tmp_path / "bad.mdc").write_bytes((tmp_path / "photo.mdc").read_bytes()[:-3])
    capsys.readouterr()
    for argv, said in (
        ((tmp_path / "bad.mdc", tmp_path / "bad.png"), "bad.mdc: the file is damaged"),
        ((tmp_path / "photo.png",), "give a picture and the .mdc to write"),
        ((tmp_path / "photo.mdc", tmp_path / "out.jpg"), "written as PNG"),
        ((tmp_path / "photo.png", tmp_path / "x.mdc", "--quality", 9), "0, the best, to 5"),
    ):
        assert run(*use, *argv) != 0
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "bad.png").exists()
