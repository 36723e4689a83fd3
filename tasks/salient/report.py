"""What the network is shown to find: scores on new scenes over new textures, and photographs to judge by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..photographs import photograph
from ..run import SCORES, TABLE, Job
from ..together import finished, spread
from . import figure
from .metrics import BASELINES, Score, scores
from .model import SaliencyNet
from .scenes import FEATURES, Scene, scene
from .train import Settings, saliency

OURS = "ours"
TESTED = 100  # scenes
PHOTOGRAPHS = ("astronaut", "chelsea", "camera", "flower")
SHOWN = 192  # pixels, the longer side of what is judged by eye
Found = dict[str, dict[str, list[Score]]]  # of each method and feature


def compare(model: SaliencyNet, job: Job) -> None:
    """Print the scores of all methods on test scenes; leave the table, the scores and the figure in the folder."""
    settings = job.settings
    found, shown = measured(model, job)
    lines = [f"{TESTED} new scenes over other textures; {OURS}: {settings.describe()}"]
    lines.append(f"{'':<20}{'AUC-Judd':>10}{'NSS':>8}{'F':>8}   AUC by what is odd: {', '.join(FEATURES)}")
    for method, by_feature in found.items():
        mean = Score(*np.mean([s for each in by_feature.values() for s in each], axis=0))
        features = "".join(f"{np.mean([s.auc for s in by_feature[f]]):>8.3f}" for f in FEATURES if by_feature[f])
        lines.append(f"{method:<20}{mean.auc:>10.3f}{mean.nss:>8.2f}{mean.f:>8.3f}   {features}")
    job.table(lines)
    plain = {m: {f: [s._asdict() for s in each] for f, each in row.items()} for m, row in found.items()}
    job.write_json(SCORES, plain)
    pictures = {name: reduced(photograph(name)) for name in PHOTOGRAPHS}
    maps = {name: methods(model, job)[OURS](image) for name, image in pictures.items()}
    figure.maps(job.out / "figure.png", shown, methods(model, job), pictures, maps, settings.describe())
    written = [TABLE, SCORES, "figure.png"]
    if log := job.log():
        figure.curve(job.out / "curve.png", log)
        written.append("curve.png")
    print(f"in {job.out}: {', '.join(written)}")


def together(folders: Sequence[str]) -> list[str]:
    """The table of several runs that differ in their seeds: means and standard deviations over the runs."""
    (runs,) = finished(folders).values()
    means = {
        method: [
            {feature: np.mean([list(s.values()) for s in each], axis=0) for feature, each in run.scores[method].items()}
            for run in runs
        ]
        for method in runs[0].scores
    }  # of each method and run, by feature: (AUC, NSS, F)
    lines = [f"mean and standard deviation of {len(runs)} runs, each with scenes of its own"]
    lines.append(f"{'':<20}{'AUC-Judd':>15}{'NSS':>13}{'F':>15}   AUC by what is odd: {', '.join(FEATURES)}")
    overall = {method: np.array([np.mean(list(m.values()), axis=0) for m in each]) for method, each in means.items()}
    for method, of_runs in overall.items():  # (runs, 3)
        auc, nss, f = of_runs.T
        features = "".join(f"{spread([m[f][0] for m in means[method]], 3):>15}" for f in FEATURES)
        lines.append(f"{method:<20}{spread(auc, 3):>15}{spread(nss, 2):>13}{spread(f, 3):>15}   {features}")
    ours = overall[OURS][:, 0]
    above = sum(ours > np.max([scores[:, 0] for name, scores in overall.items() if name != OURS], axis=0))
    return [*lines, f"runs in which AUC-Judd of {OURS} is above that of the others: {above} of {len(runs)}"]


def methods(model: SaliencyNet, job: Job) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return {**BASELINES, OURS: lambda image: saliency(model, image, job.device)}


def measured(model: SaliencyNet, job: Job) -> tuple[Found, list[Scene]]:
    """The scores on the test scenes, and the first scene of each feature."""
    settings: Settings = job.settings
    found: Found = {method: {feature: [] for feature in FEATURES} for method in methods(model, job)}
    first: dict[str, Scene] = {}
    with job.progress("looking at test scenes", TESTED) as show:
        for i in range(TESTED):
            one = scene(settings.side, "test", settings.seed, i, FEATURES[i % len(FEATURES)])
            first.setdefault(one.feature, one)
            for method, of_image in methods(model, job).items():
                found[method][one.feature].append(scores(of_image(one.image), one.truth))
            show()
    return found, list(first.values())


def reduced(image: np.ndarray) -> np.ndarray:
    """A photograph (H, W) or (H, W, 3) as colours (3, H, W), its longer side SHOWN pixels."""
    from PIL import Image

    picture = Image.fromarray(image).convert("RGB")
    factor = SHOWN / max(picture.size)
    picture = picture.resize([max(1, round(n * factor)) for n in picture.size], Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32).transpose(2, 0, 1) / 255  # (H, W, C) -> (C, H, W)


def use(model: SaliencyNet, job: Job, image: np.ndarray, name: str) -> None:
    """The map of a user's picture (H, W, 3), in its size, as an image and over the picture."""
    from PIL import Image

    small = reduced(image)
    found = saliency(model, small, job.device)
    large = Image.fromarray(found.astype(np.float32)).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    target = job.out / f"{name}-saliency.png"
    figure.written(target, np.asarray(large).clip(0, 1))
    figure.pair(job.out / f"{name}-figure.png", small, found, name)
    print(f"in {job.out}: {target.name}, {name}-figure.png")
