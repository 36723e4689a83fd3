"""Pictures and masks as other programs leave them: stacks, arrays, and masks that number objects."""

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

import tifffile
from PIL import Image

import tasks.__main__ as frame
from minidl.data import read_nifti
from tasks.segment import baselines, data, folder, pairs
from tasks.segment.augment import border_weights
from tasks.segment.numbering import Numbers, judged, numbers_of, renumbered
from tasks.segment.train import Settings, first_pictures
from tasks.stacks import as_pages, read_array
from tests.support.nifti import write_nifti

COUNT, SIDE = 5, 64


def culture(i):
    """A noisy picture of 8 + i bright cells, of which two and two touch, uint8; and the number of each pixel's cell."""
    numbers = np.zeros((SIDE, SIDE), np.uint16)
    for k in range(8 + i):
        y, x = 16 * (k // 4) + 3, 16 * (k % 4) + (2 if k % 2 else 4)
        numbers[y : y + 10, x : x + 14 - k % 2 * 2] = k + 1
    noise = np.random.default_rng(i).integers(0, 50, numbers.shape)
    return (noise + 150 * (numbers > 0)).astype(np.uint8), numbers


def stardist(root):
    """images/ and masks/, a .tif each, as StarDist's example data has them."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(COUNT):
        for name, a in zip(("images", "masks"), culture(i)):
            tifffile.imwrite(root / name / f"{i}.tif", a, compression="zlib")


def cellpose(root, seg=False):
    """NAME.png beside NAME_masks.png, or NAME_seg.npy, with what else Cellpose writes."""
    root.mkdir()
    for i in range(COUNT):
        image, numbers = culture(i)
        Image.fromarray(image).save(root / f"{i}.png")
        if seg:
            content = {"masks": numbers, "outlines": numbers * 0, "filename": f"{i}.png", "chan_choose": [0, 0]}
            np.save(root / f"{i}_seg.npy", {**content, "est_diam": np.float64(17.2), "flows": [None, numbers]})
        else:
            Image.fromarray(numbers).save(root / f"{i}_masks.png")
            tifffile.imwrite(root / f"{i}_flows.tif", np.zeros((SIDE, SIDE), np.uint8))


def arrays(root):
    root.mkdir()
    for i in range(COUNT):
        image, numbers = culture(i)
        np.savez(root / f"{i}.npz", image=image.astype(np.int64), mask=numbers.astype(np.int64))


def pages(root):
    """Two TIFF stacks."""
    for name, k in (("images", 0), ("masks", 1)):
        (root / name).mkdir(parents=True)
        for j, part in enumerate((range(3), range(3, COUNT))):
            stack = np.stack([culture(i)[k] for i in part])
            tifffile.imwrite(root / name / f"{j}.tif", stack, photometric="minisblack")


LAYOUTS = {
    "stardist": stardist,
    "cellpose": cellpose,
    "seg.npy": lambda root: cellpose(root, seg=True),
    "npz": arrays,
    "stacks": pages,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_pictures_and_objects(name, tmp_path):
    LAYOUTS[name](tmp_path / "mine")
    settings = Settings.of({"data": str(tmp_path / "mine"), "patch": 32}).completed()
    assert (settings.masks, settings.border, settings.bits) == ("instances", 10.0, 8 if name == "npz" else 0)
    checkup = pairs.examine(settings.data, patch=32, seed=0, bits=settings.bits, masks=settings.masks)
    assert [f.kind for f in checkup.faults] == ["note"] and "masks number objects, up to" in str(checkup.faults[0])
    dataset = folder.read(checkup, quiet=True)
    wanted = [culture(i) for i in range(COUNT)]
    found = [p for part in (dataset.train, dataset.validation, dataset.test) for p in zip(*vars(part).values())]
    assert len(found) == COUNT and dataset.classes == ["background", "object"] and dataset.channels == 1
    for _, image, labels, apart in found:
        ((_, numbers),) = [pair for pair in wanted if np.allclose(pair[0] / 255, image[0], atol=1e-6)]
        assert np.array_equal(labels, apart > 0) and len(np.unique(apart)) == len(np.unique(numbers))
        assert not (labels[numbers == 0]).any() and (labels == 0).sum() > (numbers == 0).sum()


def test_objects_are_trained_on_and_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(baselines, "METHODS", {k: (f, s[:1]) for k, (f, s) in baselines.METHODS.items()})
    stardist(tmp_path / "mine")
    tiny = ("--base", 2, "--depth", 1, "--patch", 16, "--batch", 1, "--steps", 1, "--out", tmp_path / "run", "--quiet")
    assert frame.main(["segment", "--data", str(tmp_path / "mine"), *map(str, tiny)]) == 0
    assert "mean error of a picture's count" in capsys.readouterr().out
    image = tmp_path / "mine" / "images" / "0.tif"
    use = ("--checkpoint", tmp_path / "run" / "checkpoint.npz", "--image", image, "--out", tmp_path / "use", "--quiet")
    assert frame.main(["segment", *map(str, use)]) == 0
    assert "objects, as connected pieces" in capsys.readouterr().out and (tmp_path / "use" / "0-objects.png").exists()


def test_numbers_of_objects_are_told_from_classes():
    def counts(*ends, single=True):
        return [Numbers(tuple(range(1, n + 1)), n if single else n // 2) for n in ends]

    assert judged(counts(12, 9, 30)) == "instances"
    assert judged(counts(70)) == "instances"
    assert judged(counts(5, 3, 4)) == "unclear"
    assert judged(counts(12, 9, 30, single=False)) == judged(counts(2, 2, 2)) == judged(counts(1, 2, 2)) == "classes"
    assert judged([Numbers((1, 4, 9), 3), Numbers((2, 9), 2), Numbers((255,), 1)]) == judged([]) == "classes"
    mask = np.array([[0, 2, 2], [7, 0, 2], [7, 0, 2], [0, 7, 0]])
    assert numbers_of(mask) == ((2, 7), 2) and numbers_of(np.array([[3, 0, 3]])) == ((3,), 0)
    assert renumbered(mask).tolist() == [[0, 1, 1], [2, 0, 1], [2, 0, 1], [0, 2, 0]]
    assert renumbered(mask[:, 1:2], ignore=7).ravel().tolist() == [1, 0, 0, 0]
    assert renumbered(np.full((1, 2), 5)).tolist() == [[1, 1]]


def test_masks_says_what_the_numbers_are(tmp_path, capsys):
    stardist(tmp_path)
    told = Settings.of({"data": str(tmp_path), "masks": "classes"}).completed()
    assert (told.masks, told.border) == ("classes", None)
    assert Settings.of({"data": str(tmp_path), "border": 5.0}).completed().masks == "instances"
    for argv, text in ((["--masks", "classes"], "--masks is for the masks in a folder"),
                       (["--data", ".", "--masks", "classes", "--border", "3"], "--border is for")):  # fmt: skip
        assert frame.main(["segment", *argv]) == 2 and text in capsys.readouterr().err


def test_pages_of_few_files_are_divided_in_order_and_files_are_not_torn_apart(tmp_path):
    pages(tmp_path)
    found = pairs.pairs(tmp_path, pairs.Checkup(str(tmp_path)))
    assert [str(pair.image)[-5:] for pair in found] == ["age 1", "age 2", "age 3", "age 1", "age 2"]
    assert pairs.divided(found, 0) == ["training"] * 3 + ["validation", "test"]
    many = [pair._replace(image=pair.image._replace(path=f"{k}")) for k in range(4) for pair in found]
    parts = pairs.divided(many, 0)
    assert all(len(set(parts[k : k + COUNT])) == 1 for k in range(0, len(parts), COUNT)) and len(set(parts)) == 3


@pytest.mark.parametrize("change, message", [
    (lambda r: tifffile.imwrite(r / "masks/0.tif", np.zeros((2, SIDE, SIDE), np.uint8), photometric="minisblack"),
     "has 2 pages, the picture 3"),
    (lambda r: np.save(r / "images/2.npy", np.zeros(5)), "2.npy: float64 (5,) is no image: (H, W), pages"),
    (lambda r: np.save(r / "images/2.npy", np.zeros((9, 9, 2))), "has 2 channels; save one"),
    (lambda r: np.save(r / "images/2.npy", {"a": 1}), "no image among them as Cellpose saves it"),
    (lambda r: (r / "images/2.nii").write_bytes(b"no"), "not a NIfTI file"),
])  # fmt: skip
def test_a_stack_that_cannot_be_used_is_named(change, message, tmp_path):
    pages(tmp_path)
    np.save(tmp_path / "masks/2.npy", np.zeros((9, 9), int))
    change(tmp_path)
    faults = [str(fault) for fault in pairs.examine(tmp_path, patch=32, seed=0, masks="instances").faults]
    assert any(fault.startswith("error") and message in fault for fault in faults), faults


def test_a_folder_of_an_unknown_format_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="it holds no files; what can be read is images/ and masks/"):
        pairs.examine(tmp_path, patch=32, seed=0)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(FileNotFoundError, match=r"it holds 1 \.h5; HDF5: read it with h5py"):
        pairs.examine(tmp_path, patch=32, seed=0)
    stardist(tmp_path)
    (tmp_path / "images" / "a.dcm").write_bytes(bytes(128) + b"DICM")
    faults = [str(fault) for fault in pairs.examine(tmp_path, patch=32, seed=0, masks="instances").faults]
    assert f"warning: {tmp_path}/images/a.dcm: left out, as it is DICOM: convert the series with dcm2niix" in faults[0]


def test_as_many_pictures_are_watched_as_have_so_many_pixels():
    part = data.MaskPart(list("abc"), [np.zeros((1, 4, 4))] * 3, [np.zeros((4, 4), np.uint8)] * 3)
    assert [first_pictures(part, most).names for most in (0, 33, 48)] == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_border_weights_look_at_each_cell_alone_and_give_the_bits_of_the_formula():
    from scipy import ndimage

    numbers = renumbered(np.tile(culture(1)[1], (1, 3)) * (np.arange(3 * SIDE) // SIDE != 1))
    d = np.sort([ndimage.distance_transform_edt(numbers != i) for i in np.unique(numbers)[1:]], axis=0)[:2]
    share = (numbers > 0).mean()
    wanted = np.where(numbers > 0, 0.5 / share, 0.5 / (1 - share))
    wanted += (numbers == 0) * 10.0 * np.exp(-(d.sum(axis=0) ** 2) / (2 * 3.0**2))
    np.testing.assert_array_equal(border_weights(numbers, sigma=3.0), wanted.astype(np.float32))


# --- arrays and NIfTI


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_nifti_is_read_in_both_byte_orders(dtype, order, tmp_path):
    a = (np.arange(60) % 50).reshape(3, 4, 5).astype(dtype)
    write_nifti(tmp_path / "a.nii", a, order=order)
    found = read_nifti(tmp_path / "a.nii")
    assert found.dtype == dtype and np.array_equal(found, a)
    write_nifti(tmp_path / "b.nii", a[None], 0.5, -3, order)
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii"), (a * 0.5 - 3).astype(np.float32))
    pixels = as_pages(tmp_path / "b.nii")
    assert pixels.shape == (3, 4, 5, 1) and pixels.min() == 0 and pixels.max() == 1


def test_nifti_as_nibabel_writes_it(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="compares with nibabel: pip install nibabel")
    a = np.random.default_rng(0).normal(size=(4, 5, 6))
    for name, make in (("a.nii.gz", nibabel.Nifti1Image), ("b.nii", nibabel.Nifti2Image)):
        image = make(a, np.eye(4))
        image.set_data_dtype("int16")
        nibabel.save(image, tmp_path / name)
        np.testing.assert_allclose(read_nifti(tmp_path / name).T, nibabel.load(tmp_path / name).dataobj, rtol=1e-6)


@pytest.mark.parametrize("spoil, message", [
    (lambda b: b[:-1], "59 are there|only 59"),
    (lambda b: b[:200], "not a NIfTI file"),
    (lambda b: b[:344] + b"ni1\0" + b[348:], "voxels are in another file"),
    (lambda b: b[:70] + b"\x80\0" + b[72:], "NIfTI's type 128"),
    (lambda b: b[:42] + b"\xff\xff" + b[44:], "declares 3 axes"),
])  # fmt: skip
def test_damaged_nifti_is_one_line(spoil, message, tmp_path):
    write_nifti(tmp_path / "a.nii", np.zeros((3, 4, 5), np.uint8))
    (tmp_path / "a.nii").write_bytes(spoil((tmp_path / "a.nii").read_bytes()))
    with pytest.raises(ValueError) as caught:
        read_nifti(tmp_path / "a.nii")
    assert any(part in str(caught.value) for part in message.split("|")) and "\n" not in str(caught.value)


def test_a_pickle_in_an_array_is_never_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'run')!r}, 'w')",)

    np.save(tmp_path / "a_seg.npy", {"masks": np.ones((2, 2), np.uint16), "other": Evil()})
    with pytest.raises(ValueError, match=r"the file asks for 'builtins\.exec'"):
        read_array(tmp_path / "a_seg.npy", "mask")
    assert not (tmp_path / "run").exists()
