"""The readers of COCO and PASCAL VOC, and the check of what they give: each fault is planted once, and named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.detect.data.annotations import anchor_coverage, best_overlap, examine, require_none, show_first
from tasks.detect.data.coco import read_coco
from tasks.detect.data.outlines import filled_polygon, filled_runs, masked
from tasks.detect.data.voc import read_voc

SIZE = (40, 60)  # height, width


def picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def sound():
    """COCO annotations of three pictures in which nothing is wrong."""
    things = [
        (1, 3, [5, 6, 20, 10]),
        (1, 7, [30, 8, 12, 25]),
        (2, 3, [0, 0, 60, 40]),
        (3, 7, [20, 10, 30.5, 20]),
    ]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (1, 2, 3)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 100 + k, "image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for k, (i, c, box) in enumerate(things)
        ],
    }


@pytest.fixture
def coco(tmp_path):
    for i in (1, 2, 3):
        picture(tmp_path / f"{i}.png")

    def read(content):
        (tmp_path / "instances.json").write_text(json.dumps(content))
        return read_coco(tmp_path / "instances.json", tmp_path)

    return read


def lines(catalogue):
    return [str(fault) for fault in examine(catalogue)]


# --- readers


def test_coco_is_read(coco):
    content = sound()
    content["annotations"][1]["iscrowd"] = 1
    catalogue = coco(content)
    assert catalogue.classes == ("cat", "dog") and len(catalogue) == 3
    image, target = catalogue[0]
    assert image.shape == (3, *SIZE) and image.dtype == np.float32
    np.testing.assert_array_equal(target.boxes, [[5, 6, 25, 16], [30, 8, 42, 33]])
    np.testing.assert_array_equal(target.labels, [0, 1])
    np.testing.assert_array_equal(target.crowd, [False, True])
    np.testing.assert_array_equal(target.areas, [200, 300])
    assert target.masks is None and target.keypoints is None
    assert lines(catalogue) == []


def test_coco_masks_and_keypoints_are_read(coco):
    content = sound()
    content["categories"][1]["keypoints"] = ["nose", "tail"]
    content["annotations"] = content["annotations"][:2]
    first, second = content["annotations"]
    first |= {"segmentation": [[5, 6, 25, 6, 25, 16, 5, 16]], "keypoints": [7, 8, 2, 0, 0, 0]}
    inside = np.zeros(SIZE, bool)
    inside[8:33, 30:42] = True
    second["segmentation"] = {"size": list(SIZE), "counts": runs(inside)}
    catalogue = coco(content)
    target = catalogue.target(0)
    assert catalogue.points == ("nose", "tail")
    np.testing.assert_array_equal(target.masks[0].nonzero(), np.stack(np.mgrid[6:16, 5:25]).reshape(2, -1))
    np.testing.assert_array_equal(target.masks[1], inside)
    np.testing.assert_array_equal(target.keypoints, [[[7, 8, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    empty = catalogue.target(1)
    assert len(empty) == 0 and empty.keypoints.shape == (0, 2, 3)


def voc_folder(root, boxes, name="cat", difficult=0, size=SIZE, stem="2007_1"):
    picture(root / "JPEGImages" / f"{stem}.jpg")
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(f"<{side}>{n}</{side}>" for side, n in zip(("xmin", "ymin", "xmax", "ymax"), box))
        + "</bndbox></object>"
        for box in boxes
    )
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{stem}.xml").write_text(
        f"<annotation><filename>{stem}.jpg</filename><size><width>{size[1]}</width><height>{size[0]}</height></size>"
        f"{objects}</annotation>"
    )


def test_voc_is_read(tmp_path):
    voc_folder(tmp_path, [(1, 1, 60, 40), (11, 5, 11, 5)])
    voc_folder(tmp_path, [(2, 3, 10, 20)], name="dog", difficult=1, stem="2007_2")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("2007_2  1\n")
    catalogue = read_voc(tmp_path)
    assert catalogue.classes == ("cat", "dog")
    image, target = catalogue[0]
    assert image.shape == (3, *SIZE)
    np.testing.assert_array_equal(target.boxes, [[0, 0, 60, 40], [10, 4, 11, 5]])  # all of it; one pixel
    part = read_voc(tmp_path, "val", ["dog", "cat"])
    assert len(part) == 1 and part.target(0).labels == [0] and part.target(0).crowd == [True]
    assert lines(catalogue) == []


def test_split_parts_are_disjoint(coco):
    train, test = coco(sound()).split((2 / 3, 1 / 3), seed=0)
    assert len(train) == 2 and len(test) == 1
    assert len({p.path for p in train.pictures + test.pictures}) == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [("{", "instances.json: not annotations in COCO's format"), ('{"images": []}', "no 'categories'"), ("[1]", "COCO")],
)
def test_what_is_not_coco_is_one_line(tmp_path, text, what):
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(ValueError, match=what) as error:
        read_coco(tmp_path / "instances.json", tmp_path)
    assert "\n" not in str(error.value)


def test_records_that_cannot_be_read_are_named_and_the_others_read(coco):
    content = sound()
    content["annotations"] += [
        {"image_id": 1, "category_id": 3}, dict(content["annotations"][0], bbox=[1, 2, 3]), None,
        dict(content["annotations"][0], bbox=None), dict(content["annotations"][0], category_id=[]),
    ]  # fmt: skip
    content["images"] += [dict(content["images"][0]), {"id": 9}]
    catalogue = coco(content)
    assert len(catalogue) == 3 and sum(len(picture.things) for picture in catalogue.pictures) == 4
    begins = [
        "images[3] has the id 1 of another", "images[4] has no 'file_name'", "annotations[4] has no 'bbox'",
        "annotations[5] not enough values to unpack (expected 4, got 3)", "annotations[6] ", "annotations[7] ",
        "annotations[8] ",
    ]  # fmt: skip
    found = lines(catalogue)
    assert len(found) == 7
    for line, begin in zip(found, begins):
        assert line.startswith(f"error: instances.json, {begin}") and "\n" not in line


def test_what_is_not_voc_is_one_line(tmp_path):
    voc_folder(tmp_path, [(1, 2, 3, ""), (1, 2, 30, 20)])
    voc_folder(tmp_path, [(1, 1, 60, 40)], stem="2007_2")
    (tmp_path / "Annotations" / "2007_3.xml").write_text("<annotation>")
    catalogue = read_voc(tmp_path)
    assert [len(picture.things) for picture in catalogue.pictures] == [1, 1]
    bad = "error: 2007_1.xml, object[0]: could not convert string to float: ''"
    assert lines(catalogue) == [bad, lines(catalogue)[1]]
    assert "2007_3.xml: not annotations in VOC's format (" in lines(catalogue)[1]
    with pytest.raises(FileNotFoundError, match="lists no pictures"):
        read_voc(tmp_path / "JPEGImages")


# --- outlines


def runs(mask):
    """Run lengths, counted one pixel after the other."""
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 0.02, 0.5, 1]))
@settings(deadline=None, max_examples=60)
def test_run_lengths(seed, height, width, chance):
    inside = np.random.default_rng(seed).random((height, width)) < chance
    np.testing.assert_array_equal(filled_runs(runs(inside), (height, width)), inside)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 0.01, 0.3, 1]))
@settings(deadline=None, max_examples=60)
def test_text_of_run_lengths_is_that_of_pycocotools(seed, height, width, chance):
    mask = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools: pip install pycocotools")
    inside = np.random.default_rng(seed).random((height, width)) < chance
    rle = mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    np.testing.assert_array_equal(masked(rle, (height, width)), inside)


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.sampled_from([1, 2, 10, 1e6]))
@settings(deadline=None, max_examples=60)
def test_polygons_are_drawn_as_pycocotools_draws_them(seed, corners, parts):
    mask = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools: pip install pycocotools")
    points = np.rint(np.random.default_rng(seed).uniform(-5, 25, (corners, 2)) * parts) / parts
    points[1] = points[0] if seed % 3 == 0 else points[1]
    theirs = mask.decode(mask.frPyObjects([points.ravel().tolist()], 14, 17))[..., 0]
    np.testing.assert_array_equal(filled_polygon(points, (14, 17)), theirs)


def test_a_polygon_worked_out_by_pycocotools():
    triangle = filled_polygon(np.array([[1.0, 0.6], [6.3, 2.5], [2.2, 5.0]]), (6, 8))  # pycocotools 2.0.11
    rows = ["00000000", "01110000", "00111100", "00111000", "00100000", "00000000"]
    assert [f"{row:08b}" for row in np.packbits(triangle, axis=1)[:, 0]] == rows


def test_parts_of_an_outline_without_area_are_left_out():
    square = [2, 1, 6, 1, 6, 4, 2, 4]
    np.testing.assert_array_equal(masked([square, [4.0, 4.0], [1, 1, 5, 5]], (6, 8)), masked([square], (6, 8)))


@pytest.mark.parametrize(
    ("outline", "what"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "the runs have 3 pixels, the picture has 2 x 2"),
        ({"size": [2, 3], "counts": [6]}, r"of \(2, 3\) pixels, the picture has \(2, 2\)"),
        ({"size": [2, 2], "counts": "P"}, "cut off"),
        ({"counts": [4]}, "size"),
        ([[0, 0, 1, 1]], "at least 3 corners, got 2"),
        ([[0, 0, 1]], "reshape"),
    ],
)
def test_outlines_without_meaning_name_the_record(outline, what):
    with pytest.raises(ValueError, match=r"a.json, annotations\[3\]: no outline .*" + what):
        masked(outline, (2, 2), "a.json, annotations[3]")


# --- the check: what is planted, and what it must name

WHERE = "instances.json, annotations[1] (id 101)"


def planted(change):
    content = sound()
    change(content)
    return content


def box(*numbers):
    return planted(lambda c: c["annotations"][1].update(bbox=numbers))


def with_points(*numbers):
    def change(content):
        content["categories"][0]["keypoints"] = ["a"]
        content["annotations"][1]["keypoints"] = numbers

    return planted(change)


FAULTS = {
    "no width": (box(30, 8, 0, 25), f"error: {WHERE}: box x1=30 y1=8 x2=30 y2=33 has no area: 0 wide and 25 high"),
    "reversed": (box(30, 8, -4, 25), f"error: {WHERE}: box x1=30 y1=8 x2=26 y2=33 has no area: -4 wide and 25 high"),
    "not finite": (
        box(30, 8, float("nan"), 25),
        f"error: {WHERE}: box x1=30 y1=8 x2=nan y2=33 is not of finite numbers",
    ),
    "outside": (
        box(70, 8, 5, 5),
        f"error: {WHERE}: box x1=70 y1=8 x2=75 y2=13 lies outside of 1.png, 60 wide and 40 high",
    ),
    "leaves": (box(50, 8, 15, 5), f"warning: {WHERE}: box x1=50 y1=8 x2=65 y2=13 leaves 1.png, 60 wide and 40 high"),
    "tiny": (
        box(50, 8, 0.5, 5),
        f"warning: {WHERE}: box x1=50 y1=8 x2=50.5 y2=13 is smaller than a pixel: 0.5 wide and 5 high",
    ),
    "class": (
        planted(lambda c: c["annotations"][1].update(category_id=99)),
        f"error: {WHERE}: its class is not in the list of classes",
    ),
    "stray": (
        planted(lambda c: c["annotations"].append(c["annotations"][1] | {"id": 7, "image_id": 99})),
        "error: instances.json, annotations[4] (id 7): its picture is not listed",
    ),
    "duplicate": (
        planted(lambda c: c["annotations"].append(c["annotations"][1] | {"id": 7})),
        f"warning: instances.json, annotations[4] (id 7): same class and box as {WHERE}",
    ),
    "no objects": (
        planted(lambda c: c["annotations"].pop(2)),
        "warning: instances.json, images[1] (2.png): no objects",
    ),
    "class without objects": (
        planted(lambda c: c["categories"].append({"id": 9, "name": "gnu"})),
        "warning: class 'gnu' has no objects",
    ),
    "outline": (
        planted(lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]])),
        f"error: {WHERE}: no outline (a polygon has at least 3 corners, got 2)",
    ),
    "keypoints": (
        with_points(1, 2),
        f"error: {WHERE}: 1 keypoints are 3 numbers, got 2",
    ),
    "keypoint outside": (
        with_points(90, 2, 2),
        f"warning: {WHERE}: keypoint 0 at x=90 y=2 is outside, 60 wide and 40 high",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_only_one_and_named(coco, name):
    content, line = FAULTS[name]
    catalogue = coco(content)
    assert lines(catalogue) == [line]
    faults, shown = examine(catalogue), []
    show_first(faults, shown.append, 20)
    assert shown == [line]
    if line.startswith("error"):
        with pytest.raises(ValueError, match="the annotations have 1 errors, the first: "):
            require_none(faults)
    else:
        require_none(faults)


def test_faults_of_files(coco, tmp_path):
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_text("no image")
    picture(tmp_path / "3.png", (60, 40))
    missing, unreadable, size = (line.replace(str(tmp_path), "DIR") for line in lines(coco(sound()))[:3])
    assert missing == "error: instances.json, images[0] (1.png): there is no file DIR/1.png"
    assert unreadable.startswith("error: instances.json, images[1] (2.png): DIR/2.png: not a readable image")
    annotated = "annotated as 60 wide and 40 high, but DIR/3.png is 40 wide and 60 high"
    assert size == f"error: instances.json, images[2] (3.png): {annotated}"


def test_a_picture_listed_twice(coco):
    content = sound()
    content["images"][2]["file_name"] = "1.png"
    (line,) = lines(coco(content))
    assert line.startswith("warning: instances.json, images[2] (1.png): ")
    assert line.endswith("is listed before, as instances.json, images[0] (1.png)")


def test_corners_given_as_width_and_height_are_suspected(coco):
    content = sound()
    for thing in content["annotations"]:
        x, y, width, height = thing["bbox"]
        thing["bbox"] = [x, y, x + width, y + height]
    (line,) = lines(coco(content))
    assert line == (
        f"error: {WHERE}: box [30, 8, 42, 33] and 1 of 3 others make no sense as x, y, width, height, which the format "
        "asks for; all do as x1, y1, x2, y2"
    )


def test_width_and_height_given_as_corners_are_suspected(tmp_path):
    voc_folder(tmp_path, [(30, 20, 10, 12), (2, 3, 30, 20), (40, 25, 15, 10)])
    (line,) = lines(read_voc(tmp_path))
    assert line.startswith("error: 2007_1.xml, object[0]: box [30, 20, 10, 12] and 1 of 2 others make no sense as x1,")


def test_shares_given_as_pixels_are_suspected(coco):
    content = sound()
    for thing in content["annotations"]:
        thing["bbox"] = [number / 60 for number in thing["bbox"]]
    (line,) = lines(coco(content))
    assert line.startswith("error: instances.json, annotations[0] (id 100): box [0.0833333, ")
    assert line.endswith("shares, but pixels are needed")


def test_voc_class_that_is_not_known(tmp_path):
    voc_folder(tmp_path, [(5, 6, 20, 20)])
    (line, _) = lines(read_voc(tmp_path, classes=["dog"]))
    assert line == "error: 2007_1.xml, object[0]: class 'cat' is none of dog"


def test_no_more_than_the_first_faults_are_shown(coco):
    content = sound()
    content["annotations"] = []
    shown = []
    show_first(examine(coco(content)), shown.append, 2)
    assert len(shown) == 3 and shown[2] == "... and 3 more warnings"


def test_anchor_coverage(coco):
    asked = []

    def anchors(size):
        asked.append(size)
        return np.array([[5, 6, 25, 16], [0, 0, 60, 20], [30, 8, 42, 33]])

    catalogue = coco(sound())
    coverage = anchor_coverage(catalogue, anchors)
    # the last box is 20, 10, 50.5, 30: it shares 305 of 1505 pixels with the second anchor, 240 of 670 with the last
    np.testing.assert_allclose(coverage.best, [1, 1, 0.5, 240 / 670])
    np.testing.assert_array_equal(coverage.histogram(), [0, 0, 0, 1, 0, 1, 0, 0, 0, 2])
    assert coverage.lines()[9] == "best IoU 0.9 to 1.0       2  " + "#" * 40
    assert set(asked) == {SIZE}
    (line,) = map(str, anchor_coverage(catalogue, anchors).faults())
    assert line == (
        "warning: instances.json, annotations[3] (id 103): no anchor has an IoU above 0.36 with this box, 30.5 wide "
        "and 20 high; the best is below 0.5 for 1 of 4 truths: change the anchors"
    )
    np.testing.assert_array_equal(best_overlap(np.ones((2, 4)), np.zeros((0, 4))), [0, 0])
