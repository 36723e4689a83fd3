"""What a trained network is shown to do: the comparison on test images, the adversarial term, a user's image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl import data, nn
from minidl.ranks.group import Alone

from .. import tiles
from ..command import each
from ..denoise.evaluate import Score, psnr, scores, ssim, table, verdict
from ..denoise.picture import Picture
from ..run import SCORES, TABLE, Job
from ..together import finished, read, spread
from . import figure
from .adversarial import Referee, trained_with
from .data import TEST_HOLES, cropped
from .holes import HOLES, biharmonic, surroundings
from .inference import TILE, VIEWS, completed, corners, enlarged, enlarged_picture, interpolated
from .model import UPSAMPLING, Completer, Enlarger

OURS = "ours"
Images = Mapping[str, np.ndarray]


class Comparison(NamedTuple):
    """Methods on the test images: what each gives, its scores, and which part of each image the figure shows."""

    name: str
    title: str
    rival: str
    clean: Images
    estimates: dict[str, dict[str, np.ndarray]]
    results: dict[str, dict[str, Score]]
    corners: Mapping[str, tuple[int, int]]


def compare(model: nn.Module, job: Job, photographs: Images, test: Images) -> None:
    """Print the tables of all methods on the test images; leave them, the scores and figures in the job's folder."""
    lines, written, plain = [], [TABLE, SCORES], {}
    for part in (completing if job.settings.job == "complete" else enlarging)(model, job, test):
        lines += [part.title, table(part.results), verdict(part.results, OURS, part.rival), ""]
        plain[part.name] = {image: {m: s._asdict() for m, s in row.items()} for image, row in part.results.items()}
        written.append(f"{part.name}.png")
        title = f"{part.title}\n{OURS}: {job.settings.describe()}"
        figure.comparison(job.out / written[-1], part.clean, part.estimates, part.results, title, part.corners)
    if job.settings.adversarial:
        lines += [*with_adversarial_term(model, job, photographs, test), ""]
        written.append("adversarial.png")
    job.table([*lines, f"{OURS}: {job.settings.describe()}"])
    job.write_json(SCORES, plain)
    if log := job.log():
        figure.curve(job.out / "curve.png", log, job.settings.describe())
        written.append("curve.png")
    print(f"in {job.out}: {', '.join(written)}")


def together(folders: Sequence[str]) -> list[str]:
    """The table of several runs: by how much the PSNR is above the rival's, mean and standard deviation over seeds."""
    job = read(Path(folders[0])).settings["job"]
    rows = finished(folders, ("scale", "upsampling"))
    rival = "biharmonic" if job == "complete" else "bicubic"
    lines = [f"PSNR over {rival} (dB), mean and standard deviation over seeds; least of all"]
    for (scale, upsampling), runs in rows.items():
        for part, images in runs[0].scores.items():
            gains = {
                image: [run.scores[part][image][OURS]["psnr"] - run.scores[part][image][rival]["psnr"] for run in runs]
                for image in images
            }
            name = part if job == "complete" else f"x{scale}, {UPSAMPLING[upsampling]}"
            every = np.array(list(gains.values()))  # (images, runs)
            gains["mean"] = every.mean(axis=0)
            if len(lines) == 1:
                lines.append(f"{'':<38}{'seeds':>6}" + "".join(f"{image:>14}" for image in gains) + f"{'least':>8}")
            cells = "".join(f"{spread(values, 2):>14}" for values in gains.values())
            lines.append(f"{name:<38}{len(runs):>6}{cells}{every.min():>8.2f}")
    return lines


def completing(model: Completer, job: Job, test: Images) -> Iterator[Comparison]:
    """Of each kind of hole."""
    with job.progress("filling holes in the test images", len(HOLES) * len(test)) as show:
        for kind, holes in HOLES.items():
            found = Comparison(kind, "", "biharmonic", test, {}, {}, {} if kind == "block" else figure.CORNERS)
            shares = []
            for i, (name, clean) in each(list(enumerate(test.items())), show):
                missing = holes(clean.shape, data.generator(job.settings.seed, TEST_HOLES, i))
                shares.append(missing.mean())
                row = found.estimates[name] = {
                    "damaged": np.where(missing, np.float32(1), clean),
                    "surroundings": surroundings(clean, missing),
                    "biharmonic": biharmonic(clean, missing),
                    OURS: completed(model, clean, missing, device=job.device),
                }
                scores = {m: Score(psnr(clean[missing], x[missing]), ssim(clean, x)) for m, x in row.items()}
                found.results[name] = scores
                if kind == "block":
                    middle = np.argwhere(missing).mean(axis=0)
                    found.corners[name] = tuple(
                        int(np.clip(m - figure.CROP // 2, 0, n - figure.CROP)) for m, n in zip(middle, clean.shape)
                    )
            title = f"{kind}: {np.mean(shares):.1%} missing; PSNR (dB) of the missing pixels, SSIM of whole images"
            yield found._replace(title=title)


def enlarging(model: Enlarger, job: Job, test: Images) -> Iterator[Comparison]:
    """Scores are of images without a border of `scale` pixels, as is usual."""
    scale = job.settings.scale
    title = f"x{scale}: PSNR (dB) and SSIM of the luma, a border of {scale} pixels left out"
    clean = {name: cropped(image, scale) for name, image in test.items()}
    found = Comparison(f"x{scale}", title, "bicubic", clean, {}, {}, figure.CORNERS)
    inner = (slice(scale, -scale),) * 2
    with job.progress("enlarging the test images", len(test)) as show:
        for name, image in each(clean.items(), show):
            small = interpolated(image[None], 1 / scale)
            row = found.estimates[name] = {
                "pixels": small[0].repeat(scale, 0).repeat(scale, 1),
                "bicubic": interpolated(small, scale)[0],
                OURS: enlarged(model, small[0], device=job.device),
            }
            found.results[name] = scores(image[inner], {method: x[inner] for method, x in row.items()})
    yield found


def with_adversarial_term(model: nn.Module, job: Job, photographs: Images, test: Images) -> Sequence[str]:
    """A table: of the network without the term and with each weight, the PSNR on patches of test images and how often
    a referee takes them for photographs. Leaves the figure."""
    job = replace(job, group=Alone(), shards=1)  # it is the first rank that reports
    referee = Referee(job, model, photographs)
    networks = {"without": model}
    for weight in job.settings.adversarial:
        networks[f"weight {weight:g}"] = trained_with(job, model, photographs, weight)
    judged = referee.judge(networks, test)
    of_networks = [judged[name] for name in networks]
    figure.trade_off(
        job.out / "adversarial.png", list(networks), [x.psnr for x in of_networks], [x.chance for x in of_networks],
        {name: x.patches for name, x in judged.items()},
    )  # fmt: skip
    return [
        "with an adversarial term, on patches of test images; the referee has learnt to tell the network without it",
        f"{'':<14}{'PSNR (dB)':>12}{'taken for a photograph':>26}",
        *(f"{name:<14}{x.psnr:>12.2f}{x.chance:>26.1%}" for name, x in judged.items()),
    ]


def use(model: nn.Module, job: Job, picture: Picture, name: str, missing: np.ndarray | None, clean: bool) -> None:
    """Restore a user's picture; leave the result and a figure in the folder.

    missing: which pixels are to be filled. clean: the picture is known there, so the result can be scored.
    """
    channels, device = picture.channels, job.device
    if missing is not None:
        pieces = len(VIEWS) * len(channels) * tiles.count(model, missing.shape, TILE)
        with job.progress("filling holes", pieces) as show:
            planes = [completed(model, x, missing, device=device, show=show) for x in channels]
        result, verb = np.stack(planes), "completed"
        before = np.where(missing, 1, channels)
        if clean:
            scored = psnr(channels[:, missing], result[:, missing])
            print(f"the {missing.sum()} missing pixels are restored at {scored:.2f} dB")
    else:
        with job.progress("enlarging the picture", len(corners(channels.shape[1:]))) as show:
            result = enlarged_picture(model, channels, device=device, show=show)
        before, verb = interpolated(channels, model.scale), f"x{model.scale}"
    alpha = picture.alpha if missing is None else None
    if alpha is not None:
        alpha = interpolated(alpha[None], model.scale)[0]
    target = job.out / f"{name}-{verb}.png"
    Picture(result, alpha, picture.bits).write(target)
    label = "with holes" if missing is not None else "bicubic"
    figure.before_after(job.out / f"{name}-figure.png", {label: before, verb: result}, name)
    print(f"in {job.out}: {target.name} ({picture.bits} bits), {name}-figure.png")
