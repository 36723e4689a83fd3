"""torchvision's detectors beside ours in whole photographs, resized as their files ask for, with all their proposals.

    python -m tests.reference.photographs                           # every network: an hour or two
    python -m tests.reference.photographs fcos_resnet50_fpn

Five photographs each, random weights whose outputs spread (`detectors.py`). A network decides by comparing: which score
is higher, which overlap exceeds a threshold. Where rounding in single precision turns such a decision, both programs
run that photograph again in double precision, which the next line has.
"""

import argparse
import sys

from minidl import Tensor
from minidl.table import table
from tasks.detect.released import with_state

from .detectors import NETWORKS, PHOTOGRAPHS, apart, drawn, picture, plain_torchvision, torch

HEADS = (
    "network", "photograph", "precision", "theirs", "ours", "labels that differ", "boxes, pixels", "scores",
    "pixels of masks", "keypoints, pixels",
)  # fmt: skip
ALLOWED = 1e-2  # pixels


def compared(net, detector, pixels, dtype="float32"):
    """How far apart both are in a picture, computed in this precision; in double both take torchvision's resizing."""
    net.to(getattr(torch, dtype))
    detector.model.to(dtype)
    images = [torch.from_numpy(pixels.astype(dtype))]
    with torch.no_grad():
        (theirs,) = net(images)
    if dtype == "float32":
        (found,) = detector.find([pixels])
    else:
        _, views = detector.preparation([pixels])
        (found,) = detector.model.detect(Tensor(net.transform(images)[0].tensors.numpy()), views=views)
    return apart(theirs, found, detector.numbers)


def equal(result):
    """The same boxes, labels, masks and keypoints."""
    same = result.theirs == result.ours and not result.labels and not result.masks
    return same and max(result.boxes, result.keypoints or 0) <= ALLOWED


def row(name, photograph, precision, result):
    few = ["" if value is None else str(value) for value in (result.theirs, result.ours, result.labels, result.masks)]
    real = ["" if value is None else f"{value:.1e}" for value in (result.boxes, result.scores, result.keypoints)]
    return [name, photograph, precision, *few[:3], *real[:2], few[3], real[2]]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.reference.photographs", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(NETWORKS)}")
    names = parser.parse_args(argv).networks or list(NETWORKS)
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    pictures, rows, wrong = {each: picture(each) for each in PHOTOGRAPHS}, [HEADS], 0
    with plain_torchvision():
        for name in names:
            net = drawn(name, list(pictures.values()), classes=2 if "keypoint" in name else 91, level=True)
            detector = with_state(net.state_dict(), name)
            for photograph, pixels in pictures.items():
                for precision in ("float32", "float64"):
                    result = compared(net, detector, pixels, precision)
                    rows.append(row(name, photograph, precision, result))
                    print(" ".join(rows[-1]), file=sys.stderr, flush=True)
                    if equal(result):
                        break
                wrong += not equal(result)
    print("\n".join(table(rows)))
    total = len(names) * len(pictures)
    print(f"{total - wrong} of {total}: the same labels, boxes and keypoints to {ALLOWED} pixel, the same masks")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
