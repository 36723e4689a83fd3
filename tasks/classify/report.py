"""What a trained classifier is shown to do on the test part."""

from __future__ import annotations

from math import ceil

from minidl import nn

from ..run import Job
from . import figure
from .data import Dataset
from .evaluate import accuracy_line, table, tested

BATCH = 64


def report(model: nn.Module, dataset: Dataset, job: Job) -> None:
    """Print accuracy and confusion matrix on the test part; leave them and the figure in the folder of the job."""
    test, out = dataset.test, job.out
    with job.progress("classifying the test images", ceil(len(test.labels) / BATCH)) as show:
        result = tested(model, test, BATCH, device=job.device, show=show)
    title = f"{dataset.name}, {len(dataset.train.labels)} images to train on; {job.settings.describe()}"
    job.table([title, accuracy_line(result), table(result, dataset.classes)])
    figure.overview(out / "figure.png", result, dataset, job.log(), f"{title}\n{accuracy_line(result)}")
    print(f"in {out}: table.txt, figure.png")
