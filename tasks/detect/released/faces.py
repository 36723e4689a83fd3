"""MTCNN with the weights that facenet-pytorch ships: pnet.pt, rnet.pt and onet.pt in one folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl import load_weights, nn

from ..data.records import Detections
from ..models.mtcnn import LANDMARKS, MTCNN

NETWORK = "mtcnn"
FILES = ("pnet", "rnet", "onet")  # .pt each, or another form of weights


class Faces(NamedTuple):
    """A detector of faces, used as `Released` is."""

    model: MTCNN
    network: str = NETWORK
    names: Sequence[str] = ("face",)
    numbers: Sequence[int] = (1,)
    points: int = len(LANDMARKS)

    def find(
        self, pictures: Sequence[np.ndarray], score: float | None = None, device: str = "cpu"
    ) -> list[Detections]:
        """The faces in each picture (3, H, W) in [0, 1] that score above `score`."""
        found = [self.model.detect(np.rint(255 * picture), device) for picture in pictures]
        return [each[each.scores >= (score or 0)] for each in found]


def load_faces(folder: str | os.PathLike) -> Faces:
    """MTCNN with the weights in a folder. Raises FileNotFoundError, or ValueError for weights of another network."""
    with nn.init.undrawn():
        model = MTCNN()
    for name in FILES:
        files = sorted(Path(folder).glob(f"{name}.*"))
        if not files:
            listed = ", ".join(f"{each}.pt" for each in FILES)
            raise FileNotFoundError(f"no {name}.pt in {folder}: --weights of mtcnn names the folder with {listed}")
        try:
            getattr(model, name).load_state_dict(load_weights(files[0]))
        except ValueError as error:
            raise ValueError(f"{files[0]} does not hold the weights of {name}: {error}") from None
    return Faces(model.eval())
