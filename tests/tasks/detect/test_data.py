"""Drawn scenes and shapes, and the records that everything passes on."""

import numpy as np
import pytest

from tasks.detect.data import scenes, textures
from tasks.detect.data.records import HIDDEN, VISIBLE, Detections, Target
from tasks.detect.data.scenes import Scenes
from tasks.detect.data.shapes import POINTS, Shape, Shapes, keypoints

BOTH = pytest.mark.parametrize("pictures", [Scenes, Shapes])


# --- records


def target():
    masks = np.zeros((2, 8, 10), bool)
    masks[0, 2:4, 1:5], masks[1, 3:8, 6:9] = True, True
    points = [[[1, 2, 2], [5, 4, 1]], [[6, 3, 2], [0, 0, 0]]]
    return Target([[1, 2, 5, 4], [6, 3, 9, 8]], [0, 1], masks, points)


def test_a_target_converts_and_completes():
    t = target()
    assert (t.boxes.dtype, t.labels.dtype, t.keypoints.dtype) == (np.float64, np.int64, np.float64)
    assert (t.seen().boxes.dtype, t.seen().keypoints.dtype, t.seen()[:1].boxes.dtype) == ("f4", "f4", "f4")
    assert Target(t.boxes, t.labels, areas=[7.1, np.nan]).areas.tolist() == [7.1, 15]
    assert not t.crowd.any() and t.areas.tolist() == [8, 15] and len(t) == 2
    assert len(Target([], [])) == 0 and Target([], []).boxes.shape == (0, 4)
    assert t[t.labels == 1].areas.tolist() == [15] and t[:1].keypoints.shape == (1, 2, 3)


def test_flipped_moved_and_scaled():
    t = target()
    flipped = t.flipped(10, [1, 0])
    np.testing.assert_array_equal(flipped.boxes, [[5, 2, 9, 4], [1, 3, 4, 8]])
    np.testing.assert_array_equal(flipped.masks, t.masks[:, :, ::-1])
    np.testing.assert_array_equal(flipped.keypoints, [[[5, 4, 1], [9, 2, 2]], [[0, 0, 0], [4, 3, 2]]])
    by_class = t.flipped(10, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(by_class.keypoints, [[[5, 4, 1], [9, 2, 2]], [[4, 3, 2], [0, 0, 0]]])
    back = flipped.flipped(10, [1, 0])
    for part in ("boxes", "labels", "masks", "keypoints", "areas"):
        np.testing.assert_array_equal(getattr(back, part), getattr(t, part))
    with pytest.raises(ValueError, match="masks do not move"):
        t.moved(1, 1)
    t.masks = None
    moved = t.scaled((2, 3)).moved(1, -1)
    np.testing.assert_array_equal(moved.boxes, [[4, 3, 16, 7], [19, 5, 28, 15]])
    np.testing.assert_array_equal(moved.keypoints, [[[4, 3, 2], [16, 7, 1]], [[19, 5, 2], [0, 0, 0]]])
    assert moved.areas.tolist() == [48, 90]


def test_detections_are_ranked():
    found = Detections.ranked([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0, 1, 2], [0.2, 0.9, 0.9])
    assert found.labels.tolist() == [1, 2, 0] and found[1:].scores.tolist() == pytest.approx([0.9, 0.2])


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Target([[0, 0, 1]], [0]), r"boxes \(K, 4\)"),
        (lambda: Target([[0, 0, 1, 1]], [0, 1]), r"labels \(1,\), got \(2,\)"),
        (lambda: Target([[0, 0, 1, 1]], [0.5]), "whole numbers"),
        (lambda: Target([[0, 0, 1, 1]], [-1]), "count from 0, box 0 has -1"),
        (lambda: Target([[0, 0, 1, 1]], [0], np.zeros((2, 4, 4))), r"masks \(1, H, W\)"),
        (lambda: Target([[0, 0, 1, 1]], [0], keypoints=np.zeros((1, 4, 2))), r"keypoints \(1, P, 3\)"),
        (lambda: Target([[0, 0, 1, 1]], [0], crowd=[]), r"crowd \(1,\)"),
        (lambda: Detections([[0, 0, 1, 1]], [0], []), r"scores \(1,\)"),
        (lambda: Detections([[0, 0, 1, 1]] * 2, [0, 0], [0.1, 0.2]), "descend"),
        (lambda: Detections([[0, 0, 1, 1]] * 2, [0, 0], [0.1, float("nan")]), "descend"),
    ],
)
def test_records_that_do_not_fit(make, what):
    with pytest.raises(ValueError, match=what):
        make()


# --- what both kinds of pictures promise


@BOTH
def test_a_picture_depends_on_seed_split_and_index_only(pictures):
    one, again = pictures(3), pictures(3)
    again(5)
    image, t = one(7)
    other, u = again(7)
    np.testing.assert_array_equal(image, other)
    np.testing.assert_array_equal(t.boxes, u.boxes)
    for different in (one(8), pictures(4)(7), pictures(3, "test")(7)):
        assert not np.array_equal(image, different[0])
    images, targets = one.batch(2, 3)
    np.testing.assert_array_equal(images[1], image)
    assert images.shape == (3, 3, 96, 96) and len(targets) == 3


@BOTH
@pytest.mark.parametrize("split", ["train", "test"])
def test_boxes_are_tight_and_objects_can_be_seen(pictures, split):
    seen = []
    made = pictures(0, split)
    for i in range(60):
        image, t = made(i)
        assert image.dtype == np.float32 and image.shape == (3, 96, 96) and 0 <= image.min() <= image.max() <= 1
        assert 1 <= len(t) <= made.count[1] and t.labels.max() < len(made.classes)
        assert (t.masks.sum(axis=0) <= 1).all()  # a pixel shows one object
        for (x1, y1, x2, y2), mask in zip(t.boxes.astype(int), t.masks):
            rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
            assert (x1, y1, x2, y2) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert x2 - x1 >= 3 and y2 - y1 >= 8 and mask.sum() >= 20
        seen += t.labels.tolist()
    assert set(seen) == set(range(len(made.classes)))


@BOTH
def test_gray_size_and_count(pictures):
    made = pictures(0, size=64, gray=True, count=(0, 2), sides=(10, 20))
    counts = set()
    for i in range(30):
        image, t = made(i)
        assert image.shape == (3, 64, 64) and (image[0] == image[1]).all() and (image[0] == image[2]).all()
        assert t.masks.shape == (len(t), 64, 64)
        counts.add(len(t))
    assert counts == {0, 1, 2}


@BOTH
def test_settings_that_cannot_be(pictures):
    for wrong in ({"split": "dev"}, {"size": 301}, {"sides": (12, 60)}, {"count": (3, 2)}, {"sides": (4, 20)}):
        with pytest.raises(ValueError, match=r"split|sides|count"):
            pictures(0, **wrong)


def test_digits_and_backgrounds_of_the_splits_are_apart():
    names = [name for split in Scenes.grounds.values() for name in split]
    assert list(Scenes.grounds) == list(Scenes.purpose) == ["train", "validation", "test"]
    assert len(set(names)) == len(names) and len(set(Scenes.purpose.values())) == 3
    digits = [scenes._digits(split) for split in Scenes.grounds]
    assert [len(images) for images, _ in digits] == [1121, 450, 226]
    assert all(set(labels) == set(range(10)) for _, labels in digits)
    assert len({digit.tobytes() for images, _ in digits for digit in images}) == 1797


@BOTH
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_backgrounds_are_those_of_the_split(pictures, split, monkeypatch):
    if split not in pictures.grounds:
        return
    used, photograph = set(), textures.photograph
    monkeypatch.setattr(textures, "photograph", lambda name: used.add(name) or photograph(name))
    names = pictures.grounds[split]
    for i in range(60):
        texture = textures.texture(np.random.default_rng(i), names, 32, vary=split == "train")
        assert texture.dtype == np.float32 and texture.shape == (3, 32, 32)
    pictures(0, split)(0)
    assert used == set(names)
    assert min(min(photograph(name).shape[:2]) for name in used) >= textures.LARGEST


# --- digits


def test_digits_are_as_high_as_asked():
    made = Scenes(0, count=(1, 1), sides=(24, 24))
    boxes = np.concatenate([made(i)[1].boxes for i in range(40)])
    heights = boxes[:, 3] - boxes[:, 1]
    assert heights.min() >= 16 and heights.max() <= 30 and 22 <= np.median(heights) <= 26


def test_ink_stands_out():
    """The mean difference in brightness of a digit and of what is around it in its box."""
    apart = []
    for i in range(60):
        image, t = Scenes(1, count=(1, 1))(i)
        x1, y1, x2, y2 = t.boxes[0].astype(int)
        part, mask = image[:, y1:y2, x1:x2].mean(axis=0), t.masks[0, y1:y2, x1:x2]
        apart.append(abs(part[mask].mean() - part[~mask].mean()))
    assert min(apart) > 0.08 and np.median(apart) > 0.25


# --- shapes


def area(shape):
    """The area of a shape from its formula: a circle's, or the shoelace formula over its corners."""
    if shape.label == 0:
        return np.pi * shape.radius**2
    x, y = shape.points[~np.isnan(shape.points[:, 0])].T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


@pytest.mark.parametrize("label", range(3))
def test_coverage_sums_to_the_area(label):
    rng = np.random.default_rng(label)
    for _ in range(20):
        angle, aspect = rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.2)
        shape = Shape(label, tuple(rng.uniform(40, 50, 2)), rng.uniform(16, 44), angle, aspect)
        coverage, place = shape.coverage(96)
        assert coverage.sum() == pytest.approx(area(shape), rel=0.01)
        y, x = np.mgrid[place]
        centre = np.array([(coverage * (x + 0.5)).sum(), (coverage * (y + 0.5)).sum()]) / coverage.sum()
        corners = shape.points[~np.isnan(shape.points[:, 0])]
        np.testing.assert_allclose(centre, corners.mean(axis=0), atol=0.1)  # true of all three


def test_a_pixel_belongs_to_a_mask_if_more_than_half_is_covered(monkeypatch):
    """A square of corners 10.25 to 19.25: its first row and column are covered by 3/4, its last by 1/4."""
    shape = Shape(1, (14.75, 14.75), 9, 0.0)
    coverage, place = shape.coverage(96)
    assert place == (slice(10, 20), slice(10, 20))
    along = np.array([0.75] + [1] * 8 + [0.25])
    np.testing.assert_array_equal(coverage, np.outer(along, along))
    monkeypatch.setattr(Shapes, "fitting", lambda *_: (shape, coverage, place))
    _, t = Shapes(0, count=(1, 1))(0)
    np.testing.assert_array_equal(t.masks[0], np.pad(coverage > 0.5, ((10, 76), (10, 76))))
    np.testing.assert_array_equal(t.boxes, [[10, 10, 19, 19]])
    np.testing.assert_array_equal(t.keypoints[0, 0], [10.25, 10.25, VISIBLE])


def test_points_are_where_their_names_say():
    for i in range(60):
        _, t = Shapes(2, count=(1, 1))(i)
        (x1, y1, x2, y2), points = t.boxes[0], t.keypoints[0]
        place = dict(zip(POINTS[t.labels[0]], points))
        assert set(points[:, 2]) == ({2.0} if t.labels[0] < 2 else {0.0, 2.0})
        given = points[points[:, 2] > 0]
        assert (given[:, 0] > x1 - 1.5).all() and (given[:, 0] < x2 + 1.5).all()
        np.testing.assert_allclose(
            [given[:, 0].min(), given[:, 1].min(), given[:, 0].max(), given[:, 1].max()], [x1, y1, x2, y2], atol=2
        )
        if t.labels[0] == 0:
            assert place["top"][1] < place["left"][1] == place["right"][1] < place["bottom"][1]
            assert place["left"][0] < place["top"][0] == place["bottom"][0] < place["right"][0]
        elif t.labels[0] == 1:
            assert place["top left"][0] < place["top right"][0] and place["top left"][1] < place["bottom left"][1]
            assert place["bottom left"][0] < place["bottom right"][0]
        else:
            assert place["apex"][1] < min(place["left"][1], place["right"][1])
            assert place["left"][0] < place["right"][0]
            assert (place[""] == 0).all()


def test_points_below_another_shape_are_hidden():
    below, above = Shape(1, (30, 30), 20, 0.0), Shape(0, (40, 40), 16, 0.0)
    points = keypoints([below, above])
    np.testing.assert_array_equal(points[0, :, 2], [VISIBLE, VISIBLE, HIDDEN, VISIBLE])
    np.testing.assert_array_equal(points[1, :, 2], [VISIBLE] * 4)
    np.testing.assert_array_equal(points[0, :, :2], [[20, 20], [40, 20], [40, 40], [20, 40]])


def test_points_of_a_mirrored_picture_keep_their_names():
    for label in range(3):
        shape, mirrored = (Shape(label, (x, 40), 20, angle, 0.8) for x, angle in ((30, 0.3), (66, -0.3)))
        coverage, _ = shape.coverage(96)
        t = Target([[20, 30, 40, 50]], [label], keypoints=keypoints([shape]))
        flipped = t.flipped(96, Shapes.swapped)
        np.testing.assert_allclose(flipped.keypoints, keypoints([mirrored]), atol=1e-4)
        np.testing.assert_array_equal(mirrored.coverage(96)[0], coverage[:, ::-1])
