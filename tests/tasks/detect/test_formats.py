"""Annotations in the formats of others: each gives the boxes of the same pictures, and each fault is named."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.detect.data.annotations import examine
from tasks.detect.data.formats import read_annotations
from tasks.detect.data.outlines import as_runs, masked
from tasks.detect.data.own import divided, mirrored
from tasks.detect.data.small_yaml import read_yaml
from tests.support.annotations import coco, pixels, voc

COUNT = 4
YAML = """# as Ultralytics writes it
path: ../elsewhere  # dataset root dir
train: images/train
val: images/val

nc: 2
names:
  0: lamp
  1: 'hole'

# a script
download: |
  from here import there
  there: [
"""


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def pictures(folder, ending="png", parts=("",)):
    """COUNT pictures, taking turns in the parts; yields each one's number, part, sides and boxes."""
    for i in range(COUNT):
        picture, boxes = pixels(i)
        part = parts[i % len(parts)]
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / part / f"{i}.{ending}")
        yield i, part, picture.shape[:2], boxes


def yolo_line(number, box, size):
    x1, y1, x2, y2 = np.divide(box, [*size[::-1]] * 2)
    return f"{number} {(x1 + x2) / 2:.9f} {(y1 + y2) / 2:.9f} {x2 - x1:.9f} {y2 - y1:.9f}\n"


def yolo(root, parts=("train", "val")):
    put(root / "data.yaml", YAML)
    for i, part, size, boxes in pictures(root / "images", parts=parts):
        text = "".join(yolo_line(k, box, size) for k, box in enumerate(boxes.values()))
        put(root / "labels" / part / f"{i}.txt", text)
    return root


def darknet(root):
    put(root / "classes.txt", "lamp\nhole\n")
    for i, _, size, boxes in pictures(root, "jpg"):
        put(root / f"{i}.txt", "".join(yolo_line(k, box, size) for k, box in enumerate(boxes.values())))
    return root


def table(root, head, row):
    """A table of the boxes; row: what stands in the columns."""
    lines = [",".join(head)] if head else []
    for i, _, (height, width), boxes in pictures(root / "images"):
        for name, (x1, y1, x2, y2) in boxes.items():
            values = {"i": i, "W": width, "H": height, "n": name, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
            values |= {"w": x2 - x1, "h": y2 - y1, "sx1": x1 / width, "sx2": x2 / width}
            values |= {"sy1": y1 / height, "sy2": y2 / height, "cx": (x1 + x2) / 2, "cy": (y1 + y2) / 2}
            lines.append(",".join(row).format(**values))
    put(root / "boxes.csv", "\n".join(lines) + "\n")
    return root / "boxes.csv"


TABLES = {
    "tensorflow": ("filename width height class xmin ymin xmax ymax", "{i}.png {W} {H} {n} {x1} {y1} {x2} {y2}"),
    "open images": ("ImageID Source LabelName XMin XMax YMin YMax", "{i} xclick {n} {sx1} {sx2} {sy1} {sy2}"),
    "wheat": ("image_id width height bbox label", '{i} {W} {H} "[{x1}.0,·{y1}.0,·{w}.0,·{h}.0]" {n}'),
    "corner and sides": ("image x y w h label", "{i}.png {x1} {y1} {w} {h} {n}"),
    "centre": ("file x_center y_center width height category", "{i}.png {cx} {cy} {w} {h} {n}"),
    "retinanet": ("", "/data/{i}.png {x1} {y1} {x2} {y2} {n}"),
}


def labelme(root):
    for i, _, size, boxes in pictures(root):
        (x1, y1, x2, y2), hole = boxes.values()
        inside = Image.fromarray(np.full((hole[3] - hole[1], hole[2] - hole[0]), 255, np.uint8))
        inside.save(png := io.BytesIO(), "PNG")
        text = base64.b64encode(png.getvalue()).decode()
        corners = {
            "polygon": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]],
            "rectangle": [[x2, y1], [x1, y2]],
        }
        kind = ("polygon", "rectangle")[i % 2]
        shapes = [
            {"label": "lamp", "shape_type": kind, "points": corners[kind], "group_id": None},
            {"label": "hole", "shape_type": "mask", "points": [hole[:2], [hole[2] - 1, hole[3] - 1]], "mask": text},
        ]
        content = {"imagePath": f"..\\there\\{i}.png", "imageHeight": size[0], "imageWidth": size[1], "shapes": shapes}
        put(root / f"{i}.json", json.dumps(content))
    return root


MAKERS = {
    "coco": lambda root: coco(root, COUNT, points=False).rename(root / "pictures" / "all.json"),
    "voc": lambda root: voc(root, COUNT),
    "yolo": yolo,
    "data.yaml": lambda root: yolo(root) / "data.yaml",
    "yolo beside the pictures": darknet,
    "labelme": labelme,
    **{
        name: lambda root, head=head, row=row: table(root, head.split(), [w.replace("·", " ") for w in row.split()])
        for name, (head, row) in TABLES.items()
    },
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_gives_the_same_boxes_and_classes(name, tmp_path):
    catalogue = read_annotations(str(MAKERS[name](tmp_path / "mine")))
    assert not [fault for fault in examine(catalogue) if fault.stops]
    assert set(catalogue.classes) == {"lamp", "hole"} and len(catalogue) == COUNT
    for k, picture in enumerate(catalogue.pictures):
        i = int(picture.path.stem)
        image, target = catalogue[k]
        found = dict(zip([catalogue.classes[label] for label in target.labels], target.boxes))
        for name, box in pixels(i)[1].items():
            np.testing.assert_allclose(found[name], box, atol=1e-6)
        if target.masks is not None:
            for box, mask in zip(target.boxes.astype(int), target.masks):
                inside = np.zeros(image.shape[1:], bool)
                inside[box[1] : box[3], box[0] : box[2]] = True
                np.testing.assert_array_equal(mask, inside)


def test_parts_are_those_of_the_data_set(tmp_path):
    parts = divided(read_annotations(str(yolo(tmp_path))), 0.2, 0)
    assert {name: [p.path.stem for p in part.pictures] for name, part in parts.items()} == {
        "train": ["0", "2"], "test": ["1", "3"]
    }  # fmt: skip
    head, row = TABLES["tensorflow"]
    file = table(tmp_path / "t", [*head.split(), "split"], [*row.split(), "train"])
    lines = file.read_text().splitlines()
    put(file, "\n".join(line.replace("train", "val") if line.startswith("3.png") else line for line in lines))
    parts = divided(read_annotations(str(file)), 0.2, 0)
    assert [p.path.stem for p in parts["test"].pictures] == ["3"]


def test_outlines_and_keypoints_of_yolo(tmp_path):
    put(tmp_path / "data.yaml", "names: [a]\nkpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n")
    for i in range(2):
        Image.new("RGB", (40, 20)).save(tmp_path / f"{i}.png")
    put(tmp_path / "0.txt", "0 0.5 0.5 0.2 0.4 0.4 0.4 2 0.6 0.4 1 0 0 0\n")
    put(tmp_path / "1.txt", "0 0.25 0.25 0.75 0.25 0.5 0.75\n")
    catalogue = read_annotations(str(tmp_path))
    point, outline = (picture.things[0] for picture in catalogue.pictures)
    assert np.allclose(point.keypoints, [16, 8, 2, 24, 8, 1, 0, 0, 0]) and np.allclose(point.box, [16, 6, 24, 14])
    assert mirrored(catalogue.points) == [1, 0, 2]
    assert np.allclose(outline.outline, [[10, 5, 30, 5, 20, 15]]) and np.allclose(outline.box, [10, 5, 30, 15])


LINES = {
    "0 12 30 5 6": "12 is no share|30 is no share",
    "0 0.5 0.5 0.1": "3 numbers; 4 after the class",
    "a 0.5 0.5 0.1 0.1": "are no numbers with spaces",
    "0,0.5,0.5,0.1,0.1": "are no numbers with spaces",
    "0.5 0.5 0.5 0.1 0.1": "a class is a whole number from 0, got 0.5",
    "2 0.5 0.5 0.1 0.1": "its class is not in the list of classes",
    "0 0.5 0.5 0 0.1": "has no area",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_yolo_that_is_wrong_is_named(line, tmp_path):
    yolo(tmp_path)
    put(tmp_path / "labels" / "val" / "1.txt", f"\ufeff1 0.5 0.5 0.25 0.25\r\n\n{line}\n")
    errors = [str(fault) for fault in examine(read_annotations(str(tmp_path))) if fault.stops]
    assert len(errors) == 1 and "1.txt, line 3" in errors[0]
    assert any(text in errors[0] for text in LINES[line].split("|"))


def test_pictures_and_labels_of_yolo_that_lack_each_other(tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels" / "train" / "0.txt").rename(tmp_path / "labels" / "train" / "9.txt")
    put(tmp_path / "train.txt", "images/train/0.png\n")
    faults = [str(fault) for fault in examine(read_annotations(str(tmp_path)))]
    assert any("9.txt: labels without a picture" in f and f.startswith("error") for f in faults)
    assert any("images/train/0.png: no objects" in f for f in faults)
    assert any("train.txt: a list of pictures is not read" in f for f in faults)


def test_without_names_the_numbers_are_names_unless_the_command_line_has_some(tmp_path):
    yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    assert read_annotations(str(tmp_path)).classes == ("0", "1")
    named = read_annotations(str(tmp_path), classes=("x", "y"))
    assert [thing.name for thing in named.pictures[0].things] == ["x", "y"]


@pytest.mark.parametrize("change, message", [
    (lambda s: s.update(shape_type="point"), "warning: 0.json, shapes[0]: a point has no area"),
    (lambda s: s.update(shape_type="spline"), "error: 0.json, shapes[0]: shape_type 'spline' is none of"),
    (lambda s: s.update(points=[[1, 2], [3, 4]]), "error: 0.json, shapes[0]: a polygon has at least 3 corners, got 2"),
    (lambda s: s.pop("label"), "error: 0.json, shapes[0]: 'label'"),
])  # fmt: skip
def test_a_shape_of_labelme_that_is_wrong_is_named(change, message, tmp_path):
    content = json.loads((labelme(tmp_path) / "0.json").read_text())
    change(content["shapes"][0])
    put(tmp_path / "0.json", json.dumps(content))
    put(tmp_path / ".0.json", "hidden")
    put(tmp_path / "#.json", "damaged")
    assert any(str(fault).startswith(message) for fault in examine(read_annotations(str(tmp_path))))


def test_shapes_of_a_group_are_one_object_and_circles_are_round(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    parts = [[[2, 2], [10, 2], [2, 10]], [[30, 30], [40, 30], [40, 40]]]
    shapes = [{"label": "c", "group_id": 1, "shape_type": "polygon", "points": points} for points in parts]
    shapes.append({"label": "r", "shape_type": "circle", "points": [[40, 20], [46, 28]]})
    put(tmp_path / "a.json", json.dumps({"shapes": shapes, "imagePath": "a.png", "imageHeight": 64, "imageWidth": 64}))
    target = read_annotations(str(tmp_path))[0][1]
    np.testing.assert_allclose(target.boxes, [[2, 2, 40, 40], [30, 10, 50, 30]], atol=0.1)
    assert target.masks[0, 33, 38] and target.masks[0, 3, 3] and not target.masks[0, 20, 20]
    assert target.masks[1].sum() == pytest.approx(np.pi * 100, rel=0.02)


@pytest.mark.parametrize("text, message", [
    ("a,b,c\n1,2,3\n", "no column for the picture's file among a, b, c"),
    ("filename,class\nx.png,a\n", "no column for the box among filename, class"),
    ("", "an empty table"),
])  # fmt: skip
def test_a_table_of_other_columns_is_refused(text, message, tmp_path):
    put(tmp_path / "t.csv", text)
    with pytest.raises(ValueError) as caught:
        read_annotations(str(tmp_path / "t.csv"))
    assert message in str(caught.value)


def test_rows_of_a_table(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    put(tmp_path / "s.csv", "\ufefffilename;class;xmin;ymin;xmax;ymax\nx.png;a;1,5;2;9;9\n")
    assert read_annotations(str(tmp_path / "s.csv")).pictures[0].things[0].box == (1.5, 2, 9, 9)
    put(tmp_path / "t.csv", "x.png,1,2,9,9,a\nx.png,1,,9,9,a\ny.png,,,,,\n")
    catalogue = read_annotations(str(tmp_path / "t.csv"))
    assert [len(picture.things) for picture in catalogue.pictures] == [1, 0]
    assert [fault.line for fault in catalogue.faults] == ["t.csv, row 2: a box is 4 numbers, got 1, , 9, 9"]


@pytest.mark.parametrize("name, content, message", [
    ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(20), "a.h5: HDF5: read it with h5py"),
    ("a.tfrecord", b"xx", "a.tfrecord: TFRecord of TensorFlow: export it"),
    ("a.abc", b"xx", "a.abc: a file .abc of an unknown format; what can be read is a json of COCO"),
    ("a.json", b'[{"image": "x.png", "annotations": []}]', "a.json: CreateML's json; export it as COCO's json"),
    ("a.json", b'[{"image_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4]}]', "COCO's results, which are detections"),
    ("a.json", b'{"x.png12": {"filename": "x.png", "regions": []}}', "a project of the VGG Image Annotator"),
    ("a.json", b'{"objects": [], "size": {}}', "Supervisely's json"),
    ("a.xml", b"<?xml version='1.0'?><annotations/>", "an XML of CVAT; export it"),
    ("a.xml", b"<a/>", "name the folder that Annotations/ and JPEGImages/ lie in"),
])  # fmt: skip
def test_an_unknown_format_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_annotations(str(tmp_path / name))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_runs_are_those_of_pycocotools(seed, height, width, share):
    inside = np.random.default_rng(seed).random((height, width)) < share
    runs = as_runs(inside)
    np.testing.assert_array_equal(masked(runs, inside.shape), inside)
    theirs = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools: pip install pycocotools")
    text = theirs.frPyObjects(runs, height, width)
    assert text == theirs.encode(np.asfortranarray(inside.astype(np.uint8)))
    np.testing.assert_array_equal(masked(text, inside.shape), inside)


@pytest.mark.parametrize("text, wanted", [
    ("a: 1\nb: [x, 'y, z', 2.5]\n", {"a": 1, "b": ["x", "y, z", 2.5]}),
    ("names:\n- x\n- y # two\n", {"names": ["x", "y"]}),
    ("names: {0: x, 1: \"y: z\"}\n", {"names": {0: "x", 1: "y: z"}}),
    ("names: [x,\n  y]\n", {"names": ["x", "y"]}),
    ("names:\n  0: it's\n  1: b#c\n", {"names": {0: "it's", 1: "b#c"}}),
    (YAML, {"path": "../elsewhere", "train": "images/train", "val": "images/val", "nc": 2,
            "names": {0: "lamp", 1: "hole"}, "download": "|"}),
])  # fmt: skip
def test_the_yaml_that_yolo_needs(text, wanted, tmp_path):
    put(tmp_path / "a.yaml", text)
    assert read_yaml(tmp_path / "a.yaml") == wanted
    put(tmp_path / "b.yaml", text + "nothing of this\n")
    with pytest.raises(ValueError, match=r"b\.yaml: line .* is not read: 'nothing of this'"):
        read_yaml(tmp_path / "b.yaml")
