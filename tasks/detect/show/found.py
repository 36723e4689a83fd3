"""What was found in a user's pictures: printed, drawn, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.outlines import as_runs
from ..data.records import Detections
from . import figure

SIDES = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Found:
    """Shows what a detector finds: its classes, the `category_id` of each in data, how many keypoints objects of each
    have; what scores less than `least` is left out; figures go to `out`."""

    out: Path
    classes: Sequence[str]
    numbers: Sequence[int]
    points: Sequence[int] = ()
    least: float = figure.SURE

    def tell(self, found: Detections, image: np.ndarray, file: str | Path) -> dict[str, Any]:
        """Print and draw what is in a picture (3, H, W), in its own pixels; the same as plain data.

        Of each detection "class", "category_id", "score" and "box" (x1, y1, x2, y2), and where there are any "mask"
        (COCO's runs) and "keypoints" (x, y and the network's confidence).
        """
        found = found[found.scores >= self.least]
        print(f"{file}: {len(found)} found with a score of at least {self.least:g}")
        detections = [self._one(found, i) for i in range(len(found))]
        drawn = self.out / f"{Path(file).stem}-detections.png"
        figure.picture(drawn, image, found, self.classes, self.points, self.least)
        print(f"drawn: {drawn}")
        height, width = image.shape[1:]
        return {"file": str(file), "width": width, "height": height, "detections": detections}

    def _one(self, found: Detections, i: int) -> dict[str, Any]:
        box, label, score = found.boxes[i], found.labels[i], float(found.scores[i])
        name = self.classes[label]
        print(f"  {name}  {score:.2f}  " + ", ".join(f"{x}={v:.0f}" for x, v in zip(SIDES, box)))
        data = {"class": name, "category_id": int(self.numbers[label]), "score": score, "box": box.tolist()}
        if found.masks is not None:
            mask = found.masks[i]
            print(f"    mask of {mask.sum()} pixels")
            data["mask"] = as_runs(mask)
        if found.keypoints is not None:
            points = found.keypoints[i, : self.points[label]]
            print("    keypoints " + ", ".join(f"x={x:.0f} y={y:.0f}" for x, y, _ in points))
            data["keypoints"] = points.tolist()
        return data
