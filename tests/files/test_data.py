"""Pictures, MNIST and CIFAR-10 out of files made here."""

import gzip
import os
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import data

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_folder_of_images(tmp_path):
    (tmp_path / "deep").mkdir()
    Image.fromarray(RGB).save(tmp_path / "b.PNG")
    Image.fromarray(RGB[:, :, 0]).save(tmp_path / "deep" / "c.bmp")
    Image.fromarray(RGB[:, ::-1]).save(tmp_path / "a.tiff")
    (tmp_path / "notes.txt").write_text("no image")
    images = data.image_folder(tmp_path)
    assert [image.shape for image in images] == [(3, 5, 7)] * 3
    assert all(image.dtype == np.float32 and image.flags.c_contiguous for image in images)
    for image, pixels in zip(images, (RGB[:, ::-1], RGB, RGB[:, :, :1].repeat(3, 2)), strict=True):
        assert np.array_equal(image, (pixels / 255).astype(np.float32).transpose(2, 0, 1))
    gray = data.image_folder(tmp_path, gray=True)
    assert [image.shape for image in gray] == [(1, 5, 7)] * 3
    luma = RGB @ np.array([299, 587, 114]) / 255000
    np.testing.assert_allclose(gray[1][0], luma, atol=0.6 / 255)
    with pytest.raises(FileNotFoundError, match="no images"):
        data.image_files(tmp_path / "nowhere")


def test_images_of_other_kinds(tmp_path):
    deep = np.array([[0, 1000], [30000, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(data.read_image(tmp_path / "deep.png", gray=True)[0], deep.astype(np.float32) / 65535)
    assert data.read_image(tmp_path / "deep.png").shape == (3, 2, 2)
    alpha = np.dstack([RGB, np.full((5, 7), 9, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.array_equal(data.read_image(tmp_path / "alpha.png").transpose(1, 2, 0) * 255, RGB)
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned by a quarter, clockwise
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(data.read_image(tmp_path / "turned.png").transpose(1, 2, 0) * 255, np.rot90(RGB, -1))
    (tmp_path / "bad.png").write_bytes((tmp_path / "alpha.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"bad\.png: not a readable image") as refused:
        data.read_image(tmp_path / "bad.png")
    assert "\n" not in str(refused.value)


def test_a_folder_per_class(tmp_path):
    for name, count in (("dog", 1), ("cat", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(RGB).save(tmp_path / name / f"{i}.png")
    files, labels, classes = data.class_folders(tmp_path)
    assert classes == ["cat", "dog"] and labels.tolist() == [0, 0, 1]
    assert [path.parent.name for path in files] == ["cat", "cat", "dog"]
    with pytest.raises(FileNotFoundError, match="one per class"):
        data.class_folders(tmp_path / "cat")
    with pytest.raises(FileNotFoundError, match="dog: no such folder"):
        data.class_folders(tmp_path / "none" / "dog")


# --- MNIST and CIFAR-10


def idx(array, code):
    head = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(
    "dtype, code", [("uint8", 8), ("int8", 9), ("int16", 11), ("int32", 12), ("float32", 13), ("float64", 14)]
)
def test_idx_files_of_every_dtype(tmp_path, dtype, code):
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(dtype)
    (tmp_path / "x").write_bytes(idx(array, code))
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(array, code)))
    for name in ("x", "x.gz"):
        loaded = data.read_idx(tmp_path / name)
        assert np.array_equal(loaded, array) and loaded.dtype == array.dtype


def test_damaged_idx_files_give_one_line(tmp_path):
    good = idx(np.arange(6, dtype=np.uint8).reshape(2, 3), 8)
    packed = gzip.compress(good)
    huge = good[:4] + b"\xff" * 8 + good[12:]
    for bad in (b"", good[:3], good[:7], good[:-1], good + b"1", b"PK" + good, packed[:-9], packed[:12], huge):
        (tmp_path / "x").write_bytes(bad)
        with pytest.raises(ValueError, match="x: ") as refused:
            data.read_idx(tmp_path / "x")
        assert "\n" not in str(refused.value)


def test_mnist(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 5), ("t10k", 2)):
        images, labels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images, 8)))
        (tmp_path / f"{part}-labels.idx1-ubyte").write_bytes(idx(labels, 8))
        x, y = data.mnist(tmp_path, train=part == "train")
        assert np.array_equal(x[:, 0], images) and x.shape == (n, 1, 28, 28)
        assert np.array_equal(y, labels) and y.dtype == np.int64
    with pytest.raises(FileNotFoundError, match="train-images"):
        data.mnist(tmp_path / "nowhere")


def test_cifar10_is_read_without_running_its_pickles(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    wanted = []
    for i in range(1, 6):
        batch = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": rng.integers(0, 10, 4).tolist()}
        (folder / f"data_batch_{i}").write_bytes(pickle.dumps({**batch, "filenames": ["a.png"] * 4}, protocol=2))
        wanted.append(batch)
    x, y = data.cifar10(tmp_path)
    assert x.shape == (20, 3, 32, 32) and y.dtype == np.int64
    assert np.array_equal(x[4, 1].ravel(), wanted[1]["data"][0, 1024:2048])
    assert y.tolist() == [label for batch in wanted for label in batch["labels"]]

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_here"),)

    (folder / "test_batch").write_bytes(pickle.dumps({"data": Attack(), "labels": [1]}, protocol=2))
    with pytest.raises(md.WeightsError, match="mkdir"):
        data.cifar10(tmp_path, train=False)
    assert not (tmp_path / "was_here").exists()
