"""What a run is shown to do: the table of each seed and of all, the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..command import each
from ..run import SCORES, Job
from . import figure
from .evaluate import RowScores, evaluate, order, table
from .pipeline import Pipeline
from .speckle import Volume
from .train import CONTROL, ROWS, Row


def report(trained: Mapping[Row, Pipeline], job: Job, test: Sequence[Volume]) -> dict[str, RowScores]:
    """Print the table of a seed; leave it, the scores and the figure in the folder of the job."""
    out, device = job.out, job.device
    with job.progress("segmenting the test volumes", len(trained)) as show:
        results = {
            row.name: evaluate(model, test, refine=row.second, device=device)
            for row, model in each(trained.items(), show)
        }
    title = f"seed {job.settings.seed}: Dice on {len(test)} volumes never trained on; {job.settings.describe()}"
    job.table([title, table(results), order(results)])
    plain = {name: {"dice": result.dice, "seconds": result.seconds} for name, result in results.items()}
    job.write_json(SCORES, plain)
    chosen = {row: trained[row] for row in ROWS}
    figure.comparison(out / "figure.png", test[: figure.SHOWN], chosen, device, title)
    print(f"in {out}: table.txt, scores.json, figure.png")
    return results


def together(of_seeds: Sequence[Mapping[str, RowScores]], job: Job) -> None:
    """Print the table of all seeds' volumes, and in how many seeds the lecture's order held."""
    pooled = {
        row.name: RowScores(
            [d for results in of_seeds for d in results[row.name].dice],
            [t for results in of_seeds for t in results[row.name].seconds],
        )
        for row in (*ROWS, CONTROL)
    }
    job.table([f"all {len(of_seeds)} seeds", table(pooled), order(pooled), steps_up(of_seeds)])


def steps_up(of_seeds: Sequence[Mapping[str, RowScores]]) -> str:
    """For each step from a row to the next: in how many seeds it goes up, for each organ."""
    parts = []
    for below, above in pairwise(ROWS):
        up = [sum(r[above.name].means()[i] > r[below.name].means()[i] for r in of_seeds) for i in range(2)]
        parts.append(f"{above.label} over {below.label}: small {up[0]}, large {up[1]}")
    return f"seeds of {len(of_seeds)} in which a row is above the one before it:\n  " + "\n  ".join(parts)
