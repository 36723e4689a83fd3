"""Samples of regions of interest. Oracles: a loop over every bin, and over every sample or cell of it."""

from __future__ import annotations

import math

import numpy as np

from ...ops.roi import Regions, roi_align_p, roi_from_largest, roi_pool_p, roi_spread, roi_to_largest
from . import Sample, samples


def mixtures(regions, h, w):
    """r, p, q, i, j and how much cell i, j counts in bin p, q of box r, by one sample after the other."""
    offset = 0.5 if regions.aligned else 0.0
    for r, box in enumerate(regions.boxes):
        x1, y1, x2, y2 = (regions.spatial_scale * v - offset for v in box[1:].tolist())
        height, width = y2 - y1, x2 - x1
        if not regions.aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        across = regions.parts[1]
        height, width = height / regions.parts[0], width / across  # of the part of the box that this one is
        y1, x1 = y1 + r // across % regions.parts[0] * height, x1 + r % across * width
        bin_h, bin_w = height / regions.output[0], width / regions.output[1]
        fixed = regions.sampling_ratio > 0
        down, right = (regions.sampling_ratio if fixed else math.ceil(b) for b in (bin_h, bin_w))
        for p, q in np.ndindex(*regions.output):
            for s in range(down):
                for t in range(right):
                    y, x = y1 + p * bin_h + (s + 0.5) * bin_h / down, x1 + q * bin_w + (t + 0.5) * bin_w / right
                    for i, j, share in corners(y, x, h, w):
                        yield r, p, q, i, j, share / max(down * right, 1)


def corners(y, x, h, w):
    """The four cells around a point, and their bilinear weights; none for a point outside."""
    if y < -1 or y > h or x < -1 or x > w:
        return
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = int(y), int(x)
    if top >= h - 1:
        top, y = h - 1, float(h - 1)
    if left >= w - 1:
        left, x = w - 1, float(w - 1)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    ly, lx = y - top, x - left
    yield from ((top, left, (1 - ly) * (1 - lx)), (top, right, (1 - ly) * lx))
    yield from ((bottom, left, ly * (1 - lx)), (bottom, right, ly * lx))


def align(x, *, regions):
    y = np.zeros((len(regions.boxes), x.shape[1], *regions.output), x.dtype)
    for r, p, q, i, j, share in mixtures(regions, *x.shape[2:]):
        y[r, :, p, q] += share * x[int(regions.boxes[r, 0]), :, i, j]
    return y


def spread(x, *, regions, size):
    y = np.zeros(size, x.dtype)
    for r, p, q, i, j, share in mixtures(regions, *size[2:]):
        y[int(regions.boxes[r, 0]), :, i, j] += share * x[r, :, p, q]
    return y


def cells(regions, x):
    """r, p, q and the flat cells of bin p, q of box r, in C order."""
    number, (h, w) = x.dtype.type, x.shape[2:]

    def rounded(v):  # halves away from 0
        v = number(v) * number(regions.spatial_scale)
        return int(math.copysign(math.floor(abs(v) + number(0.5)), v))

    for r, box in enumerate(regions.boxes):
        x1, y1, x2, y2 = (rounded(v) for v in box[1:])
        bin_h = number(max(y2 - y1 + 1, 1)) / number(regions.output[0])
        bin_w = number(max(x2 - x1 + 1, 1)) / number(regions.output[1])
        for p, q in np.ndindex(*regions.output):
            rows = range(y1 + math.floor(number(p) * bin_h), y1 + math.ceil(number(p + 1) * bin_h))
            columns = range(x1 + math.floor(number(q) * bin_w), x1 + math.ceil(number(q + 1) * bin_w))
            yield r, p, q, [i * w + j for i in rows for j in columns if 0 <= i < h and 0 <= j < w]


def largest(x, *, regions):
    y = np.zeros((len(regions.boxes), x.shape[1], *regions.output), x.dtype)
    for r, p, q, bin in cells(regions, x):
        for c in range(x.shape[1] if bin else 0):
            y[r, c, p, q] = x[int(regions.boxes[r, 0]), c].flat[bin].max()
    return y


def first_largest(among, regions):
    """r, n, c, p, q and the flat cell of the first largest of each bin that has cells."""
    for r, p, q, bin in cells(regions, among):
        n = int(regions.boxes[r, 0])
        for c in range(among.shape[1] if bin else 0):
            yield r, n, c, p, q, max(bin, key=among[n, c].flat.__getitem__)  # the first among equals


def added_at_largest(x, *, among, regions):
    y = np.zeros(among.shape, x.dtype)
    for r, n, c, p, q, cell in first_largest(among, regions):
        y[n, c].flat[cell] += x[r, c, p, q]
    return y


def looked_up_at_largest(x, *, among, regions):
    y = np.zeros((len(regions.boxes), x.shape[1], *regions.output), x.dtype)
    for r, n, c, p, q, cell in first_largest(among, regions):
        y[r, c, p, q] = x[n, c].flat[cell]
    return y


BOXES = (  # images in any order; inside, across a border, wholly outside, tiny, larger than the map, back to front
    (1, 0.3, 0.9, 3.7, 4.2),
    (0, -1.7, 2.1, 1.9, 6.3),
    (1, 8.5, 9.5, 12.0, 11.0),
    (0, 2.2, 1.4, 2.3, 1.45),
    (0, -3.0, -2.5, 9.0, 8.5),
    (1, 3.6, 3.1, 1.2, 0.7),
)


def cuts(scale=1.0):
    """Ways to cut these boxes into bins."""
    boxes = np.array(BOXES) * (1, *(1 / scale,) * 4)
    return (
        Regions(boxes[:5], (2, 2), scale),
        Regions(boxes[2:], (3, 1), scale, sampling_ratio=2, aligned=False),
        Regions(boxes, (1, 2), scale, sampling_ratio=1),
        Regions(boxes[::2], (2, 3), scale, aligned=False),
        Regions(boxes[:0], (2, 2), scale),
    )


SIZE = (2, 3, 5, 4)


def cases():
    """Regions and the size (N, C, H, W) of a map: each way to cut, a scale, and a small one (a whole Jacobian)."""
    yield from ((r, SIZE) for r in (*cuts(), cuts(0.25)[0]))
    yield Regions(np.array([BOXES[4], BOXES[0]]), (2, 1)), (2, 2, 3, 2)


def in_parts():
    """Boxes of which each is one of 2 x 3 parts, of two bins."""
    boxes = np.repeat(np.array(BOXES)[[0, 4]] * (1, 2, 2, 2, 2), 6, axis=0)
    yield Regions(boxes, (2, 1), 0.5, sampling_ratio=2, parts=(2, 3)), (2, 1, 4, 3)


@samples(roi_align_p, oracle=align)
def roi_align_samples(rng):
    for r, size in (*in_parts(), *cases(), (cuts(0.25)[1], SIZE), (cuts()[0], (2, 1, 1, 3))):
        yield Sample((rng.normal(size=size),), {"regions": r})


@samples(roi_spread, oracle=spread)
def roi_spread_samples(rng):
    for r, size in (*in_parts(), *cases(), (cuts(0.25)[1], SIZE)):
        yield Sample((rng.normal(size=(len(r.boxes), size[1], *r.output)),), {"regions": r, "size": size})


@samples(roi_pool_p, oracle=largest)
def roi_pool_samples(rng):
    for r, size in cases():
        yield Sample((rng.normal(size=size),), {"regions": r})


def contests(rng):
    """Boxes, and cells to choose the largest from: all different, and many alike."""
    for number, (r, size) in enumerate(cases()):
        yield {"among": rng.normal(size=size), "regions": r}
        if number % 3 == 0:
            yield {"among": rng.integers(0, 2, size) * 1.0, "regions": r}


@samples(roi_to_largest, oracle=added_at_largest)
def roi_to_largest_samples(rng):
    for contest in contests(rng):
        r, channels = contest["regions"], contest["among"].shape[1]
        yield Sample((rng.normal(size=(len(r.boxes), channels, *r.output)),), contest)


@samples(roi_from_largest, oracle=looked_up_at_largest)
def roi_from_largest_samples(rng):
    for contest in contests(rng):
        yield Sample((rng.normal(size=contest["among"].shape),), contest)
