"""What is shown of a trained network: tubes and tracks on new clips, with and without posts that hide objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..run import SCORES, TABLE, Job
from ..together import finished, spread
from . import figure, scenes
from .find import Found, find
from .metrics import Tracking, tracking, tube_precision
from .model import STREAMS, VIEWS, TrackNet
from .scenes import Clip
from .sort import detect_then_track
from .tubes import volume

OURS, RIVAL = "tubes", "detect, then track"
TESTED, CHOSEN = 40, 20  # clips: to test on, for each number of posts; to choose the least score by
POSTS = {"nothing hidden": 0, "behind two posts": 2}
LEAST = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of which the least that counts as a track is chosen
SHOWN = {"tube AP50": "tube AP50", "mota": "MOTA", "idf1": "IDF1", "hota": "HOTA", "deta": "DetA", "assa": "AssA"}
SMALL = 9.0  # pixels: a box that has fewer left in the picture is not asked for
BATCH = 8
Method = Callable[[list[Clip]], list[Found]]


def compare(model: TrackNet, rival: TrackNet | None, job: Job) -> None:
    """Print the scores of both on test clips; leave the table, the numbers and the figure in the job's folder."""
    settings = job.settings
    methods: dict[str, Method] = {OURS: lambda clips: find(model, clips, job.device)}
    if rival is not None:
        methods[RIVAL] = lambda clips: detect_then_track(rival, clips, job.device)
    lines = [f"{TESTED} new clips of {settings.frames} frames over other textures; {OURS}: {settings.describe()}"]
    lines.append(
        f"{'':<18}{'':<20}{'tube AP50':>10}{'MOTA':>8}{'IDF1':>8}{'HOTA':>8}{'DetA':>8}{'AssA':>8}{'switches':>10}"
    )
    numbers: dict[str, dict[str, dict[str, float]]] = {}
    with job.progress("tracking", len(methods) * (CHOSEN + len(POSTS) * TESTED)) as show:
        validation = [scenes.clip("validation", settings.seed, i, settings.frames) for i in range(CHOSEN)]
        least = {name: best_score(validation, run(method, validation, show)) for name, method in methods.items()}
        for title, posts in POSTS.items():
            clips = [scenes.clip("test", settings.seed, i, settings.frames, posts=posts) for i in range(TESTED)]
            for name, method in methods.items():
                label = title if name == OURS else ""
                found = run(method, clips, show)
                score = scored(clips, found, least[name])
                precision = tube_precision([(c.tubes, c.classes) for c in clips], found)
                numbers.setdefault(title, {})[name] = {"tube AP50": precision, **score._asdict()}
                cells = "".join(f"{100 * x:>8.1f}" for x in score[:5])
                lines.append(f"{label:<18}{name:<20}{100 * precision:>10.1f}{cells}{score.switches:>10}")
    lines.append(
        "least scores, chosen by MOTA on validation clips: " + ", ".join(f"{n} {s:g}" for n, s in least.items())
    )
    job.table(lines)
    job.write_json(SCORES, numbers)
    first = [scenes.clip("test", settings.seed, i, settings.frames, posts=2) for i in range(3)]
    figure.clips(job.out / "figure.png", first, {name: method(first) for name, method in methods.items()}, least)
    written = [TABLE, SCORES, "figure.png"]
    if log := job.log():
        figure.curve(job.out / "curve.png", log)
        written.append("curve.png")
    print(f"in {job.out}: {', '.join(written)}")


def together(folders: Sequence[str]) -> list[str]:
    """The table of several runs: for each kind of network the mean and the standard deviation over its seeds."""
    rows = finished(folders, ("streams", "view"))
    every = [run for runs in rows.values() for run in runs]
    rivals = {run.settings["seed"]: run.scores for run in every if RIVAL in run.scores[next(iter(POSTS))]}
    lines = [f"mean and standard deviation over seeds, {TESTED} new clips of each"]
    for title in POSTS:
        lines.append(f"{title:<48}{'seeds':>6}" + "".join(f"{name:>14}" for name in SHOWN.values()))
        for (streams, view), runs in rows.items():
            name = f"{OURS}, {STREAMS[streams]}" + (f", view {VIEWS[view]}" if view != "none" else "")
            lines.append(row(name, [run.scores[title][OURS] for run in runs]))
        if rivals:
            lines.append(row(RIVAL, [scores[title][RIVAL] for scores in rivals.values()]))
    return lines


def row(name: str, found: Sequence[Mapping[str, float]]) -> str:
    cells = (spread([100 * scores[key] for scores in found]) for key in SHOWN)
    return f"{name:<48}{len(found):>6}" + "".join(f"{cell:>14}" for cell in cells)


def run(method: Method, clips: list[Clip], show: Callable[[], object]) -> list[Found]:
    found: list[Found] = []
    for start in range(0, len(clips), BATCH):
        part = clips[start : start + BATCH]
        found += method(part)
        for _ in part:
            show()
    return found


def best_score(clips: list[Clip], found: list[Found]) -> float:
    """The least score with which MOTA is highest."""
    return max(LEAST, key=lambda least: scored(clips, found, least).mota)


def scored(clips: Sequence[Clip], found: Sequence[Found], least: float) -> Tracking:
    """The scores of tracking over all clips, as one long sequence in which every clip has objects of its own."""
    truth: list[dict[int, np.ndarray]] = []
    tracks: list[dict[int, np.ndarray]] = []
    for number, (clip, one) in enumerate(zip(clips, found)):
        kept = one.tubes[one.scores >= least]
        for t in range(len(clip.frames)):
            truth.append(in_frame(clip.tubes, t, number))
            tracks.append(in_frame(kept, t, number))
    return tracking(truth, tracks)


def in_frame(tubes: np.ndarray, t: int, number: int) -> dict[int, np.ndarray]:
    """The boxes at time t of the tubes of a clip, those that are too small left out."""
    areas = volume(tubes[:, t : t + 1])
    return {1000 * number + k: tubes[k, t] for k in range(len(tubes)) if areas[k] >= SMALL}
