"""The stages of Faster R-CNN and Mask R-CNN in training: proposals, regions, crops, classes, masks, keypoints."""

from __future__ import annotations

from math import ceil

import numpy as np

from minidl import functional as F
from minidl import no_grad

from ...losses.steps import ONES
from ...losses.terms import Terms
from ...models.heads import BOX_BINS, Crop
from ...models.rfcn import RFCN
from . import anchors as anchored
from . import inference
from .anchors import LABELS, TRUTH, compared, decoding, matched
from .heads import keypoints, masks
from .stage import Case, Group, Row, Sheet, Stage, Table, cells, decoded, sigmoid, text

FIRST, SECOND = "First stage: proposals", "Second stage: a closer look"


def stages(case: Case) -> list[Stage]:
    """All but the picture and the losses."""
    s, computed = case.model.rpn.settings, case.training
    known = matched(case, computed.outputs, computed.first.matches, case.model.rpn.anchors)
    rule = anchored.rule("anchor", s.positive, s.negative, True)
    return [
        anchored.anchors(case, FIRST, known, "anchor", ("w * h = size**2", "h / w = ratio")),
        anchored.ious(case, FIRST, known, "anchor"),
        anchored.labels(case, FIRST, known, "anchor", rule),
        sampled(case),
        first_steps(case),
        *proposals(case),
        regions(case),
        votes(case) if isinstance(case.model, RFCN) else crops(case),
        classes(case),
        *([masks(case, SECOND)] if computed.mask else []),
        *([keypoints(case, SECOND)] if computed.keypoint else []),
        *inference.two_stage(case),
    ]


def sampled(case: Case) -> Stage:
    """The anchors that are trained on, and the first loss."""
    s, outputs, terms = case.model.rpn.settings, case.training.outputs, case.terms["objectness"].value
    drawn, labels = case.training.first.drawn, case.training.first.matches[0].labels
    chance = sigmoid(outputs.logits.numpy()[0, drawn.box])
    rows = []
    for n in np.lexsort((-terms, ~drawn.positive)):
        kind = "positive" if drawn.positive[n] else "negative"
        line = cells(int(drawn.box[n]), kind, chance[n], terms[n] * len(terms), terms[n])
        rows.append(Row(line, outputs.anchors[drawn.box[n]], kind, [kind]))
    count = {kind: int((drawn.positive == (kind == "positive")).sum()) for kind in ("positive", "negative")}
    there = {name: int((labels == label).sum()) for label, name in LABELS.items()}
    words = (
        f"Of thousands of anchors only {s.sample} of a picture are trained on, at most {s.share:.0%} of them positive, "
        f"or the many negative ones would drown the few others: {count['positive']} of {there['positive']} positive "
        f"and {count['negative']} of {there['negative']} negative ones were drawn here. The network predicts "
        "how likely each shows an object, p. <b>objectness</b> is the mean of their cross entropies over the "
        f"{len(drawn.box)} drawn."
    )
    groups = [Group(kind, kind, n, kind) for kind, n in count.items()]
    table = Table(["anchor", "label", "p", "cross entropy", "its share"], rows)
    formulas = ("L = -log(p) if positive else -log(1 - p)",)
    return Stage("sampled", FIRST, "Sampled anchors", text(words, *formulas), [table], groups, [TRUTH])


def first_steps(case: Case) -> Stage:
    first = case.training.first
    divisor = f"the number of anchors drawn, {len(first.drawn.box)}"
    return anchored.steps(case, FIRST, first.steps, "anchor", "rpn_box", divisor)


def proposals(case: Case) -> list[Stage]:
    """The anchors decoded in training, and which of them are proposed."""
    s, candidates, strides = case.model.rpn.settings, case.training.proposals[0], case.model.rpn.anchors.strides
    groups = [f"stride {strides[i]}" for i in candidates.group]
    ranked = inference.Ranking(candidates, groups, sigmoid(candidates.scores), s.nms)
    words = (
        f"Now the steps are taken. The {s.before[0]} anchors of each level that score best move and stretch to where "
        f"the network wants them and are cut off at the border: {len(groups)} boxes. p is how likely each shows an "
        "object, of whatever class."
    )
    again = f"Many anchors lead to the same object. {len(groups)} boxes are ranked, level by level."
    html, start = text(words, *decoding(ONES)), case.training.outputs.anchors[candidates.item]
    return [
        inference.refined("proposals", FIRST, "Decoded boxes", html, ranked, start, ("anchor", "level")),
        inference.suppressed("proposals-nms", FIRST, again, ranked, "level", s.after[0]),
    ]


def _origin(case: Case, r: int) -> str:
    """Where a region comes from: a proposal, or an object of the target itself."""
    box = int(case.training.chosen.drawn.box[r])
    objects = np.flatnonzero(~case.target.crowd)
    proposed = len(case.training.chosen.matches[0].iou) - len(objects)
    return f"proposal {box + 1}" if box < proposed else f"object {objects[box - proposed]}"


def regions(case: Case) -> Stage:
    """The regions that the second stage is trained on."""
    s, (matches, drawn, chosen) = case.model.settings, case.training.chosen
    iou, positive = matches[0].iou[drawn.box], drawn.positive
    rows = []
    for r in np.lexsort((-iou, ~positive)):
        kind = "positive" if positive[r] else "negative"
        line = cells(int(r), _origin(case, r), iou[r], case.label(chosen.label[r]))
        goal = case.target.boxes[chosen.truth[r]] if positive[r] else None
        rows.append(Row(line, chosen.boxes[r, 1:], kind, [kind], goal=goal))
    words = (
        "The second stage looks at the proposals; in training the objects themselves are put among them, so that "
        f"there is always something to learn. A region whose IoU with an object is at least {s.positive:g} is to be "
        f"named as its class, every other as background. {s.sample} at most are drawn, {s.share:.0%} of them positive "
        f"at most: {int(positive.sum())} and {int((~positive).sum())} here, out of {len(matches[0].iou)}."
    )
    groups = [
        Group("positive", "positive", int(positive.sum()), "positive"),
        Group("negative", "background", int((~positive).sum()), "negative", shown=False),
    ]
    table = Table(["region", "comes from", "IoU", "should be"], rows)
    html = text(words, f"label = c if IoU >= {s.positive:g} else background")
    return Stage("regions", SECOND, "Sampled regions", html, [table], groups, [TRUTH])


def crops(case: Case) -> Stage:
    """Which map each region is cut from, and where its features are read."""
    crop, boxes, size = case.model.crop, case.training.chosen.regions.boxes[:, 1:], BOX_BINS
    levels, rows = crop.level(boxes), []
    for r, (box, level) in enumerate(zip(boxes, levels)):
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
        Group(f"level {i}", f"stride {stride}", int((levels == i).sum()), "predicted")
        for i, stride in enumerate(crop.strides)
    ]
    table = Table(["region", "width", "height", "stride of its map", "cells wide", "cells high"], rows)
    formulas = (f"k = floor(4 + log2(sqrt(w * h) / {crop.canonical:g}))", "stride = 2**k")
    return Stage("crops", SECOND, "Crops of the maps", text(words, *formulas), [table], groups,
                 chosen=0 if rows else -1, zoom=True)  # fmt: skip


def votes(case: Case) -> Stage:
    """What each bin of a region says to the class that the region should be, and their mean."""
    model, regions = case.model, case.training.chosen.regions
    stride, bins = model.backbone.strides[0], model.bins
    with model.inference():
        scores = model.votes(case.training.maps, regions.boxes)[0].numpy()
    laid = [stride, *(ceil(side / stride) for side in case.size)]
    rows = []
    for r in np.argsort(regions.label == model.num_classes, kind="stable"):
        label = int(regions.label[r])
        of_bins = scores[r, label]
        line = cells(int(r), case.label(label), of_bins.mean(), of_bins.min(), of_bins.max())
        sheet = Sheet([f"column {q + 1}" for q in range(bins)], [cells(*row) for row in of_bins], "what the bins say")
        kind = "negative" if label == model.num_classes else "positive"
        box = regions.boxes[r, 1:]
        rows.append(Row(line, box, kind, [kind], grid=_grid(box, stride, model, bins), lattice=laid, details=[sheet]))
    words = (
        f"The second stage is three convolutions on the map of stride {stride}, for all regions at once. They give "
        f"{bins} x {bins} score maps for each class and for the background. A region has {bins} x {bins} bins, and "
        "each reads the map of its own place: the upper left bin the one that looks for upper left corners. The logit "
        "of a class is the mean of what its bins say, and so are the four steps. Choose a region to lay its bins over "
        "the picture and to see what each says."
    )
    groups = [
        Group("positive", "positive", len(regions.positive), "positive"),
        Group("negative", "background", len(rows) - len(regions.positive), "negative", shown=False),
    ]
    table = Table(["region", "should be", "mean: the logit", "least", "largest"], rows)
    html = text(words, f"logit[c] = mean over {bins} x {bins} bins of score[c, bin]")
    return Stage("votes", SECOND, "Votes of the bins", html, [table], groups, chosen=0 if rows else -1, zoom=True)


def _level(side: float, crop: Crop, stride: int) -> Sheet:
    exact = 4 + np.log2(max(side, 1e-6) / crop.canonical)
    head = ["sqrt(w h)", "4 + log2(side / canonical)", "k", "stride taken, of those there are"]
    return Sheet(head, [cells(side, exact, int(np.floor(exact)), stride)])


def _grid(box: np.ndarray, stride: int, crop: Crop | RFCN, size: int) -> list:
    """Box, bins along a side, samples along the side of a bin (0: whole cells)."""
    if crop.method == "align":
        return [box, size, crop.sampling]
    low, high = (np.floor(corner.astype(float) / stride + 0.5) for corner in (box[:2], box[2:]))
    after = high if isinstance(crop, RFCN) else high + 1  # the last cell is left out, or belongs to the region
    return [np.concatenate([low, np.maximum(after, low + 1)]) * stride, size, 0]


def classes(case: Case) -> Stage:
    """What the second stage predicts of each region, and its two losses."""
    second, regions = case.training.second, case.training.chosen.regions
    named, moved = (_by_region(case.terms[name], len(regions.label)) for name in ("class", "box"))
    steps, predicted = second.steps, second.steps.predicted.numpy()
    with no_grad():
        chances = F.softmax(second.logits, axis=1).numpy()
    reached = decoded(predicted, steps.start, steps.weights)
    order = {int(r): n for n, r in enumerate(regions.positive)}
    rows = []
    for r in sorted(range(len(chances)), key=lambda r: (r not in order, -np.nan_to_num(named[r]))):
        label, n = int(regions.label[r]), order.get(r)
        line = cells(r, case.label(label), case.label(int(chances[r].argmax())), chances[r, label],
                     *("" if np.isnan(share) else share for share in (named[r], moved[r])))  # fmt: skip
        details, more = [_likely(case, label, chances[r])], {}
        if n is not None:
            more = {"goal": steps.positives.boxes[n], "predicted": reached[n]}
            details.append(compared(steps.target[n], predicted[n], steps.beta))
        kind = "negative" if n is None else "positive"
        rows.append(Row(line, regions.boxes[r, 1:], kind, [kind], details=details, **more))
    trained, hard = len(case.terms["class"].value), case.model.settings.hard
    which = f"the {trained} regions with the largest losses" if hard else f"the {trained} regions"
    words = (
        f"For each region the box head gives a probability to each of {case.model.num_classes} classes and to the "
        f"background, and four steps for each class. <b>class</b> is the mean cross entropy over {which}; <b>box</b> "
        "is the smooth L1 losses of the positive ones' steps for their own class (multiplied by "
        f"{', '.join(f'{w:g}' for w in steps.weights)}), also divided by {trained}."
    )
    groups = [
        Group("positive", "positive", len(order), "positive"),
        Group("negative", "background", len(rows) - len(order), "negative", shown=False),
    ]
    table = Table(
        ["region", "should be", "is called", "p of what it should be", "share of class", "share of box"], rows
    )
    legend = [TRUTH, ("positive", "the region"), ("predicted", "its box as it is refined")]
    html = text(words, "L_class = -log(p[label])")
    return Stage("classes", SECOND, "Classes and boxes", html, [table], groups, legend, chosen=0 if rows else -1)


def _by_region(terms: Terms, count: int) -> np.ndarray:
    """The term of each region, NaN for one that has none: (count,)."""
    found = np.full(count, np.nan, np.float32)
    found[terms.item] = terms.value
    return found


def _likely(case: Case, label: int, chances: np.ndarray) -> Sheet:
    """The likeliest classes of a region, and the class it should have."""
    best = np.argsort(-chances, kind="stable")[:5]
    some = [*best, *([label] if label not in best else [])]
    lines = [cells(case.label(c) + (" (right)" if c == label else ""), chances[c]) for c in some]
    return Sheet(["class", "p"], lines)
