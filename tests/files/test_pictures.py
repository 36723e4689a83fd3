"""Pictures of every depth and orientation, and folders with what systems leave in them."""

import struct
import zlib

import numpy as np
import pytest

from minidl import data
from minidl.files import pixels

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
rng = np.random.default_rng(0)
SHARES = rng.random((8, 8)).astype(np.float32)
BYTES = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def tiff(path, pixels, **options):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", **options)
    return path


# --- ranges


@pytest.mark.parametrize("array, bits, white", [
    (SHARES, None, 1),
    (SHARES.astype(np.float64), None, 1),
    (SHARES.astype(np.float16), None, 1),
    (np.dstack([SHARES] * 3), None, 1),
    (SHARES * 4095, None, 4095),
    (SHARES * 255, None, 255),
    (SHARES * 4095, 14, 2**14 - 1),
    ((SHARES * 1e6).astype(np.int32), None, 2**20 - 1),
    ((SHARES * 4095).astype(np.int32), None, 65535),
    ((SHARES * 4095).astype(np.int16), 12, 4095),
    ((SHARES * 4095).astype(np.uint16), None, 65535),
    ((SHARES * 4095).astype(np.uint16), 12, 4095),
    ((SHARES * 4095).astype(np.uint32), 12, 4095),
    (np.dstack([SHARES * 4095] * 3).astype(np.uint16), 12, 4095),
    ((SHARES * 255).astype(np.uint8), 12, 255),
])  # fmt: skip
@pytest.mark.parametrize("order", "<>")
def test_white_is_what_the_rule_says(tmp_path, array, bits, white, order):
    path = tiff(tmp_path / "x.tif", array, byteorder=order, compression="zlib" if order == ">" else None)
    image = data.read_image(path, gray=True, bits=bits)[0]
    first = array.astype(np.float32).reshape(8, 8, -1)[..., 0]
    np.testing.assert_allclose(image, first / np.float32(white), rtol=1e-6, atol=1e-7)


def test_a_png_of_colours_keeps_sixteen_bits(tmp_path):
    """The rows have each filter that is vectors: none, sub, up."""
    for count, kind in ((1, 0), (2, 4), (3, 2), (4, 6)):
        levels = rng.integers(0, 65536, (6, 9, count), dtype=np.uint16)
        rows, above = b"", np.zeros(18 * count, np.uint8)
        for i, row in enumerate(levels.astype(">u2").reshape(6, -1).view(np.uint8)):
            left = np.concatenate([np.zeros(2 * count, np.uint8), row[: -2 * count]])
            rows += bytes([i % 3]) + (row - (0, left, above)[i % 3]).astype(np.uint8).tobytes()
            above = row
        head = struct.pack(">2I5B", 9, 6, 16, kind, 0, 0, 0)
        chunks = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
        framed = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
        (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
        values, alpha, _ = pixels.read_pixels(tmp_path / "x.png")
        assert np.array_equal(values if alpha is None else np.dstack([values, alpha]), levels)


def test_the_bits_of_a_data_set_are_those_of_its_brightest_pixel(tmp_path):
    dark, bright = np.full((2, 2), 100, np.uint16), np.full((2, 2), 4000, np.uint16)
    save(tmp_path / "a.png", dark), save(tmp_path / "b.png", bright), save(tmp_path / "c.png", BYTES)
    files = data.image_files(tmp_path)
    assert data.bit_depth(files) == 12 and data.bit_depth(files[:1]) == 8 and data.bit_depth(files[2:]) == 0
    images = data.image_folder(tmp_path, gray=True)
    assert [image[0, 0, 0] * 4095 for image in images[:2]] == pytest.approx([100, 4000])
    tiff(tmp_path / "d.tif", SHARES)
    assert data.bit_depth([tmp_path / "d.tif"]) == 0
    with pytest.raises(ValueError, match=r"integers of more than 8 bits \(.*a.png\) and floats \(.*d.tif\)"):
        data.image_folder(tmp_path)
    (tmp_path / "e.tif").write_bytes(b"II*\0")
    assert data.bit_depth([tmp_path / "e.tif", tmp_path / "none.png", *files[:2]]) == 12


@pytest.mark.parametrize("array, options, message", [
    (SHARES * 1.5, {}, r"floats up to 1.4\d+, neither shares of 1 nor counts"),
    (SHARES - 0.5, {}, "pixels from -0.49.* but black is 0"),
    (np.array([[-1024, 3071]], np.int16), {}, "from -1024 to 3071, but black is 0: add 1024"),
    (np.array([[0, np.nan]], np.float32), {}, "no finite numbers"),
    (np.array([[0, 4096]], np.uint16), {"bits": 12}, "a pixel of 4096 needs 13 bits; 12 end at 4095"),
])  # fmt: skip
def test_what_has_no_place_between_black_and_white_is_refused(tmp_path, array, options, message):
    with pytest.raises(ValueError, match=message):
        data.read_image(tiff(tmp_path / "x.tif", array), **options)


# --- orientation


@pytest.mark.parametrize("array", [BYTES[..., 0], BYTES, BYTES[..., :3], BYTES[..., 0].astype(np.uint16) * 9,
                                   BYTES[..., :3].astype(np.uint16) * 9, BYTES[..., 0].astype(np.float64)])  # fmt: skip
def test_a_turned_tiff_is_turned_once(tmp_path, array):
    shown = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: np.rot90(np.fliplr(a)),
             6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(np.fliplr(a), -1), 8: np.rot90}  # fmt: skip
    for turn in range(1, 9):
        path = tiff(tmp_path / "x.tif", array, extratags=[(pixels.ORIENTATION, "H", 1, turn, True)])
        for upright in (True, False):
            wanted = shown.get(turn if upright else 1, lambda a: a)(array.reshape(5, 7, -1))
            values, alpha, found = pixels.read_pixels(path, upright=upright)
            assert found == turn
            assert np.array_equal(values if alpha is None else np.dstack([values, alpha]), wanted)
            assert pixels.image_size(path, upright=upright) == wanted.shape[:2]


def test_other_files_are_read_upright_or_as_they_are_stored(tmp_path):
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 6
    path = save(tmp_path / "x.png", BYTES[..., :3], exif=exif)
    assert np.array_equal(pixels.read_pixels(path).values, np.rot90(BYTES[..., :3], -1))
    assert data.read_image(path, upright=False).shape == (3, 5, 7) and data.read_image(path).shape == (3, 7, 5)
    assert (pixels.image_size(path), pixels.image_size(path, upright=False)) == ((7, 5), (5, 7))


def test_a_damaged_tag_beside_the_orientation_does_no_harm(tmp_path):
    raw = save(tmp_path / "x.jpg", BYTES[..., :3]).read_bytes()

    def entry(tag, kind, value):
        return struct.pack("<HHI", tag, kind, 1) + value

    entries = entry(pixels.ORIENTATION, 3, b"\6\0\0\0") + entry(0x100, 5, struct.pack("<I", 38))  # a width of 12 / 0
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<3I", 0, 12, 0)
    (tmp_path / "x.jpg").write_bytes(raw[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + raw[2:])
    assert data.read_image(tmp_path / "x.jpg").shape == (3, 7, 5)
    (tmp_path / "x.jpg").write_bytes(raw[:2] + b"\xff\xe1\0\x0aExif\0\0II" + raw[2:])
    assert data.read_image(tmp_path / "x.jpg").shape == (3, 5, 7)


# --- what is no data


def test_copies_that_systems_keep_are_no_data(tmp_path):
    root = tmp_path / ".cache" / "set"  # where the data lie is not asked
    for name in ("cat/0.png", "dog/0.png"):
        save(root / name, BYTES)
    for name in ("cat/.ipynb_checkpoints/0-checkpoint.png", "cat/@eaDir/0.png", "__MACOSX/cat/0.png", ".thumbs/1.png"):
        save(root / name, BYTES)
    for name in ("cat/._0.png", "__MACOSX/cat/._0.png"):
        (root / name).write_bytes(b"\0\5\26\7" + b"\0" * 60)
    files, labels, classes = data.class_folders(root)
    assert [str(path.relative_to(root)) for path in files] == ["cat/0.png", "dog/0.png"]
    assert classes == ["cat", "dog"] and labels.tolist() == [0, 1]
    assert data.image_files(root) == files and len(data.image_folder(root)) == 2


def idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def mnist_at(images, labels, value=7):
    idx(images, np.full((3, 28, 28), value, np.uint8))
    idx(labels, np.arange(3, dtype=np.uint8))


def test_the_place_of_mnist(tmp_path):
    kaggle, both, apart = (tmp_path / name for name in ("kaggle", "both", "apart"))
    mnist_at(kaggle / IMAGES / IMAGES, kaggle / LABELS / LABELS)
    idx(kaggle / "train-images.idx3-ubyte", np.full((3, 28, 28), 7, np.uint8))  # Kaggle's archive has both
    (kaggle / "__MACOSX").mkdir()
    (kaggle / "__MACOSX" / f"._{IMAGES}").write_bytes(b"no")
    assert data.mnist(kaggle)[0].max() == 7
    assert data.read_idx(kaggle / IMAGES / IMAGES).shape == (3, 28, 28)
    for name, value in (("FashionMNIST", 1), ("MNIST", 2), ("KMNIST", 3)):
        mnist_at(both / name / "raw" / IMAGES, both / name / "raw" / LABELS, value)
    assert data.mnist(both)[0].max() == 2 and data.mnist(both / "KMNIST")[0].max() == 3
    (both / "MNIST").rename(both / "other")
    with pytest.raises(ValueError, match=r"more than one data set, in .*FashionMNIST/raw, .*KMNIST/raw, .*other/raw"):
        data.mnist(both)
    mnist_at(apart / "images" / IMAGES, apart / "labels" / LABELS)
    assert data.mnist(apart)[1].tolist() == [0, 1, 2]
    (apart / "labels" / LABELS).unlink()
    with pytest.raises(FileNotFoundError, match="no file train-labels"):
        data.mnist(apart)
