"""MTCNN: faces and five landmarks of each, found by a cascade of three small networks.

    P-Net  looks at every place of the picture, at many sizes: a window of 12x12 pixels, every second one
    R-Net  looks again at what is left, 24x24 pixels each, and corrects the boxes
    O-Net  once more, at 48x48, and says where eyes, nose and corners of the mouth are

After each, boxes that a better one overlaps are dropped, the rest moved as the network says and made square.
Source: Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016. Names
of layers, and every convention below, are those of facenet-pytorch 2.6 (models/mtcnn.py, utils/detect_face.py), whose
weights load as they stand. It keeps the pixels of the authors' MATLAB: a box x1, y1, x2, y2 covers the pixels from
x1 to x2, both included and counted from 1, so that its sides are x2 - x1 + 1 where a network's steps are undone; but
x2 - x1 where boxes are made square and compared. Boxes and landmarks are given as they are there.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from minidl.device import to_device

from ..data.records import Detections

WINDOW, STRIDE = 12, 2  # of P-Net, in pixels of its picture
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # as the picture shows them
TOGETHER = 512  # crops that go through a network at once


class PNet(nn.Module):
    """Faces anywhere: (N, 3, H, W) gives steps (N, 4, h, w) and probabilities (N, 2, h, w), no face before face."""

    def __init__(self):
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), F.softmax(self.conv4_1(x), axis=1)


class RNet(nn.Module):
    """Is it one? (N, 3, 24, 24) gives steps (N, 4) and probabilities (N, 2)."""

    def __init__(self):
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu4(self.dense4(columns(self.prelu3(self.conv3(x)))))
        return self.dense5_2(x), F.softmax(self.dense5_1(x), axis=1)


class ONet(nn.Module):
    """Where exactly? (N, 3, 48, 48) gives steps (N, 4), landmarks (N, 10), all x before all y, probabilities (N, 2)."""

    def __init__(self):
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu5(self.dense5(columns(self.prelu4(self.conv4(x)))))
        return self.dense6_2(x), self.dense6_3(x), F.softmax(self.dense6_1(x), axis=1)


def columns(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N, W * H * C), as MATLAB lays a map out."""
    return x.transpose(0, 3, 2, 1).reshape(len(x), math.prod(x.shape[1:]))


class MTCNN(nn.Module):
    """The cascade. smallest: side of a face in pixels; least: the score that each network must give; factor: from one
    size of the picture to the next."""

    def __init__(
        self, smallest: float = 20, least: tuple[float, float, float] = (0.6, 0.7, 0.7), factor: float = 0.709
    ):
        self.pnet, self.rnet, self.onet = PNet(), RNet(), ONet()
        self.smallest, self.least, self.factor = smallest, least, factor

    def detect(self, image: np.ndarray, device: str = "cpu") -> Detections:
        """The faces in a picture (3, H, W) of 0 to 255, best first, with landmarks (K, 5, 3), the third number the
        score of the face; in the pixels of the picture as facenet-pytorch counts them."""
        picture = Tensor(to_device(np.ascontiguousarray(image[None], np.float32), device))
        with self.inference():
            boxes, scores, points = self.third(picture, self.second(picture, self.first(picture)))
        sure = np.broadcast_to(scores[:, None, None], (len(points), 5, 1))
        return Detections.ranked(boxes, np.zeros(len(boxes), np.int64), scores, keypoints=np.dstack([points, sure]))

    def scales(self, height: int, width: int) -> list[float]:
        """The sizes at which P-Net sees a picture: from where the smallest face fills its window, until none fits."""
        scale, side, found = WINDOW / self.smallest, min(height, width) * WINDOW / self.smallest, []
        while side >= WINDOW:
            found.append(scale)
            scale, side = scale * self.factor, side * self.factor
        return found

    def first(self, picture: Tensor) -> np.ndarray:
        """P-Net's boxes (K, 4), square, those of each size apart and then all together without those overlapped."""
        height, width = picture.shape[2:]
        parts = [(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))]
        for scale in self.scales(height, width):
            small = F.interpolate(picture, size=(int(height * scale + 1), int(width * scale + 1)), mode="area")
            steps, said = (y.numpy()[0] for y in self.pnet(normalised(small)))
            places = np.argwhere(said[1] >= self.least[0])  # (K, 2), rows first
            low = STRIDE * places[:, ::-1].astype(np.float32)
            boxes = np.floor(np.concatenate([low + 1, low + WINDOW], axis=1) / np.float32(scale))
            scores, steps = said[1][tuple(places.T)], steps[:, *places.T].T
            kept = F.nms(boxes, scores, 0.5).data
            parts.append((boxes[kept], scores[kept], steps[kept]))
        boxes, scores, steps = map(np.concatenate, zip(*parts))
        kept = F.nms(boxes, scores, 0.7).data
        return squared(moved(boxes[kept], steps[kept], extra=0))

    def second(self, picture: Tensor, boxes: np.ndarray) -> np.ndarray:
        """Those boxes that R-Net takes for faces, moved and square."""
        boxes, steps, said = looked_at(self.rnet, picture, boxes, 24)
        found = said[:, 1] > self.least[1]
        boxes, steps, scores = boxes[found], steps[found], said[found, 1]
        kept = F.nms(boxes, scores, 0.7).data
        return squared(moved(boxes[kept], steps[kept]))

    def third(self, picture: Tensor, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those that O-Net takes for faces: boxes (K, 4), scores (K,), landmarks (K, 5, 2)."""
        boxes, steps, points, said = looked_at(self.onet, picture, boxes, 48)
        found = said[:, 1] > self.least[2]
        boxes, steps, points, scores = boxes[found], steps[found], points[found], said[found, 1]
        places = points.reshape(-1, 2, 5).transpose(0, 2, 1)  # (K, 10), x before y -> (K, 5, 2)
        places = sides(boxes)[:, None] * places + boxes[:, None, :2] - 1
        boxes = moved(boxes, steps)
        kept = unlike(boxes, scores, 0.7)
        return boxes[kept], scores[kept], places[kept]


def normalised(pixels: Tensor) -> Tensor:
    """0 to 255 as the networks see it, -1 to 1."""
    return (pixels - 127.5) * 0.0078125


def looked_at(network: nn.Module, picture: Tensor, boxes: np.ndarray, side: int) -> list[np.ndarray]:
    """What a network says of the boxes, cut out and made side x side; first the boxes, without those outside."""
    height, width = picture.shape[2:]
    x1, y1 = np.trunc(boxes[:, :2]).astype(int).clip(1).T
    x2, y2 = np.minimum(np.trunc(boxes[:, 2:]).astype(int), (width, height)).T
    inside = np.flatnonzero((x2 >= x1) & (y2 >= y1))
    crops = [
        F.interpolate(picture[:, :, y1[k] - 1 : y2[k], x1[k] - 1 : x2[k]], size=side, mode="area") for k in inside
    ]
    crops = F.concat(crops, axis=0) if crops else F.pad(picture[:0, :, :1, :1], (0, side - 1, 0, side - 1))
    parts = [network(normalised(crops[i : i + TOGETHER])) for i in range(0, max(len(inside), 1), TOGETHER)]
    return [boxes[inside], *(np.concatenate([y.numpy() for y in each]) for each in zip(*parts))]


def sides(boxes: np.ndarray, extra: int = 1) -> np.ndarray:
    """Width and height of boxes, (K, 2)."""
    return boxes[:, 2:] - boxes[:, :2] + np.float32(extra)


def moved(boxes: np.ndarray, steps: np.ndarray, extra: int = 1) -> np.ndarray:
    """Boxes whose corners have gone the steps (K, 4), in sides of the box."""
    return boxes + steps * np.tile(sides(boxes, extra), 2)


def squared(boxes: np.ndarray) -> np.ndarray:
    """Boxes as squares on the longer side, around the same centre."""
    width_height = sides(boxes, 0)
    longer = width_height.max(axis=1, keepdims=True)
    low = boxes[:, :2] + width_height * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate([low, low + longer], axis=1)


def unlike(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Which boxes to keep, best first: dropped is what shares over `threshold` of the smaller one with a better."""
    area, left, kept = sides(boxes).prod(axis=1), np.argsort(-scores, kind="stable"), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[left, :2]), np.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        left = left[shared <= threshold * np.minimum(area[best], area[left])]
    return np.array(kept, int)
