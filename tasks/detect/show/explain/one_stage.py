"""The stages of SSD and RetinaNet: which negatives count, by choice or by weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl import functional as F
from minidl import no_grad

from ...losses.matching import IGNORED, NEGATIVE, POSITIVE
from . import anchors as anchored
from . import inference
from .anchors import TRUTH, Matched, decoding, matched
from .stage import MOST, Case, Group, Row, Sheet, Stage, Table, cells, left_out, noted, plural, text

PART = "Training"


def ssd(case: Case) -> list[Stage]:
    """All but the picture and the losses."""
    s, name = case.model.settings, "default box"
    rule = anchored.rule(name, s.positive, s.positive, True)
    return _stages(case, name, ("w = s * sqrt(a)", "h = s / sqrt(a)"), rule, hard)


def retinanet(case: Case) -> list[Stage]:
    """All but the picture and the losses."""
    s, name = case.model.settings, "anchor"
    rule = anchored.rule(name, s.positive, s.negative, s.best)
    return _stages(case, name, ("w * h = size**2", "h / w = ratio"), rule, focal)


def _stages(
    case: Case, name: str, formulas: tuple[str, str], rule: str, classes: Callable[[Case, Matched], Stage]
) -> list[Stage]:
    known, steps = matched(case, case.training.outputs, case.training.matches, case.model.anchors), case.training.steps
    divisor = f"the number of positive {plural(name)}, {_count(case)}"
    return [
        anchored.anchors(case, PART, known, name, formulas),
        anchored.ious(case, PART, known, name),
        anchored.labels(case, PART, known, name, rule),
        classes(case, known),
        anchored.steps(case, PART, steps, name, "box", divisor),
        *inference.single(case, known.boxes, name, "A box is where the predicted steps lead.", decoding(steps.weights)),
    ]


def _count(case: Case) -> int:
    """What both losses are divided by."""
    return max(len(case.training.steps.start), 1)


# --- SSD


def hard(case: Case, known: Matched) -> Stage:
    """The negatives that are trained on: those with the largest loss."""
    computed, s, count = case.training, case.model.settings, _count(case)
    entropy, chosen, labels = computed.entropy[0], computed.hard[0], known.match.labels
    with no_grad():
        background = F.softmax(computed.outputs.logits[0], axis=1).numpy()[:, -1]
    parts = {
        "positive": np.flatnonzero(labels == POSITIVE),
        "hard": np.flatnonzero(chosen),
        "passed": np.flatnonzero((labels == NEGATIVE) & ~chosen),
    }
    kinds = {"positive": "positive", "hard": "negative", "passed": "ignored"}
    names = {"positive": "positive", "hard": "hard negative", "passed": "easy negative"}
    rows, notes = [], []
    for key, all_ in parts.items():
        some = all_[np.argsort(-entropy[all_], kind="stable")][:MOST]
        notes.append(left_out(len(some), len(all_), f"{names[key]} (those with the largest loss)"))
        for i in some:
            share = "" if key == "passed" else entropy[i] / count
            rows.append(
                Row(cells(int(i), names[key], background[i], entropy[i], share), known.boxes[i], kinds[key], [key])
            )
    words = (
        f"Nearly all default boxes show background, and most are easy. All positive ones are trained on, and of the "
        f"negative ones {s.hard:g} for each positive: those whose cross entropy is largest. Here "
        f"{len(parts['positive'])} positive, {len(parts['hard'])} hard negatives, {len(parts['passed'])} left out. "
        f"<b>class</b> is the sum of their cross entropies, divided by the number of positive ones, {count}."
    )
    groups = [Group(key, names[key], len(parts[key]), kinds[key], key != "passed") for key in parts]
    table = Table(["default box", "part", "p of background", "cross entropy", "share of class"], rows)
    return Stage("hard", PART, "Hard negatives", text(words, "L = -log(p[label])"), [table], groups, [TRUTH],
                 note=noted(*notes))  # fmt: skip


# --- RetinaNet


def focal(case: Case, known: Matched) -> Stage:
    """What the focal loss makes of the cross entropy of each anchor."""
    s, yes, count = case.model.settings, case.training.steps.positives, _count(case)
    logits, labels = case.training.outputs.logits.numpy()[0].astype(float), known.match.labels
    asked = np.zeros(logits.shape, bool)
    asked[yes.item, yes.label] = True
    with np.errstate(invalid="ignore"):  # the page of a detector that has diverged shows NaN
        entropy = np.logaddexp(0, np.where(asked, -logits, logits))  # -log p_t, (A, C), without overflow
    right = np.exp(-entropy)
    share = np.where(asked, s.alpha, 1 - s.alpha) if s.alpha >= 0 else np.ones(logits.shape)
    weight = share * (1 - right) ** s.gamma
    terms = case.terms["class"].value  # one an anchor
    parts = {"positive": labels == POSITIVE, "negative": labels == NEGATIVE}
    rows, notes = [], []
    for key, of_part in parts.items():
        all_ = np.flatnonzero(of_part)
        some = all_[np.argsort(-terms[all_], kind="stable")][:MOST]
        notes.append(left_out(len(some), len(all_), f"{key} anchors (those with the largest loss)"))
        for i in some:
            c = int((weight[i] * entropy[i]).argmax())  # the answer that costs most
            answer = f"{case.classes[c]}: {'yes' if asked[i, c] else 'no'}"
            line = cells(int(i), key, answer, right[i, c], entropy[i, c], weight[i, c], terms[i])
            rows.append(Row(line, known.boxes[i], key, [key]))
    summary = _summary(parts["positive"], labels != IGNORED, right.min(axis=1), entropy.sum(axis=1), terms)
    alpha = f"alpha_t is {s.alpha:g} for yes and {1 - s.alpha:g} for no" if s.alpha >= 0 else "alpha_t is 1"
    words = (
        f"All anchors that are not ignored are trained on: each of {len(case.classes)} classes is a question with the "
        "answer yes or no, and p_t is the probability given to the right answer. The factor weighs down what is "
        f"classified well already: {alpha}, gamma is {s.gamma:g}. "
        f"<b>class</b> is the sum over all anchors and classes, divided by the number of positive anchors, {count}. "
        "The table names of each anchor the answer that costs most."
    )
    groups = [Group(key, key, int(of_part.sum()), key) for key, of_part in parts.items()]
    head = ["anchor", "label", "right answer", "p_t", "cross entropy", "weight", "share of class"]
    return Stage("focal", PART, "Focal weights", text(words, "L = -alpha_t * (1 - p_t)**gamma * log(p_t)"),
                 [Table(head, rows)], groups, [TRUTH], summary, noted(*notes))  # fmt: skip


def _summary(
    positive: np.ndarray, asked: np.ndarray, worst: np.ndarray, entropy: np.ndarray, terms: np.ndarray
) -> Sheet:
    """How the cross entropy and the focal loss split between positive, hard and easy negative anchors."""
    parts = {
        "positive": positive,
        "negative, some answer wrong (p_t < 0.5)": asked & ~positive & (worst < 0.5),
        "negative, unsure (0.5 to 0.9)": asked & ~positive & (worst >= 0.5) & (worst < 0.9),
        "negative, easy (all p_t >= 0.9)": asked & ~positive & (worst >= 0.9),
    }
    of = [max(float(each[asked].sum()), 1e-30) for each in (entropy, terms)]
    lines = [
        cells(name, int(part.sum()), f"{entropy[part].sum() / of[0]:.1%}", f"{terms[part].sum() / of[1]:.1%}")
        for name, part in parts.items()
    ]
    return Sheet(["anchors", "how many", "of the cross entropy", "of the focal loss"], lines,
                 "what the weights do: the share of each kind of anchor in either loss")  # fmt: skip
