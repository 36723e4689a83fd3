"""What a run leaves: the table, the search, the figures, and scores.json."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..run import SCORES, Job
from . import compare, faces, figure, photograph
from .compare import EDGES, NetworkScores
from .model import Networks
from .scores import TOLERANCE
from .train import accuracy, test_scenes

FIGURE, PATCHES = "figure.png", "patches.png"
COLUMNS = ("pointing", "IoU", "top", "all", "deletion", "insertion", "ms")
LEGEND = f"""\
pointing   share of pictures where the map's maximum is on the evidence, or {TOLERANCE} pixel beside it: more is better
IoU        of the evidence and the most important pixels, as many as it has: more is better
top, all   rank correlation with the map after the top layer, or all layers, were made random: nearer to 0 is better
deletion   mean probability of the class while pixels turn gray, the most important first: less is better
insertion  the same while pixels of a blurred picture become sharp: more is better
ms         processor time for one picture; means over {{0}} pictures, curves {{1}}, randomisation {{2}}"""


def report(networks: Networks, job: Job) -> None:
    """Score all methods with each network on planted evidence; search the photograph; print, draw and write it all."""
    settings, out, device = job.settings, job.out, job.device
    images, labels = faces.test_part()
    right = round(accuracy(networks.faces, images, labels, device) * len(labels))
    found = photograph.search(networks.faces, device=device)
    comparisons = []
    with job.progress("scoring the methods", sum(map(compare.work, networks.evidence))) as show:
        for seed, network in enumerate(networks.evidence, settings.seed):
            comparisons.append(compare.compare(network, seed, device=device, show=show))
    print(f"faces: {right} of {len(labels)} test squares are right")
    print(photograph.sentence(found))
    print(f"planted evidence: {accuracies(comparisons)} of {compare.COUNTS.classified} test pictures are right\n")
    print(table(comparisons))
    print(f"\n{LEGEND.format(*compare.COUNTS)}")
    print("\n".join(["", *remarks(comparisons)]))
    with job.progress("drawing", 2) as show:
        scenes = test_scenes(settings.seed, compare.COUNTS.classified)
        figure.overview(out / FIGURE, networks, scenes, found, comparisons, f"What decides? {settings.describe()}")
        show()
        figure.patches(out / PATCHES, networks, scenes)
        show()
    job.write_json(SCORES, content(right, len(labels), found, comparisons))
    print(f"in {out}: {FIGURE}, {PATCHES}, {SCORES}")


def accuracies(comparisons: Sequence[NetworkScores]) -> str:
    """The accuracies on planted evidence, in words."""
    shares = [c.accuracy for c in comparisons]
    return f"{shares[0]:.1%}" if len(shares) == 1 else f"{min(shares):.1%} to {max(shares):.1%} (by seed)"


def table(comparisons: Sequence[NetworkScores]) -> str:
    """A line for each method, the mean over the seeds and, of several, the standard deviation; the last is chance."""
    width = 13 if len(comparisons) > 1 else 10
    names = list(comparisons[0].results)
    first = max(map(len, names)) + 1
    lines = [" " * first + "".join(f"{name:>{width}}" for name in COLUMNS)]
    for name in names:
        rows = [c.results[name].numbers() for c in comparisons]
        cells = [cell([row[column] for row in rows], 1 if column == "ms" else 2) for column in COLUMNS]
        cells[-1] = "" if name == EDGES else cells[-1]
        lines.append(f"{name:<{first}}" + "".join(f"{text:>{width}}" for text in cells))
    chance = zip(*(c.chance for c in comparisons))
    lines.append(f"{'chance':<{first}}" + "".join(f"{cell(list(values), 2):>{width}}" for values in chance))
    return "\n".join(line.rstrip() for line in lines)


def cell(values: Sequence[float], digits: int) -> str:
    """A number; of several the mean and the sample's standard deviation."""
    if np.isnan(values).any():
        return "-"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def remarks(comparisons: Sequence[NetworkScores]) -> list[str]:
    """What the table says, and what it does not show."""
    means = {
        name: {column: np.mean([c.results[name].numbers()[column] for c in comparisons]) for column in COLUMNS}
        for name in comparisons[0].results
    }
    methods = {name: row for name, row in means.items() if name != EDGES}
    stuck = max(methods, key=lambda name: methods[name]["all"])
    best = max(methods, key=lambda name: methods[name]["IoU"])
    slow, fast = (f(methods, key=lambda name: methods[name]["ms"]) for f in (max, min))
    lines = [
        f"{stuck} keeps more of its map than others: rank correlation {methods[stuck]['top']:.2f} after the top layer "
        f"was made random, {methods[stuck]['all']:.2f} after all were; what stays is the picture's, not the network's",
        f"{best} marks the evidence best (IoU {methods[best]['IoU']:.2f})",
        f"{slow} is very slow: {methods[slow]['ms'] / methods[fast]['ms']:.0f} times the time of {fast}",
    ]
    for name in methods:
        gaps = [c.results[name].gap for c in comparisons if c.results[name].gap is not None]
        if gaps:
            lines.append(f"{name}: the pixels add up to the difference of scores within {max(gaps):.1%} (completeness)")
        if empty := sum(c.results[name].empty for c in comparisons):
            total = compare.COUNTS.pointed * len(comparisons)
            lines.append(f"{name}: {empty} of {total} maps are zero everywhere: they point nowhere and count as misses")
    return lines


def content(right: int, n: int, found: photograph.Search, comparisons: Sequence[NetworkScores]) -> dict:
    """Everything as plain numbers; null for a correlation that does not exist."""
    return {
        "pictures": compare.COUNTS._asdict(),
        "faces": {"right": right, "of": n},
        "photograph": {"best": found.best, "in the face": found.found, "log odds": found.score,
                       "elsewhere": found.elsewhere},
        "evidence": [
            {
                "seed": c.seed, "accuracy": c.accuracy, "chance": c.chance,
                "methods": {name: numbers_of(result) for name, result in c.results.items()},
            }
            for c in comparisons
        ],
    }  # fmt: skip


def numbers_of(result: compare.MethodScores) -> dict:
    """One method's numbers for JSON."""
    numbers = {**result.numbers(), "empty": result.empty, "gap": result.gap}
    plain = {name: None if value is None or np.isnan(value) else float(value) for name, value in numbers.items()}
    curves = {"deletion curve": result.deletion.tolist(), "insertion curve": result.insertion.tolist()}
    sanity = {layer: None if np.isnan(value) else value for layer, value in result.sanity.items()}
    return {**plain, "sanity": sanity, **curves}
