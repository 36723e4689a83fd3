"""Annotations of one's own, as a user would have them: pictures of a bright and a dark rectangle."""

import json

import numpy as np
from PIL import Image

SIZES = [(48, 64), (64, 48), (50, 50), (40, 80), (96, 64), (33, 47)]


def pixels(i):
    """A picture with a bright and a dark rectangle, and their boxes: x1, y1, x2, y2."""
    h, w = SIZES[i % len(SIZES)]
    picture = np.random.default_rng(i).integers(90, 150, (h, w, 3)).astype(np.uint8)
    boxes = {"lamp": (2 + i % 3, 3, 2 + i % 3 + w // 3, 3 + h // 3), "hole": (w // 2, h // 2, w // 2 + w // 3, h - 2)}
    for name, (x1, y1, x2, y2) in boxes.items():
        picture[y1:y2, x1:x2] = 250 if name == "lamp" else 5
    return picture, boxes


def coco(root, count=8, outlines=True, points=True):
    """COCO annotations of such pictures in `root`/pictures; the file."""
    (root / "pictures").mkdir(parents=True)
    images, things = [], []
    for i in range(count):
        picture, boxes = pixels(i)
        Image.fromarray(picture).save(root / "pictures" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": len(picture), "width": len(picture[0])})
        for k, (x1, y1, x2, y2) in enumerate(boxes.values()):
            thing = {"id": 10 * i + k + 1, "image_id": i, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            if outlines:
                thing["segmentation"] = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            if points:
                thing["keypoints"] = [x1, y1, 2, x2, y1, 2]
            things.append(thing)
    names = {"keypoints": ["left top", "right top"]} if points else {}
    categories = [{"id": k + 1, "name": name, **names} for k, name in enumerate(("lamp", "hole"))]
    file = root / "things.json"
    file.write_text(json.dumps({"images": images, "annotations": things, "categories": categories}))
    return file


def voc(root, count=8):
    """The same as a VOC folder, which it is."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        picture, boxes = pixels(i)
        Image.fromarray(picture).save(root / "JPEGImages" / f"{i}.jpg")
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in boxes.items()
        )
        (root / "Annotations" / f"{i}.xml").write_text(
            f"<annotation><filename>{i}.jpg</filename><size><width>{len(picture[0])}</width>"
            f"<height>{len(picture)}</height></size>{objects}</annotation>"
        )
    return root


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
