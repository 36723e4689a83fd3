"""What a trained classifier is shown to do on the test part."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from minidl import nn

from ..command import progress
from ..run import LOG, read_log, write_text
from . import figure
from .data import Dataset
from .evaluate import Result, accuracy_line, predict, table
from .train import Settings

BATCH = 64


def report(model: nn.Module, settings: Settings, dataset: Dataset, out: Path, device: str, quiet: bool) -> Result:
    """Print accuracy and confusion matrix on the test part; leave them and the figure in `out`."""
    test = dataset.test
    with progress("classifying the test images", ceil(len(test.labels) / BATCH), quiet) as show:
        result = Result(predict(model, test.images, BATCH, device=device, show=show), test.labels)
    title = f"{dataset.name}, {len(dataset.train.labels)} images to train on; {settings.describe()}"
    text = "\n".join([title, accuracy_line(result), table(result, dataset.classes)])
    print(text)
    write_text(out / "table.txt", text + "\n")
    log = read_log(out) if (out / LOG).exists() else []
    figure.overview(out / "figure.png", result, dataset, log, f"{title}\n{accuracy_line(result)}")
    print(f"in {out}: table.txt, figure.png")
    return result
