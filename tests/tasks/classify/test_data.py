"""The data of the classification task: splits, shifts, files in each format."""

import gzip
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

from PIL import Image

from tasks.classify import data


@given(
    st.lists(st.integers(2, 30), min_size=1, max_size=5),
    st.floats(0.05, 0.95),
)
def test_each_class_is_split_alike(counts, share):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    train_part, test_part = data.stratified(labels, share)
    assert sorted([*train_part, *test_part]) == list(range(len(labels)))
    for c, n in enumerate(counts):
        trained, tested = (int((labels[part] == c).sum()) for part in (train_part, test_part))
        assert trained >= 1 and tested >= 1
        assert abs(trained - share * n) <= 1 or 1 in (trained, tested)


def test_the_digits_and_their_split_are_the_same_every_time():
    first, second = data.digits(), data.read(None)
    assert first.train.images.shape == (1347, 1, 8, 8) and first.test.images.shape == (450, 1, 8, 8)
    assert np.array_equal(first.test.images, second.test.images)
    assert first.train.images.max() == 255 and first.train.images.dtype == np.uint8
    seen = {image.tobytes() for image in first.train.images}
    assert not any(image.tobytes() in seen for image in first.test.images)


def test_shifts_move_each_picture_by_its_own_and_bring_in_black():
    images = np.random.default_rng(0).integers(1, 256, (300, 2, 5, 6), dtype=np.uint8)
    moved = data.shifted(images, 2, np.random.default_rng(1))
    seen = set()
    for image, result in zip(images, moved):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                wanted = np.zeros_like(image)
                for i in range(5):
                    for j in range(6):
                        if 0 <= i - down < 5 and 0 <= j - right < 6:
                            wanted[:, i, j] = image[:, i - down, j - right]
                if np.array_equal(wanted, result):
                    matches.append((down, right))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25


def test_batches_depend_on_seed_and_step_only_and_keep_labels_with_pictures():
    labels = np.arange(20)
    part = data.Part((labels * 10).astype(np.uint8)[:, None, None, None] + np.zeros((1, 1, 4, 4), np.uint8), labels)
    make = {"shift": 0, "mirror": True}
    batches = data.PictureBatches(part, 6, seed=3, **make)
    wanted = [batches(step) for step in range(5)][4]
    again = data.PictureBatches(part, 6, seed=3, **make)(4)
    assert all(np.array_equal(a, b) for a, b in zip(wanted, again))
    assert not np.array_equal(wanted[1], data.PictureBatches(part, 6, seed=4, **make)(4)[1])
    images, chosen = wanted
    np.testing.assert_allclose((images[:, 0, 0, 0] * 0.226 + 0.449) * 255, 10 * chosen, atol=1e-3)
    assert data.PictureBatches(part, 100, seed=0, **make)(0)[0].shape == (20, 1, 4, 4)  # no more than there are


def test_mirrored_pictures_are_turned_left_to_right_half_of_the_time():
    row = np.arange(0, 80, 10, dtype=np.uint8)
    part = data.Part(np.broadcast_to(row, (400, 1, 8, 8)).copy(), np.zeros(400, int))
    images, _ = data.PictureBatches(part, 400, shift=0, mirror=True, seed=0)(0)
    rising = images[:, 0, 0, 0] < images[:, 0, 0, -1]
    assert abs(rising.mean() - 0.5) < 4 * 0.5 / 20
    assert np.array_equal(images[rising][0, 0, 0], images[~rising][0, 0, 0, ::-1])


def test_colours_are_standardised_as_torchvision_does():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (images / 255 - mean[:, None, None]) / std[:, None, None]
    result = data.like_imagenet(images)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, wanted, atol=1e-6)


def triangle(pixels, size):
    """Rows (n, ...) resampled to `size` by a triangle as wide as the larger of a pixel before and a pixel after."""
    scale = len(pixels) / size
    reach = max(scale, 1)
    result = np.zeros((size, *pixels.shape[1:]))
    for o in range(size):
        weights = [max(0, 1 - abs((i + 0.5) - (o + 0.5) * scale) / reach) for i in range(len(pixels))]
        result[o] = np.tensordot(weights, pixels, 1) / sum(weights)
    return result


@pytest.mark.parametrize("shape, short, side", [((3, 20, 31), 12, 8), ((1, 30, 17), 16, 16), ((3, 9, 9), 16, 11)])
def test_pictures_are_resized_and_cropped_as_torchvision_does(shape, short, side):
    levels = np.random.default_rng(0).integers(0, 256, shape)
    _, height, width = shape
    size = [int(short * n / min(height, width)) for n in (height, width)]
    whole = triangle(triangle(levels.transpose(1, 2, 0).astype(float), size[0]).transpose(1, 0, 2), size[1])
    top, left = (round((n - side) / 2) for n in size)
    wanted = whole.transpose(2, 1, 0)[:, top : top + side, left : left + side]
    result = data.square((levels / 255).astype(np.float32), short, side)
    assert result.shape == (shape[0], side, side) and result.dtype == np.uint8
    assert np.abs(result - wanted).max() <= 1.01  # Pillow rounds after each of the two passes


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with gzip.open(path, "wb") as file:
        file.write(head + array.astype(np.uint8).tobytes())


def test_mnist_is_found_by_its_files(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 7), ("t10k", 3)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(n))
    found = data.read(str(tmp_path))
    assert found.train.images.shape == (7, 1, 28, 28) and found.test.labels.tolist() == [0, 1, 2]
    assert data.read(str(tmp_path), 14).test.images.shape == (3, 1, 14, 14)


def test_cifar10_is_found_by_its_files(tmp_path):
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        content = {"data": np.full((2, 3072), i, np.uint8), "labels": [i, 9]}
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    found = data.read(str(tmp_path))
    assert found.train.images.shape == (10, 3, 32, 32) and found.test.labels.tolist() == [5, 9]
    assert found.classes[9] == "truck" and len(found.classes) == 10


def photographs(folder, counts, side=20):
    """Pictures of two kinds: red ones and blue ones, with noise."""
    rng = np.random.default_rng(len(str(folder)))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (side, side + 5 * i, 3), dtype=np.uint8)
            pixels[..., 0 if name == "red" else 2] += 120
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_small_gray_pictures_in_folders_keep_their_size_and_one_channel(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in "01":
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
                Image.fromarray(pixels).convert("L" if i else "RGB").save(tmp_path / part / name / f"{i}.png")
    found = data.read(str(tmp_path))
    assert found.train.images.shape == (8, 1, 28, 28) and found.test.images.shape == (4, 1, 28, 28)
    assert np.array_equal(found.test.images[-1, 0], pixels)
    assert data.read(str(tmp_path), 20).train.images.shape == (8, 1, 20, 20)
    red = pixels[..., None] * np.array([1, 0, 0], np.uint8)
    Image.fromarray(red[:, :27]).save(tmp_path / "test" / "1" / "0.png")
    assert data.read(str(tmp_path)).train.images.shape == (8, 3, 64, 64)


@pytest.mark.parametrize("names, colours", [
    (("x_train", "y_train", "x_test", "y_test"), ()),
    (("train_images", "train_labels", "test_images", "test_labels", "val_images"), (3,)),
])  # fmt: skip
def test_arrays_as_keras_and_medmnist_have_them(names, colours, tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (n, 28, 28, *colours), dtype=np.uint8) for n in (5, 3)]
    labels = [np.arange(n)[:, None] if colours else np.arange(n) for n in (5, 3)]
    arrays = dict(zip(names, (pictures[0], labels[0], pictures[1], labels[1], pictures[1])))
    np.savez(tmp_path / "a.npz", **arrays)
    found = data.read(str(tmp_path / "a.npz"))
    assert len(found.classes) == 5 and found.test.labels.tolist() == [0, 1, 2]
    assert found.train.images.shape == (5, 3 if colours else 1, 28, 28)
    assert np.array_equal(np.squeeze(found.test.images.transpose(0, 2, 3, 1)), pictures[1])
    assert data.read(str(tmp_path / "a.npz"), 14).test.images.shape[2:] == (14, 14)
    for name, value, message in (
        (names[0], pictures[0][:, :20], "pictures must be uint8"), (names[0], pictures[0] / 255, "must be uint8"),
        (names[1], labels[0] - 1, "need a class number from 0"), (names[3], labels[1][:2], "3 pictures need"),
    ):  # fmt: skip
        np.savez(tmp_path / "b.npz", **{**arrays, name: value})
        with pytest.raises(ValueError, match=message):
            data.read(str(tmp_path / "b.npz"))


def test_a_file_of_another_kind_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match="it has images; needed are x_train, y_train, x_test, y_test or train_images"):
        data.read(str(tmp_path / "a.npz"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1....")
    with pytest.raises(ValueError, match=r"a\.parquet: Parquet: read it with pandas"):
        data.read(str(tmp_path / "a.parquet"))


def test_of_many_pictures_the_same_sample_is_looked_at(tmp_path):
    part = data.Part(np.arange(50)[:, None, None, None], np.arange(50))
    assert data.sampled(part, 50) is part
    few, again = data.sampled(part, 7), data.sampled(part, 7)
    assert len(set(few.labels)) == 7 and np.array_equal(few.labels, again.labels)
    assert np.array_equal(few.images[:, 0, 0, 0], few.labels)


def test_a_folder_per_class_is_split_or_has_its_own_test_part(tmp_path):
    found = data.read(str(photographs(tmp_path / "one", {"red": 4, "blue": 8})), 16)
    assert found.classes == ["blue", "red"] and found.train.images.shape == (9, 3, 16, 16)
    assert np.bincount(found.test.labels).tolist() == [2, 1]
    photographs(tmp_path / "two" / "train", {"red": 3, "blue": 2})
    photographs(tmp_path / "two" / "val", {"red": 1, "blue": 2})
    found = data.read(str(tmp_path / "two"), 16)
    assert (len(found.train.labels), len(found.test.labels)) == (5, 3)
    assert (found.test.images[found.test.labels == 1].mean(axis=(2, 3)).argmax(axis=1) == 0).all()  # red is red
    (tmp_path / "two" / "val" / "blue").rename(tmp_path / "two" / "val" / "green")
    with pytest.raises(ValueError, match="train and val have different classes: blue, green"):
        data.read(str(tmp_path / "two"))
