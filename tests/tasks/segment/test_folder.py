"""Training on a user's folder: each fault is named, and what passes is trained on."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("PIL")

from PIL import Image

import tasks.__main__ as frame
from tasks.segment import baselines, data, folder, pairs

TINY = ("--base", 4, "--depth", 2, "--patch", 32, "--batch", 2, "--steps", 4)


def run(*argv):
    """The command, in this process."""
    return frame.main(["segment", *map(str, argv)])


@pytest.fixture
def quick(monkeypatch):
    """Few settings for the classical methods."""
    few = {name: (f, settings[:: len(settings) // 6]) for name, (f, settings) in baselines.METHODS.items()}
    monkeypatch.setattr(baselines, "METHODS", few)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def disc(i, side=40):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - side / 2 - i, x - side / 2 + i) < side / 4


def picture(i, side=40):
    noise = np.random.default_rng(i).integers(0, 60, (side, side))
    return (noise + 150 * disc(i, side)).astype(np.uint8)


@pytest.fixture
def good(tmp_path):
    """Six gray pictures of a disc, masks of 0 and 255."""
    for i in range(6):
        write(tmp_path / "images" / f"{i}.png", picture(i))
        write(tmp_path / "masks" / f"{i}.png", (disc(i) * 255).astype(np.uint8))
    return tmp_path


def examine(root, **options):
    return pairs.examine(root, **{"patch": 32, "seed": 0, **options})


def test_a_good_folder_has_notes_only_and_is_mapped(good):
    checkup = examine(good)
    assert [f.kind for f in checkup.faults] == ["note"] and "255 is taken for class 1" in str(checkup.faults[0])
    assert checkup.table == {0: 0, 255: 1} and checkup.gray
    assert sorted(pair.part for pair in checkup.pairs) == ["test", *["training"] * 4, "validation"]
    dataset = folder.read(checkup, quiet=True)
    assert dataset.classes == ["background", "object"] and dataset.channels == 1
    assert [len(p.names) for p in (dataset.train, dataset.validation, dataset.test)] == [4, 1, 1]
    for part in (dataset.train, dataset.test):
        for name, labels in zip(part.names, part.labels):
            assert np.array_equal(labels, disc(int(re.search(r"(\d)\.png", name)[1])))


def test_the_split_is_drawn_by_the_seed_and_leaves_nothing_out():
    assert pairs.split(20, 0) == pairs.split(20, 0) != pairs.split(20, 1)
    for n in (3, 4, 7, 20, 100):
        parts = pairs.split(n, 5)
        assert len(parts) == n and all(parts.count(name) >= 1 for name in pairs.PARTS)
    assert [pairs.split(100, 0).count(name) for name in pairs.PARTS] == [70, 15, 15]


def gray(i):
    return (disc(i) * 255).astype(np.uint8)


def stray(i):
    mask = gray(i)
    mask[0, :3] = 77
    return mask


FAULTS = {
    "mask missing": (lambda r: (r / "masks/2.png").unlink(), "error", "images/2.png", "has no mask"),
    "picture missing": (lambda r: (r / "images/2.png").unlink(), "warning", "masks/2.png", "has no picture"),
    "sizes differ": (
        lambda r: write(r / "masks/2.png", gray(2)[:, :39]),
        "error", "masks/2.png", "39x40, the picture 2.png is 40x40"),
    "unreadable picture": (
        lambda r: (r / "images/2.png").write_text("no"), "error", "images/2.png", "not a readable image"),
    "unreadable mask": (
        lambda r: (r / "masks/2.png").write_text("no"), "error", "masks/2.png", "not a readable image"),
    "truncated picture": (
        lambda r: (r / "images/2.png").write_bytes((r / "images/2.png").read_bytes()[:400]),
        "error", "images/2.png", "not a readable image"),
    "unexpected value": (
        lambda r: write(r / "masks/2.png", stray(2)),
        "error", "masks/2.png", "unexpected value 77; most masks have 0, 255"),
    "shades": (
        lambda r: write(r / "masks/2.png", picture(2)), "error", "masks/2.png", "gray values are no classes"),
    "colour mask": (
        lambda r: write(r / "masks/2.png", np.stack([gray(2), 0 * gray(2), 0 * gray(2)], -1)),
        "error", "masks/2.png", "a colour mask (2 colours)"),
    "empty mask": (lambda r: write(r / "masks/2.png", 0 * gray(2)), "warning", "masks/2.png", "empty"),
    "all foreground": (
        lambda r: write(r / "masks/2.png", 0 * gray(2) + 255), "warning", "masks/2.png", "all foreground"),
    "small picture": (
        lambda r: (write(r / "images/2.png", picture(2, 20)), write(r / "masks/2.png", gray(2)[:20, :20])),
        "error", "images/2.png", "20x20 is smaller than a patch of 32x32; use --patch 16"),
    "blank picture": (
        lambda r: write(r / "images/2.png", 0 * gray(2)), "warning", "images/2.png", "every pixel is 0"),
    "no image": (
        lambda r: (r / "images/notes.txt").write_text("no"), "warning", "images/notes.txt", "no image by its ending"),
    "two of one name": (
        lambda r: write(r / "images/2.bmp", picture(9)), "error", "images/2.png", "has the name of 2.bmp"),
    "zero and one among 0 and 255": (
        lambda r: write(r / "masks/2.png", gray(2) // 255), "error", "masks/2.png", "unexpected value 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_line_that_names_the_file(name, good):
    spoil, kind, file, message = FAULTS[name]
    spoil(good)
    lines = [str(f) for f in examine(good).faults if f.kind != "note"]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{kind}: {good / file}: ") and message in lines[0] and "\n" not in lines[0]


def test_a_jpeg_mask_is_reported(good):
    (good / "masks/2.png").unlink()
    write(good / "masks/2.jpg", gray(2), quality=60)
    (fault,) = [f for f in examine(good).faults if f.kind == "error"]
    assert "masks/2.jpg: " in fault.line and "JPEG" in fault.line


def test_the_same_picture_in_two_parts_is_a_leak_and_in_one_part_a_warning(good):
    parts = {pair.image.name: pair.part for pair in examine(good).pairs}
    trained = [name for name in sorted(parts) if parts[name] == "training"]
    tested = next(name for name in parts if parts[name] == "test")
    original = (good / "images" / tested).read_bytes()
    (good / "images" / tested).write_bytes((good / "images" / trained[0]).read_bytes())
    (leak,) = [f for f in examine(good).faults if f.kind == "error"]
    assert "a leak" in leak.line and {trained[0], tested} <= set(re.findall(r"\d\.png", str(leak)))
    (good / "images" / tested).write_bytes(original)
    (good / "images" / trained[1]).write_bytes((good / "images" / trained[0]).read_bytes())
    (twice,) = [f for f in examine(good).faults if f.kind != "note"]
    assert twice.kind == "warning" and f"the same picture as {trained[0]}" in twice.line


def test_nothing_but_empty_masks_is_an_error(good):
    for i in range(6):
        write(good / "masks" / f"{i}.png", 0 * gray(i))
    checkup = examine(good)
    assert "all masks are empty" in str(checkup.faults[-1]) and checkup.count("warning") == 6


def several(root, **special):
    """Masks of three classes; `special` replaces the value of the first pixel in the masks of these names."""
    for i in range(6):
        mask = disc(i).astype(np.uint8)
        mask[30:36, 30:36] = 2
        mask[0, 0] = special.get(f"m{i}", 0)
        write(root / "masks" / f"{i}.png", mask)


def test_with_several_classes_255_is_unknown_and_so_is_what_ignore_names(good):
    several(good, m1=255, m4=255)
    checkup = examine(good)
    assert [f.kind for f in checkup.faults] == ["note"] and "taken for unknown" in checkup.faults[0].line
    assert checkup.classes == 3 and checkup.table == {0: 0, 1: 1, 2: 2, 255: data.IGNORED}
    several(good, **{f"m{i}": 255 for i in range(6)})  # as in PASCAL VOC: in every mask
    assert examine(good).table[255] == data.IGNORED
    several(good, m1=9)
    assert examine(good, ignore=9).table[9] == data.IGNORED and examine(good, ignore=9).classes == 3
    assert np.array_equal(folder.classes(np.array([[0, 2, 9]]), {0: 0, 1: 1, 2: 2, 9: 255}), [[0, 2, 255]])


def test_masks_of_0_1_beside_masks_of_0_255_are_an_error(good):
    for i in range(6):
        write(good / "masks" / f"{i}.png", gray(i) // (255 if i else 1))
    (fault,) = [f for f in examine(good).faults if f.kind == "error"]
    assert "masks/0.png: " in fault.line and "of 0 and 255, others are of 0 and 1" in fault.line


def test_a_palette_and_an_alpha_channel_are_understood(good):
    palette = Image.fromarray(gray(1) // 255).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    palette.save(good / "masks" / "p.png")
    assert set(np.unique(pairs.read_values(good / "masks" / "p.png"))) == {0, 1}
    Image.merge("LA", [Image.fromarray(gray(1)), Image.fromarray(gray(2))]).save(good / "masks" / "a.png")
    assert np.array_equal(pairs.read_values(good / "masks" / "a.png"), gray(1))


def test_check_prints_everything_and_fails_on_errors_only(good, capsys):
    assert run("--data", good, "--patch", 32, "--check", "--quiet") == 0
    output = capsys.readouterr().out
    assert "6 pictures with masks (4 training, 1 validation, 1 test), 2 classes; 0 errors, 0 warnings" in output
    FAULTS["mask missing"][0](good)
    assert run("--data", good, "--patch", 32, "--check", "--quiet") == 1
    captured = capsys.readouterr()
    assert "error: " in captured.out and "mend the error above" in captured.err
    assert not (good / "runs").exists()


@pytest.mark.parametrize("kind", ["two classes", "three classes, colour"])
def test_a_folder_is_trained_on(kind, good, tmp_path, quick, capsys):
    if kind != "two classes":
        several(good, m0=255, m1=255)
        for i in range(6):
            write(good / "images" / f"{i}.png", np.stack([picture(i), picture(i + 9), picture(i)], -1))
    out = tmp_path / "out"
    assert run("--data", good, *TINY, "--out", out, "--quiet") == 0
    output = capsys.readouterr().out
    assert "validation part" in output and ("Otsu" in output) == (kind == "two classes")
    scores = json.loads((out / "scores.json").read_text())["ours"]
    assert len(scores["dice"]) == (2 if kind == "two classes" else 3)
    assert np.sum(scores["confusion"]) == 40 * 40 - (0 if kind == "two classes" else _unknown(good))
    assert run("--checkpoint", out / "checkpoint.npz", "--image", good / "images/0.png", "--out", out, "--quiet") == 0
    with Image.open(out / "0-mask.png") as file:
        assert file.size == (40, 40)


def _unknown(root):
    checkup = examine(root)
    (test,) = [pair.mask for pair in checkup.pairs if pair.part == "test"]
    return int((pairs.read_values(test) == 255).sum())


def test_errors_in_a_folder_stop_training_before_it_begins(good, tmp_path, capsys):
    FAULTS["sizes differ"][0](good)
    assert run("--data", good, *TINY, "--out", tmp_path / "out", "--quiet") == 1
    error = capsys.readouterr().err
    assert "masks/2.png" in error and not (tmp_path / "out" / "checkpoint.npz").exists()


@pytest.mark.parametrize("sides", [(40, 40), (40, 48)])
def test_a_picture_that_exif_turns_says_which_pixels_its_mask_is_on(good, sides):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 255, sides, dtype=np.uint8)
    mask = np.zeros(sides, np.uint8)
    mask[:9, :20] = 255
    write(good / "images" / "0.png", pixels, exif=exif)
    write(good / "masks" / "0.png", mask)
    shown, stored = examine(good), examine(good, as_stored=True)
    lines = [fault for fault in map(str, shown.faults) if "--as-stored" in fault]
    assert len(lines) == 1 and lines[0].startswith("warning" if sides[0] == sides[1] else "error")
    assert all(fault.kind != "error" for fault in stored.faults)
    assert any("it turns without --as-stored" in str(fault) for fault in stored.faults)
    read = folder.read(stored, quiet=True)
    images = {name: image for p in (read.train, read.validation, read.test) for name, image in zip(p.names, p.images)}
    np.testing.assert_allclose(images[str(good / "images" / "0.png")][0] * 255, pixels, atol=1e-4)
