"""torchvision, to compare with: ``from .torchvision_models import torchvision``.

Its compiled operators need the CUDA build of torch, and without them `import torchvision` fails. Here the one operator
without a fallback in Python, non-maximum suppression, is defined where they do not load.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("compares with torchvision", allow_module_level=True)


def _compiled() -> bool:
    """Whether torchvision's compiled operators load."""
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(str(next(folder.glob("_C*"))))
    except (OSError, StopIteration):
        return False
    return True


def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """The indices of the boxes that no better one overlaps by more than `threshold`, best first."""
    order = torch.argsort(scores, descending=True, stable=True)
    overlaps = (torchvision.ops.box_iou(boxes[order], boxes[order]) > threshold).numpy()
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[torch.from_numpy(alive)]


if not _compiled():
    library = torch.library.Library("torchvision", "DEF")  # is undone when it is collected
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    import torchvision

    torchvision.ops.boxes._assert_has_ops = lambda: None
else:
    import torchvision
