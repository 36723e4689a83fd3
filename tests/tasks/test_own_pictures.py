"""What a user's pictures are read as in every task: their range, and files that are left out."""

from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("PIL")

from PIL import Image

from minidl import data as files
from tasks.classify import data as classify
from tasks.classify.train import Settings
from tasks.denoise import picture
from tasks.denoise.data import read_files
from tasks.segment import pairs
from tasks.transfer import photographs


def silent(*_):
    return nullcontext(lambda: None)


def xrays(root, count=6, classes="ab"):
    """Pictures of 12 bits in files of 16, in a folder per class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 4096, (12, 12)).astype(np.uint16)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def spoilt(tmp_path):
    root = xrays(tmp_path / "xrays")
    (root / "a" / "3.png").write_bytes((root / "a" / "3.png").read_bytes()[:90])
    return root


def test_twelve_bits_in_sixteen_are_all_of_the_range(tmp_path):
    root = xrays(tmp_path)
    images = classify.read(str(root), 12).train.images
    assert len(np.unique(images)) > 240 and images.max() == 255
    settings = Settings(data=str(root)).completed()
    assert settings.bits == 12 and Settings(data=str(root), bits=13).completed().bits == 13
    assert Settings().completed().bits == 0 and Settings(data="nowhere").completed().bits == 0
    with_bits = classify.pictures([root / "a" / "0.png"], 3, 12, 12, settings.bits)
    assert with_bits.max() > 240
    part, names = photographs.read(photographs.Own(data=str(root), size=12).completed(), silent)
    assert part.images.max() > 240 and names == ["a", "b"]
    found = read_files(files.image_files(root), lambda: None, bits=12, skip_bad=False)
    assert max(image.max() for image in found.values()) > 0.99


def test_a_deep_picture_is_denoised_in_its_own_range_and_written_back_the_same(tmp_path):
    levels = np.array([[0, 100], [2000, 4095]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    read = picture.Picture.read(tmp_path / "a.png")
    assert read.bits == 12 and read.channels.max() == 1
    read.write(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as file:
        assert np.array_equal(np.asarray(file), levels)


def test_pictures_that_cannot_be_read_stop_or_are_left_out_and_listed(spoilt, capsys):
    with pytest.raises(ValueError, match=r"3.png: not a readable image .*; --skip-bad leaves such files out"):
        classify.read(str(spoilt), 8)
    assert not capsys.readouterr().err
    found = classify.read(str(spoilt), 8, skip_bad=True)
    assert len(found.train.labels) + len(found.test.labels) == 11
    line, total = capsys.readouterr().err.splitlines()
    assert line.startswith(f"left out: {spoilt}/a/3.png: not a readable image")
    assert total == "left out: 1 of 12 pictures"
    own = photographs.Own(data=str(spoilt), size=12, skip_bad=True)
    part, _ = photographs.read(own, silent)
    assert np.bincount(part.labels).tolist() == [5, 6]
    assert len(read_files(files.image_files(spoilt), lambda: None, bits=12, skip_bad=True)) == 11
    for i in range(6):
        (spoilt / "a" / f"{i}.png").write_bytes(b"no")
    with pytest.raises(ValueError, match="a: no picture in it can be read"):
        classify.read(str(spoilt), 8, skip_bad=True)


def test_pairs_with_errors_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        for name, pixels in (("images", rng.integers(0, 200, (32, 32))), ("masks", 255 * np.eye(32))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "masks/1.png").unlink()
    (tmp_path / "images/2.png").write_bytes(b"no")
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(tmp_path / "masks/3.png")
    for i in range(7, 12):  # one picture, in several parts: a leak
        (tmp_path / f"images/{i}.png").write_bytes((tmp_path / "images/4.png").read_bytes())
    (tmp_path / "masks" / "._4.png").write_bytes(b"no")
    plain = pairs.examine(tmp_path, patch=32, seed=0)
    assert plain.count("error") >= 4 and plain.count("left out") == 0
    checkup = pairs.examine(tmp_path, patch=32, seed=0, skip_bad=True)
    assert checkup.count("error") == 0 and len({pair.part for pair in checkup.pairs}) == 3
    lines = [str(fault) for fault in checkup.faults if fault.kind == "left out"]
    for file, message in (("images/1.png", "has no mask"), ("images/2.png", "not a readable"), ("masks/3.png", "77")):
        assert sum(f"left out: {tmp_path / file}: " in line and message in line for line in lines) == 1
    assert f"{len(lines)} left out" in checkup.summary()
    leaks = sum("a leak" in line for line in lines)
    assert leaks >= 1 and len(checkup.pairs) == 12 - 3 - leaks
