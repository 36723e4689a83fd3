"""The stages of Faster R-CNN and Mask R-CNN in training: proposals, regions, crops, classes, masks, keypoints."""

from __future__ import annotations

from math import ceil

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F

from ...models.heads import Crop
from . import anchors as anchored
from . import use
from .anchors import LABELS, TRUTH, Steps, compared, decoding, matched
from .heads import keypoints, masks
from .stage import Case, Group, Row, Sheet, Stage, Table, cells, decoded, sigmoid, text

FIRST, SECOND = "First stage: proposals", "Second stage: a closer look"


def stages(case: Case) -> list[Stage]:
    """All but the picture and the losses."""
    s, page = case.model.rpn.settings, case.ledger["rpn"]
    known = matched(case, page, case.model.rpn.anchors)
    said = anchored.rule("anchor", s.positive, s.negative, True)
    return [
        anchored.anchors(case, FIRST, known, "anchor", ("w * h = size**2", "h / w = ratio")),
        anchored.ious(case, FIRST, known, "anchor"),
        anchored.labels(case, FIRST, known, "anchor", said),
        sampled(case),
        first_steps(case),
        *proposals(case),
        regions(case),
        crops(case),
        classes(case),
        *([masks(case, SECOND)] if "mask" in case.ledger else []),
        *([keypoints(case, SECOND)] if "keypoint" in case.ledger else []),
        *use.two_stage(case),
    ]


def sampled(case: Case) -> Stage:
    """The anchors that are trained on, and the first loss."""
    s, page, terms = case.model.rpn.settings, case.ledger["rpn"], case.ledger["terms"]["objectness"].value
    drawn, labels = page["drawn"], page["match"][0].labels
    chance = sigmoid(page["objectness"][0][drawn.box])
    rows = []
    for n in np.lexsort((-terms, ~drawn.positive)):
        kind = "positive" if drawn.positive[n] else "negative"
        line = cells(int(drawn.box[n]), kind, chance[n], terms[n] * len(terms), terms[n])
        rows.append(Row(line, page["anchors"][drawn.box[n]], kind, [kind]))
    count = {kind: int((drawn.positive == (kind == "positive")).sum()) for kind in ("positive", "negative")}
    there = {name: int((labels == label).sum()) for label, name in LABELS.items()}
    words = (
        f"Of thousands of anchors only {s.sample} of a picture are trained on, at most {s.share:.0%} of them positive, "
        f"or the many negative ones would drown the few others: {count['positive']} of {there['positive']} positive "
        f"and {count['negative']} of {there['negative']} negative ones were drawn here. The network says of each how "
        "likely it shows an object, p. <b>objectness</b> is the mean of their cross entropies over the "
        f"{len(drawn.box)} drawn."
    )
    groups = [Group(kind, kind, n, kind) for kind, n in count.items()]
    table = Table(["anchor", "label", "p", "cross entropy", "its share"], rows)
    formulas = ("L = -log(p) if positive else -log(1 - p)",)
    return Stage("sampled", FIRST, "Sampled anchors", text(words, *formulas), [table], groups, [TRUTH])


def first_steps(case: Case) -> Stage:
    page = case.ledger["rpn"]
    drawn, at = page["drawn"], page["positive"]
    s = Steps(drawn.box[at], page["anchors"][drawn.box[at]], drawn.truth[at], page["wanted"], page["steps"],
              (1.0,) * 4, case.model.rpn.settings.beta, case.ledger["terms"]["rpn_box"].value)  # fmt: skip
    return anchored.steps(
        case, FIRST, "deltas", s, "anchor", "rpn_box", f"the number of anchors drawn, {len(drawn.box)}"
    )


def proposals(case: Case) -> list[Stage]:
    """The anchors decoded in training, and which of them are proposed."""
    s, page, known = case.model.rpn.settings, case.ledger["proposals"][0], case.ledger["rpn"]
    strides = case.model.rpn.anchors.strides
    groups = [f"stride {strides[i]}" for i in known["level"][page["anchor"]]]
    ranked = use.ranking(page, "anchor", groups, sigmoid(page["scores"]))
    words = (
        f"Now the steps are taken. The {s.before[0]} anchors of each level that score best move and stretch to where "
        f"the network wants them and are cut off at the border: {len(groups)} boxes. p is how likely each shows an "
        "object, of whatever class."
    )
    again = f"Many anchors lead to the same object. {len(groups)} boxes are ranked, level by level."
    said, start = text(words, *decoding((1.0,) * 4)), known["anchors"][ranked.item]
    return [
        use.mended("proposals", FIRST, "Decoded boxes", said, ranked, start, ("anchor", "level")),
        use.suppressed("proposals-nms", FIRST, again, ranked, s.nms, "level", s.after[0]),
    ]


def _origin(case: Case, r: int) -> str:
    """Where a region comes from: a proposal, or an object of the target itself."""
    page, box = case.ledger["head"], int(case.ledger["head"]["box"][r])
    proposed = len(page["candidates"][0]) - int((~case.target.crowd).sum())
    return f"proposal {box + 1}" if box < proposed else f"object {np.flatnonzero(~case.target.crowd)[box - proposed]}"


def _positive(case: Case) -> np.ndarray:
    return case.ledger["head"]["label"] < case.model.num_classes


def regions(case: Case) -> Stage:
    """The regions that the second stage is trained on."""
    s, page = case.model.head.settings, case.ledger["head"]
    iou, positive = page["match"][0].iou[page["box"]], _positive(case)
    rows = []
    for r in np.lexsort((-iou, ~positive)):
        kind = "positive" if positive[r] else "negative"
        line = cells(int(r), _origin(case, r), iou[r], case.label(page["label"][r]))
        goal = case.target.boxes[page["truth"][r]] if positive[r] else None
        rows.append(Row(line, page["regions"][r, 1:], kind, [kind], goal=goal))
    words = (
        "The second stage looks at the proposals; in training the objects themselves are put among them, so that "
        f"there is always something to learn. A region whose IoU with an object is at least {s.positive:g} is to be "
        f"named as its class, every other as background. {s.sample} at most are drawn, {s.share:.0%} of them positive "
        f"at most: {int(positive.sum())} and {int((~positive).sum())} here, out of {len(page['candidates'][0])}."
    )
    groups = [
        Group("positive", "positive", int(positive.sum()), "positive"),
        Group("negative", "background", int((~positive).sum()), "negative", shown=False),
    ]
    table = Table(["region", "comes from", "IoU", "should be"], rows)
    return Stage(
        "regions",
        SECOND,
        "Sampled regions",
        text(words, f"label = c if IoU >= {s.positive:g} else background"),
        [table],
        groups,
        [TRUTH],
    )


def crops(case: Case) -> Stage:
    """Which map each region is cut from, and where its features are read."""
    crop, page, size = case.model.crop, case.ledger["head"], case.model.head.size
    rows = []
    for r, (box, level) in enumerate(zip(page["regions"][:, 1:], page["level"])):
        stride, (width, height) = crop.strides[level], box[2:] - box[:2]
        line = cells(r, width, height, str(stride), width / stride, height / stride)
        laid = [stride, *(ceil(side / stride) for side in case.size)]
        rows.append(Row(line, box, "predicted", [f"level {level}"], grid=_grid(box, stride, crop, size), lattice=laid,
                        details=[_level(float(np.sqrt(width * height)), crop, stride)]))  # fmt: skip
    samples = f"{crop.sampling} x {crop.sampling} points (yellow) between the cells of the map (white), bilinearly"
    how = (
        f"RoI align reads each bin at {samples}, and takes their mean"
        if crop.method == "align"
        else "RoI pool rounds the region to whole cells of the map and takes the largest cell of each bin"
    )
    words = (
        f"Regions of all sizes must become features of one size, {size} x {size} bins. {how}. Small regions are cut "
        f"from fine maps, large ones from coarse ones: a side of {crop.canonical:g} pixels belongs to stride 16. "
        "Choose a region to lay its bins over the picture."
    )
    groups = [
        Group(f"level {i}", f"stride {stride}", int((page["level"] == i).sum()), "predicted")
        for i, stride in enumerate(crop.strides)
    ]
    table = Table(["region", "width", "height", "stride of its map", "cells wide", "cells high"], rows)
    formulas = (f"k = floor(4 + log2(sqrt(w * h) / {crop.canonical:g}))", "stride = 2**k")
    return Stage(
        "crops",
        SECOND,
        "Crops of the maps",
        text(words, *formulas),
        [table],
        groups,
        chosen=0 if rows else -1,
        zoom=True,
    )


def _level(side: float, crop: Crop, stride: int) -> Sheet:
    exact = 4 + np.log2(max(side, 1e-6) / crop.canonical)
    head = ["sqrt(w h)", "4 + log2(side / canonical)", "k", "stride taken, of those there are"]
    return Sheet(head, [cells(side, exact, int(np.floor(exact)), stride)])


def _grid(box: np.ndarray, stride: int, crop: Crop, size: int) -> list:
    """Box, bins along a side, samples along the side of a bin (0: whole cells)."""
    if crop.method == "align":
        return [box, size, crop.sampling]
    low, high = (np.floor(corner.astype(float) / stride + 0.5) for corner in (box[:2], box[2:]))
    return [np.concatenate([low, np.maximum(high + 1, low + 1)]) * stride, size, 0]


def classes(case: Case) -> Stage:
    """What the second stage says of each region, and its two losses."""
    page, terms, s = case.ledger["head"], case.ledger["terms"], case.model.head.settings
    with no_grad():
        chances = F.softmax(Tensor(page["logits"]), axis=1).numpy()
    misses = dict(zip(terms["box"].item.tolist(), terms["box"].value))
    order = {int(r): n for n, r in enumerate(page["positive"])}
    rows = []
    for r in sorted(range(len(chances)), key=lambda r: (r not in order, -terms["class"].value[r])):
        label, said = int(page["label"][r]), int(chances[r].argmax())
        line = cells(r, case.label(label), case.label(said), chances[r, label], terms["class"].value[r],
                     misses[r] if r in order else "")  # fmt: skip
        kind = "positive" if r in order else "negative"
        details, more = [_likely(case, r, chances[r])], {}
        if r in order:
            n = order[r]
            reached = decoded(page["steps"][n : n + 1], page["regions"][r : r + 1, 1:], s.weights)[0]
            more = {"goal": case.target.boxes[page["truth"][r]], "predicted": reached}
            details.append(compared(page["wanted"][n], page["steps"][n], s.beta))
        rows.append(Row(line, page["regions"][r, 1:], kind, [kind], details=details, **more))
    words = (
        f"For each region the box head gives a probability to each of {case.model.num_classes} classes and to the "
        f"background, and four steps for each class. <b>class</b> is the mean cross entropy over the {len(rows)} "
        f"regions; <b>box</b> is the smooth L1 losses of the positive ones' steps for their own class (multiplied by "
        f"{', '.join(f'{w:g}' for w in s.weights)}), also divided by {len(rows)}."
    )
    groups = [
        Group("positive", "positive", len(order), "positive"),
        Group("negative", "background", len(rows) - len(order), "negative", shown=False),
    ]
    table = Table(
        ["region", "should be", "is called", "p of what it should be", "share of class", "share of box"], rows
    )
    legend = [TRUTH, ("positive", "the region"), ("predicted", "its box as it is mended")]
    said = text(words, "L_class = -log(p[label])")
    return Stage("classes", SECOND, "Classes and boxes", said, [table], groups, legend, chosen=0 if rows else -1)


def _likely(case: Case, r: int, chances: np.ndarray) -> Sheet:
    """The likeliest classes of a region."""
    label = case.ledger["head"]["label"][r]
    best = np.argsort(-chances, kind="stable")[:5]
    some = [*best, *([label] if label not in best else [])]
    lines = [cells(case.label(c) + (" (right)" if c == label else ""), chances[c]) for c in some]
    return Sheet(["class", "p"], lines)
