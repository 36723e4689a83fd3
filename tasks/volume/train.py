"""Settings of a run, and the trainings behind the rows of the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minidl import Tensor, data, no_grad, optim
from minidl import functional as F
from minidl.core.tensor import Parameter
from minidl.device import to_device
from minidl.train import fit

from . import pipeline
from .data import WEIGHTS, Batches, masks
from .pipeline import Pipeline
from .speckle import Volume


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a run, to the last bit."""

    data: str | None = None
    volumes: int = 320
    test: int = 46
    size: int = 48
    factor: int = 3
    width: int = 4
    first_steps: int = 1200
    steps: int = 400
    batch: int = 1
    lr: float = 3e-3
    seed: int = 0
    seeds: int = 1

    def describe(self) -> str:
        """What a caption says of the training."""
        return f"{self.first_steps} steps for the first stage, then {self.steps} for each row"

    def build(self, context: bool = True) -> Pipeline:
        """The pipeline, with its initial weights; those of the first stage do not depend on `context`."""
        return Pipeline(factor=self.factor, width=self.width, context=context, rng=data.generator(self.seed, WEIGHTS))


class Row(NamedTuple):
    """A row of the table: which stages are trained. The first row makes what the others start from."""

    name: str
    said: str
    first: bool  # whether the first stage is trained
    second: bool  # whether the second is
    context: bool = True


ROWS = (
    Row("initial", "initial segmentation", True, False),
    Row("without", "refined without auto-context", False, True, context=False),
    Row("with", "refined with auto-context", False, True),
    Row("end-to-end", "refined end to end", True, True),
)
CONTROL = Row("longer", "initial, trained as long as the others", True, False)


def train_rows(
    settings: Settings, volumes: Sequence[Volume], out: Path, *, resume: bool, device: str, quiet: bool
) -> dict[Row, Pipeline]:
    """Train the first stage; then, from it, every other row. Each leaves a checkpoint and a log in `out`."""
    trained: dict[Row, Pipeline] = {}
    for row in (*ROWS, CONTROL):
        model = settings.build(row.context).to(device)
        if trained:
            model.coarse.load_state_dict(trained[ROWS[0]].coarse.state_dict())
        if not quiet:
            print(f"training: {row.said}", flush=True)
        train(model, row, settings, volumes, out, resume=resume, device=device, quiet=quiet)
        trained[row] = model
    return trained


def train(
    model: Pipeline, row: Row, settings: Settings, volumes: Sequence[Volume], out: Path,
    *, resume: bool, device: str, quiet: bool,
) -> None:  # fmt: skip
    """Train what the row trains, and leave NAME.npz and NAME.jsonl in `out`."""
    steps = settings.first_steps if row is ROWS[0] else settings.steps
    fit(
        model,
        optim.Adam(trained_parameters(model, row), settings.lr),
        lambda model, batch: losses(model, row, batch, device),
        Batches(volumes, settings.batch, settings.seed),
        steps,
        schedule=optim.warmup(optim.cosine(settings.lr, steps), steps // 20),
        clip=1.0,
        checkpoint=out / f"{row.name}.npz",
        save_every=max(1, steps // 10),
        resume=resume,
        log=out / f"{row.name}.jsonl",
        progress=not quiet,
    )


def trained_parameters(model: Pipeline, row: Row) -> list[Parameter]:
    """The parameters of the stages that the row trains."""
    stages = [model.coarse] * row.first + [model.refine] * row.second
    return [p for stage in stages for p in stage.parameters()]


def losses(model: Pipeline, row: Row, batch: Iterable[Volume], device: str) -> dict[str, Tensor]:
    """The losses of the stages, means over the batch. A stage that is not trained passes no gradient on."""
    terms: dict[str, list[Tensor]] = {"initial": [], "refined": []}
    for volume in batch:
        x, truth = (to_device(array, device) for array in (volume.image[None, None], masks(volume.labels)))
        if row.first:
            logits = model.initial(Tensor(x))
        else:
            with no_grad():
                logits = model.initial(Tensor(x))
        refined = model.refined(Tensor(x), F.sigmoid(logits)) if row.second else {}
        for name, term in zip(terms, pipeline.losses(logits, refined, truth)):
            terms[name].append(term)
    return {name: sum(values[1:], values[0]) / len(values) for name, values in terms.items() if values}
