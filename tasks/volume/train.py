"""Settings of a run, and the trainings behind the rows of the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from minidl import Tensor, data, no_grad, optim
from minidl import functional as F
from minidl.core.tensor import Parameter
from minidl.device import to_device

from ..command import UsageError
from ..options import Above, AtLeast, TaskSettings
from ..run import Job
from . import pipeline
from .data import WEIGHTS, VolumeBatches, masks
from .pipeline import Pipeline
from .speckle import Volume

WARMUP = 0.05


@dataclass(frozen=True)
class Settings(TaskSettings):
    """What decides the outcome of a run, to the last bit."""

    # volumes
    data: str | None = None  # a folder of your own volumes, not generated ones
    volumes: int = 320  # generated to train on
    test: int = 46  # generated to test on
    size: Annotated[int, AtLeast(16)] = 48  # side of a generated volume
    # network
    factor: int = 3  # how much coarser the first stage sees
    width: int = 4  # channels that a V-Net of the second stage begins with, half those of the first
    # training
    first_steps: int = 1200  # of the first stage alone
    steps: int = 400  # of each training after it
    batch: int = 1  # volumes per step
    lr: Annotated[float, Above(0)] = 3e-3  # learning rate, a cosine to 0
    seed: int = 0  # decides all that is random
    seeds: int = 1  # do it all for N seeds, --seed and those after it

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Settings:
        settings = super().of(given, known)
        idle = [f"--{name}" for name in ("volumes", "test", "size") if name in given]
        if settings.data is not None and idle:
            raise UsageError(f"--data brings its own volumes: leave out {', '.join(idle)}")
        multiple = settings.build().multiple
        if settings.data is None and settings.size % multiple:
            low = max(settings.size // multiple, 1) * multiple
            problem = f"--size {settings.size} does not divide by {multiple}, which --factor {settings.factor} asks for"
            raise UsageError(f"{problem}; use {low} or {low + multiple}")
        return settings

    def describe(self) -> str:
        """What a caption says of the training."""
        return f"{self.first_steps} steps for the first stage, then {self.steps} for each row"

    def build(self, context: bool = True) -> Pipeline:
        """The pipeline, with its initial weights; those of the first stage do not depend on `context`."""
        return Pipeline(factor=self.factor, width=self.width, context=context, rng=data.generator(self.seed, WEIGHTS))


class Row(NamedTuple):
    """A row of the table: which stages are trained. The first row makes what the others start from."""

    name: str
    label: str
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


def train_rows(job: Job, volumes: Sequence[Volume]) -> dict[Row, Pipeline]:
    """Train the first stage; then, from it, every other row. Each leaves a checkpoint and a log in the job's folder."""
    trained: dict[Row, Pipeline] = {}
    for row in (*ROWS, CONTROL):
        model = job.settings.build(row.context).to(job.device)
        if trained:
            model.coarse.load_state_dict(trained[ROWS[0]].coarse.state_dict())
        if not job.quiet:
            print(f"training: {row.label}", flush=True)
        train(model, row, job, volumes)
        trained[row] = model
    return trained


def train(model: Pipeline, row: Row, job: Job, volumes: Sequence[Volume]) -> None:
    """Train what the row trains, and leave NAME.npz and NAME.jsonl in the folder of the job."""
    settings = job.settings
    job.fit(
        model, optim.Adam, lambda model, batch: losses(model, row, batch, job.device),
        VolumeBatches(volumes, settings.batch, settings.seed), parameters=trained_parameters(model, row), warmup=WARMUP,
        steps=settings.first_steps if row is ROWS[0] else settings.steps, clip=1.0,
        files=(f"{row.name}.npz", f"{row.name}.jsonl"), record=False,  # the boxes of the second stage change
    )  # fmt: skip


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
