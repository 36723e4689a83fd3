"""Annotations as people and programs leave them: names, sizes, turned photos, broken files, records without sense."""

import json
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

import tasks.__main__ as frame
from tasks.detect import train
from tasks.detect.cli import Detect
from tasks.detect.data.annotations import examine
from tasks.detect.data.coco import read_coco
from tasks.detect.data.named import PictureFiles
from tasks.detect.data.own import Own, Source
from tasks.detect.data.voc import read_voc
from tasks.detect.instances import settings as instances
from tests.support.annotations import changed, coco

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def save(path, pixels=PIXELS, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def lines(catalogue):
    return [str(fault) for fault in examine(catalogue)]


@pytest.mark.parametrize("name, size", [
    ("cell_1.jpg", "60 40"), ("cell_1", "60.0 40.0"), ("CELL_1.JPG", "0 0"), ("cell_1.png", "60 40"),
    ("IMG_2041.JPG", ""), (r"C:\photos\cell_1.jpg", "60 40"), ("", "60 40"),
])  # fmt: skip
def test_voc_finds_the_picture(tmp_path, name, size):
    save(tmp_path / "JPEGImages" / "cell_1.jpg")
    (tmp_path / "JPEGImages" / "._cell_1.jpg").write_bytes(b"no")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "._cell_1.xml").write_bytes(b"no")
    sides = "<size><width>{}</width><height>{}</height></size>".format(*size.split()) if size else ""
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (tmp_path / "Annotations" / "cell_1.xml").write_text(
        f"<annotation><filename>{name}</filename>{sides}<object><name>x</name>{box}</object></annotation>"
    )
    catalogue = read_voc(tmp_path)
    assert lines(catalogue) == [] and catalogue[0][0].shape == (3, 40, 60)


def test_names_that_fit_two_files_or_none_find_no_file(tmp_path):
    for name in ("a.jpg", "a.png", "sub/B.Png", "x.y.png"):
        save(tmp_path / name)
    files = PictureFiles(tmp_path)
    for asked, found in (("a.jpg", "a.jpg"), ("A.PNG", "a.png"), ("sub\\b", "sub/B.Png"), ("x.y", "x.y.png")):
        assert files.find(asked) == tmp_path / found
    assert files.find("a") == tmp_path / "a" and files.find("c.png", "d") == tmp_path / "c.png"
    assert files.find("c.png", "B.png", "x.y.jpg") == tmp_path / "x.y.png"


@pytest.fixture
def one(tmp_path):
    """COCO annotations of a picture; what is given replaces entries of the object."""

    def read(image="a.png", **entries):
        content = {
            "images": [{"id": 1, "file_name": image}],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 30, 24], **entries}],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        return read_coco(tmp_path / "a.json", tmp_path)

    save(tmp_path / "a.png")
    return read


def test_the_check_decodes_every_picture(one, tmp_path):
    raw = save(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[: len(raw) * 2 // 3])
    (line,) = lines(one("a.jpg"))
    assert line.startswith("error: a.json, images[0] (a.jpg): ") and "image file is truncated" in line
    Image.fromarray(np.full((40, 60), -3, np.int32)).save(tmp_path / "a.tif")
    (line,) = lines(one("a.tif"))
    assert "pixels from -3 to -3, but black is 0" in line


def test_an_id_of_0_and_an_area_are_taken_as_they_are(one):
    catalogue = one(id=0, area=123.4)
    (line,) = lines(catalogue)
    assert line.startswith("warning: a.json, annotations[0] (id 0): pycocotools takes the id 0 for none")
    assert catalogue.target(0, (40, 60)).areas.tolist() == [123.4]
    assert one().target(0, (40, 60)).areas.tolist() == [720] and not lines(one())


def test_polygons_without_area_beside_one_that_has_some(one):
    square = [20, 10, 50, 10, 50, 34, 20, 34]
    (line,) = lines(one(segmentation=[square, [48.0, 48.0]]))
    assert line == "warning: a.json, annotations[0] (id 1): 1 of 2 polygons have less than 3 corners"


@pytest.mark.parametrize("side", [60, 40])
def test_boxes_are_on_a_turned_photo_as_it_is_shown_or_as_it_is_stored(tmp_path, side):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", PIXELS[:, :side], exif=exif, quality=95)
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": side}], "annotations": [],
               "categories": [{"id": 1, "name": "x"}]}  # fmt: skip
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 20, 10]}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    shown, stored = (Source(str(tmp_path / "a.json"), as_stored=flag).completed().catalogue for flag in (False, True))
    (line,) = lines(shown)
    assert line.startswith("error" if side == 60 else "warning") and "as it is shown" in line
    assert "--as-stored if they are on its pixels as stored" in line
    (line,) = lines(stored)
    assert line.startswith("warning: a.json, images[0] (a.jpg): EXIF says") and "as it is stored" in line
    assert shown[0][0].shape == (3, side, 40) and stored[0][0].shape == (3, 40, side)
    np.testing.assert_array_equal(np.rot90(stored[0][0], -1, axes=(1, 2)), shown[0][0])


# --- leaving out


@pytest.fixture
def spoilt(tmp_path):
    """Eight pictures of two objects: one of 4 boxes without area, an outline, a record, two files, a class broken."""
    file = coco(tmp_path / "mine")

    def spoil(content):
        things = content["annotations"]
        things[1]["bbox"][2] = 0
        things[3]["segmentation"] = [[1, 2]]
        things[5]["bbox"] = None
        things[7]["category_id"] = 99
        things.append(dict(things[0], id=900, image_id=77))

    changed(file, spoil)
    (file.parent / "pictures" / "6.png").unlink()
    raw = (file.parent / "pictures" / "7.png").read_bytes()
    (file.parent / "pictures" / "7.png").write_bytes(raw[: len(raw) // 2])
    return file


def settings(kind, file, **options):
    return kind(data=str(file), images=str(file.parent / "pictures"), size=48, **options).completed()


def test_what_is_bad_is_left_out_counted_and_listed(spoilt):
    plain = settings(train.Settings, spoilt)
    assert {fault.kind for fault in plain.examined} == {"error"} and len(plain.examined) == 6
    ours = settings(train.Settings, spoilt, skip_bad=True)
    assert [fault.kind for fault in ours.examined] == ["left out"] * 6
    assert len(ours.used) == 6 and [len(picture.things) for picture in ours.used.pictures] == [1, 2, 1, 1, 2, 2]
    parts = {part: Own(ours, 0, part) for part in ("train", "test")}
    assert sum(map(len, parts.values())) == 6
    _, targets = parts["train"].batch(0, 5)
    assert all(target.masks is None and target.keypoints is None for target in targets)  # boxes are trained
    masks = settings(instances.Settings, spoilt, skip_bad=True)
    assert len(masks.examined) == 7 and sum(len(picture.things) for picture in masks.used.pictures) == 8
    assert masks.used.target(1, (64, 48)).masks.shape == (1, 64, 48)


def run(*argv):
    return frame.main(["detect", *map(str, argv)])


def test_the_command_leaves_out(spoilt, capsys):
    argv = ("--data", spoilt, "--images", spoilt.parent / "pictures", "--model", "yolo", "--size", 48)
    assert run(*argv, "--check") == 1
    printed = capsys.readouterr()
    assert printed.out.count("error: ") == 6 and "; --skip-bad leaves such records out" in printed.err
    assert run(*argv, "--check", "--skip-bad") == 0
    *left, summary = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in left] == ["left out"] * 6
    assert summary == f"{spoilt}: 6 pictures, 9 objects (lamp 6, hole 3), 0 errors, 0 warnings, 6 left out"
    Detect().read(settings(train.Settings, spoilt, skip_bad=True), Namespace(quiet=True), None)
    assert capsys.readouterr().err.count("left out: ") == 6
